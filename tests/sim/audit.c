/* audit.c - see audit.h. */
#include "tests/sim/audit.h"

#include "tests/sim/book.h"
#include "tests/sim/sim.h"

#include <inttypes.h>

static const enum event_type end_events[RCPT_STATES] = {
    [RCPT_READY] = EVENT_TYPES,     [RCPT_DELIVERED] = EVENT_DELIVERED, [RCPT_BOUNCED] = EVENT_BOUNCED,
    [RCPT_EXPIRED] = EVENT_EXPIRED, [RCPT_CANCELLED] = EVENT_CANCELLED, [RCPT_SUPPRESSED] = EVENT_SUPPRESSED,
    [RCPT_DEFERRED] = EVENT_TYPES,
};

/* ---- recipients ---- */

static bool on_rcpt(const struct rcpt_info *info, void *user)
{
    unsigned *seen = user;
    const struct book_rcpt *rcpt = book_find(info->to);
    ++*seen;
    if (rcpt == NULL)
        sim_fail("states", "%.*s is in the queue, whom nobody has named", STR_ARG(info->to));
    if (end_events[info->state] != rcpt->last || !rcpt->ended || info->claimed)
        sim_fail("states", "r%u.j%u is %s%s, and its last event is %s", rcpt->number, rcpt->job,
                 rcpt_state_name(info->state), info->claimed ? " and with a worker" : "",
                 event_type_name(rcpt->last));
    if (!rid_eq(info->rid, rcpt->rid))
        sim_fail("states", "r%u.j%u has two names", rcpt->number, rcpt->job);
    return true;
}

/* What the events say of a job, by state. */
static void count_events(unsigned number, uint64_t counts[RCPT_STATES])
{
    memset(counts, 0, RCPT_STATES * sizeof *counts);
    for (unsigned r = 0; r < plan.job[number].rcpts; r++) {
        const struct book_rcpt *rcpt = &book_jobs[number].rcpts[r];
        unsigned state = RCPT_READY;
        while (rcpt->ended && end_events[state] != rcpt->last)
            state++;
        counts[!rcpt->ended && rcpt->last == EVENT_DEFERRED ? RCPT_DEFERRED : state]++;
    }
}

/* Of a job that came in several commits, who begins as suppressed is told of by a timer, in a commit to come:
 * a crash may fall between. */
static void await_suppressed(const struct job_info *info, uint64_t counts[RCPT_STATES])
{
    uint64_t told = counts[RCPT_SUPPRESSED], all = info->by_state[RCPT_SUPPRESSED];
    if (told < all && counts[RCPT_READY] >= all - told) {
        counts[RCPT_READY] -= all - told;
        counts[RCPT_SUPPRESSED] = all;
    }
}

/* at_end: nothing is to come any more. False: it is purged. */
static bool audit_counts(struct store *store, unsigned number, bool at_end, struct job_info *info)
{
    uint64_t counts[RCPT_STATES];
    if (!query_job(store, book_jobs[number].id, info)) {
        if (!book_is_purged(number))
            sim_fail("states", "job %u is gone", number);
        return false;
    }
    count_events(number, counts);
    if (!at_end)
        await_suppressed(info, counts);
    for (unsigned state = 0; state < RCPT_STATES; state++)
        if (info->by_state[state] != counts[state])
            sim_fail("counts", "job %u counts %" PRIu64 " %s, and its events %" PRIu64, number,
                     info->by_state[state], rcpt_state_name((enum rcpt_state)state), counts[state]);
    if (info->total != plan.job[number].rcpts)
        sim_fail("counts", "job %u has %" PRIu64 " recipients of %u", number, info->total,
                 plan.job[number].rcpts);
    return true;
}

void audit_jobs(struct store *store)
{
    static struct job_info info;
    for (unsigned i = 0; i < plan.jobs; i++) /* what was accepted is in the tables once it was asked for */
        if (book_jobs[i].state == BOOK_ACCEPTED)
            query_job(store, book_jobs[i].id, &info);
    book_read_events(store);
    for (unsigned i = 0; i < plan.jobs; i++)
        if (book_jobs[i].state == BOOK_ACCEPTED)
            audit_counts(store, i, false, &info);
}

