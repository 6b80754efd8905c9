/* pool.c - see pool.h. Looking for targets is in targets.c, what a session does in carrier.c.
 *
 * Whatever changes a pool only touches it; the worker looks at each touched pool once at the end of its step
 * (pool_run). So a burst of a thousand recipients opens its sessions in one go, and nothing here is called
 * from within itself. */
#include "engine/route/pool.h"

#include "engine/route/aside.h"
#include "engine/route/carrier.h"
#include "engine/route/flow.h"
#include "engine/route/lane.h"
#include "engine/route/loan.h"
#include "engine/route/path.h"
#include "engine/route/secure.h"
#include "engine/route/settle.h"
#include "engine/route/targets.h"

#include <stdlib.h>

/* The hosts with their preferences and ports, what is asked of TLS, and how it is said. NULL: no memory. */
static char *pool_key(const struct dns_mx *hosts, uint16_t port, const struct pool_tls *tls,
                      const struct config_route *route, size_t *n)
{
    struct buf buf;
    buf_init(&buf, MX_HOSTS_MAX * (DOMAIN_MAX + 16) + 8192);
    buf_printf(&buf, "%u", port);
    secure_key(tls, &buf);
    if (route != NULL)
        buf_printf(&buf, " %d %s %s %s %u %d", route->protocol, route->login.user, route->login.password_file,
                   route->login.token_file, route->login.allowed, route->login.in_clear);
    for (unsigned i = 0; i < hosts->host_count; i++)
        buf_printf(&buf, " %u %u %s", hosts->hosts[i].preference, hosts->hosts[i].port, hosts->hosts[i].name);
    *n = buf.len;
    if (!buf.failed)
        return buf.data;
    buf_free(&buf);
    return NULL;
}

static void pool_set_way(struct pool *pool, const struct config_route *route)
{
    const struct config_login *login = &route->login;
    pool->way.lmtp = route->protocol == CONFIG_PROTOCOL_LMTP;
    pool->way.login = (struct session_login){.user = login->user,
                                             .password_file = login->password_file,
                                             .token_file = login->token_file,
                                             .allowed = login->allowed,
                                             .in_clear = login->in_clear,
                                             .keys = &pool->keys};
}

struct pool *pool_get(struct path *path, struct dns_mx *hosts, uint16_t port, const struct pool_tls *tls,
                      const struct config_route *route)
{
    size_t n;
    char *key = pool_key(hosts, port, tls, route, &n);
    if (key == NULL)
        return NULL;
    struct pool *pool;
    HASH_FIND(hh, path->pools, key, n, pool);
    if (pool == NULL && (pool = calloc(1, sizeof *pool + n)) != NULL) {
        pool->path = path;
        pool->hosts = dns_mx_ref(hosts);
        pool->port = port;
        pool->tls = *tls;
        pool->key_size = n;
        memcpy(pool->key, key, n);
        TAILQ_INIT(&pool->carriers);
        TAILQ_INIT(&pool->idlers);
        HASH_ADD(hh, path->pools, key, n, pool);
        if (!pool_is_open(pool))
            pool_touch(pool); /* born while its path is paused: its lanes ask when that is over */
    }
    if (pool != NULL) { /* also of one that was there: a newer configuration may say the same */
        pool->route = route;
        pool->way.proxy = &path->source.proxy;
        if (route != NULL)
            pool_set_way(pool, route);
    }
    free(key);
    return pool;
}

void pool_free(struct pool *pool)
{
    struct path *path = pool->path;
    path_unwait(path, pool);
    wheel_cancel(&path->router->wheel, &pool->timer);
    targets_free(pool->targets);
    HASH_DEL(path->pools, pool);
    if (path->router->lend_pool == pool) {
        path->router->lend_pool = NULL;
        path->router->lend_votes = 0;
    }
    if (pool->loan != NULL)
        loan_return(path->router, pool->loan, path);
    dns_mx_unref(pool->hosts);
    free(pool->last_failure);
    explicit_bzero(&pool->keys, sizeof pool->keys);
    free(pool);
}

bool pool_join(struct pool *pool, struct strand *strand, struct sender_rate *rate)
{
    strand->pool = pool;
    if (!flow_join(strand, rate)) {
        strand->pool = NULL;
        return false;
    }
    strand->pool_next = pool->strands;
    if (strand->pool_next)
        strand->pool_next->pool_back = &strand->pool_next;
    strand->pool_back = &pool->strands;
    pool->strands = strand;
    pool->strand_count++;
    return true;
}

