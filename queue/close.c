/* close.c - see close.h. */
#include "queue/close.h"

#include "queue/content.h"

/* The notify byte begins each record; that of slot 0 is in part 0 even of a batch in parts. */
static void notify_read(const struct batch *batch, struct layout *layout)
{
    struct reader r = reader_of(batch->records.p, batch->records.n);
    for (unsigned slot = 0; slot < batch->slots && !r.bad; slot++) {
        uint64_t size = read_varint(&r);
        layout->notify[slot] = r.at < r.end ? *r.at : 0;
        read_bytes(&r, size);
    }
}

bool layout_load(struct change *c, uint64_t job, uint32_t number, struct layout *layout)
{
    uint8_t key[KEY_BATCH];
    struct str row;
    struct batch batch;
    key_batch(job, number, 0, key);
    if (!change_get(c, T_BATCHES, key, sizeof key, &row) || !batch_decode_head(row, &batch))
        return false;
    layout->groups = batch.groups;
    for (unsigned n = 0; n < batch.groups; n++)
        layout->group[n] = batch_group_at(&batch, n);
    notify_read(&batch, layout);
    return true;
}

/* Claims for the length of the change; false when a worker has it. */
static bool claim(struct change *c, struct rid rid)
{
    bool ok = claims_set(&c->store->shared.claims, rid);
    if (ok)
        change_rid(&c->after.unclaim, rid);
    return ok;
}

/* Marks in `mine` which of the open slots this change may end. A bounce has gone through the deferred ones
 * before, and counted those that workers hold. */
static void claim_open(struct change *c, const struct slots *slots, unsigned first, unsigned end,
                       enum rcpt_state to, bool *mine, struct close_counts *counts)
{
    pthread_mutex_lock(&c->store->lock);
    for (unsigned slot = first; slot < end; slot++) {
        mine[slot] = false;
        if (slots->state[slot] != RCPT_READY && (slots->state[slot] != RCPT_DEFERRED || to == RCPT_BOUNCED))
            continue;
        mine[slot] = claim(c, (struct rid){slots->job, slots->batch, (uint16_t)slot});
        counts->matched++;
        counts->changed += mine[slot];
        counts->in_flight += !mine[slot];
    }
    pthread_mutex_unlock(&c->store->lock);
}

static enum event_type event_of(enum rcpt_state to)
{
    return to == RCPT_CANCELLED ? EVENT_CANCELLED : to == RCPT_EXPIRED ? EVENT_EXPIRED : EVENT_BOUNCED;
}

/* What is said of one that ends here: what was last heard, or that it was never tried. */
static struct fate fate_closed(const struct fate *old, uint32_t lane, enum rcpt_state to, int64_t now_ms)
{
    struct fate fate = fate_expired(old, lane, now_ms);
    if (old == NULL && to == RCPT_BOUNCED)
        fate.status = STATUS(5, 0, 0);
    return fate;
}

/* Ends one slot. True when its event is to be its own, for it has something to tell; else it joins the range.
 */
static bool close_slot(struct change *c, struct change_job *job, struct slots *slots, uint16_t slot,
                       uint32_t lane, uint8_t notify, enum rcpt_state to)
{
    struct rid rid = {slots->job, slots->batch, slot};
    struct fate old, *was = NULL;
    if (slots->state[slot] == RCPT_DEFERRED && deferral_load(c, rid, &old))
        was = &old;
    struct fate fate = fate_closed(was, lane, to, c->now.wall_ms);
    rcpt_end(c, job, slots, slot, lane, notify, to, was, &fate);
    if (was == NULL || to == RCPT_CANCELLED)
        return false;
    struct event_item item = event_of_fate(event_of(to), rid, c->now.wall_ms, &fate);
    item.next_ms = 0;
    change_event(c, &item);
    return true;
}

void close_batch(struct change *c, uint64_t job_id, uint32_t batch, unsigned first, unsigned count,
                 enum rcpt_state to, struct close_counts *counts)
{
    struct layout layout;
    struct slots slots;
    bool mine[BATCH_SLOTS_MAX], ranged = false;
    struct change_job *job = change_job(c, job_id);
    if (!job->found || !slots_load(c, job_id, batch, &slots) || !layout_load(c, job_id, batch, &layout))
        return;
    struct event_item range = {.type = event_of(to),
                               .form = ITEM_RANGE,
                               .time_ms = c->now.wall_ms,
                               .rid = {job_id, batch, 0},
                               .status = fate_closed(NULL, 0, to, 0).status};
    if (to == RCPT_CANCELLED)
        range.status = (struct status){0};
    unsigned end = first + count < slots.n ? first + count : slots.n;
    claim_open(c, &slots, first, end, to, mine, counts);
    for (unsigned n = 0; n < layout.groups; n++) {
        struct batch_group group = layout.group[n];
        bool left_ready = false;
        for (unsigned slot = group.first; slot < (unsigned)group.first + group.count; slot++) {
            if (slot < first || slot >= end || !mine[slot])
                continue;
            left_ready |= slots.state[slot] == RCPT_READY;
            if (close_slot(c, job, &slots, (uint16_t)slot, group.lane, layout.notify[slot], to))
                continue;
            range.bits[slot / 8] |= (uint8_t)(1U << (slot % 8));
            ranged = true;
        }
        if (left_ready)
            ready_check(c, &slots, group.lane);
    }
    slots_store(c, &slots);
    if (ranged)
        change_event(c, &range);
}

