/* worker.c - see worker.h. */
#include "engine/worker.h"

#include "engine/base/log.h"
#include "engine/dkim/dkim.h"
#include "engine/route/carrier.h"
#include "engine/route/evidence.h"
#include "engine/route/give_up.h"
#include "engine/route/handover.h"
#include "engine/route/hold.h"
#include "engine/route/host.h"
#include "engine/route/lane.h"
#include "engine/route/lane_held.h"
#include "engine/route/lane_line.h"
#include "engine/route/lane_sts.h"
#include "engine/route/loan.h"
#include "engine/route/look.h"
#include "engine/route/path.h"
#include "engine/route/path_learn.h"
#include "engine/route/pool.h"
#include "engine/route/recall.h"
#include "engine/route/remember.h"
#include "engine/route/renew.h"
#include "engine/route/sender_rate.h"
#include "engine/route/settle.h"
#include "engine/route/shipment.h"
#include "engine/route/source.h"
#include "engine/route/trace.h"
#include "engine/setup.h"
#include "engine/submission/door.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#define STEP_WAIT_MAX_NS (NS_PER_S / 2) /* figures are published at least so often */
#define STARVED_WAIT_NS  NS_PER_MS      /* room comes with commits, which nobody tells us of */
#define SWEEP_NS         (60 * NS_PER_S)

_Static_assert((int)DNS_DNSSEC_AUTO == CONFIG_DNSSEC_AUTO && (int)DNS_DNSSEC_NO == CONFIG_DNSSEC_NO,
               "the configuration's words are the resolver's");

struct worker {
    struct router router;
    struct inbox *inbox;
    struct door *door;  /* through which mail comes in over SMTP */
    int64_t stop_at_ns; /* when stopping: sessions are closed hard then; 0: not stopping */
    bool stopped_hard;
    struct wheel_timer sweep, tick;
    int64_t rate_at_ns; /* when rate_1m is worked out next */
    _Atomic unsigned sessions, sites;
    _Atomic uint64_t in_flight, buffered, delivered, deferred, failed, rate_1m;
};

static void worker_sweep(struct wheel_timer *timer, struct now now)
{
    struct worker *worker = (struct worker *)((char *)timer - offsetof(struct worker, sweep));
    path_sweep(&worker->router);
    wheel_set(&worker->router.wheel, timer, now.mono_ns + SWEEP_NS, worker_sweep);
}

static bool job_is_over(uint64_t job, void *user)
{
    const struct router *router = user;
    struct job_info info;
    return !query_job(router->store, job, &info) || info.ended_ms != 0;
}

/* The first worker looks after what all share. */
static void worker_tend_shared(struct router *router)
{
    struct edits *edits = remember_edits(router);
    int64_t next_ms;
    if (router->index != 0)
        return;
    if (edits != NULL)
        evidence_save(router->evidence, edits, router->now.wall_ms);
    if (router->held->count == 0)
        return;
    holds_end_jobs(router->holds, job_is_over, router);
    if (holds_expire(router->holds, router->now.wall_ms, &next_ms) > 0)
        store_look_again(router->store);
}

/* What was learnt fades, and is written down. */
static void worker_tick(struct wheel_timer *timer, struct now now)
{
    struct worker *worker = (struct worker *)((char *)timer - offsetof(struct worker, tick));
    path_learn_tick(&worker->router);
    sender_rates_tick(&worker->router);
    trace_tick(&worker->router);
    worker_tend_shared(&worker->router);
    wheel_set(&worker->router.wheel, timer, now.mono_ns + LEARNT_WRITE_MS * NS_PER_MS, worker_tick);
}

struct dns_settings worker_dns_settings(const struct config *config)
{
    return (struct dns_settings){
        .servers = config->dns.servers_joined,
        .timeout_ms = config->dns.timeout_ms,
        .ipv6 = config->dns.ipv6,
        .cache_max = DNS_CACHE_MAX,
        .dnssec = (enum dns_dnssec)config->dns.dnssec,
    };
}