void pool_leave(struct strand *strand)
{
    struct pool *pool = strand->pool;
    flow_leave(strand);
    *strand->pool_back = strand->pool_next;
    if (strand->pool_next)
        strand->pool_next->pool_back = strand->pool_back;
    strand->pool = NULL;
    if (--pool->strand_count == 0)
        pool_touch(pool);
}

bool pool_is_open(const struct pool *pool)
{
    const struct router *router = pool->path->router;
    return !router->stopping && pool->hold_until_ns <= router->now.mono_ns &&
           ledger_pause_until_ns(pool->path->ledger) <= router->now.mono_ns;
}

void pool_touch(struct pool *pool)
{
    if (pool->touched)
        return;
    struct router *router = pool->path->router;
    pool->touched = true;
    pool->touched_next = router->touched;
    router->touched = pool;
}

/* ---- pulling ---- */

/* Takes from the strand's front what may share a transaction: one recipient, or several of one job (and, in a
 * borrowed lane, of one domain) whose message is the same for all, and who are not to go alone. They are out
 * of what waits. */
static struct taken *pool_cut(struct strand *strand, unsigned rcpts_max, unsigned *count)
{
    struct taken *first = strand->head, *last = first;
    struct pool *pool = strand->pool;
    unsigned n = 1;
    while (first->job->same_for_all && n < rcpts_max && last->next != NULL && last->next->job == first->job &&
           last->next->lane == first->lane && !taken_is_alone(first) && !taken_is_alone(last->next)) {
        last = last->next;
        n++;
    }
    strand->head = last->next;
    if (strand->head == NULL)
        strand->tail = &strand->head;
    last->next = NULL;
    flow_charge(pool, strand, n, pool->path->router->now.mono_ns);
    strand->buffered -= n;
    strand->lane->buffered -= n;
    pool->backlog -= n;
    pool->path->buffered -= n;
    if (strand->buffered == 0)
        flow_leave_turns(strand);
    if (strand->flow->rate != NULL)
        aside_left(strand, n);
    *count = n;
    return first;
}

/* Each message is a vote for lending its own pool's sessions; whatever more than half of them come from is
 * left over. */
static void pool_vote(struct pool *pool)
{
    struct router *router = pool->path->router;
    if (router->lend_votes == 0)
        router->lend_pool = pool;
    if (router->lend_pool == pool)
        router->lend_votes++;
    else
        router->lend_votes--;
}

/* What waited among thousands is in no near cache: who comes next is fetched now, and the one after that
 * comes near enough to be asked for its recipient the next time. Inline, or gcc drops it for being without
 * effect. */
__attribute__((always_inline)) static inline void pool_fetch_next(const struct flow *flow)
{
    const struct strand *next = flow->turn;
    if (next == NULL)
        return;
    __builtin_prefetch(next->turn_next);
    __builtin_prefetch(next->lane);
    for (size_t at = 0; at < sizeof(struct taken); at += 64)
        __builtin_prefetch((const char *)next->head + at);
}

struct taken *pool_pull(struct pool *pool, unsigned rcpts_max, struct strand **out, unsigned *n)
{
    struct path *path = pool->path;
    if (pool->backlog == 0)
        return NULL;
    if (!pool_is_open(pool)) {
        if (!pool->held)
            pool_touch(pool);
        return NULL;
    }
    struct path_answer answer = path_check(path, PATH_SEND);
    if (!answer.yes) {
        path_wake_at(path, answer.until_ns);
        return NULL;
    }
    int64_t now_ns = path->router->now.mono_ns, until_ns = INT64_MAX;
    struct strand *strand = flow_pick(pool, now_ns, &until_ns, FLOW_ALL);
    if (strand == NULL) { /* every tenant with something to send is at its own limit */
        path_wake_at(path, until_ns);
        return NULL;
    }
    if (!path_send(path)) { /* another worker was faster */
        path_wake_at(path, path_check(path, PATH_SEND).until_ns);
        return NULL;
    }
    unsigned count;
    struct taken *list = pool_cut(strand, rcpts_max, &count);
    strand->lane->in_flight += count;
    pool->in_flight += count;
    path->router->in_flight += count;
    if (pool->loan == NULL)
        pool_vote(pool);
    lane_want(strand->lane);
    lane_feed_path(path);
    pool_fetch_next(strand->flow);
    *out = strand;
    *n = count;
    return list;
}

