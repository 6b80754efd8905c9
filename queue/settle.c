/* settle.c - see settle.h. A slice of the settle queue is sorted by batch, so that each batch's slots are
 * read and written once a commit, whatever number of its recipients came back, and those that are deferred
 * share rows. */
#include "queue/settle.h"

#include "queue/bounce.h"

#include "queue/taken.h"

#include <stdlib.h>

#define SETTLES_MAX (2 * TXN_ROWS_MAX)

bool slots_load(struct change *c, uint64_t job, uint32_t batch, struct slots *slots)
{
    uint8_t key[KEY_SLOTS];
    struct str row;
    key_slots(job, batch, key);
    if (!change_get(c, T_SLOTS, key, sizeof key, &row) || row.n > BATCH_SLOTS_MAX)
        return false;
    *slots = (struct slots){.job = job, .batch = batch, .n = (unsigned)row.n};
    memcpy(slots->state, row.p, row.n);
    return true;
}

void slots_store(struct change *c, struct slots *slots)
{
    uint8_t key[KEY_SLOTS];
    deferrals_flush(c);
    if (!slots->dirty)
        return;
    key_slots(slots->job, slots->batch, key);
    change_put(c, T_SLOTS, key, sizeof key, slots->state, slots->n);
    slots->dirty = false;
}

void ready_check(struct change *c, const struct slots *slots, uint32_t lane)
{
    uint8_t key[KEY_READY];
    struct str row;
    struct ready_row ready;
    key_ready(lane, slots->job, slots->batch, key);
    if (!change_get(c, T_READY, key, sizeof key, &row) || !ready_row_decode(row, &ready))
        return;
    for (unsigned n = ready.first; n < (unsigned)ready.first + ready.count && n < slots->n; n++)
        if (slots->state[n] == RCPT_READY)
            return;
    change_del(c, T_READY, key, sizeof key);
}

static void slot_change(struct change *c, struct change_job *job, struct slots *slots, uint16_t slot,
                        uint32_t lane, enum rcpt_state to)
{
    enum rcpt_state from = (enum rcpt_state)slots->state[slot];
    QUEUE_ASSERT(slot < slots->n && (from == RCPT_READY || from == RCPT_DEFERRED));
    struct change_lane *sums = change_lane(c, lane);
    slots->state[slot] = (uint8_t)to;
    slots->dirty = job->dirty = true;
    job->row.by_state[from]--;
    job->row.by_state[to]++;
    sums->delta[from]--;
    sums->delta[to]++;
    c->meta.deferred -= from == RCPT_DEFERRED;
    c->meta.deferred += to == RCPT_DEFERRED;
    if (to != RCPT_DEFERRED)
        c->meta.ended[to]++;
}

static void deferral_count(struct change *c, uint64_t job, struct status status, int delta)
{
    change_count(c, COUNT_JOB, job, status, delta);
    change_count(c, COUNT_QUEUE, 0, status, delta);
}

static void ended_put(struct change *c, struct rid rid, const struct fate *fate)
{
    uint8_t key[RID_KEY_SIZE];
    rid_to_key(rid, key);
    fate_encode(fate, &c->scratch);
    change_put_scratch(c, T_ENDED, key, sizeof key);
}

void rcpt_end(struct change *c, struct change_job *job, struct slots *slots, uint16_t slot, uint32_t lane,
              uint8_t notify, enum rcpt_state to, const struct fate *old, const struct fate *fate)
{
    struct rid rid = {slots->job, slots->batch, slot};
    slot_change(c, job, slots, slot, lane, to);
    if (old != NULL) {
        deferral_drop(c, rid, old);
        deferral_count(c, rid.job, old->status, -1);
    }
    if (to == RCPT_BOUNCED || to == RCPT_EXPIRED) {
        struct fate end = *fate;
        end.next_ms = 0;
        ended_put(c, rid, &end);
        change_count(c, COUNT_JOB, rid.job, end.status, 1);
        change_dsn(c, job, rid, notify, DSN_FAILED, NULL);
    }
}

