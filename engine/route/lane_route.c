/* lane_route.c - see lane_route.h.
 *
 * announced -> RESOLVING -> ROUTED (strands in pools, takes as its pools can use)
 *                        -> DOOMED (no such domain, null MX: all of it fails)
 *                        -> HELD   (DNS fails: one batch is deferred, the rest waits, then RESOLVING again)
 *                        -> handed over to the worker that owns the site
 * A routed or doomed lane is resolved again when the answer has run out; nothing stops meanwhile. */
#include "engine/route/lane_route.h"

#include "engine/base/reserve.h"
#include "engine/route/aside.h"
#include "engine/route/handover.h"
#include "engine/route/lane.h"
#include "engine/route/lane_held.h"
#include "engine/route/lane_line.h"
#include "engine/route/lane_sts.h"
#include "engine/route/path.h"
#include "engine/route/pool.h"
#include "engine/route/secure.h"
#include "engine/route/settle.h"

#include <stdio.h>
#include <stdlib.h>

const struct config_site *lane_site(const struct config *config, const struct dns_mx *mx,
                                    char name[DOMAIN_MAX + 1])
{
    const struct config_site *site = NULL;
    for (unsigned i = 0; i < mx->host_count && site == NULL; i++)
        site = config_site_of_host(config, str_of(mx->hosts[i].name));
    if (site != NULL) {
        snprintf(name, DOMAIN_MAX + 1, "%s", site->name);
        return site;
    }
    struct str shared = dns_registrable(str_of(mx->hosts[0].name));
    bool all = true;
    for (unsigned i = 1; i < mx->host_count; i++)
        all &= str_eq(shared, dns_registrable(str_of(mx->hosts[i].name)));
    if (all) {
        snprintf(name, DOMAIN_MAX + 1, "%.*s", STR_ARG(shared));
        return &config->site_default;
    }
    /* Hosts of several owners: the set of them, under the name of the first and a digest of all. */
    uint64_t digest = 0;
    for (unsigned i = 0; i < mx->host_count; i++)
        digest = digest * 31 + str_hash(str_of(mx->hosts[i].name));
    snprintf(name, DOMAIN_MAX + 1, "%.*s+%06x", (int)(shared.n > 200 ? 200 : shared.n), shared.p,
             (unsigned)(digest & 0xffffff));
    return &config->site_default;
}

const struct config_route *lane_configured_route(const struct lane *lane)
{
    struct str sender = config_pool_sender(str_of(lane->pool_name));
    return config_route_of(lane->router->config, str_of(lane->domain), sender, str_of(lane->tenant_name));
}

void lane_unroute(struct lane *lane)
{
    lane_line_leave(lane);
    aside_free_all(lane);
    for (unsigned i = 0; i < lane->strand_count; i++)
        pool_leave(&lane->strands[i]);
    free(lane->strands);
    lane->strands = NULL;
    lane->strand_count = 0;
    if (lane->mx)
        dns_mx_unref(lane->mx);
    lane->mx = NULL;
}

/* It is of no site any more. What was passed over, as held there or for a slowed sender, is so no more. */
static void lane_leave_site(struct lane *lane)
{
    bool passed_over = lane->asides != NULL || lane->held_back || lane->taking;
    lane_unroute(lane);
    if (passed_over)
        lane_look_again(lane);
}

/* The verdict waits for memory (reserve.h): without a state to go by nothing would move the lane again. */
static void lane_doom(struct lane *lane, enum lane_state state, struct status status, const char *reason)
{
    lane_leave_site(lane);
    if (lane->doom == NULL)
        lane->doom = reserve_must(sizeof *lane->doom);
    verdict_local(lane->doom, SCOPE_RECIPIENT, status, "%s: %s", lane->domain, reason);
    lane->state = state;
    lane->sampled = false;
}

static void lane_hold_over(struct wheel_timer *timer, struct now now)
{
    struct lane *lane = (struct lane *)((char *)timer - offsetof(struct lane, timer));
    (void)now;
    lane_resolve(lane);
}

static void lane_hold(struct lane *lane, struct status status, const char *reason)
{
    struct router *router = lane->router;
    const struct config_site *settings = &router->config->site_default;
    int64_t ms = retry_pause_ms(settings->dead_host_delay_ms, settings->dead_host_delay_max_ms,
                                lane->failures, &router->prng);
    lane->failures++;
    lane->hold_until_ns = router->now.mono_ns + ms * NS_PER_MS;
    lane_doom(lane, LANE_HELD, status, reason);
    wheel_set(&router->wheel, &lane->timer, lane->hold_until_ns, lane_hold_over);
}

