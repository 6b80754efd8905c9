/* calls_held.c - mail that is held: what holds it and how much of it there is; suspend and resume by filter;
 * sites slowed, sped up, and forgotten by an operator. */
#include "engine/admin/calls.h"
#include "engine/message/address.h"
#include "engine/report/status_json.h"

#include <inttypes.h>
#include <stdlib.h>

#define LONG_NS (50 * NS_PER_MS) /* counting that took longer */
#define KEPT_NS (5 * NS_PER_S)   /* is good for so long */

/* ---- how much ---- */

static bool copy_list(struct held_list *to, const struct held_list *from)
{
    *to = *from;
    to->list = calloc(from->count + 1, sizeof *to->list);
    to->lanes = calloc(from->lane_count + 1, sizeof *to->lanes);
    if (to->list == NULL || to->lanes == NULL) {
        steer_held_free(to);
        return false;
    }
    if (from->count > 0)
        memcpy(to->list, from->list, from->count * sizeof *to->list);
    if (from->lane_count > 0)
        memcpy(to->lanes, from->lanes, from->lane_count * sizeof *to->lanes);
    return true;
}

void held_take(struct api *api, struct now now, struct held_list *held)
{
    pthread_mutex_lock(&api->held_lock);
    if (now.mono_ns >= api->held_mail_until_ns) {
        steer_held_free(&api->held_mail);
        steer_held(api->context.fleet, &api->held_mail);
        bool took_long = clock_now().mono_ns - now.mono_ns > LONG_NS;
        api->held_mail_until_ns = took_long ? now.mono_ns + KEPT_NS : 0;
    }
    copy_list(held, &api->held_mail);
    pthread_mutex_unlock(&api->held_lock);
}

static int by_lane(const void *key, const void *item)
{
    uint32_t lane = *(const uint32_t *)key, other = ((const struct held_of_lane *)item)->lane;
    return (lane > other) - (lane < other);
}

struct held_count held_in_lane(const struct held_list *held, uint32_t lane)
{
    const struct held_of_lane *found =
        held->lane_count > 0 ? bsearch(&lane, held->lanes, held->lane_count, sizeof *found, by_lane) : NULL;
    return found != NULL ? found->count : (struct held_count){0};
}

/* ---- what ---- */

static json_t *text_or_null(bool is_set, const char *text)
{
    return is_set ? js_text(str_of(text)) : json_null();
}

static json_t *held_json(const struct held_info *info)
{
    json_t *root = json_object();
    js_set(root, "kind", json_string(info->kind));
    js_set(root, "site", text_or_null(info->site[0] != '\0', info->site));
    js_set(root, "source", text_or_null(info->source[0] != '\0', info->source));
    js_set(root, "sender", text_or_null(info->has_sender, info->sender));
    js_set(root, "job", info->job != 0 ? js_id(info->job) : json_null());
    js_set(root, "tenant", text_or_null(info->tenant[0] != '\0', info->tenant));
    js_set(root, "campaign", text_or_null(info->campaign[0] != '\0', info->campaign));
    js_set(root, "domain", text_or_null(info->domain[0] != '\0', info->domain));
    js_set(root, "since", js_time(info->since_ms));
    js_set(root, "until", js_time(info->until_ms));
    js_set_int(root, "code", info->code);
    js_set(root, "status", js_status(info->status));
    js_set(root, "reply", js_text(str_of(info->reply)));
    js_set(root, "rule", js_text(str_of(info->rule)));
    js_set_int(root, "held", info->count.ready + info->count.deferred);
    js_set(root, "resume", js_text(str_of(info->remedy)));
    return root;
}

void call_suspensions(struct http_request *request, struct now now, void *user)
{
    struct api *api = user;
    struct held_list held;
    if (!for_operators(api, request))
        return;
    held_take(api, now, &held);
    json_t *root = json_object(), *list = json_array();
    for (size_t i = 0; i < held.count; i++)
        json_array_append_new(list, held_json(&held.list[i]));
    js_set(root, "complete", json_boolean(held.complete));
    js_set_int(root, "held", held.total.ready + held.total.deferred);
    js_set(root, "suspensions", list);
    answer_json(request, 200, root);
    steer_held_free(&held);
}

/* ---- by filter ---- */

enum { TENANT, CAMPAIGN, JOB, DOMAIN, SITE, SENDER, FIELDS };
static const char *const names[FIELDS] = {"tenant", "campaign", "job", "domain", "site", "sender"};

static bool take_domain(struct http_request *request, const char *name, struct str text,
                        char domain[DOMAIN_MAX + 1], struct str *out)
{
    struct err err;
    size_t n;
    if (text.p == NULL)
        return true;
    if (!domain_to_ascii(text, domain, &n, &err)) {
        http_fail(request, 400, "bad_parameter", "%s: %s", name, err.text);
        return false;
    }
    *out = str_make(domain, n);
    return true;
}

