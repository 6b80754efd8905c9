/* writer.c - see writer.h. The only thread that writes.
 *
 * A round commits at once when admits, operations or timers wait, or when settles have waited
 * COMMIT_LINGER_MS or fill a change; whatever else is there goes along. The change is shared out, so that
 * nobody starves: settles first, then admits, then one slice of an operation, then timers. Only after the
 * commit are claims ended, callers answered and lanes announced; a change that was undone for want of space
 * or memory refuses its admits and tries the rest again. */
#include "queue/writer.h"

#include "engine/base/log.h"
#include "queue/admit.h"
#include "queue/bounce.h"
#include "queue/edits.h"
#include "queue/ops.h"
#include "queue/retention.h"
#include "queue/settle.h"
#include "queue/taken.h"
#include "queue/timers.h"

#include <errno.h>
#include <stdlib.h>

#define CHECK_EVERY_NS NS_PER_S
#define CHECK_LEAST_NS (5 * NS_PER_MS)
#define FILL_NS_BYTE   2                 /* nothing fills a disk faster than half a gigabyte a second */
#define RETRY_AFTER_NS (100 * NS_PER_MS) /* after a change that found no space or memory */

void writer_init(struct store *store)
{
    struct writer *writer = &store->writer;
    writer->change.store = store;
    writer->admits_tail = &writer->admits;
    edits_init(writer);
    writer->settles.tail = &writer->settles.head;
}

static void collect_admit(struct store *store, struct admit *admit)
{
    struct writer *writer = &store->writer;
    if (admit->result != ADMIT_OK) { /* refused as it was posted */
        admit_complete(admit, admit->result);
        return;
    }
    admit->next = NULL;
    *writer->admits_tail = admit;
    writer->admits_tail = &admit->next;
}

/* Of a fresh job: kept with it; else they wait in the queue. Under the lock, if any job is fresh. */
static void settles_sort(struct store *store, struct taken *list, struct now now)
{
    struct settle_queue *queue = &store->writer.settles;
    for (struct taken *next; list != NULL; list = next) {
        next = list->next;
        if (store->fresh.first != NULL && fresh_settle(store, list, now))
            continue;
        if (queue->head == NULL)
            queue->since_ns = now.mono_ns;
        list->next = NULL;
        *queue->tail = list;
        queue->tail = &list->next;
        queue->count++;
    }
}

static void collect_settles(struct store *store, struct inbox_node *node, struct now now)
{
    bool fresh = node != NULL && store->fresh.first != NULL;
    if (fresh)
        pthread_mutex_lock(&store->lock);
    for (struct inbox_node *next; node != NULL; node = next) {
        next = node->next;
        settles_sort(store, taken_of_node(node), now);
    }
    if (fresh)
        pthread_mutex_unlock(&store->lock);
}

/* After a change that was undone: those of jobs that are fresh again go back to them. */
static void settles_sort_again(struct store *store, struct now now)
{
    struct settle_queue *queue = &store->writer.settles;
    struct taken *list = queue->head;
    queue->head = NULL;
    queue->tail = &queue->head;
    queue->count = queue->left = 0;
    pthread_mutex_lock(&store->lock);
    settles_sort(store, list, now);
    pthread_mutex_unlock(&store->lock);
}

static void collect(struct store *store, struct now now)
{
    struct inbox_node *node = inbox_take(store->writer_inbox);
    for (struct inbox_node *next; node != NULL; node = next) {
        next = node->next;
        switch (node->kind) {
        case WRITER_ADMIT:
            collect_admit(store, (struct admit *)(void *)node);
            break;
        case WRITER_SWEEP:
            ops_start(store, OP_SWEEP, ((struct sweep_msg *)(void *)node)->job);
            free(node);
            break;
        case WRITER_OPERATE:
            ops_add(store, ((struct op_msg *)(void *)node)->op);
            free(node);
            break;
        case WRITER_EDIT:
            edits_collect(&store->writer, node);
            break;
        case WRITER_BOUNCED:
            bounce_answered(store, (struct bounced_msg *)(void *)node);
            break;
        default: /* WRITER_WAKE */
            free(node);
            break;
        }
    }
    struct inbox_node *settles = inbox_take(store->settle_inbox);
    fresh_collect(store); /* last: an operation or a settle of one that landed is not seen before it */
    collect_settles(store, settles, now);
    ops_wait_for_fresh(store);
}

