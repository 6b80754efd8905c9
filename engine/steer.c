/* steer.c - see steer.h. */
#include "engine/steer.h"

#include "engine/fleet.h"
#include "engine/route/hold.h"
#include "engine/route/lane_route.h"
#include "engine/route/look.h"
#include "engine/route/path.h"
#include "engine/route/path_learn.h"
#include "engine/route/remember.h"
#include "engine/route/sender_rate.h"
#include "engine/route/source.h"

#include <stdio.h>
#include <stdlib.h>

#define DURABLE_WAIT_MS 10000

/* ---- until it is durable ---- */

/* Shared by who waits and the writer; the last of both frees it, as a look is. */
static void on_durable(enum edit_result result, unsigned changed, void *user)
{
    struct look *look = user;
    (void)changed;
    look_finish(look, (int)result);
}

static struct look *durable_begin(void)
{
    struct look *look = look_create(sizeof *look, NULL, NULL);
    if (look != NULL)
        look_share(look);
    return look;
}

/* After what will call on_durable was posted. */
static enum steer_result durable_wait(struct look *look)
{
    enum steer_result result = STEER_BUSY;
    if (look_wait(look, DURABLE_WAIT_MS) && look->result != EDIT_STOPPING)
        result = look->result == EDIT_OK ? STEER_OK : STEER_FULL;
    look_let_go(look);
    return result;
}

/* Nothing was posted: nobody else has it. */
static enum steer_result durable_end(struct look *look, enum steer_result result)
{
    look_let_go(look);
    look_let_go(look);
    return result;
}

/* Durable is what the workers have posted before. */
static enum steer_result steer_behind(struct fleet *fleet, struct look *look)
{
    struct edits *edits = edits_create();
    if (edits == NULL)
        return durable_end(look, STEER_BUSY);
    store_edit(fleet_store(fleet), edits, on_durable, look);
    return durable_wait(look);
}

/* ---- suspend, resume ---- */

static struct hold_filter hold_filter_of(const struct steer_filter *filter)
{
    return (struct hold_filter){.job = filter->job,
                                .tenant = filter->tenant,
                                .campaign = filter->campaign,
                                .domain = filter->domain,
                                .site = filter->site,
                                .sender = filter->sender};
}

enum steer_result steer_suspend(struct fleet *fleet, const struct steer_filter *filter, struct now now,
                                unsigned *changed)
{
    const struct hold hold = {
        .kind = HOLD_SUSPENSION, .what = hold_filter_of(filter), .since_ms = now.wall_ms};
    struct look *look = durable_begin();
    *changed = 0;
    if (look == NULL)
        return STEER_FAILED;
    switch (holds_add(fleet_holds(fleet), &hold, on_durable, look)) {
    case HOLDS_ADDED:
        *changed = 1;
        return durable_wait(look);
    case HOLDS_SAME:
        return durable_end(look, STEER_OK);
    case HOLDS_FULL:
        return durable_end(look, STEER_TOO_MANY);
    case HOLDS_FAILED:
        break;
    }
    return durable_end(look, STEER_FAILED);
}

/* ---- on the workers ---- */

struct site_look {
    struct look look;
    bool any_site;
    char site[DOMAIN_MAX + 1];
    bool (*act)(struct path *path);
    bool senders; /* slowed there: at full rate again, too */
    unsigned changed;
};

static void site_run(struct look *look, struct router *router)
{
    struct site_look *asked = (struct site_look *)(void *)look;
    for (struct path *path = router->paths, *next; path != NULL; path = next) {
        next = path->hh.next;
        if (!path->borrowed && (asked->any_site || strcasecmp(path_site(path), asked->site) == 0))
            asked->changed += asked->act(path);
    }
    if (asked->senders)
        sender_rates_end(router, asked->site);
    remember_flush(router);
}

