/* drive.c - see drive.h: the acts. Jobs are offered in drive_jobs.c. */
#include "tests/sim/drive.h"

#include "engine/steer.h"
#include "queue/edit.h"
#include "tests/sim/audit.h"
#include "tests/sim/book.h"
#include "tests/sim/daemon.h"
#include "tests/sim/drive_jobs.h"
#include "tests/sim/events.h"
#include "tests/sim/faults.h"
#include "tests/sim/host.h"
#include "tests/sim/sim.h"
#include "tests/sim/zone.h"

#include <inttypes.h>
#include <stdio.h>

#define ACTS_MAX    16
#define CRASHES_MAX 4 /* at a bad time, a seed */
#define LATER_NS    NS_PER_S
#define FORWARD_MAX (6 * HOUR_MS)
#define BACK_MAX    HOUR_MS

/* An act: of people who may do it once more, or undo it later. */
struct act {
    void (*run)(struct act *act);
    enum fault fault;
    unsigned job;
    bool undo;
};
static struct act acts[ACTS_MAX + 1];
static struct act crashes[CRASHES_MAX]; /* those that come at a bad time */
static unsigned crashes_left;
static bool busy; /* the daemon is being asked: nothing else may happen to it meanwhile */

static void on_act(void *owner, const void *bytes, size_t n)
{
    struct act *act = owner;
    (void)bytes;
    (void)n;
    if (sim.calm)
        return;
    if (busy || !daemon_is_steady()) {
        events_at(sim.now.mono_ns + LATER_NS, on_act, act, NULL, 0);
        return;
    }
    busy = true;
    act->run(act);
    busy = false;
}

static void undo_later(struct act *act)
{
    act->undo = true;
    events_at(sim.now.mono_ns + sim_between(DICE_DRIVE, 0, plan.horizon_ns / 2), on_act, act, NULL, 0);
}

/* ---- jobs ---- */

static void on_paused(const struct op_progress *progress, void *user)
{
    struct book_job *job = user;
    if (!sim.deaf && progress->done && progress->found && job->paused)
        book_hold(BOOK_PAUSED, book_number(job), true);
}

static void operate(struct book_job *job, enum op_kind kind, op_done *done)
{
    const struct store_filter filter = {.job = job->id};
    trace("operation %d on job %u", (int)kind, book_number(job));
    store_operate(daemon_store(), kind, &filter, 5000, done, job);
}

static void on_nothing(const struct op_progress *progress, void *user)
{
    (void)progress;
    (void)user;
}

static void act_pause(struct act *act)
{
    struct book_job *job = &book_jobs[act->job];
    if (job->state != BOOK_ACCEPTED)
        return;
    book_hold(BOOK_PAUSED, act->job, false);
    job->paused = !act->undo;
    operate(job, act->undo ? OP_RESUME : OP_PAUSE, on_paused);
    if (!act->undo) {
        fault_count(FAULT_PAUSED);
        undo_later(act);
    }
}

static void act_cancel(struct act *act)
{
    struct book_job *job = &book_jobs[act->job];
    if (job->state != BOOK_ACCEPTED)
        return;
    fault_count(FAULT_CANCELLED);
    job->cancelled = true;
    operate(job, OP_CANCEL, on_nothing);
}

static void act_retry(struct act *act)
{
    struct book_job *job = &book_jobs[act->job];
    if (job->state != BOOK_ACCEPTED)
        return;
    fault_count(FAULT_RETRIED);
    job->retried = true;
    job->retried_ms = sim.wall_high_ms;
    operate(job, OP_RETRY, on_nothing);
}

static void act_bounce(struct act *act)
{
    struct book_job *job = &book_jobs[act->job];
    if (job->state != BOOK_ACCEPTED)
        return;
    fault_count(FAULT_BOUNCED);
    job->bounced = true;
    operate(job, OP_BOUNCE, on_nothing);
}

/* ---- mail ---- */