/* Writes admits of one kind, small or large. Those that are written leave the queue for `written`. */
static void admits_write(struct writer *writer, struct change *c, bool small)
{
    struct admit **at = &writer->admits;
    while (*at != NULL && !change_spent(c)) {
        struct admit *admit = *at;
        if ((admit_rows(admit) <= SMALL_ADMIT_ROWS) != small || admit->in_change) {
            at = &admit->next;
            continue;
        }
        admit->trying = admit->at;
        admit->in_change = true;
        admit->written = admit_write(admit, c);
        at = &admit->next;
    }
}

/* After it was undone. */
static enum admit_result change_refuses(const struct change *c)
{
    return c->rc == ENOMEM || reserve_is_gone() ? ADMIT_NO_MEMORY : ADMIT_FULL;
}

/* Takes out of the queue what the change wrote; the rest keeps its order, but one that is half written goes
 * to the end. A change that was undone refuses all. */
static struct admit *admits_take(struct writer *writer, bool committed)
{
    struct admit *taken = NULL, **end = &taken, *half = NULL, **half_end = &half, **at = &writer->admits;
    while (*at != NULL) {
        struct admit *admit = *at;
        if (committed && !admit->in_change) {
            at = &admit->next;
            continue;
        }
        *at = admit->next;
        admit->next = NULL;
        admit->in_change = false;
        if (committed)
            admit->at = admit->trying;
        else
            admit->result = change_refuses(&writer->change);
        if (committed && !admit->written) {
            *half_end = admit;
            half_end = &admit->next;
        } else {
            *end = admit;
            end = &admit->next;
        }
    }
    *at = half;
    writer->admits_tail = half ? half_end : at;
    return taken;
}

static void admits_complete(struct admit *list)
{
    for (struct admit *next; list != NULL; list = next) {
        next = list->next; /* `done` may free it */
        fresh_key_let_go(list);
        admit_complete(list, list->result);
    }
}

/* What is accepted is on disk only while the file is: without it mail goes out, and none comes in. */
static void deletion_check(struct store *store)
{
    bool deleted = env_is_deleted(&store->env);
    if (deleted && !atomic_load(&store->deleted))
        log_error(
            "the queue in %s was deleted: new jobs are refused, and what is queued is lost when postriderd "
            "ends. Make a backup now (postrider backup DIR), stop, and start again with it",
            store->env.directory);
    atomic_store(&store->deleted, deleted);
}

/* Looks at the space before what was left last time can be used up, at least once a second; while there is
 * none, admits are answered without a change. */
static void space_check(struct store *store, struct now now)
{
    struct writer *writer = &store->writer;
    if (now.mono_ns >= writer->next_check_ns) {
        uint64_t room;
        bool full = env_check_full(&store->env, &room);
        int64_t wait_ns =
            full || room > CHECK_EVERY_NS / FILL_NS_BYTE ? CHECK_EVERY_NS : (int64_t)room * FILL_NS_BYTE;
        writer->next_check_ns = now.mono_ns + (wait_ns > CHECK_LEAST_NS ? wait_ns : CHECK_LEAST_NS);
        if (full != writer->full)
            log_warn(full ? "the queue in %s is full: new jobs are refused until there is room"
                          : "the queue in %s has room again: new jobs are accepted",
                     store->env.directory);
        writer->full = full;
        atomic_store(&store->full, full);
        deletion_check(store);
    }
    bool full = store_is_full(store);
    if (!full && (!reserve_is_gone() || reserve_take()))
        return;
    struct admit *list = writer->admits;
    writer->admits = NULL;
    writer->admits_tail = &writer->admits;
    for (struct admit *admit = list; admit != NULL; admit = admit->next)
        admit->result = full ? ADMIT_FULL : ADMIT_NO_MEMORY;
    admits_complete(list);
}

static void drop_jobs(struct store *store, const struct change_ids *jobs)
{
    for (size_t n = 0; n < jobs->n; n++) {
        for (unsigned worker = 0; worker < store->settings.workers; worker++) {
            struct store_drop_msg *msg = reserve_must(sizeof *msg);
            *msg = (struct store_drop_msg){.node.kind = STORE_DROP_JOB, .job = jobs->list[n]};
            inbox_post(store->workers[worker], &msg->node);
        }
    }
}

