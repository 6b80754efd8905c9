/* daemon.c - see daemon.h. */
#include "tests/sim/daemon.h"

#include "engine/report/reporter.h"
#include "engine/setup.h"
#include "engine/worker.h"
#include "tests/sim/book.h"
#include "tests/sim/events.h"
#include "tests/sim/faults.h"
#include "tests/sim/files.h"
#include "tests/sim/late.h"
#include "tests/sim/net.h"
#include "tests/sim/plan.h"
#include "tests/sim/ring.h"
#include "tests/sim/sim.h"
#include "tests/sim/zone.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define WORKERS_MAX 8
#define STOP_MAX_NS (120 * NS_PER_S)
#define QUIET_NS    (3 * NS_PER_S) /* after which the store has written all it was given */
#define STEPS_MAX   20000000
#define POSTS_MAX   1000000 /* of one step; each takes memory */
#define DOZE_NS     (60 * NS_PER_S)

/* Its threads: workers from 0 on, then these. */
enum { WRITER = WORKERS_MAX, TAKER, REPORTER, THREADS };
struct thread {
    bool runs, roused;
    int64_t next_ns, late_until_ns;
};

static struct {
    char directory[FILES_PATH_MAX];
    struct config *config;
    struct setup *setup;
    struct store *store;
    struct fleet *fleet;
    struct inbound *inbound;
    struct reporter *reporter;
    struct worker *workers[WORKERS_MAX];
    struct thread threads[THREADS];
    unsigned posts; /* by the step that runs */
    bool stopping;
    uint64_t seq;
} postriderd;

struct store *daemon_store(void)
{
    return postriderd.store;
}

struct fleet *daemon_fleet(void)
{
    return postriderd.fleet;
}

struct inbound *daemon_inbound(void)
{
    return postriderd.inbound;
}

bool daemon_is_steady(void)
{
    return postriderd.fleet != NULL && !postriderd.stopping;
}

/* ---- up ---- */

static void configure(void)
{
    struct buf text, errors;
    char path[FILES_PATH_MAX + 32];
    buf_init(&text, 1 << 20);
    buf_init(&errors, CONFIG_ERRORS_MAX);
    plan_configure(postriderd.directory, &text);
    snprintf(path, sizeof path, "%s/postrider.yaml", postriderd.directory);
    files_write(path, buf_str(&text));
    if (sim.telling)
        fprintf(stderr, "%.*s", (int)text.len, text.data);
    if (!config_load(path, &postriderd.config, &errors))
        sim_fail("plan", "the configuration is refused: %.*s\n%.*s", (int)errors.len, errors.data,
                 (int)text.len, text.data);
    buf_free(&text);
    buf_free(&errors);
}

static void thread_begin(unsigned number)
{
    postriderd.threads[number] = (struct thread){.runs = true, .roused = true, .next_ns = sim.now.mono_ns};
}

static void up(void)
{
    struct err err = {0};
    configure();
    const struct store_settings settings = {
        .directory = postriderd.directory,
        .max_size = postriderd.config->queue.max_size,
        .reserve = postriderd.config->queue.reserve,
        .lifetime_ms = postriderd.config->queue.lifetime_ms,
        .delay_warning_ms = postriderd.config->queue.delay_warning_ms,
        .retain_ms = postriderd.config->queue.retain_ms,
        .hold_ms = plan.hold_ms,
        .give_max = GIVEN_MAX,
        .workers = plan.workers,
        .events_max = postriderd.config->queue.events_max,
    };
    memset(postriderd.threads, 0, sizeof postriderd.threads);
    postriderd.stopping = false;
    postriderd.seq = UINT64_MAX; /* its log is not read yet */
    rings_begin();
    postriderd.setup = setup_create(postriderd.config, NULL, &err);
    postriderd.store = store_open(&settings, sim.now, &err);
    if (postriderd.setup == NULL || postriderd.store == NULL)
        sim_fail("start", "the store does not open: %s", err.text);
    postriderd.inbound = inbound_create(postriderd.store);
    if (postriderd.inbound == NULL)
        sim_fail("start", "no memory for what comes back");
    const struct fleet_parts parts = {postriderd.store, postriderd.setup, NULL, plan.workers};
    postriderd.fleet = fleet_create(&parts, &err);
    if (postriderd.fleet == NULL)
        sim_fail("start", "the fleet does not start: %s", err.text);
    for (unsigned i = 0; i < plan.workers; i++) {
        postriderd.workers[i] = fleet_open(postriderd.fleet, i, sim.now, &err);
        if (postriderd.workers[i] == NULL)
            sim_fail("start", "a worker does not start: %s", err.text);
        thread_begin(i);
    }
    postriderd.reporter = reporter_create(postriderd.store, postriderd.config, &err);
    if (postriderd.reporter == NULL)
        sim_fail("start", "the reporter does not start: %s", err.text);
    thread_begin(WRITER);
    thread_begin(TAKER);
    thread_begin(REPORTER);
    trace("postriderd is up");
}

void daemon_begin(void)
{
    files_make_directory(postriderd.directory);
    up();
}

void daemon_end(void)
{
    files_remove(postriderd.directory);
}

/* ---- its threads ---- */

void daemon_rouse_workers(void)
{
    for (unsigned i = 0; i < plan.workers; i++)
        postriderd.threads[i].roused = true;
}

void daemon_rouse(const struct inbox *inbox)
{
    if (++postriderd.posts > POSTS_MAX)
        sim_fail("drain", "a step posts %u messages and has no end", POSTS_MAX);
    for (unsigned i = 0; postriderd.fleet != NULL && i < plan.workers; i++)
        if (fleet_inbox(postriderd.fleet, i) == inbox) {
            postriderd.threads[i].roused = true;
            return;
        }
    postriderd.threads[WRITER].roused = true; /* it is one of the store's */
    postriderd.threads[TAKER].roused = true;
}

