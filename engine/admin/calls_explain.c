/* calls_explain.c - why something waits, and until when: what the store knows of the recipient and its job,
 * then what the workers know of its lane. The first thing that holds it is named. */
#include "engine/admin/calls.h"
#include "engine/base/units.h"
#include "engine/message/address.h"
#include "engine/report/status_json.h"

#include <inttypes.h>
#include <stdio.h>

#define ADDRESS_ANSWERS_MAX 20
#define LANE_ANSWERS_MAX    100

struct why {
    bool waits;
    const char *limit;
    int64_t until_ms; /* 0: not known */
    char text[2560];
    struct lane_why lane; /* known only where it was asked for */
};

static const char *until_text(int64_t until_ms, char text[UNITS_TEXT_MAX + 8])
{
    text[0] = '\0';
    if (until_ms != 0) {
        memcpy(text, " until ", 7);
        time_format(until_ms, text + 7);
    }
    return text;
}

/* "fix": mail from such a sender is held since then, for this reply; and what releases it. */
static void explain_hold(const struct held_info *hold, struct why *why)
{
    char since[UNITS_TEXT_MAX], until[UNITS_TEXT_MAX + 8];
    time_format(hold->since_ms, since);
    until_text(hold->until_ms, until);
    why->waits = true;
    why->limit = hold->kind;
    why->until_ms = hold->until_ms;
    bool by_reply = hold->reply[0] != '\0';
    snprintf(why->text, sizeof why->text, "%s since %s%s%s%s%s%s%s%s; to release it: %s",
             by_reply ? "it is held" : "it is suspended", since, until, hold->site[0] ? " at " : "",
             hold->site, hold->has_sender ? ", as all mail from " : "", hold->sender,
             by_reply ? ", by the reply: " : "", hold->reply, hold->remedy);
}

/* What the workers say of a lane with work that is due. */
static void explain_lane(struct api *api, uint32_t lane, const char *domain, struct str from, struct why *why)
{
    struct lane_why *asked = &why->lane;
    char until[UNITS_TEXT_MAX + 8];
    inspect_lane(api->context.fleet, lane, domain, from, asked);
    why->waits = true;
    why->limit = asked->limit;
    why->until_ms = asked->until_ms;
    if (!asked->known)
        snprintf(why->text, sizeof why->text,
                 "no worker has %s in hand: it comes up within moments, or is one of a great many that are "
                 "held (postrider suspensions)",
                 domain);
    else if (asked->resolving)
        snprintf(why->text, sizeof why->text, "the MX hosts of %s are being looked up", domain);
    else if (strcmp(asked->limit, "stop") == 0)
        snprintf(why->text, sizeof why->text,
                 "%s is stopped by the reply: %s; to release it: postrider resume --site %s", asked->site,
                 asked->reason, asked->site);
    else if (strcmp(asked->limit, "slow_sender") == 0)
        snprintf(why->text, sizeof why->text, "mail from %.*s to %s is slowed%s, and recovers gradually: %s",
                 STR_ARG(str_domain(from)), asked->site, until_text(asked->until_ms, until), asked->reason);
    else if (asked->limit[0] != '\0')
        snprintf(why->text, sizeof why->text, "%s is held by %s%s%s%s", asked->site[0] ? asked->site : domain,
                 asked->limit, until_text(asked->until_ms, until), asked->reason[0] ? ": " : "",
                 asked->reason);
    else
        snprintf(why->text, sizeof why->text,
                 "nothing holds it: it is in line for %s (%u in hand, %u in flight)",
                 asked->site[0] ? asked->site : domain, asked->buffered, asked->in_flight);
    if (asked->resolving && asked->limit[0] == '\0')
        why->limit = "dns";
}

static void explain_ended(const struct rcpt_info *info, struct why *why)
{
    char when[UNITS_TEXT_MAX] = "";
    if (info->last_ms != 0)
        time_format(info->last_ms, when);
    snprintf(why->text, sizeof why->text, "it is over: %s%s%s%s%.*s%s%.*s", rcpt_state_name(info->state),
             when[0] ? " at " : "", when, info->mx.n ? " by " : "", STR_ARG(info->mx),
             info->reply.n ? ": " : "", STR_ARG(info->reply));
}

static void explain_deferred(const struct rcpt_info *info, struct why *why)
{
    char until[UNITS_TEXT_MAX + 8];
    why->waits = true;
    why->limit = "retry";
    why->until_ms = info->next_ms;
    snprintf(why->text, sizeof why->text, "it waits for its next attempt%s; attempt %" PRIu32 " failed: %.*s",
             until_text(info->next_ms, until), info->attempts, STR_ARG(info->reply));
}