struct worker *worker_create(const struct worker_settings *settings, struct now now, struct err *err)
{
    struct worker *worker = calloc(1, sizeof *worker);
    if (worker == NULL) {
        err_set(err, ENOMEM, "no memory for a worker");
        return NULL;
    }
    struct router *router = &worker->router;
    worker->inbox = settings->inboxes[settings->index];
    router->store = settings->store;
    router->setup = setup_ref(settings->setup);
    router->config = settings->setup->config;
    router->retry = settings->setup->retry;
    router->tenant_limits = settings->setup->tenant_limits;
    router->dkim = settings->setup->dkim;
    router->trusts = settings->setup->trusts;
    router->holds = settings->holds;
    router->held = holds_get(settings->holds);
    router->held_walked = router->held->generation;
    router->evidence = settings->evidence;
    router->sts = settings->sts;
    router->rpt = settings->rpt;
    router->signers = settings->signers;
    router->index = settings->index;
    router->worker_count = settings->worker_count;
    router->inboxes = settings->inboxes;
    router->sessions_max = settings->sessions_max;
    router->sessions_all = settings->sessions_all;
    router->lend_words = settings->lend_words;
    router->looked_ns = now.mono_ns;
    router->prng.state = settings->seed;
    router->now = now;
    lane_line_init(&router->starved);
    router->line_tail = &router->line;
    TAILQ_INIT(&router->idlers);
    TAILQ_INIT(&router->resting);
    TAILQ_INIT(&router->held_lanes);
    LIST_INIT(&router->learners);
    LIST_INIT(&router->signing);
    wheel_init(&router->wheel, now);
    const struct dns_settings dns = worker_dns_settings(router->config);
    router->io = io_create(settings->sessions_max, err);
    if (router->io != NULL)
        router->dns = dns_create(router->io, &router->wheel, &router->prng, &dns, err);
    if (router->dns != NULL)
        router->tls = tls_create(err);
    const struct door_settings door = {settings->submission, router->io,    &router->wheel, router->tls,
                                       &router->now,         worker->inbox, settings->index};
    if (router->tls != NULL)
        worker->door = door_create(&door, err);
    if (worker->door == NULL || !door_open(worker->door, err)) {
        worker_destroy(worker);
        return NULL;
    }
    router->session_context = (struct session_context){.io = router->io,
                                                       .wheel = &router->wheel,
                                                       .tls = router->tls,
                                                       .now = &router->now,
                                                       .turns = &router->turns};
    session_turns_init(&router->turns);
    wheel_set(&router->wheel, &worker->sweep, now.mono_ns + SWEEP_NS, worker_sweep);
    source_load(router);
    path_learn_load(router);
    sender_rates_load(router);
    worker_tick(&worker->tick, now);
    return worker;
}

/* ---- stopping ---- */

static void worker_stop_sessions(struct router *router, bool hard)
{
    for (struct path *path = router->paths; path != NULL; path = path->hh.next)
        for (struct pool *pool = path->pools; pool != NULL; pool = pool->hh.next) {
            struct carrier *carrier = TAILQ_FIRST(&pool->carriers), *next;
            for (; carrier != NULL; carrier = next) {
                next = carrier_next(carrier);
                carrier_stop(carrier, hard);
            }
        }
}

static void worker_stop(struct worker *worker)
{
    struct router *router = &worker->router;
    if (worker->stop_at_ns != 0)
        return;
    worker->stop_at_ns = router->now.mono_ns + router->config->stop_timeout_ms * NS_PER_MS;
    router->stopping = true;
    door_stop(worker->door, false);
    for (struct path *path = router->paths; path != NULL; path = path->hh.next)
        for (struct pool *pool = path->pools; pool != NULL; pool = pool->hh.next)
            pool_give_back(pool, NULL);
    lane_return_given(router);
    worker_stop_sessions(router, false);
    loan_stop(router);
}

/* ---- the inbox ---- */

static void worker_hear(struct worker *worker, struct inbox_node *node)
{
    struct router *router = &worker->router;
    switch (node->kind) {
    case STORE_LANE_READY:
        lane_announced(router, (struct store_lane_msg *)(void *)node);
        break;
    case STORE_GIVEN:
        lane_given(router, (struct store_given_msg *)(void *)node);
        break;
    case STORE_TAKEN:
        lane_filled(router, (struct store_taken_msg *)(void *)node);
        break;
    case STORE_DROP_JOB:
        lane_drop_job(router, ((struct store_drop_msg *)(void *)node)->job);
        break;
    case DOOR_CLIENT:
    case DOOR_VISITOR:
        door_hear(worker->door, node);
        return; /* a part of the client, or freed */
    case STORE_SUPPRESSED:
        recall_heard(router, (struct store_suppressed_msg *)(void *)node);
        return; /* kept for a while */
    case STORE_BOUNCE:
        give_up_heard(router, (struct store_bounce_msg *)(void *)node);
        return; /* likewise */
    case HANDOVER_LANE:
        lane_handed_over(router, (struct lane_handover *)(void *)node);
        break;
    case HANDOVER_SIGNED:
        lane_signed(router, (struct sign_request *)(void *)node);
        break;
    case HANDOVER_LOOK:
        look_answer((struct look *)(void *)node, router);
        return; /* freed by whoever lets go of it last */
    case HANDOVER_STS:
        lane_sts_answered(node);
        return;
    case HANDOVER_HOLDS:
        lane_hear_holds(router);
        break;
    case HANDOVER_STOP:
        worker_stop(worker);
        break;
    case HANDOVER_LOAN_OFFER:
    case HANDOVER_LOAN_WANT:
    case HANDOVER_LOAN_BATCH:
    case HANDOVER_LOAN_BACK:
    case HANDOVER_LOAN_NEWS:
    case HANDOVER_LOAN_LESSON:
    case HANDOVER_LOAN_DROP:
        loan_hear(router, node);
        break;
    default:
        log_error("a worker got a message of unknown kind %u; please report this", node->kind);
    }
    free(node);
}

