/* lane.c - see lane.h.
 *
 * announced -> RESOLVING -> ROUTED (strands in pools, takes as its pools can use)
 *                        -> DOOMED (no such domain, null MX: all of it fails)
 *                        -> HELD   (DNS fails: one batch is deferred, the rest waits, then RESOLVING again)
 *                        -> handed over to the worker that owns the site
 * A routed lane is resolved again when its MX answer has run out; nothing stops meanwhile. */
#include "engine/route/lane.h"

#include "engine/route/flow.h"
#include "engine/route/handover.h"
#include "engine/route/path.h"
#include "engine/route/pool.h"
#include "engine/route/settle.h"

#include <stdio.h>
#include <stdlib.h>

#define WANT_FIRST 32 /* asked of a lane at first; doubled with each full answer up to LANE_TAKE_MAX */

static void lane_resolve(struct lane *lane);

/* ---- life ---- */

static struct lane *lane_find(struct router *router, uint32_t id)
{
    struct lane *lane;
    HASH_FIND(hh, router->lanes, &id, sizeof id, lane);
    return lane;
}

static struct lane *lane_create(struct router *router, const struct store_lane_msg *msg)
{
    size_t n = strlen(msg->domain) + 1;
    struct lane *lane = calloc(1, sizeof *lane + n);
    if (lane == NULL)
        return NULL;
    lane->router = router;
    lane->id = msg->lane;
    lane->class_ = msg->class_;
    lane->want = WANT_FIRST;
    lane->tenant = config_tenant_of(router->config, str_of(msg->tenant));
    if (lane->tenant->max_rate.count > 0)
        lane->limit = &router->tenant_limits[lane->tenant - router->config->tenants];
    lane->sources = config_pool_of(router->config, str_of(msg->pool));
    if (lane->sources == NULL)
        lane->sources = &router->config->pools[lane->tenant->pool_index];
    memcpy(lane->tenant_name, msg->tenant, sizeof lane->tenant_name);
    memcpy(lane->pool_name, msg->pool, sizeof lane->pool_name);
    memcpy(lane->domain, msg->domain, n);
    HASH_ADD(hh, router->lanes, id, sizeof lane->id, lane);
    return lane;
}

/* Transactional mail waits before bulk. */
static void lane_line_up(struct lane *lane, struct lane_line *line)
{
    struct lane **at = lane->class_ == CLASS_TRANSACTIONAL ? &line->head : line->tail;
    lane->line = line;
    lane->line_next = *at;
    *at = lane;
    if (lane->line_next == NULL)
        line->tail = &lane->line_next;
}

static void lane_leave_line(struct lane *lane)
{
    struct lane_line *line = lane->line;
    if (line == NULL)
        return;
    struct lane **link = &line->head;
    while (*link != lane)
        link = &(*link)->line_next;
    *link = lane->line_next;
    if (line->tail == &lane->line_next)
        line->tail = link;
    lane->line = NULL;
}

static void lane_unroute(struct lane *lane)
{
    lane_leave_line(lane);
    for (unsigned i = 0; i < lane->strand_count; i++)
        pool_leave(&lane->strands[i]);
    free(lane->strands);
    lane->strands = NULL;
    lane->strand_count = 0;
    if (lane->mx)
        dns_mx_unref(lane->mx);
    lane->mx = NULL;
}

static void lane_free(struct lane *lane)
{
    struct router *router = lane->router;
    dns_cancel(&lane->query);
    wheel_cancel(&router->wheel, &lane->timer);
    lane_unroute(lane);
    HASH_DEL(router->lanes, lane);
    free(lane->doom);
    free(lane);
}

static bool lane_is_over(const struct lane *lane)
{
    return lane->idle && !lane->taking && lane->buffered == 0 && lane->in_flight == 0;
}

/* Notes a lane that may be of no use any more: it may still be in its caller's hands, so it is freed at the
 * step's end. */