/* Counts them, and claims those that no worker holds: what is left in `which` is ours to change. */
static void claim_deferred(struct change *c, uint64_t job, uint32_t batch, struct slot_set *which,
                           struct close_counts *counts)
{
    pthread_mutex_lock(&c->store->lock);
    for (unsigned slot = 0; slot_set_next(which, &slot); slot++) {
        bool ok = claim(c, (struct rid){job, batch, (uint16_t)slot});
        counts->matched++;
        counts->in_flight += !ok;
        if (!ok)
            slot_set_remove(which, slot);
    }
    pthread_mutex_unlock(&c->store->lock);
}

void close_deferred(struct change *c, uint64_t job_id, uint32_t batch, const struct slot_set *which,
                    enum rcpt_state to, struct close_counts *counts)
{
    struct slot_set mine = *which;
    struct fate fate;
    struct slots slots;
    struct layout layout;
    struct change_job *job = change_job(c, job_id);
    if (!job->found || !slots_load(c, job_id, batch, &slots) || !layout_load(c, job_id, batch, &layout))
        return;
    claim_deferred(c, job_id, batch, &mine, counts);
    for (unsigned slot = 0; slot_set_next(&mine, &slot); slot++) {
        struct rid rid = {job_id, batch, (uint16_t)slot};
        if (!deferral_load(c, rid, &fate))
            continue;
        counts->changed++;
        if (!close_slot(c, job, &slots, rid.slot, fate.lane, layout.notify[rid.slot], to)) {
            struct event_item item = event_of_fate(event_of(to), rid, c->now.wall_ms, &fate);
            item.next_ms = 0;
            change_event(c, &item);
        }
    }
    slots_store(c, &slots);
}

void close_suppressed_event(struct change *c, uint64_t job, uint32_t batch, const struct slot_set *which)
{
    struct event_item range = {
        .type = EVENT_SUPPRESSED, .form = ITEM_RANGE, .time_ms = c->now.wall_ms, .rid = {job, batch, 0}};
    _Static_assert(sizeof range.bits == sizeof which->bits, "both are a bit a slot");
    memcpy(range.bits, which->bits, sizeof range.bits);
    change_event(c, &range);
    c->rows++;
}

bool close_suppressed_walk(struct change *c, uint64_t job, uint32_t *batch)
{
    for (;; (*batch)++) {
        uint8_t key[KEY_MAX];
        size_t size = KEY_SLOTS;
        struct str row;
        struct slot_set which = {0};
        bool any = false;
        if (change_spent(c))
            return false;
        key_slots(job, *batch, key);
        if (!change_seek(c, T_SLOTS, key, &size, &row) || get_be64(key) != job)
            return c->rc == 0;
        *batch = get_be32(key + 8);
        for (unsigned slot = 0; slot < row.n && slot < BATCH_SLOTS_MAX; slot++)
            if ((uint8_t)row.p[slot] == SLOT_BORN_SUPPRESSED) {
                slot_set_add(&which, slot);
                any = true;
            }
        if (any)
            close_suppressed_event(c, job, *batch, &which);
        c->rows++; /* looking costs too */
    }
}

void retry_deferred(struct change *c, uint64_t job, uint32_t batch, const struct slot_set *which,
                    struct close_counts *counts)
{
    struct slot_set mine = *which;
    struct fate fate;
    claim_deferred(c, job, batch, &mine, counts);
    for (unsigned slot = 0; slot_set_next(&mine, &slot); slot++) {
        struct rid rid = {job, batch, (uint16_t)slot};
        if (!deferral_load(c, rid, &fate))
            continue;
        if (fate.next_ms <= c->now.wall_ms) {
            /* Due: who looked while it was claimed here has passed it over. */
            change_lane(c, fate.lane)->due_changed = true;
            continue;
        }
        struct fate now = fate;
        now.next_ms = c->now.wall_ms;
        deferral_put(c, rid, &fate, &now);
        counts->changed++;
    }
    deferrals_flush(c);
}

bool close_begin(struct change_job *job, enum rcpt_state to)
{
    if (!job->found || !job->row.uploaded || job->row.ended_ms != 0)
        return false;
    if (to == RCPT_CANCELLED)
        job->row.state = JOB_CANCELLED;
    else
        job->row.expired = true;
    job->dirty = true;
    return true;
}

