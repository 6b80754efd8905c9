/* lane.c - see lane.h. Where a lane's mail goes is found in lane_route.c, which tells of its states. */
#include "engine/route/lane.h"

#include "engine/route/aside.h"
#include "engine/route/flow.h"
#include "engine/route/handover.h"
#include "engine/route/lane_held.h"
#include "engine/route/lane_line.h"
#include "engine/route/lane_route.h"
#include "engine/route/lane_sts.h"
#include "engine/route/loan.h"
#include "engine/route/path.h"
#include "engine/route/pool.h"
#include "engine/route/settle.h"
#include "engine/route/signers.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- life ---- */

struct lane *lane_by_id(struct router *router, uint32_t id)
{
    struct lane *lane;
    HASH_FIND(hh, router->lanes, &id, sizeof id, lane);
    return lane;
}

struct lane_name {
    uint32_t id;
    enum job_class class_;
    struct str tenant, pool, domain;
};

static void lane_wake(struct lane *lane)
{
    if (!lane->resting)
        return;
    struct router *router = lane->router;
    lane->resting = false;
    if (lane->held_back) {
        router->held_count--;
        TAILQ_REMOVE(&router->held_lanes, lane, rest);
        lane->held_back = false;
    } else {
        router->resting_count--;
        TAILQ_REMOVE(&router->resting, lane, rest);
    }
}

void lane_settle_in(struct lane *lane)
{
    const struct router *router = lane->router;
    const struct config *config = router->config;
    lane->tenant = config_tenant_of(config, str_of(lane->tenant_name));
    lane->limit =
        lane->tenant->max_rate.count > 0 ? &router->tenant_limits[lane->tenant - config->tenants] : NULL;
    lane->sources = config_pool_of(config, str_of(lane->pool_name));
    if (lane->sources == NULL)
        lane->sources = &config->pools[lane->tenant->pool_index];
}

/* The lane of that name, made if need be: idle, then, until it is announced. It waits for memory (reserve.h):
 * the store says no more about a lane that it has told a worker of. */
static struct lane *lane_get(struct router *router, const struct lane_name *name)
{
    struct lane *lane = lane_by_id(router, name->id);
    if (lane != NULL) {
        lane_wake(lane);
        return lane;
    }
    lane = reserve_must(sizeof *lane + name->domain.n + 1);
    memset(lane, 0, sizeof *lane + name->domain.n + 1);
    lane->router = router;
    lane->id = name->id;
    lane->class_ = name->class_;
    lane->idle = true;
    lane->want = LANE_TAKE_FIRST;
    memcpy(lane->tenant_name, name->tenant.p, name->tenant.n); /* both at most NAME_MAX_BYTES */
    memcpy(lane->pool_name, name->pool.p, name->pool.n);
    memcpy(lane->domain, name->domain.p, name->domain.n);
    lane_settle_in(lane);
    HASH_ADD(hh, router->lanes, id, sizeof lane->id, lane);
    lane_mark_held(lane);
    return lane;
}

struct lane *lane_borrow(struct loan *loan)
{
    struct pool *pool = loan->shadow;
    struct router *router = pool->path->router;
    struct lane *lane = calloc(1, sizeof *lane + 1);
    struct strand *strand = calloc(1, sizeof *strand);
    if (lane != NULL && strand != NULL) {
        lane->router = router;
        lane->state = LANE_ROUTED;
        lane->loan = loan;
        lane->want = LANE_TAKE_FIRST;
        lane->tenant = config_tenant_of(router->config, STR("default"));
        lane->fresh_until_ns = INT64_MAX;
        *strand = (struct strand){.lane = lane, .source = pool->path->source_index, .tail = &strand->head};
        lane->strands = strand;
        if (pool_join(pool, strand, NULL)) {
            lane->strand_count = 1;
            return lane;
        }
    }
    free(lane);
    free(strand);
    return NULL;
}

static void lane_free(struct lane *lane)
{
    struct router *router = lane->router;
    dns_cancel(&lane->query);
    lane_sts_cancel(lane);
    wheel_cancel(&router->wheel, &lane->timer);
    lane_unroute(lane);
    dns_mx_unref(lane->handed);
    lane_wake(lane);
    store_except_unref(lane->except);
    if (lane->loan != NULL)
        lane->loan->lane = NULL;
    else
        HASH_DEL(router->lanes, lane);
    free(lane->doom);
    free(lane);
}

static bool lane_is_over(const struct lane *lane)
{
    return lane->idle && !lane->taking && lane->buffered == 0 && lane->in_flight == 0 && lane->given == NULL;
}

void lane_check(struct lane *lane)
{
    if (!lane_is_over(lane) || lane->reaping || lane->resting)
        return;
    lane->reaping = true;
    lane->reap_next = lane->router->reap;
    lane->router->reap = lane;
}