/* Each worker has its paths do so; false: one did not answer in time. */
static bool act_on_paths(struct fleet *fleet, struct str site, bool (*act)(struct path *path), bool senders,
                         unsigned *changed)
{
    bool complete = true;
    for (unsigned i = 0; i < fleet_size(fleet); i++) {
        struct site_look *asked = (struct site_look *)(void *)look_create(sizeof *asked, site_run, NULL);
        if (asked == NULL)
            return false;
        asked->any_site = site.p == NULL;
        snprintf(asked->site, sizeof asked->site, "%.*s", STR_ARG(site));
        asked->act = act;
        asked->senders = senders;
        fleet_ask(fleet, i, &asked->look);
        if (look_wait(&asked->look, INSPECT_WAIT_MS))
            *changed += asked->changed;
        else
            complete = false;
        look_let_go(&asked->look);
    }
    return complete;
}

enum steer_result steer_resume(struct fleet *fleet, const struct steer_filter *filter, unsigned *changed)
{
    const struct hold_filter what = hold_filter_of(filter);
    bool stops = filter->job == 0 && filter->tenant.p == NULL && filter->campaign.p == NULL &&
                 filter->domain.p == NULL && filter->sender.p == NULL;
    struct look *look = durable_begin();
    *changed = 0;
    if (look == NULL)
        return STEER_FAILED;
    bool complete = !stops || act_on_paths(fleet, filter->site, path_release, false, changed);
    unsigned released = holds_release(fleet_holds(fleet), &what, filter->all, on_durable, look);
    *changed += released;
    enum steer_result result = released > 0   ? durable_wait(look)
                               : *changed > 0 ? steer_behind(fleet, look)
                                              : durable_end(look, STEER_OK);
    store_look_again(fleet_store(fleet));
    return result == STEER_OK && !complete ? STEER_BUSY : result;
}

static bool act_back_off(struct path *path)
{
    path_back_off(path);
    return true;
}

static bool act_speed_up(struct path *path)
{
    path_speed_up(path);
    return true;
}

static bool act_forget(struct path *path)
{
    path_forget(path);
    return true;
}

enum steer_result steer_site(struct fleet *fleet, const char *site, enum steer_site how, unsigned *changed)
{
    *changed = 0;
    bool complete = act_on_paths(fleet, str_of(site),
                                 how == STEER_BACK_OFF ? act_back_off
                                 : how == STEER_NORMAL ? act_speed_up
                                                       : act_forget,
                                 how != STEER_BACK_OFF, changed);
    struct look *look = durable_begin();
    if (look == NULL)
        return STEER_FAILED;
    enum steer_result result = steer_behind(fleet, look);
    return result == STEER_OK && !complete ? STEER_BUSY : result;
}

/* ---- sources, DNS ---- */

struct order_look {
    struct look look;
    bool dns, drain, failed; /* dns: forget it; else the source's */
    char source[NAME_MAX_BYTES + 1];
};

static void order_run(struct look *look, struct router *router)
{
    struct order_look *order = (struct order_look *)(void *)look;
    if (order->dns)
        lane_forget_dns(router);
    else
        order->failed = !source_drain(router, order->source, order->drain);
}

static enum steer_result steer_workers(struct fleet *fleet, bool dns, const char *source, bool drain)
{
    enum steer_result result = STEER_OK;
    for (unsigned i = 0; i < fleet_size(fleet); i++) {
        struct order_look *order = (struct order_look *)(void *)look_create(sizeof *order, order_run, NULL);
        if (order == NULL)
            return STEER_FAILED;
        order->dns = dns;
        order->drain = drain;
        snprintf(order->source, sizeof order->source, "%s", source);
        fleet_ask(fleet, i, &order->look);
        if (!look_wait(&order->look, INSPECT_WAIT_MS))
            result = STEER_BUSY;
        else if (order->failed)
            result = STEER_FAILED;
        look_let_go(&order->look);
    }
    return result;
}