struct taken *pool_lend(struct pool *pool, unsigned most, unsigned *count)
{
    struct router *router = pool->path->router;
    struct taken *list = NULL, **end = &list;
    *count = 0;
    while (*count < most && pool->backlog > 0) {
        struct strand *strand =
            flow_pick(pool, router->now.mono_ns, &(int64_t){INT64_MAX}, FLOW_WITHOUT_LIMIT);
        if (strand == NULL)
            break;
        unsigned n;
        *end = pool_cut(strand, most - *count, &n);
        while (*end != NULL)
            end = &(*end)->next;
        *count += n;
        router->taken -= n;
        lane_want(strand->lane);
        lane_check(strand->lane);
    }
    lane_feed_path(pool->path);
    return list;
}

void pool_arrived(struct pool *pool, struct lane *lane, unsigned n)
{
    pool->in_flight -= n;
    pool->path->router->in_flight -= n;
    lane_arrived(lane, n);
}

void pool_give_back(struct pool *pool, const struct verdict *why)
{
    struct settle_where where = {.path = pool->path};
    for (struct strand *strand = pool->strands, *next; strand != NULL; strand = next) {
        next = strand->pool_next;
        struct taken *list = lane_empty_strand(strand);
        bool any = list != NULL;
        while (list != NULL) {
            struct taken *taken = list;
            list = taken->next;
            if (why != NULL)
                settle_verdict(pool->path->router, taken, why, &where);
            else
                settle_release(pool->path->router, taken);
        }
        if (any && strand->lane->strand_count > 1) /* what it has from another source may be too little now */
            lane_want(strand->lane);
    }
}

/* ---- holding ---- */

/* They finish what is under way. */
static void pool_end_sessions(struct pool *pool)
{
    struct carrier *carrier, *next;
    for (carrier = TAILQ_FIRST(&pool->carriers); carrier != NULL; carrier = next) {
        next = carrier_next(carrier);
        carrier_stop(carrier, false);
    }
}

void pool_retire(struct pool *pool)
{
    if (pool->loan != NULL)
        loan_end(pool->loan);
    pool_end_sessions(pool);
}

void pool_hold(struct pool *pool)
{
    pool->held = true;
    pool_give_back(pool, NULL);
    pool_end_sessions(pool);
    pool_touch(pool);
}

static void pool_fire(struct wheel_timer *timer, struct now now)
{
    (void)now;
    struct pool *pool = (struct pool *)((char *)timer - offsetof(struct pool, timer));
    pool_touch(pool);
}

/* No address of its hosts can be reached: what waits in memory has had its attempt, the rest stays in the
 * store. Where another pool was asked for patience there, or it failed by our own fault, nobody has: what
 * waits goes back as it is. */
static void pool_unreachable(struct pool *pool, int64_t until_ns)
{
    struct router *router = pool->path->router;
    struct verdict none;
    verdict_local(&none, SCOPE_HOST, STATUS(4, 4, 1), "no mail host of this domain can be reached");
    const struct verdict *why = pool->last_failure ? pool->last_failure : targets_missing(pool->targets);
    bool asked = targets_have_asked(pool->targets) && (why == NULL || why->rule == NULL);
    if (why == NULL)
        why = &none;
    if (why->outcome ==
        VERDICT_FAILED) /* there is nothing to wait for: the rest fails as fast as it is taken */
        until_ns = router->now.mono_ns + NS_PER_S;
    pool->hold_until_ns = until_ns;
    pool->held = true;
    if (!asked)
        path_note(pool->path, why);
    path_unwait(pool->path, pool);
    pool_give_back(pool, asked || why->blameless ? NULL : why);
    wheel_set(&router->wheel, &pool->timer, until_ns, pool_fire);
}

void pool_reached(struct pool *pool)
{
    free(pool->last_failure);
    pool->last_failure = NULL;
}

void pool_target_failed(struct pool *pool, const struct verdict *why)
{
    /* What one host says is final only if none is merely down. */
    bool milder = pool->last_failure == NULL || pool->last_failure->outcome != VERDICT_DEFERRED ||
                  why->outcome == VERDICT_DEFERRED;
    if (pool->last_failure != NULL && pool->last_failure->blameless && !why->blameless)
        milder = false; /* with another host down, it is still for the operator to put right */
    if (pool->last_failure == NULL)
        pool->last_failure = malloc(sizeof *pool->last_failure);
    if (pool->last_failure != NULL && milder)
        *pool->last_failure = *why;
    pool_touch(pool);
}

/* ---- connecting ---- */