/* Whether a hold holds it; why->lane is then what the workers say. */
static bool explain_held(struct api *api, const struct rcpt_info *info, const struct job_info *job,
                         const char *domain, struct why *why)
{
    struct held_info hold;
    inspect_lane(api->context.fleet, info->lane, domain, (struct str){0}, &why->lane);
    const char *site = why->lane.site;
    const struct steer_filter recipient = {
        .job = job->id,
        .tenant = str_of(job->tenant),
        .campaign = str_of(job->campaign),
        .domain = str_of(domain),
        .site = site[0]            ? str_of(site)
                : info->site.n > 0 ? info->site
                                   : (struct str){0},
        .sender = str_domain(str_of(job->from)),
    };
    if (info->claimed || !steer_held_find(api->context.fleet, &recipient, &hold))
        return false;
    explain_hold(&hold, why);
    return true;
}

static void explain_rcpt(struct api *api, const struct rcpt_info *info, const struct job_info *job,
                         struct now now, struct why *why)
{
    char domain[DOMAIN_MAX + 1] = "", until[UNITS_TEXT_MAX + 8];
    *why = (struct why){.limit = ""};
    if (info->domain.n <= DOMAIN_MAX)
        memcpy(domain, info->domain.p, info->domain.n);
    if (info->state != RCPT_READY && info->state != RCPT_DEFERRED) {
        explain_ended(info, why);
    } else if (job->state == JOB_PAUSED) {
        why->waits = true;
        why->limit = "paused";
        snprintf(why->text, sizeof why->text, "job %" PRIu64 " is paused", job->id);
    } else if (job->not_before_ms > now.wall_ms) {
        why->waits = true;
        why->limit = "not_before";
        why->until_ms = job->not_before_ms;
        snprintf(why->text, sizeof why->text, "job %" PRIu64 " is held back%s", job->id,
                 until_text(job->not_before_ms, until));
    } else if (explain_held(api, info, job, domain, why)) {
        return;
    } else if (info->state == RCPT_DEFERRED && !info->claimed && info->next_ms > now.wall_ms &&
               strcmp(why->lane.limit, "stop") != 0) {
        explain_deferred(info, why);
    } else {
        explain_lane(api, info->lane, domain, str_of(job->from), why);
    }
}

static void set_why(json_t *root, const struct why *why, struct str site, struct str source)
{
    struct str lane_site = str_of(why->lane.site), lane_source = str_of(why->lane.source);
    js_set(root, "site", js_text(lane_site.n ? lane_site : site));
    js_set(root, "source", js_text(lane_source.n ? lane_source : source));
    js_set(root, "waits", json_boolean(why->waits));
    js_set(root, "limit", js_text(str_of(why->limit)));
    js_set(root, "until", js_time(why->until_ms));
    js_set(root, "tls", js_text(str_of(why->lane.tls)));
    js_set(root, "why", js_text(str_of(why->text)));
}

static json_t *explain_one(struct api *api, struct http_request *request, struct rid rid, struct now now)
{
    struct rcpt_info info;
    struct job_info job;
    struct why why;
    struct str tenant;
    json_t *root = NULL;
    rcpt_info_init(&info);
    if (query_rcpt(api->context.store, rid, &info) && query_job(api->context.store, rid.job, &job) &&
        (!bound_tenant(api, request, &tenant) || str_eq(tenant, str_of(job.tenant)))) {
        char text[RID_TEXT_MAX];
        explain_rcpt(api, &info, &job, now, &why);
        size_t n = rid_format(rid, text);
        root = json_object();
        js_set(root, "rid", json_stringn(text, n));
        js_set(root, "to", js_text(info.to));
        js_set(root, "job", js_id(rid.job));
        js_set(root, "state", json_string(rcpt_state_name(info.state)));
        js_set_int(root, "attempts", info.attempts);
        js_set(root, "lane", js_id(info.lane));
        js_set(root, "domain", js_text(info.domain));
        js_set(root, "tenant", js_text(str_of(job.tenant)));
        set_why(root, &why, info.site, info.source);
    }
    rcpt_info_free(&info);
    return root;
}

/* ---- what may be asked ---- */