static int64_t thread_next_ns(unsigned number)
{
    const struct thread *thread = &postriderd.threads[number];
    if (!thread->runs)
        return INT64_MAX;
    int64_t next_ns = thread->roused          ? sim.now.mono_ns
                      : number < plan.workers ? ring_next_ns(number)
                                              : thread->next_ns;
    return next_ns > thread->late_until_ns ? next_ns : thread->late_until_ns;
}

static void look_at_events(void)
{
    if (sim.deaf || store_event_seq(postriderd.store) == postriderd.seq)
        return;
    postriderd.seq = store_event_seq(postriderd.store);
    book_read_events(postriderd.store);
}

static void thread_step(unsigned number)
{
    struct thread *thread = &postriderd.threads[number];
    if (fault_now(FAULT_LATE_THREAD, 500)) {
        thread->late_until_ns =
            sim.now.mono_ns + sim_between(DICE_ORDER, 1, sim_once_in(DICE_ORDER, 4) ? 1500 : 20) * NS_PER_MS;
        return;
    }
    thread->roused = false;
    postriderd.posts = 0;
    switch (number) {
    case WRITER:
        thread->next_ns = store_write_step(postriderd.store, sim.now);
        look_at_events();
        break;
    case TAKER:
        thread->next_ns = store_take_step(postriderd.store, sim.now);
        break;
    case REPORTER:
        thread->next_ns = reporter_step(postriderd.reporter, sim.now);
        break;
    default:
        thread->runs = worker_step(postriderd.workers[number], sim.now, INT64_MAX);
    }
    sim_go_to(sim.now.mono_ns + sim_between(DICE_ORDER, 1, 30) * 1000);
    if (++sim.steps > STEPS_MAX)
        sim_fail("drain", "%u steps and no end", STEPS_MAX);
}

/* While nobody is connected, who only looks whether something has come may look later. */
static int64_t doze(int64_t next_ns)
{
    int64_t until_ns = sim.now.mono_ns + DOZE_NS;
    if (!plan.dozes || postriderd.stopping || net_links() > 0 || zone_asks() > 0)
        return next_ns;
    for (unsigned i = WRITER; i <= TAKER; i++)
        until_ns = thread_next_ns(i) < until_ns ? thread_next_ns(i) : until_ns;
    until_ns = events_next_ns() < until_ns ? events_next_ns() : until_ns;
    return until_ns > next_ns ? until_ns : next_ns;
}

bool daemon_go_on(int64_t until_ns)
{
    unsigned ready[THREADS], n = 0;
    int64_t next_ns = events_next_ns();
    if (next_ns <= sim.now.mono_ns && sim_once_in(DICE_ORDER, 2))
        return events_run_one();
    for (unsigned i = 0; i < THREADS; i++) {
        int64_t thread_ns = thread_next_ns(i);
        if (thread_ns <= sim.now.mono_ns)
            ready[n++] = i;
        next_ns = thread_ns < next_ns ? thread_ns : next_ns;
    }
    if (n > 0) {
        thread_step(ready[sim_below(DICE_ORDER, n)]);
        return true;
    }
    if (events_run_one())
        return true;
    next_ns = doze(next_ns);
    if (next_ns == INT64_MAX && until_ns == INT64_MAX)
        return false;
    sim_go_to(next_ns < until_ns ? next_ns : until_ns);
    return true;
}

/* ---- down ---- */

static bool workers_run(void)
{
    bool any = false;
    for (unsigned i = 0; i < plan.workers; i++)
        any |= postriderd.threads[i].runs;
    return any;
}

static void wait_for_reporter(int64_t until_ns)
{
    while (reporter_is_busy(postriderd.reporter))
        if (sim.now.mono_ns > until_ns || !daemon_go_on(until_ns))
            sim_fail("stop", "the reporter's commit does not end");
    postriderd.threads[REPORTER].runs = false;
}

static void down(void)
{
    int64_t until_ns = sim.now.mono_ns + STOP_MAX_NS;
    postriderd.stopping = true;
    wait_for_reporter(until_ns);
    fleet_tell_stop(postriderd.fleet);
    while (workers_run())
        if (sim.now.mono_ns > until_ns || !daemon_go_on(until_ns + NS_PER_S))
            sim_fail("stop", "the workers do not end");
    for (int64_t quiet_ns = sim.now.mono_ns + QUIET_NS; sim.now.mono_ns < quiet_ns;)
        daemon_go_on(quiet_ns);
    reporter_destroy(postriderd.reporter);
    fleet_destroy(postriderd.fleet);
    postriderd.fleet = NULL;
    inbound_destroy(postriderd.inbound);
    store_close(postriderd.store);
    setup_unref(postriderd.setup);
    for (unsigned i = 0; i < THREADS; i++)
        postriderd.threads[i].runs = false;
    trace("postriderd is down");
}

void daemon_stop(void)
{
    down();
    book_stopped();
}

void daemon_restart(void)
{
    fault_count(FAULT_RESTARTED);
    daemon_stop();
    book_restarted();
    up();
}

void daemon_crash(void)
{
    char old[FILES_PATH_MAX];
    trace("postriderd crashes");
    memcpy(old, postriderd.directory, sizeof old);
    files_make_directory(postriderd.directory);
    files_copy(old, postriderd.directory, "fresh.log");
    files_copy(old, postriderd.directory, "data.mdb");
    book_crashed();
    late_crashed();
    sim.deaf = true;
    net_crash();
    down();
    sim.deaf = false;
    files_remove(old);
    book_restarted();
    up();
}
