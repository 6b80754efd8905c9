/* carrier.c - see carrier.h.
 *
 * A connection that failed before EHLO was through is the host's failure: the address is left alone for a
 * while, the window shrinks, and the pool tries the next address at once. One whose opportunistic handshake
 * failed is tried again in the clear; one whose TLS is not what the pool asks, or that does not let it log
 * in, is left alone by that pool. A connection that carried something and was then lost is nobody's fault: a
 * new one may begin at once. */
#include "engine/route/carrier.h"

#include "engine/base/log.h"
#include "engine/route/host.h"
#include "engine/route/loan.h"
#include "engine/route/path.h"
#include "engine/route/pool.h"
#include "engine/route/react.h"
#include "engine/route/renew.h"
#include "engine/route/secure.h"
#include "engine/route/shipment.h"
#include "engine/route/tally.h"
#include "engine/route/targets.h"
#include "engine/route/trace.h"
#include "engine/rules/rules.h"

#include <errno.h>
#include <stdlib.h>

struct carrier {
    TAILQ_ENTRY(carrier) all, idle, lru;
    struct pool *pool;
    struct session *session;
    struct dns_mx *hosts; /* keeps the host's name */
    const char *host;
    struct sockaddr_storage address;
    struct tls_demand demand;
    int64_t opened_ns;
    struct trace_seat seat;
    unsigned began;   /* at this count of changes of the setup: renew.h */
    unsigned pulled;  /* messages */
    uint64_t tallied; /* the domain that the session was counted for last, as a digest */
    bool ready, worked, is_idle, stopping, over, tally;
};

#define IDLERS_LOOKED_AT 64 /* of the longest idle, to find one of a path */

static void carrier_set_idle(struct carrier *carrier, bool idle)
{
    if (carrier->is_idle == idle)
        return;
    struct pool *pool = carrier->pool;
    struct router *router = pool->path->router;
    carrier->is_idle = idle;
    if (idle) {
        TAILQ_INSERT_HEAD(&pool->idlers, carrier, idle);
        TAILQ_INSERT_TAIL(&router->idlers, carrier, lru);
        pool->idle++;
        pool->path->idle++;
    } else {
        TAILQ_REMOVE(&pool->idlers, carrier, idle);
        TAILQ_REMOVE(&router->idlers, carrier, lru);
        pool->idle--;
        pool->path->idle--;
    }
}

static void carrier_free(struct carrier *carrier)
{
    dns_mx_unref(carrier->hosts);
    tlsa_set_unref(carrier->demand.tlsa);
    free(carrier);
}

/* One that has something to send, waits for a rate, and has sent nothing yet keeps its place: else pools
 * would take turns at opening connections, and none at sending. */
static bool carrier_may_go(const struct carrier *carrier)
{
    return carrier->pool->backlog == 0 || session_carried(carrier->session) > 0;
}

/* Another pool waits for the place of this connection: an idle one gives it up at once, a busy one when it
 * has had its turn, so that a domain with a million recipients does not keep a small one of the same site
 * waiting. */
static bool carrier_should_yield(const struct carrier *carrier, bool idle)
{
    const struct pool *pool = carrier->pool;
    const struct path *path = pool->path;
    bool wanted = path->router->line != NULL;
    if (path->wait_head != NULL && (path->wait_head != pool || pool->wait_next != NULL))
        wanted |= path_is_full(path);
    /* Or another worker does, to which its place is lent, or that wants it back. */
    if (pool->loan != NULL)
        wanted |= pool->open > loan_sessions(pool->loan);
    else if (path->lent > 0)
        wanted |= path_has_too_many(path);
    return wanted &&
           ((idle && carrier_may_go(carrier)) || session_carried(carrier->session) >= TURN_MESSAGES);
}

/* As many messages as its receiver was heard to take over one connection. */
static bool carrier_is_spent(const struct carrier *carrier)
{
    unsigned most = atomic_load_explicit(&carrier->pool->path->ledger->messages_max, memory_order_relaxed);
    return most > 0 && carrier->pulled >= most;
}

/* It can be used no more: has carried enough, or is in the clear where that is not wanted any more. */
static bool carrier_is_over(const struct carrier *carrier)
{
    bool clear = session_tls_text(carrier->session)[0] == '\0';
    return carrier_is_spent(carrier) || (clear && path_is_tls_only(carrier->pool->path));
}

/* Once for each domain, or nearly: when the domain is another than that of the message before. */
static void carrier_tally(struct carrier *carrier, const struct session_transaction *transaction)
{
    struct str domain = shipment_domain(transaction);
    uint64_t digest = str_hash(domain);
    if (digest == carrier->tallied)
        return;
    carrier->tallied = digest;
    tally_session(carrier->pool, &carrier->demand, carrier->host, domain,
                  session_tls_fault(carrier->session));
}