struct wish {
    struct steer_filter filter;
    char domain[DOMAIN_MAX + 1], sender[DOMAIN_MAX + 1];
    json_t *body; /* what its texts may point into */
};

static bool take_wish(struct http_request *request, bool may_be_all, struct wish *wish)
{
    struct str texts[FIELDS];
    struct steer_filter *filter = &wish->filter;
    *wish = (struct wish){.filter.all = str_eq(http_parameter(request, "all"), STR("1"))};
    if (!filter_texts_take(request, names, FIELDS, &wish->body, texts))
        return false;
    bool any = false;
    for (unsigned i = 0; i < FIELDS; i++) {
        any |= texts[i].p != NULL;
        if (texts[i].n > NAME_MAX_BYTES && (i == TENANT || i == CAMPAIGN)) {
            http_fail(request, 400, "bad_parameter", "%s is too long", names[i]);
            return false;
        }
    }
    if (any == filter->all || (filter->all && !may_be_all)) {
        http_fail(request, 400, "bad_parameter",
                  any ? "all=1 goes with nothing else"
                      : "say which: tenant, campaign, job, domain, site or sender");
        return false;
    }
    if (texts[JOB].p != NULL && (!str_u64(texts[JOB], UINT64_MAX, &filter->job) || filter->job == 0)) {
        http_fail(request, 400, "bad_parameter", "job must be a job's id, not \"%.*s\"", STR_ARG(texts[JOB]));
        return false;
    }
    filter->tenant = texts[TENANT];
    filter->campaign = texts[CAMPAIGN];
    filter->site = texts[SITE];
    return take_domain(request, "domain", texts[DOMAIN], wish->domain, &filter->domain) &&
           take_domain(request, "sender", texts[SENDER], wish->sender, &filter->sender);
}

bool steered(struct http_request *request, enum steer_result result)
{
    if (result == STEER_FULL)
        http_fail(request, 507, "full",
                  "it is in force, but there is no space to write it down: it is lost at a restart");
    else if (result == STEER_BUSY)
        http_fail(request, 503, "busy",
                  "not all answered in time; what was asked may still be done: look at "
                  "/v1/suspensions");
    else if (result == STEER_TOO_MANY)
        http_fail(request, 409, "too_many",
                  "it is not suspended: there are %d holds and suspensions already; resume what may go, "
                  "/v1/suspensions lists them",
                  HOLDS_MAX);
    else if (result == STEER_FAILED)
        http_fail(request, 500, "failed", "no memory for the request");
    return result == STEER_OK;
}

static void answer_changed(struct http_request *request, const char *name, unsigned changed)
{
    json_t *root = json_object();
    js_set_int(root, name, changed);
    answer_json(request, 200, root);
}

static void steer_by_filter(struct http_request *request, struct now now, struct api *api, bool suspends)
{
    struct wish wish;
    unsigned changed = 0;
    if (!for_operators(api, request))
        return;
    if (take_wish(request, !suspends, &wish)) {
        enum steer_result result = suspends ? steer_suspend(api->context.fleet, &wish.filter, now, &changed)
                                            : steer_resume(api->context.fleet, &wish.filter, &changed);
        if (steered(request, result))
            answer_changed(request, suspends ? "suspended" : "released", changed);
    }
    json_decref(wish.body);
}

void call_queue_suspend(struct http_request *request, struct now now, void *user)
{
    steer_by_filter(request, now, user, true);
}

void call_queue_resume(struct http_request *request, struct now now, void *user)
{
    steer_by_filter(request, now, user, false);
}

/* ---- sites ---- */

static void steer_one_site(struct http_request *request, struct api *api, enum steer_site how)
{
    struct str text = http_segment(request, 0);
    char name[DOMAIN_MAX + 1] = "";
    unsigned paths;
    if (!for_operators(api, request))
        return;
    if (text.n <= DOMAIN_MAX)
        memcpy(name, text.p, text.n);
    if (!steered(request, steer_site(api->context.fleet, name, how, &paths)))
        return;
    if (paths > 0)
        answer_changed(request, "paths", paths);
    else
        http_fail(request, 404, "not_found", "no worker knows a site named %.*s now", STR_ARG(text));
}

void call_site_backoff(struct http_request *request, struct now now, void *user)
{
    (void)now;
    steer_one_site(request, user, STEER_BACK_OFF);
}

void call_site_normal(struct http_request *request, struct now now, void *user)
{
    (void)now;
    steer_one_site(request, user, STEER_NORMAL);
}

void call_site_reset(struct http_request *request, struct now now, void *user)
{
    (void)now;
    steer_one_site(request, user, STEER_RESET);
}