static void lane_check(struct lane *lane)
{
    if (!lane_is_over(lane) || lane->reaping)
        return;
    lane->reaping = true;
    lane->reap_next = lane->router->reap;
    lane->router->reap = lane;
}

void lane_reap(struct router *router)
{
    while (router->reap != NULL) {
        struct lane *lane = router->reap;
        router->reap = lane->reap_next;
        lane->reaping = false;
        if (lane_is_over(lane))
            lane_free(lane);
    }
}

/* ---- asking the store ---- */

/* Of its first pool that is open; NULL: none is. */
static struct path *lane_open_path(const struct lane *lane)
{
    for (unsigned i = 0; i < lane->strand_count; i++)
        if (pool_is_open(lane->strands[i].pool))
            return lane->strands[i].pool->path;
    return NULL;
}

static bool lane_can_use_more(const struct lane *lane)
{
    switch (lane->state) {
    case LANE_RESOLVING:
        return false;
    case LANE_DOOMED:
        return true;
    case LANE_HELD:
        return !lane->sampled;
    case LANE_ROUTED:
        return lane->buffered <= lane->want / 2 && lane_open_path(lane) != NULL;
    }
    return false;
}

static void lane_refresh(struct lane *lane)
{
    if (lane->state == LANE_ROUTED && !lane->asking && lane->fresh_until_ns <= lane->router->now.mono_ns)
        lane_resolve(lane);
}

/* How many more recipients the worker's memory takes; transactional mail has some of its own. */
static unsigned lane_room(const struct lane *lane)
{
    const struct router *router = lane->router;
    unsigned used = router->taken + router->asked, max = WORKER_TAKEN_MAX;
    if (lane->class_ == CLASS_TRANSACTIONAL)
        max += WORKER_TAKEN_RESERVE;
    return used < max ? max - used : 0;
}

/* How many may wait on one path: a part of what is left, so that however slow some sites are, there is room
 * for the next; for transactional mail twice as many, so that it passes the bulk that waits there. */
static unsigned lane_share(const struct lane *lane)
{
    unsigned share = lane_room(lane) / PATH_TAKEN_PART;
    share = share < 1 ? 1 : share > PATH_TAKEN_MAX ? PATH_TAKEN_MAX : share;
    return lane->class_ == CLASS_TRANSACTIONAL ? 2 * share : share;
}

static bool path_has_its_share(const struct path *path, const struct lane *lane)
{
    return path->buffered + path->asked >= lane_share(lane);
}

void lane_want(struct lane *lane)
{
    struct router *router = lane->router;
    if (lane->idle || lane->taking || lane->line != NULL || router->stopping || !lane_can_use_more(lane))
        return;
    lane_refresh(lane);
    struct path *path = lane->state == LANE_ROUTED ? lane_open_path(lane) : NULL;
    unsigned room = lane_room(lane), piece = (lane_share(lane) + 3) / 4;
    if (room == 0) {
        lane_line_up(lane, &router->starved);
        return;
    }
    if (path != NULL && path_has_its_share(path, lane)) {
        lane_line_up(lane, &path->hungry);
        return;
    }
    lane->taking = true;
    lane->renewed = false;
    lane->asked = lane->want < room ? lane->want : room;
    if (path != NULL && lane->asked > piece)
        lane->asked = piece;
    router->asked += lane->asked;
    lane->asked_path = path;
    if (path != NULL)
        path->asked += lane->asked;
    store_take(router->store, lane->id, lane->asked, router->index);
}

void lane_feed_starved(struct router *router)
{
    while (router->starved.head != NULL && lane_room(router->starved.head) > 0) {
        struct lane *lane = router->starved.head;
        lane_leave_line(lane);
        lane_want(lane);
    }
}

void lane_feed_path(struct path *path)
{
    while (path->hungry.head != NULL && !path_has_its_share(path, path->hungry.head)) {
        struct lane *lane = path->hungry.head;
        lane_leave_line(lane);
        lane_want(lane);
    }
}