static struct session_transaction *carrier_pull(struct session *session, struct now now)
{
    struct carrier *carrier = session_owner(session);
    struct pool *pool = carrier->pool;
    (void)now; /* the router's, as fresh */
    struct session_transaction *transaction = NULL;
    if (!carrier->stopping && (carrier_should_yield(carrier, false) || carrier_is_over(carrier)))
        carrier_stop(carrier, false);
    if (!carrier->stopping)
        transaction = shipment_next(pool, carrier->host, session);
    if (transaction == NULL && !carrier->stopping && carrier_should_yield(carrier, true))
        carrier_stop(carrier, false);
    if (transaction != NULL && carrier->tally)
        carrier_tally(carrier, transaction);
    carrier->pulled += transaction != NULL;
    carrier_set_idle(carrier, transaction == NULL && !carrier->stopping);
    return transaction;
}

static void carrier_done(struct session *session, struct session_transaction *transaction, struct now now)
{
    struct carrier *carrier = session_owner(session);
    (void)now;
    if (!carrier->worked && session_carried(session) > 0) {
        struct path *path = carrier->pool->path;
        carrier->worked = true;
        if (host_works(path->router, &carrier->address))
            loan_tell_host(path, &carrier->address);
    }
    shipment_done(transaction, carrier->pool);
}

/* Those that the reply to the message decides about. */
static unsigned carrier_undecided(const struct session_transaction *transaction)
{
    unsigned n = 0;
    for (size_t i = 0; i < transaction->rcpt_count; i++)
        n += transaction->rcpts[i].verdict == NULL;
    return n;
}

static void carrier_judge(struct session *session, const struct session_transaction *transaction,
                          enum smtp_step step, struct verdict *verdict)
{
    const struct carrier *carrier = session_owner(session);
    const struct react_where where = {
        .path = carrier->pool->path,
        .host = carrier->host,
        .job = transaction ? shipment_job(transaction) : NULL,
        .recipients = transaction ? (unsigned)transaction->rcpt_count : 0,
        .undecided = transaction ? carrier_undecided(transaction) : 0,
        .started_ns = transaction ? transaction->started_ns : carrier->opened_ns,
    };
    react_judge(&where, step, verdict);
}

static void carrier_ready(struct session *session, struct now now)
{
    struct carrier *carrier = session_owner(session);
    struct pool *pool = carrier->pool;
    (void)now;
    carrier->ready = true;
    pool->login_failures = 0;
    pool->connecting--;
    pool_reached(pool);
    path_connected(pool->path);
    pool_touch(pool); /* the window has grown */
}

/* Whether another connection of the path to this address got through. A walk, but only where one failed. Of
 * connections that another worker has, only that there are some is known. */
static bool carrier_has_company(const struct carrier *carrier)
{
    const struct path *path = carrier->pool->path;
    if (ledger_ready(path->ledger) > path->connections - path->connecting)
        return true;
    for (const struct pool *pool = carrier->pool->path->pools; pool != NULL; pool = pool->hh.next) {
        const struct carrier *other;
        TAILQ_FOREACH(other, &pool->carriers, all)
        {
            if (other != carrier && other->ready &&
                memcmp(&other->address, &carrier->address, sizeof other->address) == 0)
                return true;
        }
    }
    return false;
}

/* Something for the operator: said once, until the pool tries again. */
static void carrier_alert(const struct pool *pool, const struct verdict *why)
{
    const struct path *path = pool->path;
    if (why->scope == SCOPE_PATH && ledger_pause_until_ns(path->ledger) <= path->router->now.mono_ns)
        log_error("the source %s: mail for %s waits: %.*s", path->source.name, path_site(path),
                  (int)why->text_size, why->text);
    else if (why->scope == SCOPE_HOST && (pool->last_failure == NULL || !pool->last_failure->blameless))
        log_error("the route for %s: mail waits: %.*s", pool->route->domain, (int)why->text_size, why->text);
}

