/* calls_rcpt.c - one recipient: its state, and its message as it would be sent. */
#include "engine/admin/calls.h"
#include "engine/message/template.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* The recipient of the path, visible to the peer. False: answered 404. */
static bool find_rcpt(struct api *api, struct http_request *request, struct rcpt_info *info)
{
    struct str text = http_segment(request, 0), tenant;
    struct job_info job;
    struct rid rid;
    if (rid_parse(text, &rid) && query_rcpt(api->context.store, rid, info) &&
        (!bound_tenant(api, request, &tenant) ||
         (query_job(api->context.store, rid.job, &job) && str_eq(tenant, str_of(job.tenant)))))
        return true;
    http_fail(request, 404, "not_found", "there is no recipient %.*s", STR_ARG(text));
    return false;
}

static json_t *vars_json(struct str blob)
{
    struct reader reader = vars_reader(blob);
    struct str name, value;
    json_t *root = json_object();
    while (vars_next(&reader, &name, &value)) {
        char *key = str_dup(name);
        if (key != NULL)
            json_object_set_new(root, key, js_text(value));
        free(key);
    }
    return root;
}

static json_t *notify_json(uint8_t notify)
{
    json_t *list = json_array();
    if (notify & NOTIFY_NEVER)
        json_array_append_new(list, json_string("never"));
    if (notify & NOTIFY_FAILURE)
        json_array_append_new(list, json_string("failure"));
    if (notify & NOTIFY_DELAY)
        json_array_append_new(list, json_string("delay"));
    if (notify & NOTIFY_SUCCESS)
        json_array_append_new(list, json_string("success"));
    return list;
}

void call_recipient(struct http_request *request, struct now now, void *user)
{
    struct rcpt_info info;
    (void)now;
    rcpt_info_init(&info);
    if (find_rcpt(user, request, &info)) {
        json_t *root = rcpt_json(&info);
        js_set(root, "metadata", js_parsed(info.metadata));
        js_set(root, "vars", vars_json(info.vars));
        js_set(root, "orcpt", js_text(info.orcpt));
        js_set(root, "notify", notify_json(info.notify));
        answer_json(request, 200, root);
    }
    rcpt_info_free(&info);
}

static bool render_message(const void *content, size_t size, const struct rcpt_info *info, struct buf *out,
                           struct err *err)
{
    struct template template;
    struct rendition rendition = {0};
    char rid[RID_TEXT_MAX], job[24];
    int job_n = snprintf(job, sizeof job, "%" PRIu64, info->rid.job);
    struct render_args args = {.vars = info->vars,
                               .to = info->to,
                               .id = info->id,
                               .rid = str_make(rid, rid_format(info->rid, rid)),
                               .job = str_make(job, (size_t)job_n),
                               .unstuffed = true};
    bool done =
        template_open(content, size, &template, err) && template_render(&template, &args, &rendition, err);
    for (size_t i = 0; done && i < rendition.count; i++)
        buf_add(out, rendition.parts[i].iov_base, rendition.parts[i].iov_len);
    rendition_free(&rendition);
    return done && (!out->failed || err_set(err, 0, "the message is too large to show"));
}

void call_recipient_message(struct http_request *request, struct now now, void *user)
{
    struct api *api = user;
    struct rcpt_info info;
    struct buf body;
    struct err err;
    size_t size;
    (void)now;
    rcpt_info_init(&info);
    if (find_rcpt(api, request, &info)) {
        void *content = query_content(api->context.store, info.rid.job, &size);
        buf_init(&body, HTTP_ANSWER_MAX);
        if (content == NULL)
            http_fail(request, 404, "not_found", "the message of job %" PRIu64 " is not kept any more",
                      info.rid.job);
        else if (render_message(content, size, &info, &body, &err))
            http_answer(request, 200, "message/rfc822", &body);
        else
            http_fail(request, 500, "failed", "%s", err.text);
        buf_free(&body);
        free(content);
    }
    rcpt_info_free(&info);
}