static void worker_publish(struct worker *worker)
{
    struct router *router = &worker->router;
    atomic_store_explicit(&worker->sessions, router->sessions, memory_order_relaxed);
    atomic_store_explicit(&worker->in_flight, router->in_flight, memory_order_relaxed);
    atomic_store_explicit(&worker->buffered, router->taken - router->in_flight, memory_order_relaxed);
    atomic_store_explicit(&worker->delivered, router->figures.delivered, memory_order_relaxed);
    atomic_store_explicit(&worker->deferred, router->figures.deferred, memory_order_relaxed);
    atomic_store_explicit(&worker->failed, router->figures.failed, memory_order_relaxed);
    atomic_store_explicit(&worker->sites, router->site_count, memory_order_relaxed);
    if (router->now.mono_ns >= worker->rate_at_ns) { /* once a second */
        worker->rate_at_ns = router->now.mono_ns + NS_PER_S;
        atomic_store_explicit(&worker->rate_1m, path_rates_1m(router), memory_order_relaxed);
    }
}

bool worker_step(struct worker *worker, struct now now, int64_t wait_ns)
{
    struct router *router = &worker->router;
    router->now = now;
    bool turns_left = session_turns_run(&router->turns);
    io_run(router->io); /* what the last step waited for: now, so that its callbacks see the time it is */
    for (struct inbox_node *node = inbox_take(worker->inbox), *next; node != NULL; node = next) {
        next = node->next;
        worker_hear(worker, node);
    }
    wheel_run(&router->wheel, now);
    dns_step(router->dns, now);
    loan_look(router);
    pool_run_touched(router);
    settle_flush(router);
    give_up_look(router);
    remember_flush(router);
    lane_feed_starved(router);
    lane_reap(router);
    if (worker->stop_at_ns != 0) {
        if (router->sessions == 0 && router->taken == 0 && router->asked == 0 && loan_none_left(router) &&
            door_is_empty(worker->door)) {
            path_learn_tick(router);
            sender_rates_tick(router);
            remember_flush(router);
            atomic_store(&router->lend_words[router->index].gone, true);
            return false;
        }
        if (now.mono_ns >= worker->stop_at_ns && !worker->stopped_hard) {
            worker->stopped_hard = true;
            worker_stop_sessions(router, true);
            door_stop(worker->door, true);
        }
    }
    worker_publish(worker);
    int64_t next_ns = wheel_next_ns(&router->wheel);
    if (next_ns - now.mono_ns < wait_ns)
        wait_ns = next_ns - now.mono_ns;
    if (wait_ns > STEP_WAIT_MAX_NS)
        wait_ns = STEP_WAIT_MAX_NS;
    if (lane_line_first(&router->starved) != NULL && wait_ns > STARVED_WAIT_NS)
        wait_ns = STARVED_WAIT_NS;
    if (wait_ns < 0 || dns_busy(router->dns) || router->touched != NULL || turns_left)
        wait_ns = 0;
    router->awake_ns += clock_now().mono_ns - now.mono_ns; /* of no other use: whether lending pays */
    io_wait(router->io, worker->inbox, wait_ns);
    return true;
}

void worker_destroy(struct worker *worker)
{
    if (worker == NULL)
        return;
    struct router *router = &worker->router;
    lane_return_given(router);
    lane_free_all(router);
    settle_flush(router);
    loan_free_all(router);
    recall_free(router);
    give_up_free(router);
    trace_leave_all(router);
    source_free(router);
    struct path *path, *next_path;
    HASH_ITER(hh, router->paths, path, next_path)
    {
        struct pool *pool, *next_pool;
        HASH_ITER(hh, path->pools, pool, next_pool)
        pool_free(pool);
        path_free(path);
    }
    sender_rates_free(router);
    shipment_free_spares(router);
    dkim_signer_destroy(router->signer);
    host_forget_all(router);
    edits_free(router->edits);
    hold_set_unref(router->held);
    if (worker->door)
        door_close(worker->door);
    if (router->dns)
        dns_destroy(router->dns);
    if (router->tls)
        tls_destroy(router->tls);
    if (router->io)
        io_destroy(router->io);
    door_free(worker->door);
    renew_end(router);
    free(worker);
}

void worker_read_figures(const struct worker *worker, struct worker_figures *figures)
{
    *figures = (struct worker_figures){
        .sessions = atomic_load_explicit(&worker->sessions, memory_order_relaxed),
        .sites = atomic_load_explicit(&worker->sites, memory_order_relaxed),
        .in_flight = atomic_load_explicit(&worker->in_flight, memory_order_relaxed),
        .buffered = atomic_load_explicit(&worker->buffered, memory_order_relaxed),
        .delivered = atomic_load_explicit(&worker->delivered, memory_order_relaxed),
        .deferred = atomic_load_explicit(&worker->deferred, memory_order_relaxed),
        .failed = atomic_load_explicit(&worker->failed, memory_order_relaxed),
        .rate_1m = atomic_load_explicit(&worker->rate_1m, memory_order_relaxed),
    };
}
