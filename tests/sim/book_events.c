/* book_events.c - what the event log says, against what hosts and the driver have seen. See book.h. */
#include "tests/sim/book.h"

#include "tests/sim/late.h"
#include "tests/sim/sim.h"
#include "tests/sim/zone.h"

#include <inttypes.h>

static uint64_t last_seq;

void book_events_begin(void)
{
    last_seq = 0;
}

static void check_delivered(const struct book_rcpt *rcpt)
{
    if (rcpt->landed == 0 && !rcpt->astray && !book_jobs[rcpt->job].astray)
        sim_fail("truth", "r%u.j%u is said to be delivered, and no host has taken it", rcpt->number,
                 rcpt->job);
}

static void check_bounced(const struct book_rcpt *rcpt, const struct event *event)
{
    const struct book_job *job = &book_jobs[rcpt->job];
    if (event->code >= 400 && !rcpt->was_refused && !job->mail_refused && !job->bounced && !rcpt->murky &&
        !job->murky)
        sim_fail("truth", "r%u.j%u is said to be refused with %u (%.*s), and no host has done so",
                 rcpt->number, rcpt->job, event->code, STR_ARG(event->reply));
    if (event->code == 0 && !job->bounced && !zone_was_gone(event->domain))
        sim_fail("truth", "r%u.j%u is said to have failed (%.*s), and its domain was always there",
                 rcpt->number, rcpt->job, STR_ARG(event->reply));
    if (rcpt->landed > 0 && rcpt->sure > 0 && !rcpt->murky)
        sim_fail("truth", "r%u.j%u is said to have failed, and the reply that it was taken had been read",
                 rcpt->number, rcpt->job);
}

/* A pause of the path (4.7) may be over by now; all others wait for their schedule. */
static void check_deferred(const struct book_rcpt *rcpt, const struct event *event)
{
    int64_t least_ms = plan.first_delay_ms * 89 / 100;
    if (event->status.class_ != 4)
        sim_fail("truth", "r%u.j%u is deferred with a status of class %u", rcpt->number, rcpt->job,
                 event->status.class_);
    if (event->status.subject != 7 && event->next_ms - event->time_ms < least_ms)
        sim_fail("early",
                 "r%u.j%u is to be tried again after %" PRId64 " ms (%.*s); the first delay is %" PRId64,
                 rcpt->number, rcpt->job, event->next_ms - event->time_ms, STR_ARG(event->reply),
                 plan.first_delay_ms);
}

static void check_end(const struct book_rcpt *rcpt, const struct event *event)
{
    const struct book_job *job = &book_jobs[rcpt->job];
    switch (event->type) {
    case EVENT_DELIVERED:
        check_delivered(rcpt);
        break;
    case EVENT_BOUNCED:
        check_bounced(rcpt, event);
        break;
    case EVENT_EXPIRED:
        if (job->expires_ms > sim.wall_high_ms + MS_PER_S)
            sim_fail("early", "r%u.j%u expires %" PRId64 " ms before its time", rcpt->number, rcpt->job,
                     job->expires_ms - sim.wall_high_ms);
        if (sim.calm && sim.now.mono_ns - sim.calm_ns > plan_drain_ms() * NS_PER_MS &&
            sim.now.wall_ms - job->not_before_ms > plan_drain_ms())
            sim_fail("drain", "r%u.j%u expires %.1f h after all was well", rcpt->number, rcpt->job,
                     (double)(sim.now.mono_ns - sim.calm_ns) / (double)(HOUR_MS * NS_PER_MS));
        break;
    case EVENT_CANCELLED:
        if (!job->cancelled)
            sim_fail("truth", "r%u.j%u is cancelled, which nobody has asked for", rcpt->number, rcpt->job);
        break;
    case EVENT_SUPPRESSED:
        if (!rcpt->suppressed)
            sim_fail("truth", "r%u.j%u is suppressed, which nobody has asked for", rcpt->number, rcpt->job);
        break;
    default:
        break;
    }
}

static bool is_end(enum event_type type)
{
    return type == EVENT_DELIVERED || type == EVENT_BOUNCED || type == EVENT_EXPIRED ||
           type == EVENT_CANCELLED || type == EVENT_SUPPRESSED;
}

static void rcpt_event(struct book_rcpt *rcpt, const struct event *event)
{
    const struct book_job *job = &book_jobs[rcpt->job];
    if (job->state == BOOK_REFUSED)
        sim_fail("accepted", "r%u.j%u has an event (%s), and its job was refused", rcpt->number, rcpt->job,
                 event_type_name(event->type));
    if (rcpt->named && !rid_eq(rcpt->rid, event->rid))
        sim_fail("once", "r%u.j%u is there twice, as two recipients", rcpt->number, rcpt->job);
    rcpt->rid = event->rid;
    rcpt->named = true;
    rcpt->events[event->type]++;
    if (event->type == EVENT_ACCEPTED && rcpt->events[EVENT_ACCEPTED] > 1)
        sim_fail("events", "r%u.j%u is accepted twice", rcpt->number, rcpt->job);
    if (event->type == EVENT_ACCEPTED || event->type == EVENT_DELAYED)
        return;
    if (rcpt->ended)
        sim_fail("ended", "r%u.j%u has an event (%s) after its end (%s)", rcpt->number, rcpt->job,
                 event_type_name(event->type), event_type_name(rcpt->last));
    rcpt->last = event->type;
    rcpt->last_ms = event->time_ms;
    rcpt->next_ms = event->next_ms;
    if (event->type == EVENT_DEFERRED)
        check_deferred(rcpt, event);
    if (!is_end(event->type))
        return;
    check_end(rcpt, event);
    rcpt->ended = true;
}

static void report_event(struct book_job *job, const struct event *event)
{
    const struct plan_job *from = &plan.job[book_number(job)];
    if (from->null_sender || event->from.n > 0)
        sim_fail("report", "a report about job %u, which has no sender to hear of it", book_number(job));
    if (event->type == EVENT_ACCEPTED)
        job->reports_accepted++;
    if (is_end(event->type)) {
        job->reports_ended++;
        job->reports_are_whole &= event->type == EVENT_DELIVERED;
    }
    if (event->type == EVENT_DELIVERED && job->reports_landed == 0 && !job->reports_murky)
        sim_fail("truth", "a report about job %u is said to be delivered, and no host has taken it",
                 book_number(job));
}

static bool on_event(const struct event *event, void *user)
{
    (void)user;
    if (event->type == EVENT_ALERT || event->rid.job == 0)
        return true;
    trace("event %" PRIu64 " %s %.*s %u %.*s, next in %" PRId64 " ms", event->seq,
          event_type_name(event->type), STR_ARG(event->to), event->code, STR_ARG(event->reply),
          event->next_ms ? event->next_ms - sim.now.wall_ms : 0);
    if (event->type == EVENT_BOUNCED_LATE) {
        late_event(event);
        return true;
    }
    struct book_rcpt *rcpt = book_find(event->to);
    struct book_job *job = book_find_sender(event->to);
    if (rcpt != NULL)
        rcpt_event(rcpt, event);
    else if (job != NULL)
        report_event(job, event);
    else
        sim_fail("truth", "an event (%s) is about %.*s, whom nobody has named", event_type_name(event->type),
                 STR_ARG(event->to));
    return true;
}

void book_read_events(struct store *store)
{
    while (store_event_seq(store) > last_seq) {
        uint64_t seq = query_events(store, last_seq, on_event, NULL);
        if (seq == last_seq)
            return;
        last_seq = seq;
    }
}