/* Fresh jobs were counted as they were accepted. */
static void figures_set(struct store *store, const struct change *c)
{
    const struct meta *was = &store->writer.meta, *meta = &c->meta;
    atomic_fetch_add(&store->figures.accepted, meta->accepted - was->accepted - c->fresh_accepted);
    atomic_fetch_add(&store->figures.jobs, meta->jobs - was->jobs - c->fresh_jobs);
    for (unsigned n = 0; n < RCPT_STATES; n++)
        atomic_store(&store->figures.ended[n], meta->ended[n]);
    atomic_store(&store->figures.deferred, meta->deferred);
    atomic_store(&store->figures.events, meta->last_seq);
    atomic_store(&store->figures.db_bytes, env_bytes(&store->env));
    atomic_fetch_add(&store->figures.commits, 1);
    atomic_fetch_add(&store->figures.rows, c->rows);
}

/* What the commit makes true outside the file. */
static void after_commit(struct store *store, struct change *c)
{
    struct shared *shared = &store->shared;
    figures_set(store, c);
    lane_deltas_after(store, c, true);
    store->writer.meta = c->meta;
    atomic_store(&store->undone, ADMIT_OK);
    pthread_mutex_lock(&store->lock);
    settle_unclaim(store);
    for (size_t n = 0; n < c->after.unclaim.n; n++)
        claims_clear(&shared->claims, c->after.unclaim.list[n]);
    fresh_applied(store);
    lanes_after_commit(store, c);
    atomic_store(&store->figures.claimed, shared->claims.count);
    pthread_mutex_unlock(&store->lock);
    settle_done(store);
    fresh_after(store, true);
    drop_jobs(store, &c->after.drops);
    for (size_t n = 0; n < c->after.walks.n; n++)
        taker_walk(store, c->after.walks.list[n]);
    timers_after(store, c);
    retention_after(store, c);
}

/* Nothing happened: claims of operations go, settles wait again. */
static void after_undone(struct store *store, struct change *c)
{
    pthread_mutex_lock(&store->lock);
    for (size_t n = 0; n < c->after.unclaim.n; n++)
        claims_clear(&store->shared.claims, c->after.unclaim.list[n]);
    if (c->after.unclaim.n > 0) {
        lanes_restart(store);
        taker_rouse(store);
    }
    pthread_mutex_unlock(&store->lock);
    settle_again(store);
    lane_deltas_after(store, c, false);
    fresh_after(store, false);
    settles_sort_again(store, c->now);
    atomic_store(&store->undone, change_refuses(c));
    store->writer.next_timer_ms = 0;
    store->writer.next_check_ns = 0;
    store->writer.retry_ns = c->now.mono_ns + RETRY_AFTER_NS;
}

static bool settles_ripe(const struct store *store, struct now now)
{
    const struct settle_queue *queue = &store->writer.settles;
    return queue->head != NULL && (queue->count >= TXN_ROWS_MAX / 2 ||
                                   now.mono_ns >= queue->since_ns + COMMIT_LINGER_MS * NS_PER_MS ||
                                   atomic_load(&store->stopping) || bounce_hurries(store));
}

static bool work_waits(const struct store *store, struct now now)
{
    int64_t next_ns;
    return store->writer.admits != NULL || store->writer.ops != NULL || store->writer.edits != NULL ||
           settles_ripe(store, now) || timers_due(store, now) || fresh_ripe(store, now, &next_ns) ||
           lane_deltas_ripe(store, now, &next_ns);
}

/* With rows beside: a fresh job that has not ended is some ten rows in a few places, so that many of them in
 * a change share pages, and its sync. */
static void fill_fresh(struct store *store, struct change *c)
{
    unsigned before = c->rows;
    c->rows_allowed += FRESH_CHANGE_ROWS;
    fresh_write(store, c);
    unsigned used = c->rows - before;
    change_beside(c, used < FRESH_CHANGE_ROWS ? used : FRESH_CHANGE_ROWS);
}

static void change_fill(struct store *store, struct change *c)
{
    struct writer *writer = &store->writer;
    /* Before the settles: those of a job cancelled or expired here end in the same change. After them, what
     * they gave back as ready is still claimed, so that it would be passed over and stand until the timer's
     * next try. */
    change_allow(c, 40);
    edits_write(writer, c);
    change_allow(c, 40);
    ops_write(store, c);
    change_allow(c, 50);
    timers_write(store, c);
    change_allow(c, 60);
    lane_deltas_fold(store, c);
    change_allow(c, 70);
    fill_fresh(store, c);
    change_allow(c, writer->admits != NULL ? 85 : 100);
    settle_write(store, c);
    change_allow(c, 100);
    admits_write(writer, c, true);
    admits_write(writer, c, false);
}