/* ---- recipients in memory ---- */

static void strand_add(struct strand *strand, struct taken *taken, bool front)
{
    if (front) {
        taken->next = strand->head;
        if (strand->head == NULL)
            strand->tail = &taken->next;
        strand->head = taken;
    } else {
        taken->next = NULL;
        *strand->tail = taken;
        strand->tail = &taken->next;
    }
    strand->lane->buffered++;
    strand->pool->backlog++;
    strand->pool->path->buffered++;
    if (strand->buffered++ == 0)
        flow_enter_turns(strand);
    pool_touch(strand->pool);
}

struct taken *lane_empty_strand(struct strand *strand)
{
    struct taken *list = strand->head;
    if (strand->buffered == 0)
        return NULL;
    flow_leave_turns(strand);
    strand->lane->buffered -= strand->buffered;
    strand->pool->backlog -= strand->buffered;
    strand->pool->path->buffered -= strand->buffered;
    pool_touch(strand->pool); /* others of its path may have more now */
    strand->buffered = 0;
    strand->head = NULL;
    strand->tail = &strand->head;
    lane_check(strand->lane);
    return list;
}

/* The source it used last, when that can send now; else one by weight among those that can. NULL: none can.
 */
static struct strand *lane_choose(struct lane *lane, const struct taken *taken)
{
    const struct config *config = lane->router->config;
    uint64_t total = 0;
    for (unsigned i = 0; i < lane->strand_count; i++) {
        struct strand *strand = &lane->strands[i];
        if (!pool_is_open(strand->pool))
            continue;
        if (taken->last_source.n && str_eq(taken->last_source, str_of(config->sources[strand->source].name)))
            return strand;
        total += lane->sources->sources[i].weight;
    }
    if (total == 0)
        return NULL;
    uint64_t at = lane->strand_count > 1 ? prng_below(&lane->router->prng, total) : 0;
    for (unsigned i = 0; i < lane->strand_count; i++) {
        if (!pool_is_open(lane->strands[i].pool))
            continue;
        if (at < lane->sources->sources[i].weight)
            return &lane->strands[i];
        at -= lane->sources->sources[i].weight;
    }
    return NULL;
}

static void lane_place(struct lane *lane, struct taken *taken, bool front)
{
    struct router *router = lane->router;
    if (lane->state == LANE_DOOMED || lane->state == LANE_HELD) {
        settle_verdict(router, taken, lane->doom, &(struct settle_where){.path = NULL});
        return;
    }
    struct strand *strand = lane->state == LANE_ROUTED && !router->stopping ? lane_choose(lane, taken) : NULL;
    if (strand == NULL)
        settle_release(router, taken);
    else
        strand_add(strand, taken, front);
}

void lane_filled(struct router *router, struct store_taken_msg *msg)
{
    struct lane *lane = lane_find(router, msg->lane);
    struct taken *list = msg->list;
    struct path *path = lane->asked_path;
    router->taken += msg->count;
    router->asked -= lane->asked;
    if (msg->count == lane->asked && lane->want < LANE_TAKE_MAX)
        lane->want *= 2;
    if (path != NULL)
        path->asked -= lane->asked;
    lane->asked_path = NULL;
    lane->asked = 0;
    lane->taking = false;
    /* Handed over meanwhile: it is another worker's now. */
    bool gone = lane->state == LANE_RESOLVING && !lane->asking;
    lane->idle = gone || (msg->idle && !lane->renewed);
    if (lane->state == LANE_HELD && msg->count > 0)
        lane->sampled = true;
    while (list != NULL) {
        struct taken *taken = list;
        list = taken->next;
        taken->worker = NULL;
        lane_place(lane, taken, false);
    }
    lane_want(lane);
    if (path != NULL)
        lane_feed_path(path);
    lane_check(lane);
}

void lane_arrived(struct lane *lane, unsigned n)
{
    lane->in_flight -= n;
    lane_check(lane);
}

