/* calls_inbound.c - POST /v1/inbound: a bounce or complaint that came by mail, and what was made of it. */
#include "engine/admin/await.h"
#include "engine/admin/calls.h"
#include "engine/inbound/inbound.h"
#include "engine/report/status_json.h"

static json_t *rcpt_finding_json(const struct notice_rcpt *rcpt, const struct inbound_finding *finding)
{
    char rid[RID_TEXT_MAX];
    json_t *root = json_object();
    struct bounce bounce = {rcpt->status, rcpt->code, rcpt->reply, false, true};
    enum bounce_category category = bounce_category(&bounce);
    bool ours = finding->agreement != AGREEMENT_NONE;
    js_set(root, "action", json_string(inbound_action_name(finding->action)));
    js_set(root, "kind", json_string(notice_kind_name(rcpt->kind)));
    js_set(root, "address", js_text(rcpt->address));
    js_set(root, "original", js_text(rcpt->original));
    js_set_int(root, "code", rcpt->code);
    js_set(root, "status", js_status(rcpt->status));
    js_set(root, "reply", js_text(rcpt->reply));
    js_set(root, "category",
           rcpt->kind == NOTICE_BOUNCE ? json_string(bounce_category_name(category)) : json_null());
    js_set(root, "mx", js_text(rcpt->mx));
    js_set(root, "agreement", json_string(inbound_agreement_name(finding->agreement)));
    js_set(root, "rid", ours ? json_stringn_nocheck(rid, rid_format(finding->rid, rid)) : json_null());
    js_set(root, "to", ours ? js_text(str_of(finding->to)) : json_null());
    js_set(root, "tenant", ours ? js_text(str_of(finding->tenant)) : json_null());
    js_set(root, "state", ours ? json_string(rcpt_state_name(finding->state)) : json_null());
    return root;
}

static json_t *result_json(const struct inbound_result *result, bool dry_run)
{
    const struct notice *notice = &result->notice;
    json_t *root = json_object(), *list = json_array();
    js_set(root, "kind", json_string(notice_kind_name(notice->kind)));
    js_set(root, "format", json_string(notice->format));
    js_set(root, "feedback", js_text(notice->feedback));
    js_set(root, "envid", js_text(notice->envid));
    for (size_t i = 0; i < notice->rcpt_count; i++)
        json_array_append_new(list, rcpt_finding_json(&notice->rcpts[i], &result->findings[i]));
    js_set(root, "recipients", list);
    if (dry_run)
        js_set(root, "dry_run", json_true());
    return root;
}

static void on_edits_done(enum edit_result result, unsigned changed, void *user)
{
    (void)changed;
    await_tell(user, &result, sizeof result);
}

/* False: answered. */
static bool write_down(struct api *api, struct http_request *request, const struct inbound_result *result,
                       struct now now)
{
    enum edit_result edited = EDIT_OK;
    struct await *await = await_create();
    if (await == NULL || !inbound_post(api->context.inbound, result, now, on_edits_done, await)) {
        if (await != NULL) {
            await_tell(await, &edited, sizeof edited);
            await_take(await, &edited, sizeof edited);
        }
        http_fail(request, 500, "failed", "no memory for what the message says");
        return false;
    }
    if (!await_take(await, &edited, sizeof edited))
        http_fail(request, 503, "busy",
                  "the store did not answer within %d s; what the message says may still be written",
                  AWAIT_LAST_S);
    else if (edited == EDIT_FULL)
        http_fail(request, 507, "full", "there is no space to write down what the message says");
    else if (edited == EDIT_STOPPING)
        http_fail(request, 503, "stopping", "postriderd is shutting down: send this again later");
    else
        return true;
    return false;
}

/* `tenant`, or the one the peer is bound to. False: answered. */
static bool take_tenant(const struct api *api, struct http_request *request, struct str *tenant)
{
    struct str asked = http_parameter(request, "tenant");
    if (!bound_tenant(api, request, tenant)) {
        *tenant = asked;
        return true;
    }
    if (asked.n == 0 || str_eq(asked, *tenant))
        return true;
    http_fail(request, 403, "forbidden", "the tenant \"%.*s\" is not yours: this user is bound to \"%.*s\"",
              STR_ARG(asked), STR_ARG(*tenant));
    return false;
}

/* A parameter that is 1, 0 or absent. False: answered. */
static bool take_flag(struct http_request *request, const char *name, bool *flag)
{
    struct str text = http_parameter(request, name);
    *flag = str_eq(text, STR("1"));
    if (*flag || text.p == NULL || str_eq(text, STR("0")))
        return true;
    http_fail(request, 400, "bad_parameter", "%s must be 1 or 0", name);
    return false;
}

void call_inbound(struct http_request *request, struct now now, void *user)
{
    struct api *api = user;
    struct inbound_input input = {.message = http_body(request),
                                  .envelope_rcpt = http_parameter(request, "rcpt")};
    struct inbound_result result;
    bool dry_run;
    if (!take_flag(request, "dry_run", &dry_run) || !take_flag(request, "trusted", &input.trusted) ||
        !take_tenant(api, request, &input.tenant))
        return;
    if (!inbound_read(api->context.inbound, &input, &result)) {
        http_fail(request, 500, "failed", "no memory to read the message");
    } else if (result.under_way && !dry_run) {
        inbound_put_off(api->context.inbound, &result);
        http_fail(request, 503, "under_way",
                  "the delivery that the message speaks of is not written down yet: hand it in again "
                  "later");
    } else if (dry_run || write_down(api, request, &result, now)) {
        answer_json(request, 200, result_json(&result, dry_run));
    }
    inbound_result_free(&result);
}