/* What it knows is of use when it is announced again. */
static bool lane_may_rest(const struct lane *lane)
{
    return lane->loan == NULL && !lane->router->stopping &&
           (lane->state == LANE_ROUTED || lane->state == LANE_DOOMED || lane->handed != NULL);
}

static void lane_lay(struct lane *lane)
{
    struct router *router = lane->router;
    lane->resting = true;
    if (lane->held_back) { /* kept to be seen; the store tells when there is more to it */
        TAILQ_INSERT_TAIL(&router->held_lanes, lane, rest);
        router->held_count++;
        return;
    }
    lane->rest_until_ns = router->now.mono_ns + LANE_KEPT_MS * NS_PER_MS;
    TAILQ_INSERT_TAIL(&router->resting, lane, rest);
    router->resting_count++;
}

static void lane_end_rest(struct router *router)
{
    struct lane *lane;
    while ((lane = TAILQ_FIRST(&router->resting)) != NULL &&
           (router->resting_count > LANES_KEPT_MAX || lane->rest_until_ns <= router->now.mono_ns))
        lane_free(lane);
    while (router->held_count > LANES_HELD_MAX)
        lane_free(TAILQ_FIRST(&router->held_lanes));
}

void lane_reap(struct router *router)
{
    while (router->reap != NULL) {
        struct lane *lane = router->reap;
        router->reap = lane->reap_next;
        lane->reaping = false;
        if (lane_is_over(lane) && lane_may_rest(lane))
            lane_lay(lane);
        else if (lane_is_over(lane))
            lane_free(lane);
    }
    lane_end_rest(router);
}

/* ---- asking the store ---- */

/* Of its first pool that is open; NULL: none is. Each that is not makes it ask when it is. */
static struct path *lane_open_path(const struct lane *lane)
{
    for (unsigned i = 0; i < lane->strand_count; i++) {
        struct pool *pool = lane->strands[i].pool;
        if (pool_is_open(pool))
            return pool->path;
        if (!pool->held)
            pool_touch(pool);
    }
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
        return lane->buffered - lane->set_aside <= lane->want / 2 && lane_open_path(lane) != NULL;
    }
    return false;
}

/* Asks for its hosts anew once what is known has run out: also of a domain that takes no mail, since while
 * that lane is busy nothing else would find out that it does again. */
static void lane_refresh(struct lane *lane)
{
    bool known = lane->state == LANE_ROUTED || lane->state == LANE_DOOMED;
    if (known && !lane->asking && lane->fresh_until_ns <= lane->router->now.mono_ns)
        lane_resolve(lane);
}

/* How many more recipients the worker's memory takes; transactional mail has some of its own. None while as
 * many again are settled and not durable: else, where receivers are faster than the disk, ever more would lie
 * in memory, and be sent again after a crash. A gate, no share: small helpings would make small transactions.
 */
static unsigned lane_room(const struct lane *lane)
{
    const struct router *router = lane->router;
    unsigned used = router->taken + router->asked, max = WORKER_TAKEN_MAX;
    if (lane->class_ == CLASS_TRANSACTIONAL)
        max += WORKER_TAKEN_RESERVE;
    if (store_settling(router->store) >= (uint64_t)max * router->worker_count)
        return 0;
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
    return path->buffered - path->set_aside + path->asked >= lane_share(lane);
}

/* turn: it comes out of a line, and passes nobody. */
static void lane_ask(struct lane *lane, bool turn)
{
    struct router *router = lane->router;
    if (lane->idle || lane->taking || lane->line != NULL || router->stopping)
        return;
    lane_refresh(lane); /* also where nothing goes now: the domain may have moved */
    if (lane_park(lane) || !lane_can_use_more(lane))
        return;
    struct path *path = lane->state == LANE_ROUTED ? lane_open_path(lane) : NULL;
    unsigned room = lane_room(lane), piece = (lane_share(lane) + 3) / 4;
    if (room == 0 || (!turn && lane_line_waits(&router->starved, lane->class_))) {
        lane_line_join(&router->starved, lane);
        return;
    }
    bool crowded = path != NULL && lane_line_waits(&path->hungry, lane->class_);
    if (path != NULL && (path_has_its_share(path, lane) || (!turn && crowded))) {
        lane_line_join(&path->hungry, lane);
        return;
    }
    lane->taking = true;
    lane->renewed = false;
    lane->asked = lane->want < room ? lane->want : room;
    if (crowded && lane->asked > LANE_TAKE_FIRST * lane->tenant->weight) /* what waits, goes by weight */
        lane->asked = LANE_TAKE_FIRST * lane->tenant->weight;
    if (path != NULL && lane->asked > piece)
        lane->asked = piece;
    if (!aside_is_satisfied(lane) && lane->asked > ASIDE_TAKEN) /* what it cannot use would go back */
        lane->asked = ASIDE_TAKEN;
    router->asked += lane->asked;
    lane->asked_path = path;
    if (path != NULL)
        path->asked += lane->asked;
    if (lane->loan != NULL)
        loan_want(lane->loan, lane->asked);
    else
        store_take_but(router->store, lane->id, lane->asked, router->index, lane->except);
}