void lane_hand_over(struct lane *lane, unsigned worker, struct dns_mx *mx)
{
    struct lane_handover *handover = calloc(1, sizeof *handover);
    if (handover == NULL) {
        lane_hold(lane, STATUS(4, 3, 0), "no memory to route it");
        dns_mx_unref(mx);
        return;
    }
    if (lane->handed != mx) {
        dns_mx_unref(lane->handed);
        lane->handed = dns_mx_ref(mx);
    }
    lane->handed_to = worker;
    handover->node.kind = HANDOVER_LANE;
    handover->mx = mx;
    handover->lane = (struct store_lane_msg){.lane = lane->id, .class_ = lane->class_};
    memcpy(handover->lane.tenant, lane->tenant_name, sizeof handover->lane.tenant);
    memcpy(handover->lane.pool, lane->pool_name, sizeof handover->lane.pool);
    snprintf(handover->lane.domain, sizeof handover->lane.domain, "%s", lane->domain);
    handover->announced = !lane->idle;
    handover->given = lane->given;
    for (const struct taken *taken = lane->given; taken != NULL; taken = taken->next)
        lane->router->taken--;
    lane->given = NULL;
    inbox_post(lane->router->inboxes[worker], &handover->node);
    lane->idle = true; /* for this worker */
    lane_check(lane);
}

/* Puts its strands into the pools of these hosts. False: no memory. */
static bool lane_join_pools(struct lane *lane, struct dns_mx *mx, const char *site,
                            const struct config_site *settings, const struct config_route *route)
{
    struct router *router = lane->router;
    const struct pool_tls tls = secure_policy(router, mx, settings, route, wish_of(str_of(lane->pool_name)));
    uint16_t port = route ? route->port : settings->port;
    unsigned n = (unsigned)lane->sources->source_count;
    lane->strands = calloc(n, sizeof *lane->strands);
    if (lane->strands == NULL)
        return false;
    for (unsigned i = 0; i < n; i++) {
        struct strand *strand = &lane->strands[i];
        strand->lane = lane;
        strand->source = lane->sources->sources[i].source;
        strand->tail = &strand->head;
        struct path *path = path_get(router, site, settings, strand->source);
        struct pool *pool = path ? pool_get(path, mx, port, &tls, route) : NULL;
        if (pool == NULL || !pool_join(pool, strand, NULL))
            return false;
        lane->strand_count++;
    }
    lane->mx = dns_mx_ref(mx);
    return true;
}

void lane_forget_dns(struct router *router)
{
    dns_flush(router->dns);
    for (struct lane *lane = router->lanes; lane != NULL; lane = lane->hh.next) {
        if (lane->fresh_until_ns != INT64_MAX) /* that of a route is no answer of DNS */
            lane->fresh_until_ns = router->now.mono_ns;
        if (lane->state == LANE_HELD && !lane->asking) {
            lane->hold_until_ns = router->now.mono_ns;
            wheel_set(&router->wheel, &lane->timer, lane->hold_until_ns, lane_hold_over);
        }
    }
}

static bool lane_same_hosts(const struct dns_mx *a, const struct dns_mx *b)
{
    if (a == b)
        return true;
    if (a == NULL || a->host_count != b->host_count || a->secure != b->secure || a->sts_mode != b->sts_mode ||
        a->sts_hosts != b->sts_hosts)
        return false;
    for (unsigned i = 0; i < a->host_count; i++)
        if (a->hosts[i].preference != b->hosts[i].preference || a->hosts[i].port != b->hosts[i].port ||
            strcmp(a->hosts[i].name, b->hosts[i].name) != 0)
            return false;
    return true;
}

static void strand_give_back(struct strand *strand)
{
    struct taken *list = lane_empty_strand(strand);
    while (list != NULL) {
        struct taken *taken = list;
        list = taken->next;
        settle_release(strand->lane->router, taken);
    }
}

void lane_give_back(struct lane *lane)
{
    for (unsigned i = 0; i < lane->strand_count; i++)
        strand_give_back(&lane->strands[i]);
    for (struct aside *aside = lane->asides; aside != NULL; aside = aside->next)
        strand_give_back(&aside->strand);
}

void lane_route(struct lane *lane, struct dns_mx *mx, const struct config_route *route)
{
    struct router *router = lane->router;
    lane->failures = 0;
    lane->fresh_until_ns = mx->expires_ns;
    if (lane->state == LANE_ROUTED && lane_same_hosts(lane->mx, mx)) {
        dns_mx_unref(mx);
        lane_place_given(lane); /* it was handed over once more, with this */
        lane_want(lane);
        return;
    }
    lane_give_back(lane);
    lane_leave_site(lane);
    char site[DOMAIN_MAX + 1];
    const struct config_site *settings = lane_site(router->config, mx, site);
    unsigned owner = (unsigned)(str_hash(str_of(site)) % router->worker_count);
    if (owner != router->index) {
        lane->state = LANE_RESOLVING;
        lane_hand_over(lane, owner, mx);
        lane_place_given(lane); /* there was no memory to tell */
        return;
    }
    if (!lane_join_pools(lane, mx, site, settings, route)) {
        dns_mx_unref(mx);
        lane_hold(lane, STATUS(4, 3, 0), "no memory to route it");
        lane_place_given(lane);
        return;
    }
    dns_mx_unref(mx);
    lane->state = LANE_ROUTED;
    wheel_cancel(&router->wheel, &lane->timer);
    lane_mark_held(lane);
    dns_mx_unref(lane->handed); /* it came back: the site's name has changed */
    lane->handed = NULL;
    store_lane_at(router->store, lane->id, router->index);
    lane_place_given(lane);
    lane_want(lane);
}