enum steer_result steer_source(struct fleet *fleet, const char *source, bool drain)
{
    struct look *look = durable_begin();
    struct edits *edits = look != NULL ? edits_create() : NULL;
    if (look == NULL)
        return STEER_FAILED;
    if (edits == NULL || !edits_policy(edits, POLICY_SOURCE, str_of(source), drain ? STR("1") : STR(""))) {
        edits_free(edits);
        return durable_end(look, STEER_FAILED);
    }
    enum steer_result result = steer_workers(fleet, false, source, drain);
    store_edit(fleet_store(fleet), edits, on_durable, look);
    enum steer_result written = durable_wait(look);
    store_look_again(fleet_store(fleet));
    return written != STEER_OK ? written : result;
}

enum steer_result steer_flush_dns(struct fleet *fleet)
{
    return steer_workers(fleet, true, "", false);
}

/* ---- what is held ---- */

static void copy_name(char *to, size_t room, struct str s)
{
    snprintf(to, room, "%.*s", STR_ARG(s));
}

static void info_of_hold(const struct hold *hold, struct held_info *info)
{
    const struct hold_filter *what = &hold->what;
    struct buf remedy;
    *info = (struct held_info){.kind = hold_kind_name(hold->kind),
                               .job = what->job,
                               .has_sender = what->sender.p != NULL,
                               .since_ms = hold->since_ms,
                               .until_ms = hold->until_ms,
                               .code = hold->code,
                               .status = hold->status};
    copy_name(info->tenant, sizeof info->tenant, what->tenant);
    copy_name(info->campaign, sizeof info->campaign, what->campaign);
    copy_name(info->domain, sizeof info->domain, what->domain);
    copy_name(info->site, sizeof info->site, what->site);
    copy_name(info->sender, sizeof info->sender, what->sender);
    copy_name(info->source, sizeof info->source, hold->source);
    copy_name(info->reply, sizeof info->reply, hold->reply);
    copy_name(info->rule, sizeof info->rule, hold->rule);
    buf_init(&remedy, sizeof info->remedy - 1);
    hold_remedy(hold, &remedy);
    copy_name(info->remedy, sizeof info->remedy, buf_str(&remedy));
    buf_free(&remedy);
}

static void info_of_stop(const struct path_info *path, struct held_info *info)
{
    if (path->stopped_ms == 0) {
        *info = (struct held_info){.kind = "drain"};
        copy_name(info->site, sizeof info->site, str_of(path->site));
        copy_name(info->source, sizeof info->source, str_of(path->source));
        snprintf(info->remedy, sizeof info->remedy, "postrider source %s enable", path->source);
        return;
    }
    *info = (struct held_info){
        .kind = "stop", .since_ms = path->stopped_ms, .code = path->code, .status = path->status};
    copy_name(info->site, sizeof info->site, str_of(path->site));
    copy_name(info->source, sizeof info->source, str_of(path->source));
    copy_name(info->reply, sizeof info->reply, str_of(path->reason));
    snprintf(info->remedy, sizeof info->remedy, "postrider resume --site %s", path->site);
}

/* Holds first, in the order of the set, then stops. False: no memory. */
static bool list_holds(struct fleet *fleet, const struct hold_set *set, struct held_list *out)
{
    struct path_list paths;
    inspect_paths(fleet, NULL, &paths);
    out->complete &= paths.complete;
    out->list = calloc(set->count + paths.count + 1, sizeof *out->list);
    for (unsigned i = 0; out->list != NULL && i < set->count; i++)
        info_of_hold(set->list[i], &out->list[out->count++]);
    for (size_t i = 0; out->list != NULL && i < paths.count; i++)
        if (paths.list[i].stopped_ms != 0 || paths.list[i].drained)
            info_of_stop(&paths.list[i], &out->list[out->count++]);
    free(paths.list);
    return out->list != NULL;
}

struct counting {
    struct fleet *fleet;
    const struct hold_set *set;
    struct held_lanes lanes;
    struct held_list *out;
};

static void add_count(struct held_count *sum, struct held_count more)
{
    sum->ready += more.ready;
    sum->deferred += more.deferred;
}

