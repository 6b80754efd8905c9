/* bounce.c - see bounce.h. */
#include "queue/bounce.h"

#include <stdlib.h>

/* What workers match: the filter, in memory that outlives the operation. */
struct store_bounce {
    _Atomic unsigned refs;
    uint64_t op;
    struct store_filter filter;
    struct arena strings;
};

static void bounce_unref(struct store_bounce *bounce)
{
    if (atomic_fetch_sub_explicit(&bounce->refs, 1, memory_order_acq_rel) > 1)
        return;
    arena_free(&bounce->strings);
    filter_free(&bounce->filter);
    free(bounce);
}

void store_bounce_free(struct store_bounce *bounce)
{
    bounce_unref(bounce);
}

/* As its lane is called: an address keeps the case in which it was written. */
static struct str lane_domain(struct str address, char room[DOMAIN_MAX + 1])
{
    struct str domain = str_domain(address);
    if (domain.n > DOMAIN_MAX)
        domain.n = DOMAIN_MAX;
    str_lower(domain, room);
    return str_make(room, domain.n);
}

bool store_bounce_matches(const struct store_bounce *bounce, const struct taken *taken)
{
    const struct store_filter *filter = &bounce->filter;
    char domain[DOMAIN_MAX + 1];
    const struct lane_row lane = {.tenant = taken->job->tenant, .domain = lane_domain(taken->to, domain)};
    const struct job_row job = {.tenant = taken->job->tenant,
                                .campaign = taken->job->campaign,
                                .created_ms = filter->accepted_after_ms};
    struct store_filter timeless = *filter;
    timeless.accepted_before_ms = 0; /* a worker does not know; the writer looks */
    return filter_job(&timeless, taken->job->id, &job) && filter_lane(filter, &lane) &&
           (!filter->has_status || filter_status(filter, taken->last_status));
}

void store_bounced(struct store *store, struct store_bounce *bounce)
{
    struct bounced_msg *msg = reserve_must(sizeof *msg);
    *msg = (struct bounced_msg){.node.kind = WRITER_BOUNCED, .bounce = bounce};
    inbox_post(store->writer_inbox, &msg->node);
}

/* ---- the operation ---- */

void bounce_drain(struct store *store, struct op *op, struct now now)
{
    unsigned workers = store->settings.workers;
    struct store_bounce *bounce = reserve_must(sizeof *bounce);
    *bounce = (struct store_bounce){.op = op->id}; /* it has a row by now */
    atomic_init(&bounce->refs, workers);
    filter_copy(&bounce->filter, &op->filter, &bounce->strings);
    op->awaited = workers;
    op->drain_until_ns = now.mono_ns + BOUNCE_DRAIN_MS * NS_PER_MS;
    op->next = store->writer.draining;
    store->writer.draining = op;
    for (unsigned worker = 0; worker < workers; worker++) {
        struct store_bounce_msg *msg = reserve_must(sizeof *msg);
        *msg = (struct store_bounce_msg){.node.kind = STORE_BOUNCE, .bounce = bounce};
        inbox_post(store->workers[worker], &msg->node);
    }
}

void bounce_answered(struct store *store, struct bounced_msg *msg)
{
    for (struct op *op = store->writer.draining; op != NULL; op = op->next)
        if (op->id == msg->bounce->op && op->awaited > 0)
            op->awaited--;
    bounce_unref(msg->bounce);
    free(msg);
}

void bounce_look(struct store *store, struct now now, int64_t *next_ns)
{
    struct writer *writer = &store->writer;
    *next_ns = INT64_MAX;
    for (struct op **at = &writer->draining, *op; (op = *at) != NULL;) {
        bool drained = op->awaited == 0 && writer->settles.head == NULL;
        if (drained || now.mono_ns >= op->drain_until_ns) {
            *at = op->next;
            ops_append(store, op);
            continue;
        }
        if (op->drain_until_ns < *next_ns)
            *next_ns = op->drain_until_ns;
        at = &op->next;
    }
}

bool bounce_hurries(const struct store *store)
{
    for (const struct op *op = store->writer.draining; op != NULL; op = op->next)
        if (op->awaited == 0)
            return true;
    return false;
}

bool bounce_takes(struct change *c, const struct change_job *job, uint32_t lane, struct status status)
{
    for (struct op *op = c->store->writer.draining; op != NULL; op = op->next) {
        if (!op_matches(c, op, job, lane) ||
            (op->filter.has_status && (status.class_ == 0 || !filter_status(&op->filter, status))))
            continue;
        op->drained++;
        return true;
    }
    return false;
}

void bounce_after(struct store *store, bool committed)
{
    for (struct op *op = store->writer.draining; op != NULL; op = op->next) {
        if (committed) {
            op->at.counts.matched += op->drained;
            op->at.counts.changed += op->drained;
        }
        op->drained = 0;
    }
}