void lane_want(struct lane *lane)
{
    lane_ask(lane, false);
}

void lane_feed_starved(struct router *router)
{
    struct lane *lane;
    while ((lane = lane_line_first(&router->starved)) != NULL && lane_room(lane) > 0) {
        lane_line_leave(lane);
        lane_ask(lane, true);
    }
}

void lane_feed_path(struct path *path)
{
    struct lane *lane;
    while ((lane = lane_line_first(&path->hungry)) != NULL && !path_has_its_share(path, lane)) {
        lane_line_leave(lane);
        lane_ask(lane, true);
    }
}

/* ---- recipients in memory ---- */

void strand_add(struct strand *strand, struct taken *taken, bool front)
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
    if (strand->flow->rate != NULL)
        aside_added(strand);
    pool_touch(strand->pool);
}

struct taken *lane_empty_strand(struct strand *strand)
{
    struct taken *list = strand->head;
    unsigned n = strand->buffered;
    if (n == 0)
        return NULL;
    flow_leave_turns(strand);
    strand->lane->buffered -= strand->buffered;
    strand->pool->backlog -= strand->buffered;
    strand->pool->path->buffered -= strand->buffered;
    pool_touch(strand->pool); /* others of its path may have more now */
    strand->buffered = 0;
    strand->head = NULL;
    strand->tail = &strand->head;
    if (strand->flow->rate != NULL)
        aside_left(strand, n);
    lane_check(strand->lane);
    return list;
}

/* The source it used last, when that can send now; else one by weight among those that can. NULL: none can.
 */
static struct strand *lane_choose(struct lane *lane, const struct taken *taken)
{
    const struct config *config = lane->router->config;
    uint64_t total = 0;
    if (lane->strand_count == 1)
        return pool_is_open(lane->strands[0].pool) ? &lane->strands[0] : NULL;
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
    uint64_t at = prng_below(&lane->router->prng, total);
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
    if (lane_holds_back(lane, taken)) {
        settle_release(router, taken);
        return;
    }
    if (lane->state == LANE_DOOMED || lane->state == LANE_HELD) {
        settle_verdict(router, taken, lane->doom, &(struct settle_where){.path = NULL});
        return;
    }
    struct strand *strand = lane->state == LANE_ROUTED && !router->stopping ? lane_choose(lane, taken) : NULL;
    if (strand == NULL)
        settle_release(router, taken);
    else if (lane->loan == NULL && signers_want(router, lane->id, taken))
        lane->buffered++; /* until it comes back, signed */
    else
        strand_add(aside_of(strand, taken), taken, front);
}

void lane_signed(struct router *router, struct sign_request *request)
{
    struct lane *lane = lane_by_id(router, request->lane); /* it is not over: this is buffered */
    struct verdict why;
    lane->buffered--;
    LIST_REMOVE(request, mine);
    if (request->recalled) {
        settle_suppressed(router, request->taken);
    } else if (router->stopping || request->dropped) {
        settle_release(router, request->taken);
    } else if (request->good) {
        lane_place(lane, request->taken, false);
    } else {
        settle_tell_broken(router, request->taken->job->id, &request->err);
        verdict_local(&why, SCOPE_TRANSACTION, STATUS(4, 7, 0), "the message cannot be signed: %s",
                      request->err.text);
        settle_verdict(router, request->taken, &why, &(struct settle_where){.path = NULL});
    }
    lane_want(lane);
    lane_check(lane);
}

/* New, or handed over before: it has to be resolved. */
static bool lane_is_nowhere(const struct lane *lane)
{
    return lane->state == LANE_RESOLVING && !lane->asking;
}

/* To where it went before, or by asking. */
static void lane_find_way(struct lane *lane)
{
    if (lane->handed == NULL || lane->fresh_until_ns <= lane->router->now.mono_ns) {
        lane_resolve(lane);
        return;
    }
    lane_hand_over(lane, lane->handed_to, dns_mx_ref(lane->handed));
    lane_place_given(lane); /* there was no memory to tell */
}