static void act_suspend(struct act *act)
{
    const struct book_job *job = &book_jobs[act->job];
    const struct plan_job *from = &plan.job[act->job];
    const struct {
        struct steer_filter filter;
        enum book_held what;
        unsigned number;
    } ways[] = {
        {{.job = job->id}, BOOK_JOB_HELD, act->job},
        {{.tenant = str_of(plan_tenant_name(from->tenant))}, BOOK_TENANT_HELD, from->tenant},
        {{.domain = str_of(plan.domain[from->first_domain].name)}, BOOK_DOMAIN_HELD, from->first_domain},
    };
    const size_t way = act->job % (sizeof ways / sizeof *ways);
    unsigned changed;
    if (job->state != BOOK_ACCEPTED)
        return;
    if (act->undo) {
        book_hold(ways[way].what, ways[way].number, false);
        steer_resume(daemon_fleet(), &ways[way].filter, &changed);
        return;
    }
    fault_count(FAULT_SUSPENDED);
    trace("mail of job %u, its tenant or its domain is suspended", act->job);
    if (steer_suspend(daemon_fleet(), &ways[way].filter, sim.now, &changed) == STEER_OK)
        book_hold(ways[way].what, ways[way].number, true);
    undo_later(act);
}

static void act_suppress(struct act *act)
{
    char address[64];
    unsigned rcpt = (unsigned)sim_below(DICE_DRIVE, plan.job[act->job].rcpts);
    struct edits *edits = edits_create();
    if (edits == NULL)
        return;
    fault_count(FAULT_SUPPRESSED);
    book_address(act->job, rcpt, address);
    book_jobs[act->job].rcpts[rcpt].suppressed = true;
    trace("%s is suppressed", address);
    const struct suppression suppression = {
        .address = str_of(address), .reason = STR("sim"), .source = STR("api"), .added_ms = sim.now.wall_ms};
    edits_suppress(edits, &suppression);
    store_edit(daemon_store(), edits, NULL, NULL);
}

static void act_slow_site(struct act *act)
{
    static const enum steer_site ways[] = {STEER_BACK_OFF, STEER_NORMAL, STEER_RESET};
    char site[16];
    unsigned changed = 0;
    snprintf(site, sizeof site, "s%u%s", 1 + act->job % PLAN_SITES_MAX,
             act->job % PLAN_SITES_MAX < plan.sites - 1 ? "" : ".example");
    fault_count(FAULT_SITE_SLOWED);
    steer_site(daemon_fleet(), site, act->undo ? STEER_NORMAL : ways[sim_below(DICE_DRIVE, 3)], &changed);
    trace("site %s is steered: %u paths", site, changed);
    if (!act->undo)
        undo_later(act);
}

/* ---- the machine ---- */

static void act_crash(struct act *act)
{
    if (act->fault == FAULT_CRASHED)
        fault_count(FAULT_CRASHED);
    drive_jobs_lost();
    daemon_crash();
    drive_jobs_found();
    audit_jobs(daemon_store());
}

void drive_crash_soon(unsigned once_in)
{
    if (crashes_left == 0 || !fault_now(FAULT_CRASHED, once_in))
        return;
    crashes_left--;
    crashes[crashes_left] = (struct act){.run = act_crash, .fault = FAULTS};
    int64_t ns = sim_once_in(DICE_DRIVE, 2) ? 0 : sim_between(DICE_DRIVE, 0, 300) * NS_PER_MS;
    events_at(sim.now.mono_ns + ns, on_act, &crashes[crashes_left], NULL, 0);
}

static void act_restart(struct act *act)
{
    if (drive_jobs_are_with_store()) { /* who stops the daemon has its API answer first */
        events_at(sim.now.mono_ns + 10 * NS_PER_MS, on_act, act, NULL, 0);
        return;
    }
    daemon_restart();
    audit_jobs(daemon_store());
}

static void act_clock(struct act *act)
{
    bool back = act->fault == FAULT_CLOCK_BACK;
    int64_t ms = sim_between(DICE_DRIVE, 1, back ? BACK_MAX : FORWARD_MAX);
    fault_count(act->fault);
    trace("the clock is set by %" PRId64 " ms", back ? -ms : ms);
    sim_jump(back ? -ms : ms);
    daemon_rouse_workers();
}