static void round_write(struct store *store, struct now now)
{
    struct writer *writer = &store->writer;
    struct change *c = &writer->change;
    bool committed = false;
    if (change_begin(c, now)) {
        change_fill(store, c);
        committed = change_finish(c);
    }
    struct admit *admits = admits_take(writer, committed);
    struct edits *edits = edits_take(store, committed);
    if (writer->settles.head != NULL)
        writer->settles.since_ns = now.mono_ns - COMMIT_LINGER_MS * NS_PER_MS; /* they have waited already */
    if (committed)
        after_commit(store, c);
    else
        after_undone(store, c);
    ops_after(store, now, committed);
    bounce_look(store, now, &(int64_t){0});
    change_end(c);
    admits_complete(admits);
    edits_complete(edits, committed ? EDIT_OK : EDIT_FULL);
}

void writer_recover(struct store *store, struct now now)
{
    struct change *c = &store->writer.change;
    bool committed = true;
    fresh_recover(store);
    while (store->fresh.first != NULL && committed) {
        committed = change_begin(c, now);
        if (committed) {
            fresh_write(store, c);
            committed = change_finish(c);
        }
        if (committed)
            after_commit(store, c);
        else
            after_undone(store, c); /* there is no space: the rounds to come try again */
        change_end(c);
    }
}

int64_t store_write_step(struct store *store, struct now now)
{
    fresh_step(store, now);
    return writer_step(store, now);
}

int64_t writer_step(struct store *store, struct now now)
{
    struct writer *writer = &store->writer;
    int64_t drain_ns;
    store->fresh.now = now;
    if (writer->wall_ms - now.wall_ms > CLOSE_AGAIN_MS)
        ops_close_again(store);
    writer->wall_ms = now.wall_ms;
    collect(store, now);
    bounce_look(store, now, &drain_ns);
    if (writer->admits != NULL || writer->full || reserve_is_gone() ||
        (store->fresh.first != NULL && !atomic_load(&store->undone)))
        space_check(store, now);
    if (now.mono_ns < writer->retry_ns)
        return writer->retry_ns;
    if (work_waits(store, now)) {
        round_write(store, now);
        return now.mono_ns;
    }
    int64_t next_ms =
        writer->next_timer_ms < writer->next_sweep_ms ? writer->next_timer_ms : writer->next_sweep_ms;
    int64_t wait_ms = next_ms - now.wall_ms < 60 * MS_PER_S ? next_ms - now.wall_ms : 60 * MS_PER_S;
    int64_t next_ns = now.mono_ns + wait_ms * NS_PER_MS;
    if (writer->settles.head != NULL && writer->settles.since_ns + COMMIT_LINGER_MS * NS_PER_MS < next_ns)
        next_ns = writer->settles.since_ns + COMMIT_LINGER_MS * NS_PER_MS;
    if (writer->full && writer->next_check_ns < next_ns)
        next_ns = writer->next_check_ns;
    int64_t fresh_ns, fold_ns;
    fresh_ripe(store, now, &fresh_ns);
    lane_deltas_ripe(store, now, &fold_ns);
    next_ns = fold_ns < next_ns ? fold_ns : next_ns;
    next_ns = drain_ns < next_ns ? drain_ns : next_ns;
    return fresh_ns < next_ns ? fresh_ns : next_ns;
}

bool writer_idle(struct store *store)
{
    return store->writer.admits == NULL && store->writer.edits == NULL &&
           store->writer.settles.head == NULL && ops_safe(store) &&
           (store->fresh.first == NULL || atomic_load(&store->undone)); /* the next start finds those */
}

void writer_free(struct store *store)
{
    struct writer *writer = &store->writer;
    collect(store, (struct now){0});
    for (struct admit *admit = writer->admits; admit != NULL; admit = admit->next)
        admit->result = ADMIT_STOPPING;
    admits_complete(writer->admits);
    edits_complete(writer->edits, EDIT_STOPPING);
    store_taken_free(writer->settles.head);
    ops_free(store);
    change_free(&writer->change);
    free(writer->slice);
}
