/* warn.c - see warn.h. */
#include "queue/warn.h"

#include "queue/close.h"

/* 0: the job gets no warning, or had it. */
static int64_t due_ms(const struct store *store, const struct job_row *job)
{
    int64_t start_ms = job->not_before_ms > job->created_ms ? job->not_before_ms : job->created_ms;
    int64_t wait_ms =
        job->delay_warning_ms > 0 ? job->delay_warning_ms : atomic_load(&store->delay_warning_ms);
    bool none = wait_ms == 0 || job->warned == job->batches || wait_ms >= job->expires_ms - start_ms;
    return none ? 0 : start_ms + wait_ms;
}

int64_t warn_time_ms(const struct store *store, const struct job_row *job)
{
    int64_t warning_ms = due_ms(store, job);
    return warning_ms != 0 ? warning_ms : job->expires_ms;
}

/* Says what was last heard, or that no attempt was made yet. */
static void warn_batch(struct change *c, struct change_job *job, uint32_t batch)
{
    struct layout layout;
    struct slots slots;
    struct event_item range = {
        .type = EVENT_DELAYED, .form = ITEM_RANGE, .time_ms = c->now.wall_ms, .rid = {job->id, batch, 0}};
    bool ranged = false;
    if (!slots_load(c, job->id, batch, &slots) || !layout_load(c, job->id, batch, &layout))
        return;
    for (unsigned slot = 0; slot < slots.n; slot++) {
        struct rid rid = {job->id, batch, (uint16_t)slot};
        struct fate fate = {0};
        if (slots.state[slot] == RCPT_READY) {
            range.bits[slot / 8] |= (uint8_t)(1U << (slot % 8));
            ranged = true;
        } else if (slots.state[slot] == RCPT_DEFERRED && deferral_load(c, rid, &fate)) {
            struct event_item item = event_of_fate(EVENT_DELAYED, rid, c->now.wall_ms, &fate);
            change_event(c, &item);
        } else {
            continue;
        }
        change_dsn(c, job, rid, layout.notify[slot], DSN_DELAYED, &fate);
    }
    deferrals_flush(c);
    if (ranged)
        change_event(c, &range);
}

bool warn_walk(struct change *c, struct change_job *job)
{
    int64_t warning_ms = due_ms(c->store, &job->row);
    if (warning_ms == 0 || warning_ms > c->now.wall_ms)
        return true;
    while (job->row.warned < job->row.batches) {
        if (change_spent(c))
            return false;
        warn_batch(c, job, job->row.warned++);
        c->rows += 2; /* looking costs too */
        job->dirty = true;
    }
    return true;
}