static void rcpt_defer(struct change *c, struct change_job *job, struct slots *slots, struct rid rid,
                       const struct fate *old, const struct fate *fate)
{
    slot_change(c, job, slots, rid.slot, fate->lane, RCPT_DEFERRED);
    deferral_put(c, rid, old, fate);
    if (old != NULL)
        deferral_count(c, rid.job, old->status, -1);
    deferral_count(c, rid.job, fate->status, 1);
}

struct fate fate_expired(const struct fate *old, uint32_t lane, int64_t now_ms)
{
    if (old != NULL)
        return *old;
    return (struct fate){.lane = lane, .last_ms = now_ms, .status = STATUS(4, 4, 7)};
}

struct event_item event_of_fate(enum event_type type, struct rid rid, int64_t time_ms,
                                const struct fate *fate)
{
    return (struct event_item){.type = type,
                               .form = ITEM_ONE,
                               .time_ms = time_ms,
                               .rid = rid,
                               .lane = fate->lane,
                               .code = fate->code,
                               .status = fate->status,
                               .attempt = fate->attempts,
                               .next_ms = fate->next_ms,
                               .site = fate->site,
                               .source = fate->source,
                               .mx = fate->mx,
                               .reply = fate->reply};
}

static struct str cut(struct str s, size_t max)
{
    return s.n > max ? str_make(s.p, max) : s;
}

/* The fate after this settle. One that tells nothing new (released, suppressed, or expired without an answer)
 * leaves what was heard before. */
static struct fate fate_after(const struct taken *taken, const struct fate *old)
{
    if (taken->outcome == OUTCOME_SUPPRESSED)
        return old ? *old : (struct fate){.lane = taken->lane, .last_ms = taken->at_ms};
    if (taken->outcome == OUTCOME_RELEASED ||
        (taken->outcome == OUTCOME_EXPIRED && taken->status.class_ == 0))
        return fate_expired(old, taken->lane, taken->at_ms);
    struct fate fate = {.lane = taken->lane,
                        .attempts = (old ? old->attempts : 0) + !taken->attempt_free,
                        .first_ms = old && old->first_ms ? old->first_ms : taken->at_ms,
                        .last_ms = taken->at_ms,
                        .next_ms = taken->outcome == OUTCOME_DEFERRED ? taken->next_ms : 0,
                        .code = taken->code,
                        .status = taken->status,
                        .reply = cut(taken->reply, STORED_REPLY_MAX),
                        .mx = cut(taken->mx, REPLY_FIELDS_MAX),
                        .source = cut(taken->source, REPLY_FIELDS_MAX),
                        .site = cut(taken->site, REPLY_FIELDS_MAX)};
    if (fate.next_ms < 1 && taken->outcome == OUTCOME_DEFERRED)
        fate.next_ms = 1; /* 0 means none */
    return fate;
}

/* What the outcome comes to: a job that was cancelled, or whose time has passed, keeps nobody. RCPT_READY:
 * back to where it was. */
static enum rcpt_state state_after(const struct taken *taken, const struct job_row *job)
{
    switch (taken->outcome) {
    case OUTCOME_DELIVERED:
        return RCPT_DELIVERED;
    case OUTCOME_BOUNCED:
        return RCPT_BOUNCED;
    case OUTCOME_EXPIRED:
        return RCPT_EXPIRED;
    case OUTCOME_SUPPRESSED:
        return RCPT_SUPPRESSED;
    case OUTCOME_RELEASED:
    case OUTCOME_DEFERRED:
        break;
    }
    if (job->state == JOB_CANCELLED)
        return RCPT_CANCELLED;
    if (job->expired)
        return RCPT_EXPIRED;
    return taken->outcome == OUTCOME_RELEASED ? RCPT_READY : RCPT_DEFERRED;
}

static enum event_type event_type_of(enum rcpt_state state)
{
    switch (state) {
    case RCPT_DELIVERED:
        return EVENT_DELIVERED;
    case RCPT_BOUNCED:
        return EVENT_BOUNCED;
    case RCPT_EXPIRED:
        return EVENT_EXPIRED;
    case RCPT_CANCELLED:
        return EVENT_CANCELLED;
    case RCPT_SUPPRESSED:
        return EVENT_SUPPRESSED;
    default:
        return EVENT_DEFERRED;
    }
}