void lane_put_back(struct lane *lane, struct taken *taken)
{
    lane_place(lane, taken, true);
}

static void strand_drop_job(struct strand *strand, uint64_t job)
{
    struct taken *list = lane_empty_strand(strand);
    while (list != NULL) {
        struct taken *taken = list;
        list = taken->next;
        if (taken->job->id == job)
            settle_release(strand->lane->router, taken);
        else
            strand_add(strand, taken, false);
    }
}

void lane_drop_job(struct router *router, uint64_t job)
{
    struct lane *lane, *next;
    HASH_ITER(hh, router->lanes, lane, next)
    {
        for (unsigned i = 0; i < lane->strand_count; i++)
            strand_drop_job(&lane->strands[i], job);
        lane_want(lane); /* other jobs' recipients have room now */
    }
}

/* ---- resolving and routing ---- */

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

static void lane_doom(struct lane *lane, enum lane_state state, struct status status, const char *reason)
{
    lane_unroute(lane);
    if (lane->doom == NULL && (lane->doom = malloc(sizeof *lane->doom)) == NULL)
        return; /* stays as it is; asked again when it is announced again */
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

static void lane_hand_over(struct lane *lane, unsigned worker, struct dns_mx *mx)
{
    struct lane_handover *handover = calloc(1, sizeof *handover);
    if (handover == NULL) {
        lane_hold(lane, STATUS(4, 3, 0), "no memory to route it");
        dns_mx_unref(mx);
        return;
    }
    handover->node.kind = HANDOVER_LANE;
    handover->mx = mx;
    handover->lane = (struct store_lane_msg){.lane = lane->id, .class_ = lane->class_};
    memcpy(handover->lane.tenant, lane->tenant_name, sizeof handover->lane.tenant);
    memcpy(handover->lane.pool, lane->pool_name, sizeof handover->lane.pool);
    snprintf(handover->lane.domain, sizeof handover->lane.domain, "%s", lane->domain);
    inbox_post(lane->router->inboxes[worker], &handover->node);
    lane->idle = true; /* for this worker */
    lane_check(lane);
}

/* Puts its strands into the pools of these hosts. False: no memory. */
static bool lane_join_pools(struct lane *lane, struct dns_mx *mx, const char *site,
                            const struct config_site *settings, uint16_t port)
{
    struct router *router = lane->router;
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
        struct pool *pool = path ? pool_get(path, mx, port) : NULL;
        if (pool == NULL || !pool_join(pool, strand))
            return false;
        lane->strand_count++;
    }
    lane->mx = dns_mx_ref(mx);
    return true;
}

static bool lane_same_hosts(const struct dns_mx *a, const struct dns_mx *b)
{
    if (a == NULL || a->host_count != b->host_count)
        return false;
    for (unsigned i = 0; i < a->host_count; i++)
        if (a->hosts[i].preference != b->hosts[i].preference ||
            strcmp(a->hosts[i].name, b->hosts[i].name) != 0)
            return false;
    return true;
}

static void lane_give_back(struct lane *lane)
{
    for (unsigned i = 0; i < lane->strand_count; i++) {
        struct taken *list = lane_empty_strand(&lane->strands[i]);
        while (list != NULL) {
            struct taken *taken = list;
            list = taken->next;
            settle_release(lane->router, taken);
        }
    }
}