static void lane_resolved(struct dns_query *query, struct dns_mx *mx)
{
    struct lane *lane = (struct lane *)((char *)query - offsetof(struct lane, query));
    lane->asking = false;
    switch (mx->status) {
    case DNS_OK:
        lane_sts_ask(lane, mx);
        return;
    case DNS_FAILED:
        if (lane->state == LANE_ROUTED || lane->state == LANE_DOOMED) /* what was known serves on */
            lane->fresh_until_ns = lane->router->now.mono_ns + POOL_LINGER_MS * NS_PER_MS;
        else
            lane_hold(lane, STATUS(4, 4, 3), mx->reason);
        break;
    case DNS_NULL_MX:
        lane->fresh_until_ns = mx->expires_ns;
        lane_give_back(lane);
        lane_doom(lane, LANE_DOOMED, STATUS(5, 1, 10), "the domain accepts no mail (null MX)");
        break;
    case DNS_NO_DOMAIN:
    case DNS_NO_MAIL:
        lane->fresh_until_ns = mx->expires_ns;
        lane_give_back(lane);
        lane_doom(lane, LANE_DOOMED, STATUS(5, 1, 2), mx->reason);
        break;
    }
    dns_mx_unref(mx);
    lane_place_given(lane);
    lane_want(lane);
    lane_check(lane);
}

struct dns_mx *lane_route_hosts(const struct config_route *route)
{
    unsigned n = (unsigned)route->hosts.count;
    struct dns_mx *mx = dns_mx_create(n);
    if (mx == NULL)
        return NULL;
    mx->status = DNS_OK;
    mx->expires_ns = INT64_MAX;
    for (unsigned i = 0; i < n; i++) {
        mx->hosts[i].preference = route->targets[i].preference;
        mx->hosts[i].port = route->targets[i].port;
        snprintf(mx->hosts[i].name, sizeof mx->hosts[i].name, "%s", route->targets[i].host);
    }
    return mx;
}

bool lane_hosts_are_route(const struct dns_mx *mx)
{
    return mx->expires_ns == INT64_MAX;
}

void lane_resolve(struct lane *lane)
{
    struct router *router = lane->router;
    const struct config_route *route = lane_configured_route(lane);
    wheel_cancel(&router->wheel, &lane->timer); /* a hold is over, even where a reload ends it */
    if (lane->state != LANE_ROUTED && lane->state != LANE_DOOMED)
        lane->state = LANE_RESOLVING;
    if (route != NULL) {
        struct dns_mx *mx = lane_route_hosts(route);
        if (mx == NULL) {
            lane_hold(lane, STATUS(4, 3, 0), "no memory to route it");
            lane_place_given(lane);
        } else
            lane_route(lane, mx, route);
        return;
    }
    lane->asking = true;
    lane->query.mx = lane_resolved;
    dns_ask_mx(router->dns, &lane->query, str_of(lane->domain), router->now);
}

/* No answer that is still to come moves it. */
static void lane_stop_asking(struct lane *lane)
{
    dns_cancel(&lane->query);
    lane_sts_cancel(lane);
    lane->asking = false;
}

void lane_reroute(struct lane *lane)
{
    const struct config_route *route = lane_configured_route(lane);
    dns_mx_unref(lane->handed); /* found by the routes of before */
    lane->handed = NULL;
    if (lane->state != LANE_ROUTED) { /* resolved, or held, or handed over: when that is done */
        if (route != NULL && (lane->state != LANE_RESOLVING || lane->asking)) {
            lane_stop_asking(lane);
            lane_resolve(lane);
        }
        return;
    }
    struct dns_mx *mx = dns_mx_ref(lane->mx);
    bool was_route = lane_hosts_are_route(mx);
    lane->fresh_until_ns = INT64_MAX; /* giving back makes it ask for more, which is not to resolve it */
    lane_give_back(lane);
    lane_leave_site(lane);
    lane->state = LANE_RESOLVING;
    if (route == NULL && !was_route) {
        lane_route(lane, mx, NULL);
        return;
    }
    dns_mx_unref(mx);
    lane_stop_asking(lane);
    lane_resolve(lane);
}