static void act_change_mx(struct act *act)
{
    (void)act;
    zone_change((unsigned)sim_below(DICE_DRIVE, plan.domains));
}

static void act_host_down(struct act *act)
{
    unsigned host = (unsigned)sim_below(DICE_DRIVE, plan.hosts);
    (void)act;
    fault_count(FAULT_HOST_DOWN);
    trace("%s is down", plan.host[host].name);
    host_take_down(host, sim_between(DICE_DRIVE, 1, 3600) * NS_PER_S);
}

/* A day is longer than most runs, and than the life of most mail: it ends when all is calm. */
static void act_all_down(struct act *act)
{
    (void)act;
    fault_count(FAULT_ALL_DOWN);
    trace("all hosts are down");
    for (unsigned host = 0; host < plan.hosts; host++)
        host_take_down(host, 24 * 3600 * NS_PER_S);
}

static void act_dns_gone(struct act *act)
{
    (void)act;
    fault_count(FAULT_DNS_GONE);
    trace("the resolver is gone");
    zone_go_away(3600 * NS_PER_S);
}

/* ---- the end of it ---- */

/* Whatever was done by hand is undone, and the receivers are as they should be. */
static void act_calm(struct act *act)
{
    const struct steer_filter all = {.all = true};
    unsigned changed;
    (void)act;
    sim.calm = true;
    sim.calm_ns = sim.now.mono_ns;
    trace("all is calm");
    audit_jobs(daemon_store());
    book_release_all();
    for (unsigned i = 0; i < plan.jobs; i++) {
        book_jobs[i].paused = false;
        if (book_jobs[i].state == BOOK_ACCEPTED)
            operate(&book_jobs[i], OP_RESUME, on_nothing);
    }
    steer_resume(daemon_fleet(), &all, &changed);
}

static const struct {
    enum fault fault;
    void (*run)(struct act *act);
} kinds[] = {
    {FAULT_PAUSED, act_pause},          {FAULT_CANCELLED, act_cancel},  {FAULT_RETRIED, act_retry},
    {FAULT_BOUNCED, act_bounce},        {FAULT_SUSPENDED, act_suspend}, {FAULT_SUPPRESSED, act_suppress},
    {FAULT_SITE_SLOWED, act_slow_site}, {FAULT_CRASHED, act_crash},     {FAULT_RESTARTED, act_restart},
    {FAULT_CLOCK_FORWARD, act_clock},   {FAULT_CLOCK_BACK, act_clock},  {FAULT_MX_CHANGED, act_change_mx},
    {FAULT_HOST_DOWN, act_host_down},   {FAULT_ALL_DOWN, act_all_down}, {FAULT_DNS_GONE, act_dns_gone},
};
#define KINDS (sizeof kinds / sizeof *kinds)

void drive_begin(void)
{
    int64_t start_ns = sim.now.mono_ns;
    unsigned n = plan.fair ? 0 : (unsigned)sim_below(DICE_DRIVE, ACTS_MAX + 1);
    busy = false;
    crashes_left = CRASHES_MAX;
    drive_jobs_begin();
    for (unsigned i = 0; i < n; i++) {
        size_t kind = (size_t)sim_below(DICE_DRIVE, KINDS);
        if (!fault_is_on(kinds[kind].fault))
            continue;
        acts[i] = (struct act){.run = kinds[kind].run,
                               .fault = kinds[kind].fault,
                               .job = (unsigned)sim_below(DICE_DRIVE, plan.jobs)};
        events_at(start_ns + sim_between(DICE_DRIVE, 0, plan.horizon_ns), on_act, &acts[i], NULL, 0);
    }
    acts[ACTS_MAX] = (struct act){.run = act_calm};
    events_at(start_ns + plan.horizon_ns, on_act, &acts[ACTS_MAX], NULL, 0);
}

void drive_end(void)
{
    drive_jobs_end();
}

bool drive_is_done(void)
{
    return sim.calm && !busy && daemon_is_steady() && !drive_jobs_under_way();
}