static struct held_info *stop_of(struct held_list *list, const char *site)
{
    for (size_t i = 0; i < list->count; i++)
        if ((strcmp(list->list[i].kind, "stop") == 0 || strcmp(list->list[i].kind, "drain") == 0) &&
            strcmp(list->list[i].site, site) == 0)
            return &list->list[i];
    return NULL;
}

/* The hold behind each entry of the lane's list of what is held, in its order. */
static struct held_info *hold_at(struct counting *c, const struct lane_info *lane, struct str site,
                                 unsigned at)
{
    for (unsigned i = 0; i < c->set->count; i++)
        if (hold_is_of_lane(c->set->list[i], str_of(lane->tenant), str_of(lane->domain), site) && at-- == 0)
            return &c->out->list[i];
    return NULL;
}

static struct held_count count_by_hold(struct counting *c, const struct lane_info *lane, struct str site,
                                       const struct store_except *except)
{
    struct held_count sum = {0}, *counts = calloc(except->count + 1, sizeof *counts);
    if (counts == NULL) {
        c->out->complete = false;
        return sum;
    }
    query_lane_held(fleet_store(c->fleet), lane->lane, except, counts);
    for (unsigned i = 0; i < except->count; i++) {
        struct held_info *info = hold_at(c, lane, site, i);
        add_count(&sum, counts[i]);
        if (info != NULL)
            add_count(&info->count, counts[i]);
    }
    free(counts);
    return sum;
}

static int held_lane_cmp(const void *key, const void *item)
{
    uint32_t lane = *(const uint32_t *)key, other = ((const struct held_lane *)item)->lane;
    return (lane > other) - (lane < other);
}

static bool count_lane(const struct lane_info *lane, void *user)
{
    struct counting *c = user;
    const struct held_lane *held =
        bsearch(&lane->lane, c->lanes.list, c->lanes.count, sizeof *held, held_lane_cmp);
    if (held == NULL || lane->ready + lane->deferred == 0)
        return true;
    struct str site = held->site[0] ? str_of(held->site) : (struct str){0};
    struct held_count count = {lane->ready, lane->deferred};
    struct store_except *except = hold_of_lane(c->set, str_of(lane->tenant), str_of(lane->domain), site);
    struct held_info *stop = held->stopped ? stop_of(c->out, held->site) : NULL;
    if (stop != NULL)
        add_count(&stop->count, count);
    else if (except != NULL)
        count = count_by_hold(c, lane, site, except);
    else
        count = (struct held_count){0};
    store_except_unref(except);
    if (count.ready + count.deferred > 0)
        c->out->lanes[c->out->lane_count++] = (struct held_of_lane){lane->lane, count};
    add_count(&c->out->total, count);
    return true;
}

void steer_held(struct fleet *fleet, struct held_list *out)
{
    *out = (struct held_list){.complete = true};
    struct hold_set *set = holds_get(fleet_holds(fleet));
    struct counting counting = {.fleet = fleet, .set = set, .out = out};
    if (list_holds(fleet, set, out) && out->count > 0) {
        inspect_held_lanes(fleet, &counting.lanes);
        out->complete &= counting.lanes.complete;
        out->lanes = calloc(counting.lanes.count + 1, sizeof *out->lanes);
        for (uint32_t after = 0; out->lanes != NULL && counting.lanes.count > 0;)
            if (!query_lanes(fleet_store(fleet), &after, count_lane, &counting))
                break;
        inspect_held_lanes_free(&counting.lanes);
    }
    out->complete &= out->list != NULL && (out->count == 0 || out->lanes != NULL);
    hold_set_unref(set);
}

void steer_held_free(struct held_list *held)
{
    free(held->list);
    free(held->lanes);
    *held = (struct held_list){0};
}

bool steer_held_find(struct fleet *fleet, const struct steer_filter *recipient, struct held_info *info)
{
    struct hold_set *set = holds_get(fleet_holds(fleet));
    const struct hold_filter subject = hold_filter_of(recipient);
    const struct hold *hold = hold_find(set, &subject);
    if (hold != NULL)
        info_of_hold(hold, info);
    hold_set_unref(set);
    return hold != NULL;
}