void close_again(struct change *c, uint64_t job)
{
    uint8_t key[KEY_JOB];
    key_job(job, key);
    change_put(c, T_UPLOADS, key, sizeof key, UPLOADS_CLOSED, sizeof UPLOADS_CLOSED - 1);
    change_timer(c, c->now.wall_ms + CLOSE_AGAIN_MS, TIMER_EXPIRY, job, STR(""));
}

bool close_walk(struct change *c, uint64_t job, uint32_t *batch, enum rcpt_state to,
                struct close_counts *counts)
{
    for (;; (*batch)++) {
        uint8_t key[KEY_MAX];
        size_t size = KEY_SLOTS;
        struct str row;
        if (change_spent(c))
            return false;
        key_slots(job, *batch, key);
        if (!change_seek(c, T_SLOTS, key, &size, &row) || get_be64(key) != job)
            return c->rc == 0;
        *batch = get_be32(key + 8);
        close_batch(c, job, *batch, 0, BATCH_SLOTS_MAX, to, counts);
    }
}

/* Deletes rows whose key begins so; true when none is left. */
static bool prefix_delete(struct change *c, enum table table, const uint8_t *prefix, size_t n)
{
    for (;;) {
        uint8_t key[KEY_MAX];
        size_t size = n;
        struct str row;
        if (change_spent(c))
            return false;
        memcpy(key, prefix, n);
        if (!change_seek(c, table, key, &size, &row) || size < n || memcmp(key, prefix, n) != 0)
            return c->rc == 0;
        change_del(c, table, key, size);
    }
}

/* The ready rows of an upload that is swept; who is in its batches no longer counts. */
static void groups_delete(struct change *c, uint64_t job, uint32_t batch)
{
    struct layout layout;
    struct slots slots;
    uint8_t key[KEY_READY];
    if (!layout_load(c, job, batch, &layout) || !slots_load(c, job, batch, &slots))
        return;
    for (unsigned n = 0; n < layout.groups; n++) {
        struct batch_group group = layout.group[n];
        struct change_lane *sums = change_lane(c, group.lane);
        for (unsigned slot = group.first; slot < (unsigned)group.first + group.count; slot++)
            sums->delta[slots.state[slot] == RCPT_READY ? RCPT_READY : RCPT_SUPPRESSED]--;
        key_ready(group.lane, job, batch, key);
        change_del(c, T_READY, key, sizeof key);
    }
}

static bool batches_delete(struct change *c, uint64_t job, bool swept)
{
    for (;;) {
        uint8_t key[KEY_MAX];
        size_t size = KEY_BATCH;
        struct str row;
        if (change_spent(c))
            return false;
        key_batch(job, 0, 0, key);
        if (!change_seek(c, T_BATCHES, key, &size, &row) || get_be64(key) != job)
            return c->rc == 0;
        if (get_be16(key + 12) == 0) {
            if (swept)
                groups_delete(c, job, get_be32(key + 8));
            change_del(c, T_SLOTS, key, KEY_SLOTS);
        }
        change_del(c, T_BATCHES, key, size);
    }
}

/* Reports that nobody fetched go with their job. */
static bool dsns_delete(struct change *c, uint64_t job)
{
    for (;;) {
        uint8_t key[KEY_MAX], due[KEY_MAX];
        size_t size = KEY_JOB;
        struct str row;
        struct dsn_row dsn;
        enum dsn_kind kind;
        if (change_spent(c))
            return false;
        key_job(job, key);
        if (!change_seek(c, T_DSN, key, &size, &row) || get_be64(key) != job)
            return c->rc == 0;
        struct str path = key_dsn_path(str_make((const char *)key, size), KEY_JOB, &kind);
        if (KEY_JOB + path.n + 1 == size && dsn_row_decode(row, &dsn))
            change_del(c, T_DSN_DUE, due, key_dsn_due(dsn.due_ms, job, path, kind, due));
        change_del(c, T_DSN, key, size);
    }
}

bool job_delete(struct change *c, uint64_t id)
{
    uint8_t prefix[1 + KEY_JOB], *key = prefix + 1, name[32];
    struct change_job *job = change_job(c, id);
    prefix[0] = COUNT_JOB;
    key_job(id, key);
    if (!job->found)
        return true;
    if (!batches_delete(c, id, !job->row.uploaded) || !prefix_delete(c, T_ENDED, key, KEY_JOB) ||
        !prefix_delete(c, T_COUNTS, prefix, sizeof prefix) || !dsns_delete(c, id))
        return false;
    job_content_key(&job->row, id, name);
    change_del(c, T_UPLOADS, key, KEY_JOB);
    change_del(c, T_JOBS, key, KEY_JOB);
    job->found = job->dirty = false;
    if (!job->row.own_content)
        content_release(c, name);
    if (!content_delete(c, name))
        change_timer(c, c->now.wall_ms, TIMER_CONTENT, get_be64(name),
                     str_make((const char *)name, sizeof name));
    return c->rc == 0;
}