/* The connection was of no use: whose fault is it? */
static enum path_end carrier_failed(struct carrier *carrier, const struct verdict *why, enum tls_fault fault)
{
    struct pool *pool = carrier->pool;
    struct path *path = pool->path;
    struct router *router = path->router;
    if (why->blameless)
        carrier_alert(pool, why);
    if (why->blameless && why->scope == SCOPE_PATH) { /* the source's proxy: no host's fault */
        path_pause(path, why);
        return PATH_END_FINE;
    }
    if (why->blameless) { /* the login of this pool's route: others may do better there */
        pool->login_failures += targets_refuse(pool, &carrier->address, pool->login_failures);
        pool_target_failed(pool, why);
        return PATH_END_FINE;
    }
    if (secure_falls_back(pool, &carrier->address, &carrier->demand, fault))
        return PATH_END_FINE;                    /* the same address again, in the clear */
    if (fault != TLS_FAULT_NONE && why->local) { /* not good enough for this pool, and perhaps for others */
        targets_refuse(pool, &carrier->address, 0);
        pool_target_failed(pool, why);
        return PATH_END_FINE;
    }
    bool of_sender = why->rule != NULL && carrier->ready && why->rule->reaction.reach == REACH_SENDER;
    if (of_sender ||
        (why->rule != NULL && (why->rule->reaction.kind == REACTION_RECONNECT || why->scope == SCOPE_PATH)))
        return PATH_END_FINE; /* path or sender have heard, and hold back by themselves */
    bool speaks = why->code != 0 && ledger_ready(path->ledger) > 0;
    if (!carrier->ready && (speaks || carrier_has_company(carrier))) {
        path_note(path, why);
        return PATH_END_REFUSED; /* others are welcome: one too many, said in words or by hanging up */
    }
    if (why->scope == SCOPE_PATH && (carrier->ready || ledger_connections(path->ledger) == 1))
        path_pause(path, why); /* not one connection is welcome: none is still on its way */
    if (carrier->ready)
        host_lost(router, &carrier->address, carrier->opened_ns, session_was_told(carrier->session),
                  path->settings);
    else
        host_failed(router, &carrier->address, path->settings);
    host_set_asked(router, &carrier->address, why->rule != NULL);
    loan_tell_host(path, &carrier->address);
    struct verdict kept;
    verdict_copy(&kept, why);
    if (carrier->began != router->renewed) /* the rule may be of a setup that goes with this session */
        kept.rule = NULL;
    pool_target_failed(pool, &kept);
    return PATH_END_FAILED;
}

/* ---- for whoever watches ---- */

static void carrier_unwatch(struct carrier *carrier)
{
    session_trace(carrier->session, NULL);
    trace_seat_leave(&carrier->seat);
}

static void carrier_trace(struct session *session, enum session_said said, struct str line)
{
    struct carrier *carrier = session_owner(session);
    if (!trace_tell(&carrier->seat, carrier->pool->path, carrier->host,
                    said == SESSION_SENT ? "sent" : "heard", line))
        carrier_unwatch(carrier);
}

void carrier_watch(struct carrier *carrier)
{
    struct path *path = carrier->pool->path;
    if (carrier->seat.trace != NULL || carrier->over)
        return;
    trace_seat_take(&carrier->seat, path->router, path);
    if (carrier->seat.trace == NULL)
        return;
    session_trace(carrier->session, carrier_trace);
    trace_tell(&carrier->seat, path, carrier->host, "watched", str_of(session_doing(carrier->session)));
}

static void carrier_trace_end(struct carrier *carrier, const struct verdict *why)
{
    struct str text = why->outcome == VERDICT_NONE ? STR("") : str_make(why->text, why->text_size);
    trace_tell(&carrier->seat, carrier->pool->path, carrier->host, "closed", text);
    carrier_unwatch(carrier);
}

/* ---- its end ---- */

static void carrier_forgo_chunks(const struct carrier *carrier, const struct verdict *why)
{
    struct path *path = carrier->pool->path;
    if (!host_is_by_data(path->router, &carrier->address))
        log_warn("%s: messages go there by DATA from now on: %.*s", path_site(path), (int)why->text_size,
                 why->text);
    host_set_by_data(path->router, &carrier->address);
    loan_tell_host(path, &carrier->address);
}

static void carrier_closed(struct session *session, const struct verdict *why, struct now now)
{
    struct carrier *carrier = session_owner(session);
    struct pool *pool = carrier->pool;
    struct path *path = pool->path;
    (void)now;
    bool of_use = carrier->ready && session_carried(session) > 0;
    enum path_end end = PATH_END_FINE;
    enum tls_fault fault = carrier->ready ? TLS_FAULT_NONE : session_tls_fault(session);
    tally_failure(pool, &carrier->demand, carrier->host, fault);
    carrier_set_idle(carrier, false);
    carrier->over = true;
    if (session_miscounts(session))
        carrier_forgo_chunks(carrier, why);
    if (carrier->seat.trace != NULL)
        carrier_trace_end(carrier, why);
    if (why->outcome != VERDICT_NONE && !of_use)
        end = carrier_failed(carrier, why, fault);
    path_connection_over(path, carrier->ready, end);
    if (!carrier->ready)
        pool->connecting--;
    pool->open--;
    TAILQ_REMOVE(&pool->carriers, carrier, all);
    pool_touch(pool);
    path_serve(path);
    path_serve_line(path->router);
    renew_session_over(path->router, carrier->began);
    session_free(session);
    carrier_free(carrier);
}