void settle_one(struct change *c, struct change_job *job, struct slots *slots, const struct taken *taken)
{
    struct fate old, *was = NULL;
    QUEUE_ASSERT(taken->rid.slot < slots->n);
    if (slots->state[taken->rid.slot] == RCPT_DEFERRED && deferral_load(c, taken->rid, &old))
        was = &old;
    enum rcpt_state to = state_after(taken, &job->row);
    bool given_up =
        to == RCPT_READY && bounce_takes(c, job, taken->lane, was ? was->status : (struct status){0});
    if (given_up) {
        to = RCPT_BOUNCED;
    } else if (to == RCPT_READY) {
        change_lane(c, taken->lane)->gained = true;
        return;
    }
    struct fate fate = fate_after(taken, was);
    if (given_up && was == NULL) /* never tried */
        fate.status = STATUS(5, 0, 0);
    if (fate.status.class_ == 0 && to != RCPT_DELIVERED && to != RCPT_SUPPRESSED)
        fate.status = to == RCPT_EXPIRED ? STATUS(4, 4, 7) : STATUS(to == RCPT_BOUNCED ? 5 : 4, 0, 0);
    if (to == RCPT_DEFERRED)
        rcpt_defer(c, job, slots, taken->rid, was, &fate);
    else
        rcpt_end(c, job, slots, taken->rid.slot, taken->lane, taken->notify, to, was, &fate);
    if (to == RCPT_DELIVERED && !taken->peer_reports)
        change_dsn(c, job, taken->rid, taken->notify, DSN_RELAYED, &fate);
    if (to == RCPT_SUPPRESSED) /* what was heard before is not why it ends */
        fate = (struct fate){.lane = taken->lane, .attempts = fate.attempts};
    struct event_item item = event_of_fate(event_type_of(to), taken->rid, taken->at_ms, &fate);
    item.delay_ms = taken->delay_ms;
    if (to != RCPT_DEFERRED)
        item.next_ms = 0;
    item.tls = cut(taken->tls, REPLY_FIELDS_MAX);
    change_event(c, &item);
}

static int rid_order(struct rid x, struct rid y)
{
    if (x.job != y.job)
        return x.job < y.job ? -1 : 1;
    if (x.batch != y.batch)
        return x.batch < y.batch ? -1 : 1;
    return x.slot < y.slot ? -1 : x.slot > y.slot;
}

static int by_rid(const void *a, const void *b)
{
    return rid_order((*(struct taken *const *)a)->rid, (*(struct taken *const *)b)->rid);
}

void settle_push(struct writer *writer, struct taken *list, unsigned n)
{
    struct settle_queue *queue = &writer->settles;
    struct taken **end = &list;
    if (list == NULL)
        return;
    while (*end != NULL)
        end = &(*end)->next;
    *end = queue->head;
    if (queue->head == NULL)
        queue->tail = end;
    queue->head = list;
    queue->count += n;
    queue->left += n;
}

static void turn(struct taken **list, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++) {
        struct taken *last = list[--n];
        list[n] = list[i];
        list[i] = last;
    }
}

/* In order, but beginning with the batch of who came first. */
static void run_sort(struct taken **run, size_t n, const struct taken *first)
{
    struct rid head = {first->rid.job, first->rid.batch, 0};
    size_t low = 0;
    qsort(run, n, sizeof *run, by_rid);
    while (low < n && rid_order(run[low]->rid, head) < 0)
        low++;
    turn(run, low);
    turn(run + low, n - low);
    turn(run, n);
}

/* Takes more from the queue than a change holds at worst: neighbours share rows, and it ends by its rows or
 * by time. What earlier changes had no time for comes first, and as it was: sorted among those that came
 * later, some would wait as long as more comes than can be written. */