/* The hosts are known: stays with its pools if they are the same, else moves. Takes the reference. */
static void lane_route(struct lane *lane, struct dns_mx *mx, const struct config_route *route)
{
    struct router *router = lane->router;
    lane->failures = 0;
    lane->fresh_until_ns = mx->expires_ns;
    if (lane->state == LANE_ROUTED && lane_same_hosts(lane->mx, mx)) {
        dns_mx_unref(mx);
        lane_want(lane);
        return;
    }
    lane_give_back(lane);
    lane_unroute(lane);
    char site[DOMAIN_MAX + 1];
    const struct config_site *settings = lane_site(router->config, mx, site);
    unsigned owner = (unsigned)(str_hash(str_of(site)) % router->worker_count);
    if (owner != router->index) {
        lane->state = LANE_RESOLVING;
        lane_hand_over(lane, owner, mx);
        return;
    }
    if (!lane_join_pools(lane, mx, site, settings, route ? route->port : settings->port)) {
        dns_mx_unref(mx);
        lane_hold(lane, STATUS(4, 3, 0), "no memory to route it");
        return;
    }
    dns_mx_unref(mx);
    lane->state = LANE_ROUTED;
    lane_want(lane);
}

static void lane_resolved(struct dns_query *query, struct dns_mx *mx)
{
    struct lane *lane = (struct lane *)((char *)query - offsetof(struct lane, query));
    lane->asking = false;
    switch (mx->status) {
    case DNS_OK:
        lane_route(lane, mx, config_route_of(lane->router->config, str_of(lane->domain)));
        return;
    case DNS_FAILED:
        if (lane->state == LANE_ROUTED) /* what was known serves on */
            lane->fresh_until_ns = lane->router->now.mono_ns + POOL_LINGER_MS * NS_PER_MS;
        else
            lane_hold(lane, STATUS(4, 4, 3), mx->reason);
        break;
    case DNS_NULL_MX:
        lane_give_back(lane);
        lane_doom(lane, LANE_DOOMED, STATUS(5, 1, 10), "the domain accepts no mail (null MX)");
        break;
    case DNS_NO_DOMAIN:
    case DNS_NO_MAIL:
        lane_give_back(lane);
        lane_doom(lane, LANE_DOOMED, STATUS(5, 1, 2), mx->reason);
        break;
    }
    dns_mx_unref(mx);
    lane_want(lane);
}

/* The host that a route names, in place of an answer; it never runs out. NULL: no memory. */
static struct dns_mx *lane_route_hosts(const struct config_route *route)
{
    struct dns_mx *mx = dns_mx_create(1);
    if (mx == NULL)
        return NULL;
    mx->status = DNS_OK;
    mx->expires_ns = INT64_MAX;
    snprintf(mx->hosts[0].name, sizeof mx->hosts[0].name, "%s", route->host);
    return mx;
}

static void lane_resolve(struct lane *lane)
{
    struct router *router = lane->router;
    const struct config_route *route = config_route_of(router->config, str_of(lane->domain));
    if (lane->state != LANE_ROUTED)
        lane->state = LANE_RESOLVING;
    if (route != NULL) {
        struct dns_mx *mx = lane_route_hosts(route);
        if (mx == NULL)
            lane_hold(lane, STATUS(4, 3, 0), "no memory to route it");
        else
            lane_route(lane, mx, route);
        return;
    }
    lane->asking = true;
    lane->query.mx = lane_resolved;
    dns_ask_mx(router->dns, &lane->query, str_of(lane->domain), router->now);
}

void lane_announced(struct router *router, const struct store_lane_msg *msg, struct dns_mx *mx)
{
    struct lane *lane = lane_find(router, msg->lane);
    if (lane == NULL)
        lane = lane_create(router, msg);
    if (lane == NULL) { /* no memory: the store announces it again when more comes, or at the next start */
        if (mx)
            dns_mx_unref(mx);
        return;
    }
    lane->idle = false;
    lane->renewed = lane->taking;
    if (mx != NULL)
        lane_route(lane, mx, config_route_of(router->config, str_of(lane->domain)));
    else if (lane->state == LANE_RESOLVING && !lane->asking) /* new, or handed over before */
        lane_resolve(lane);
    else
        lane_want(lane);
}

void lane_free_all(struct router *router)
{
    struct lane *lane, *next;
    HASH_ITER(hh, router->lanes, lane, next)
    {
        lane_give_back(lane);
        lane_free(lane);
    }
}