static const struct session_handlers carrier_handlers = {
    .next = carrier_pull,
    .done = carrier_done,
    .judge = carrier_judge,
    .ready = carrier_ready,
    .closed = carrier_closed,
};

/* There was not so much as a socket. */
static void carrier_not_begun(const struct carrier *carrier, const struct err *err)
{
    struct pool *pool = carrier->pool;
    struct path *path = pool->path;
    struct verdict why;
    switch (err->code) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        path_ran_short(path, pool, err);
        return;
    default:
        verdict_local(&why, SCOPE_HOST, STATUS(4, 4, 1), "%s", err->text);
        host_failed(path->router, &carrier->address, path->settings);
        pool_target_failed(pool, &why);
    }
}

bool carrier_open(struct pool *pool, const struct target *target)
{
    struct path *path = pool->path;
    struct router *router = path->router;
    struct err err;
    struct carrier *carrier = calloc(1, sizeof *carrier);
    if (carrier == NULL) {
        err_set(&err, ENOMEM, "no memory for a connection to %s", path_site(path));
        path_ran_short(path, pool, &err);
        return false;
    }
    if (!path_connecting(path)) { /* another worker has just taken the place: looked at again soon */
        path_wait(path, pool);
        path_wake_at(path, router->now.mono_ns + LOAN_WAIT_MS * NS_PER_MS);
        free(carrier);
        return false;
    }
    carrier->pool = pool;
    carrier->opened_ns = router->now.mono_ns;
    carrier->began = router->renewed;
    carrier->hosts = dns_mx_ref(pool->hosts);
    carrier->host = carrier->hosts->hosts[target->host].name;
    carrier->address = target->address;
    secure_demand(pool, target, &carrier->demand);
    carrier->tally = tally_wanted(pool, &carrier->demand);
    const struct config_source *source = &path->source;
    carrier->session = session_create(
        &router->session_context, &path->session, &carrier_handlers, carrier, carrier->host,
        source->address_len ? (const struct sockaddr *)&source->address_value : NULL, source->address_len,
        (const struct sockaddr *)&carrier->address, target->len, &carrier->demand, &pool->way, &err);
    if (carrier->session == NULL) {
        path_connection_over(path, false, PATH_END_FINE);
        carrier_not_begun(carrier, &err);
        carrier_free(carrier);
        return false;
    }
    if (host_is_by_data(router, &carrier->address))
        session_use_data(carrier->session);
    TAILQ_INSERT_TAIL(&pool->carriers, carrier, all);
    pool->open++;
    pool->connecting++;
    if (__builtin_expect(router->trace_count > 0, 0))
        carrier_watch(carrier);
    return true;
}

struct carrier *carrier_next(struct carrier *carrier)
{
    return TAILQ_NEXT(carrier, all);
}

void carrier_stop(struct carrier *carrier, bool hard)
{
    if (carrier->over)
        return;
    carrier->stopping = true;
    carrier_set_idle(carrier, false);
    session_stop(carrier->session, hard);
}

void carrier_trim(struct pool *pool, unsigned most)
{
    struct carrier *carrier, *next;
    for (int idle = 1; idle >= 0; idle--)
        for (carrier = TAILQ_FIRST(&pool->carriers); carrier != NULL; carrier = next) {
            next = TAILQ_NEXT(carrier, all);
            if (most == 0)
                return;
            if (carrier->is_idle == (idle == 1) && !carrier->stopping) {
                carrier_stop(carrier, false);
                most--;
            }
        }
}

void carrier_kick_idle(struct pool *pool)
{
    struct carrier *carrier = TAILQ_FIRST(&pool->idlers);
    if (carrier == NULL)
        return;
    carrier_set_idle(carrier, false);
    session_kick(carrier->session);
}

struct carrier *carrier_longest_idle(struct router *router, const struct path *path, const struct pool *but)
{
    struct carrier *carrier;
    unsigned looked_at = 0;
    TAILQ_FOREACH(carrier, &router->idlers, lru)
    {
        if (carrier->pool != but && (path == NULL || carrier->pool->path == path) && carrier_may_go(carrier))
            return carrier;
        if (++looked_at == IDLERS_LOOKED_AT)
            return NULL;
    }
    return NULL;
}