/* Room on the path or in the worker may come from a session that has nothing to do elsewhere. */
static void pool_make_room(struct pool *pool, bool same_path)
{
    struct carrier *idler = carrier_longest_idle(pool->path->router, same_path ? pool->path : NULL, pool);
    if (idler != NULL)
        carrier_stop(idler, false);
}

/* True when another connection would be of use: more waits than connections on their way will take, and none
 * of those there are stands idle, which with work waiting means that a rate is used up. */
static bool pool_needs_connection(const struct pool *pool)
{
    if (pool->loan != NULL && pool->open >= loan_sessions(pool->loan))
        return false;
    if (pool->login_failures > 0 && pool->connecting > 0) /* one at a time, until a login works */
        return false;
    return pool->idle == 0 && pool->backlog > pool->connecting && pool_is_open(pool);
}

void pool_connect_one(struct pool *pool)
{
    if (!pool_needs_connection(pool))
        return;
    const struct target *target;
    int64_t until_ns;
    switch (targets_pick(pool, &target, &until_ns)) {
    case TARGETS_ASKING:
        return; /* targets.c touches the pool when it knows */
    case TARGETS_DEAD:
        if (pool->open == 0)
            pool_unreachable(pool, until_ns);
        else /* what waits goes over the sessions there are; more when an address may be tried again */
            wheel_set(&pool->path->router->wheel, &pool->timer, until_ns, pool_fire);
        return;
    case TARGETS_FOUND:
        break;
    }
    if (carrier_open(pool, target))
        pool_touch(pool); /* there may be need of more */
}

static void pool_pump(struct pool *pool)
{
    struct path *path = pool->path;
    path_serve(path); /* what touched this one may be a window that has grown: who waits goes first */
    for (unsigned n = pool->idle; n > 0 && pool->backlog > 0; n--) {
        struct path_answer answer = path_check(path, PATH_SEND);
        if (!answer.yes) { /* the rest would ask in vain */
            path_wake_at(path, answer.until_ns);
            break;
        }
        carrier_kick_idle(pool);
    }
    while (pool_needs_connection(pool)) {
        struct path_answer answer = path_check(path, PATH_CONNECT);
        if (!answer.yes) {
            path_wait(path, pool);
            path_serve(path); /* sets the timer, or lines the path up */
            if (path_is_full(path))
                pool_make_room(pool, true);
            else if (path_sessions_used_up(path->router))
                pool_make_room(pool, false);
            return;
        }
        unsigned before = pool->open;
        pool_connect_one(pool);
        if (pool->open == before && !path_sessions_used_up(path->router))
            return;
    }
}

/* After a hold the lanes have nothing in memory: ask for it. */
static void pool_reopen(struct pool *pool)
{
    pool->hold_until_ns = 0;
    pool_reached(pool);
    for (struct strand *strand = pool->strands; strand != NULL; strand = strand->pool_next)
        lane_want(strand->lane);
}

/* Its sessions are another worker's, who wants them back, or it was retired. */
static bool pool_is_called_in(const struct pool *pool)
{
    return pool->strand_count == 0 || loan_sessions(pool->loan) == 0 ||
           pool->path->source_index == PATH_SOURCE_GONE || pool->tls.trust == NULL;
}

/* Whoever closed it: of a pause by another worker nobody may have told. */
static void pool_await_opening(struct pool *pool)
{
    struct path *path = pool->path;
    int64_t until_ns = ledger_pause_until_ns(path->ledger);
    pool->held = true;
    if (until_ns > path->router->now.mono_ns)
        path_wake_at(path, until_ns);
    if (pool->loan != NULL)
        loan_end(pool->loan);
}

static void pool_run(struct pool *pool)
{
    if (pool->strand_count == 0 && pool->open == 0 && pool->loans == 0 && !targets_busy(pool->targets)) {
        pool_free(pool);
        return;
    }
    if (pool->loan != NULL && pool_is_called_in(pool)) {
        pool_end_sessions(pool);
        pool_give_back(pool, NULL);
    }
    lane_feed_path(pool->path);
    loan_serve_pool(pool);
    if (!pool_is_open(pool)) {
        pool_await_opening(pool);
        return;
    }
    if (pool->held) {
        pool->held = false;
        pool_reopen(pool);
    }
    pool_pump(pool);
}

void pool_run_touched(struct router *router)
{
    while (router->touched != NULL) {
        struct pool *list = router->touched;
        router->touched = NULL;
        while (list != NULL) {
            struct pool *pool = list;
            list = pool->touched_next;
            pool->touched = false;
            pool_run(pool);
        }
    }
}