static json_t *explain_rid(struct api *api, struct http_request *request, struct str text, struct now now)
{
    struct rid rid;
    json_t *list = json_array(), *one = NULL;
    if (rid_parse(text, &rid))
        one = explain_one(api, request, rid, now);
    if (one != NULL)
        json_array_append_new(list, one);
    return list;
}

static json_t *explain_address(struct api *api, struct http_request *request, struct str to, struct now now)
{
    struct rid rids[ADDRESS_ANSWERS_MAX];
    struct address address;
    struct err err;
    char wire[ADDRESS_MAX + 1];
    json_t *list = json_array();
    if (address_parse(to, &address, &err) && address.idn &&
        address.local.n + 1 + address.domain_n <= ADDRESS_MAX) {
        memcpy(wire, address.local.p, address.local.n);
        wire[address.local.n] = '@';
        memcpy(wire + address.local.n + 1, address.domain, address.domain_n);
        to = str_make(wire, address.local.n + 1 + address.domain_n);
    }
    size_t n = query_address(api->context.store, to, rids, ADDRESS_ANSWERS_MAX);
    for (size_t i = 0; i < n; i++) {
        json_t *one = explain_one(api, request, rids[i], now);
        if (one != NULL)
            json_array_append_new(list, one);
    }
    return list;
}

static void explain_domain_lane(struct api *api, const struct lane_info *lane, struct why *why)
{
    char until[UNITS_TEXT_MAX + 8];
    *why = (struct why){.limit = ""};
    if (lane->ready > 0) {
        explain_lane(api, lane->lane, lane->domain, (struct str){0}, why);
    } else if (lane->deferred > 0) {
        why->waits = true;
        why->limit = "retry";
        why->until_ms = lane->next_due_ms;
        snprintf(why->text, sizeof why->text,
                 "all %" PRIu64 " wait for their next attempts; the first one is held%s", lane->deferred,
                 until_text(lane->next_due_ms, until));
    } else {
        snprintf(why->text, sizeof why->text, "nothing is queued here");
    }
}

static json_t *explain_domain(struct api *api, struct http_request *request, struct str text)
{
    uint32_t lanes[LANE_ANSWERS_MAX];
    char domain[DOMAIN_MAX + 1];
    struct str tenant;
    size_t domain_n, n = 0;
    struct err err;
    bool bound = bound_tenant(api, request, &tenant);
    json_t *list = json_array();
    if (domain_to_ascii(text, domain, &domain_n, &err))
        n = query_domain_lanes(api->context.store, str_make(domain, domain_n), lanes, LANE_ANSWERS_MAX);
    for (size_t i = 0; i < n; i++) {
        struct lane_info lane;
        struct why why;
        if (!query_lane(api->context.store, lanes[i], &lane) ||
            (bound && !str_eq(tenant, str_of(lane.tenant))))
            continue;
        explain_domain_lane(api, &lane, &why);
        json_t *root = json_object();
        js_set(root, "lane", js_id(lane.lane));
        js_set(root, "domain", js_text(str_of(lane.domain)));
        js_set(root, "tenant", js_text(str_of(lane.tenant)));
        js_set_int(root, "ready", lane.ready);
        js_set_int(root, "deferred", lane.deferred);
        set_why(root, &why, STR(""), STR(""));
        json_array_append_new(list, root);
    }
    return list;
}

void call_explain(struct http_request *request, struct now now, void *user)
{
    struct api *api = user;
    struct str rid = http_parameter(request, "rid"), to = http_parameter(request, "to");
    struct str domain = http_parameter(request, "domain");
    json_t *list;
    if ((rid.p != NULL) + (to.p != NULL) + (domain.p != NULL) != 1) {
        http_fail(request, 400, "bad_parameter", "name one of rid, to and domain");
        return;
    }
    struct str asked = rid.p != NULL ? rid : to.p != NULL ? to : domain;
    if (rid.p != NULL)
        list = explain_rid(api, request, rid, now);
    else if (to.p != NULL)
        list = explain_address(api, request, to, now);
    else
        list = explain_domain(api, request, domain);
    if (json_array_size(list) == 0) {
        json_decref(list);
        http_fail(request, 404, "not_found", "%s %.*s",
                  rid.p != NULL  ? "there is no recipient"
                  : to.p != NULL ? "nothing is queued for the address"
                                 : "no mail was ever queued for the domain",
                  STR_ARG(asked));
        return;
    }
    json_t *root = json_object();
    js_set(root, rid.p != NULL ? "rid" : to.p != NULL ? "to" : "domain", js_text(asked));
    js_set(root, "answers", list);
    answer_json(request, 200, root);
}