static void slice_pick(struct writer *writer)
{
    struct settle_queue *queue = &writer->settles;
    const struct taken *first = NULL;
    bool more = queue->left < SETTLES_MAX / 2;
    size_t left = 0;
    writer->slice_n = 0;
    while (queue->head != NULL && writer->slice_n < SETTLES_MAX && (queue->left > 0 || more)) {
        writer->slice =
            mem_grow(writer->slice, &writer->slice_cap, writer->slice_n + 1, sizeof(struct taken *));
        writer->slice[writer->slice_n++] = queue->head;
        if (queue->left > 0) {
            queue->left--;
            left++;
        } else if (first == NULL) {
            first = queue->head;
        }
        queue->head = queue->head->next;
        queue->count--;
    }
    if (queue->head == NULL)
        queue->tail = &queue->head;
    if (first != NULL)
        run_sort(writer->slice + left, writer->slice_n - left, first);
}

static void put_back(struct writer *writer, size_t from)
{
    struct settle_queue *queue = &writer->settles;
    for (size_t n = writer->slice_n; n > from; n--) {
        struct taken *taken = writer->slice[n - 1];
        if (queue->head == NULL)
            queue->tail = &taken->next;
        taken->next = queue->head;
        queue->head = taken;
        queue->count++;
        queue->left++;
    }
    writer->slice_n = from;
}

/* All of one batch: list[0 .. n-1]. */
static void batch_settle(struct change *c, struct taken **list, size_t n)
{
    struct rid rid = list[0]->rid;
    struct slots slots;
    struct change_job *job = change_job(c, rid.job);
    bool found = job->found && slots_load(c, rid.job, rid.batch, &slots);
    QUEUE_ASSERT(found || c->rc != 0);
    for (size_t i = 0; i < n && c->rc == 0; i++)
        settle_one(c, job, &slots, list[i]);
    if (c->rc != 0)
        return;
    slots_store(c, &slots);
    for (size_t i = 0; i < n; i++) /* a lane's slots stand together */
        if (i == 0 || list[i]->lane != list[i - 1]->lane)
            ready_check(c, &slots, list[i]->lane);
}

/* A recipient is settled once, by who took it. */
static void check_claimed(struct store *store)
{
    struct writer *writer = &store->writer;
    pthread_mutex_lock(&store->lock);
    const struct claim *claim = NULL;
    for (size_t n = 0; n < writer->slice_n; n++) {
        struct rid rid = writer->slice[n]->rid;
        if (claim == NULL || claim->key.job != rid.job || claim->key.batch != rid.batch)
            claim = claims_find(&store->shared.claims, rid.job, rid.batch);
        bool claimed = claim_has(claim, rid.slot);
        bool twice = n > 0 && rid_eq(rid, writer->slice[n - 1]->rid);
        QUEUE_ASSERT(claimed && !twice);
    }
    pthread_mutex_unlock(&store->lock);
}

void settle_write(struct store *store, struct change *c)
{
    struct writer *writer = &store->writer;
    slice_pick(writer);
    check_claimed(store);
    size_t at = 0;
    while (at < writer->slice_n && !change_spent(c)) {
        size_t n = 1;
        struct rid rid = writer->slice[at]->rid;
        while (at + n < writer->slice_n && writer->slice[at + n]->rid.job == rid.job &&
               writer->slice[at + n]->rid.batch == rid.batch)
            n++;
        batch_settle(c, writer->slice + at, n);
        at += n;
    }
    if (c->rc == 0)
        put_back(writer, at);
}

void settle_unclaim(struct store *store)
{
    struct writer *writer = &store->writer;
    for (size_t n = 0; n < writer->slice_n; n++) {
        const struct taken *taken = writer->slice[n];
        bool cleared = claims_clear(&store->shared.claims, taken->rid);
        QUEUE_ASSERT(cleared);
        if (taken->outcome == OUTCOME_RELEASED)
            lane_released(store, taken->lane, taken->rid);
    }
}

void settle_done(struct store *store)
{
    struct writer *writer = &store->writer;
    atomic_fetch_sub(&store->figures.settle_backlog, writer->slice_n);
    for (size_t n = 0; n < writer->slice_n; n++)
        taken_free(writer->slice[n]);
    writer->slice_n = 0;
}

void settle_again(struct store *store)
{
    put_back(&store->writer, 0);
}