static void audit_job(struct store *store, unsigned number, uint64_t sums[RCPT_STATES])
{
    static struct job_info info;
    const struct book_job *job = &book_jobs[number];
    const struct rcpt_filter all = {0};
    struct rid after = {0};
    unsigned seen = 0, rcpts = plan.job[number].rcpts;
    uint64_t counts[RCPT_STATES];
    count_events(number, counts);
    for (unsigned state = 0; state < RCPT_STATES; state++)
        sums[state] += counts[state];
    if (!audit_counts(store, number, true, &info))
        return;
    if (info.state != JOB_ENDED && !job->cancelled)
        sim_fail("counts", "job %u has ended, and is in state %d", number, (int)info.state);
    while (query_job_rcpts(store, job->id, &all, &after, on_rcpt, &seen))
        continue;
    if (seen != rcpts)
        sim_fail("states", "job %u lists %u recipients of %u", number, seen, rcpts);
    for (unsigned r = 0; r < rcpts; r++)
        if (job->rcpts[r].events[EVENT_ACCEPTED] != 1)
            sim_fail("events", "r%u.j%u has %u events that say it was accepted", r, number,
                     job->rcpts[r].events[EVENT_ACCEPTED]);
}

/* ---- reports ---- */

static void audit_reports(unsigned number, uint64_t *reports)
{
    const struct book_job *job = &book_jobs[number];
    *reports += job->reports_accepted;
    if (job->reports_accepted != job->reports_ended)
        sim_fail("drain", "of %u reports about job %u only %u have ended", job->reports_accepted, number,
                 job->reports_ended);
    if (plan.job[number].bounces != BOUNCES_DSN || plan.job[number].null_sender || !job->reports_are_whole ||
        job->reports_murky || book_is_purged(number))
        return;
    for (unsigned r = 0; r < plan.job[number].rcpts; r++)
        if (job->rcpts[r].last == EVENT_BOUNCED && job->rcpts[r].report == 0)
            sim_fail("report", "r%u.j%u has failed, and no report says so", r, number);
}

/* ---- sums ---- */

static bool on_lane(const struct lane_info *lane, void *user)
{
    uint64_t *sums = user;
    if (lane->ready > 0 || lane->deferred > 0)
        sim_fail("counts", "the lane to %s still counts %" PRIu64 " ready and %" PRIu64 " deferred",
                 lane->domain, lane->ready, lane->deferred);
    sums[RCPT_DELIVERED] += lane->delivered;
    sums[RCPT_BOUNCED] += lane->bounced;
    sums[RCPT_EXPIRED] += lane->expired;
    sums[RCPT_CANCELLED] += lane->cancelled;
    sums[RCPT_SUPPRESSED] += lane->suppressed;
    return true;
}

void audit(struct store *store)
{
    uint64_t sums[RCPT_STATES] = {0}, lanes[RCPT_STATES] = {0}, reports = 0, all = 0, of_lanes = 0;
    struct store_figures figures;
    uint32_t lane = 0;
    for (unsigned i = 0; i < plan.jobs; i++) {
        audit_job(store, i, sums);
        audit_reports(i, &reports);
        all += plan.job[i].rcpts;
    }
    store_figures(store, &figures);
    if (figures.queued != 0 || figures.deferred != 0 || figures.claimed != 0 || figures.jobs != 0)
        sim_fail("counts",
                 "all have ended, and the store counts %" PRIu64 " queued, %" PRIu64 " deferred, %" PRIu64
                 " claimed, %" PRIu64 " jobs",
                 figures.queued, figures.deferred, figures.claimed, figures.jobs);
    if (figures.accepted != all + reports)
        sim_fail("counts", "the store counts %" PRIu64 " accepted, of %" PRIu64 " and %" PRIu64 " reports",
                 figures.accepted, all, reports);
    uint64_t ended =
        figures.delivered + figures.bounced + figures.expired + figures.cancelled + figures.suppressed;
    if (ended != figures.accepted || figures.cancelled != sums[RCPT_CANCELLED] ||
        figures.suppressed < sums[RCPT_SUPPRESSED] || figures.delivered < sums[RCPT_DELIVERED])
        sim_fail("counts", "the store's counts by state are not those of the events");
    while (query_lanes(store, &lane, on_lane, lanes))
        continue;
    for (unsigned state = 0; state < RCPT_STATES; state++)
        of_lanes += lanes[state];
    if (of_lanes != all + reports || lanes[RCPT_CANCELLED] != sums[RCPT_CANCELLED])
        sim_fail("counts", "the lanes count %" PRIu64 " ends, of %" PRIu64 " and %" PRIu64 " reports",
                 of_lanes, all, reports);
}
