/* store_compare_events.c - the event log; see store_compare.h. */
#include "tests/unit/store_compare.h"

/* ---- events ---- */

struct log_check {
    struct rig *rig;
    uint64_t last;
    size_t mark, page, in_page;
    bool good, again;
};

static bool event_one(struct log_check *log, const struct event *event)
{
    struct rig *rig = log->rig;
    char text[RID_TEXT_MAX];
    rid_format(event->rid, text);
    const char *type = event_type_name(event->type);
    CHECK(event->seq > log->last, "event %lld comes after %lld", (ll)event->seq, (ll)log->last);
    CHECK(log->again || event->seq == log->last + 1, "event %lld is missing", (ll)log->last + 1);
    log->last = event->seq;
    const struct model_job *job = model_job(&rig->model, event->rid.job);
    struct model_rcpt *rcpt = model_rcpt(&rig->model, event->rid);
    if (!job)
        return true; /* purged */
    CHECK(rcpt, "event %lld (%s) is of %s, which is not there", (ll)event->seq, type, text);
    size_t at = log->again ? rcpt->seen_again++ : rcpt->seen_events++;
    CHECK(at < rcpt->event_count, "event %lld: %s has %s too many", (ll)event->seq, text, type);
    const struct model_event *want = &rcpt->events[at];
    CHECK(event->type == want->type, "event %lld of %s is %s, not %s", (ll)event->seq, text, type,
          event_type_name(want->type));
    CHECK(str_eq(event->to, str_of(rcpt->to)) && str_eq(event->domain, str_of(rcpt->domain)) &&
              str_eq(event->tenant, str_of(job->tenant)) && str_eq(event->campaign, str_of(job->campaign)),
          "event %lld of %s names %.*s", (ll)event->seq, text, STR_ARG(event->to));
    if (event->type == EVENT_DEFERRED || event->type == EVENT_DELAYED || event->type == EVENT_BOUNCED ||
        event->type == EVENT_DELIVERED) {
        CHECK(status_number(event->status) == status_number(want->status) && event->code == want->code &&
                  event->attempt == want->attempt,
              "event %lld (%s of %s): status %d.%d.%d, code %u, attempt %u, not %d.%d.%d, %u, %u",
              (ll)event->seq, type, text, event->status.class_, event->status.subject, event->status.detail,
              event->code, event->attempt, want->status.class_, want->status.subject, want->status.detail,
              want->code, want->attempt);
        /* A retry asked for meanwhile has the store's own time. */
        CHECK(event->next_ms == want->next_ms || event->type == EVENT_DELAYED,
              "event %lld (%s of %s): next %lld, not %lld", (ll)event->seq, type, text, (ll)event->next_ms,
              (ll)want->next_ms);
    }
    return true;
}

static bool event_visited(const struct event *event, void *user)
{
    struct log_check *log = user;
    log->good = event_one(log, event);
    return log->good && ++log->in_page < log->page;
}

static bool read_log(struct log_check *log)
{
    struct rig *rig = log->rig;
    uint64_t at = log->last;
    for (;;) {
        log->in_page = 0;
        uint64_t next = query_events(rig->store, at, event_visited, log);
        if (!log->good)
            return false;
        if (next == at)
            break;
        CHECK(next >= log->last && (log->in_page == 0 || next == log->last || log->again),
              "reading events to %lld says %lld", (ll)log->last, (ll)next);
        at = log->last = next;
    }
    CHECK(at == store_event_seq(rig->store), "the log ends at %lld, not %lld", (ll)at,
          (ll)store_event_seq(rig->store));
    for (size_t i = 0; i < rig->model.count; i++)
        for (size_t k = 0; k < rig->model.jobs[i]->count; k++) {
            const struct model_rcpt *rcpt = &rig->model.jobs[i]->rcpts[k];
            size_t seen = log->again ? rcpt->seen_again : rcpt->seen_events;
            CHECK(seen == rcpt->event_count, "recipient %u of job %lld had %zu events, not %zu; next is %s",
                  rcpt->number, (ll)rig->model.jobs[i]->id, seen, rcpt->event_count,
                  event_type_name(rcpt->events[seen].type));
        }
    return true;
}

bool compare_events(struct rig *rig)
{
    struct job_info info;
    (void)query_jobs(rig->store, 0, &info, 1); /* what was accepted is in the log after that */
    struct log_check log = {.rig = rig, .last = rig->event_seq, .page = compare_page(rig), .good = true};
    bool good = compare_limbo(rig) && read_log(&log);
    rig->event_seq = log.last;
    return good;
}

bool compare_events_again(struct rig *rig)
{
    struct log_check log = {.rig = rig, .page = compare_page(rig), .good = true, .again = true};
    for (size_t i = 0; i < rig->model.count; i++)
        for (size_t k = 0; k < rig->model.jobs[i]->count; k++)
            rig->model.jobs[i]->rcpts[k].seen_again = 0;
    return compare_limbo(rig) && read_log(&log);
}