/* An answer to what it asked for has come. */
static void lane_fill(struct lane *lane, struct taken *list, unsigned count, bool idle, bool passed_over)
{
    struct router *router = lane->router;
    struct path *path = lane->asked_path;
    router->taken += count;
    router->asked -= lane->asked;
    if (count == lane->asked && count > 0 && lane->want < (lane->loan ? LOAN_TAKE_MAX : LANE_TAKE_MAX))
        lane->want *= 2;
    if (path != NULL)
        path->asked -= lane->asked;
    lane->asked_path = NULL;
    lane->asked = 0;
    lane->taking = false;
    bool gone = lane_is_nowhere(lane); /* handed over meanwhile: it is another worker's now */
    lane->idle = idle && !lane->renewed;
    lane->held_back = lane->idle && passed_over && !gone;
    if (lane->state == LANE_HELD && count > 0)
        lane->sampled = true;
    while (list != NULL) {
        struct taken *taken = list;
        list = taken->next;
        lane_place(lane, taken, false);
    }
    if (!gone)
        lane_want(lane);
    else if (!lane->idle && !router->stopping) /* and may have been told before this that there is no more */
        lane_find_way(lane);
    if (path != NULL)
        lane_feed_path(path);
    lane_check(lane);
}

void lane_filled(struct router *router, struct store_taken_msg *msg)
{
    for (struct taken *taken = msg->list; taken != NULL; taken = taken->next)
        taken->worker = NULL;
    lane_fill(lane_by_id(router, msg->lane), msg->list, msg->count, msg->idle, msg->passed_over);
}

void lane_lent(struct lane *lane, struct taken *list, unsigned count, bool over)
{
    lane_fill(lane, list, count, over || lane->loan->ending, false);
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

/* ---- coming and going ---- */

static void lane_release(struct router *router, struct taken *list)
{
    for (struct taken *next; list != NULL; list = next) {
        next = list->next;
        settle_release(router, list);
    }
}

static struct lane *lane_get_named(struct router *router, const struct store_lane_msg *msg)
{
    const struct lane_name name = {msg->lane, msg->class_, str_of(msg->tenant), str_of(msg->pool),
                                   str_of(msg->domain)};
    return lane_get(router, &name);
}

static void lane_renew(struct lane *lane)
{
    lane->idle = false;
    lane->renewed = lane->taking;
}

void lane_look_again(struct lane *lane)
{
    lane_wake(lane);
    lane_renew(lane);
    lane_mark_held(lane);
    store_lane_again(lane->router->store, lane->id);
    lane_want(lane);
}

void lane_announced(struct router *router, const struct store_lane_msg *msg)
{
    struct lane *lane = lane_get_named(router, msg);
    lane_renew(lane);
    if (lane_is_nowhere(lane))
        lane_find_way(lane);
    else
        lane_want(lane);
}

static void lane_give(struct lane *lane, struct taken *list)
{
    for (struct taken *next; list != NULL; list = next) {
        next = list->next;
        list->worker = NULL;
        list->next = lane->given;
        lane->given = list;
    }
}

void lane_handed_over(struct router *router, struct lane_handover *handover)
{
    struct lane *lane = lane_get_named(router, &handover->lane);
    for (const struct taken *taken = handover->given; taken != NULL; taken = taken->next)
        router->taken++;
    if (handover->announced)
        lane_renew(lane);
    lane_give(lane, handover->given);
    if (lane_configured_route(lane) == NULL && !lane_hosts_are_route(handover->mx)) {
        lane_route(lane, handover->mx, NULL);
    } else { /* this worker's own routes say: while they are reloaded the other one may have others */
        dns_mx_unref(handover->mx);
        if (!lane->asking)
            lane_resolve(lane);
    }
    lane_check(lane);
}

void lane_place_given(struct lane *lane)
{
    struct taken *list = lane->given;
    bool sample = lane->state == LANE_HELD && list != NULL;
    lane->given = NULL;
    for (struct taken *next; list != NULL; list = next) {
        next = list->next;
        if (lane->state == LANE_HELD && lane->sampled)
            settle_release(lane->router, list); /* waits there */
        else
            lane_place(lane, list, false);
    }
    lane->sampled |= sample;
}

void lane_given(struct router *router, const struct store_given_msg *msg)
{
    const struct store_job *job = msg->taken->job;
    const struct lane_name name = {msg->lane, job->class_, job->tenant, job->pool, msg->domain};
    struct lane *lane = lane_get(router, &name);
    router->taken++;
    if (router->stopping) {
        settle_release(router, msg->taken);
        lane_check(lane);
        return;
    }
    lane_give(lane, msg->taken);
    if (lane_is_nowhere(lane)) {
        lane_find_way(lane);
    } else if (lane->state != LANE_RESOLVING) {
        lane_refresh(lane);
        lane_place_given(lane);
    }
    lane_check(lane);
}

void lane_return_given(struct router *router)
{
    for (struct lane *lane = router->lanes; lane != NULL; lane = lane->hh.next) {
        lane_release(router, lane->given);
        lane->given = NULL;
        lane_check(lane);
    }
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
