/* admit.c - the writer's side of an upload.
 *
 * A post is written in as many commits as it needs: the job row and its content first, then the window's
 * batches, each with its slots and a ready row a lane; readers skip the job for it is JOB_UPLOADING. The last
 * window's last commit sets it active together with its key, its timers and its `accepted` event. Uploads
 * that span commits stand in T_UPLOADS meanwhile, for the sweep. */
#include "queue/admit.h"

#include "queue/close.h"
#include "queue/content.h"
#include "queue/settle.h"
#include "queue/warn.h"

size_t admit_rows(const struct admit *admit)
{
    return admit->window.batch_n * 2 + admit->window.order_n + admit->window.domain_n * 2 +
           (admit->at.content_done ? 0 : (size_t)(admit->row.content_size / CONTENT_PART_SIZE)) + 8;
}

static bool key_taken(struct change *c, const struct admit_key *key)
{
    uint8_t bytes[KEY_KEYS];
    struct str row;
    struct key_row found;
    key_keys(key->key_hash, 0, bytes);
    return change_get(c, T_KEYS, bytes, sizeof bytes, &row) && key_row_decode(row, &found) &&
           found.expires_ms > c->now.wall_ms;
}

static void begin(struct admit *admit, struct change *c)
{
    uint32_t batches = admit->row.batches;
    admit->row.batches = 0; /* counted as they are written */
    bool small = admit->final && (admit->fresh.landed || admit_rows(admit) <= SMALL_ADMIT_ROWS);
    if (!admit->alone)
        admit->row.own_content = small && !content_is_shared(c, admit->row.content_hash);
    change_job_new(c, admit->job, &admit->row);
    admit->row.batches = batches;
    admit->trying.content_done =
        !admit->row.own_content && content_reference(c, admit->row.content_hash, admit->row.content_size);
    admit->trying.begun = true;
}

static bool content_more(struct admit *admit, struct change *c)
{
    uint8_t name[32];
    job_content_key(&admit->row, admit->job, name);
    if (!admit->trying.content_done)
        admit->trying.content_done =
            content_write(c, name, admit->content, admit->row.content_size, &admit->trying.content_part);
    return admit->trying.content_done;
}

static uint32_t lane_of(struct admit *admit, struct change *c, struct window_domain *domain)
{
    const struct job_row *row = &admit->row;
    if (domain->lane == 0 || admit->fresh.landed) { /* landed: named already, but maybe not on disk */
        uint32_t lane = change_lane_named(c, row->class_, row->tenant, row->pool, domain->name);
        QUEUE_ASSERT(domain->lane == 0 || domain->lane == lane || c->rc != 0);
        domain->lane = lane;
    }
    return domain->lane;
}

/* Lane numbers into the groups, and what follows from a group: its ready row, unless it has ended already,
 * and its lane's count. */
static void groups_write(struct admit *admit, struct change *c, const struct packed_batch *packed,
                         uint8_t *at, bool takeable)
{
    struct window *window = &admit->window;
    uint8_t key[KEY_READY], row[READY_ROW_SIZE];
    for (unsigned n = 0; n < packed->groups; n++) {
        uint32_t lane = lane_of(admit, c, window->list[window->order[packed->first_domain + n]]);
        uint8_t *group = at + (size_t)n * BATCH_GROUP_SIZE;
        struct ready_row ready = {get_be16(group + 4), get_be16(group + 6)};
        if (admit->fresh.groups == NULL) /* else they are there, and the taker may be reading */
            put_be32(group, lane);
        unsigned open = packed_open(packed, ready.first, ready.count);
        key_ready(lane, admit->job, packed->batch, key);
        ready_row_encode(ready, row);
        if (takeable && open > 0)
            change_put(c, T_READY, key, sizeof key, row, sizeof row);
        struct change_lane *sums = change_lane(c, lane);
        sums->delta[RCPT_READY] += open;
        sums->delta[RCPT_SUPPRESSED] += ready.count - open;
    }
}

static void parts_write(const struct admit *admit, struct change *c, const struct packed_batch *packed)
{
    const char *at = admit->window.packed.data + packed->offset;
    uint8_t key[KEY_BATCH];
    for (uint16_t part = 0; part < packed->parts; part++) {
        size_t from = (size_t)part * VALUE_MAX;
        size_t n = packed->size - from < VALUE_MAX ? packed->size - from : VALUE_MAX;
        key_batch(admit->job, packed->batch, part, key);
        change_put(c, T_BATCHES, key, sizeof key, at + from, n);
    }
}

static struct change_job *batch_count(struct admit *admit, struct change *c,
                                      const struct packed_batch *packed)
{
    struct change_job *job = change_job(c, admit->job);
    job->row.total += packed->slots;
    job->row.by_state[RCPT_READY] += packed->slots - packed->suppressed_n;
    job->row.by_state[RCPT_SUPPRESSED] += packed->suppressed_n;
    job->row.batches = packed->batch + 1;
    job->dirty = true;
    return job;
}

static void slots_begin(const struct packed_batch *packed, uint8_t state[BATCH_SLOTS_MAX])
{
    memset(state, RCPT_READY, BATCH_SLOTS_MAX);
    for (unsigned slot = 0; packed->suppressed_n > 0 && slot_set_next(&packed->suppressed, &slot); slot++)
        state[slot] = SLOT_BORN_SUPPRESSED;
}

static void batch_write(struct admit *admit, struct change *c, const struct packed_batch *packed)
{
    uint8_t *at = (uint8_t *)admit->window.packed.data + packed->offset;
    uint8_t key[KEY_BATCH], slots[BATCH_SLOTS_MAX];
    groups_write(admit, c, packed, at + BATCH_HEAD_SIZE, true);
    parts_write(admit, c, packed);
    slots_begin(packed, slots);
    key_slots(admit->job, packed->batch, key);
    change_put(c, T_SLOTS, key, KEY_SLOTS, slots, packed->slots);
    batch_count(admit, c, packed);
}

/* The answer kept for its idempotency key, in parts. */
static void key_write(struct admit *admit, struct change *c)
{
    const struct admit_key *key = &admit->key;
    uint8_t bytes[KEY_KEYS];
    size_t first = VALUE_MAX - 64; /* beside the fixed part of the row */
    struct key_row row = {.job = admit->job,
                          .expires_ms = admit_key_expires_ms(admit, c->now),
                          .answer_size = (uint32_t)key->answer.n,
                          .answer = str_make(key->answer.p, key->answer.n < first ? key->answer.n : first)};
    memcpy(row.digest, key->digest, sizeof row.digest);
    key_keys(key->key_hash, 0, bytes);
    key_row_encode(&row, &c->scratch);
    change_put_scratch(c, T_KEYS, bytes, sizeof bytes);
    uint16_t part = 1;
    for (size_t at = row.answer.n; at < key->answer.n; at += VALUE_MAX) {
        key_keys(key->key_hash, part++, bytes);
        change_put(c, T_KEYS, bytes, sizeof bytes, key->answer.p + at,
                   key->answer.n - at < VALUE_MAX ? key->answer.n - at : VALUE_MAX);
    }
    change_timer(c, row.expires_ms, TIMER_KEY, get_be64(key->key_hash),
                 str_make((const char *)key->key_hash, sizeof key->key_hash));
}

/* Who begins as suppressed ends with that: of a job that came in one commit at once, of a longer one by a
 * timer that goes through its batches. */
static void tell_suppressed(const struct admit *admit, struct change *c)
{
    if (admit->trying.listed) {
        change_timer(c, TIMER_AT_ONCE, TIMER_SUPPRESSED, admit->job, STR(""));
        return;
    }
    for (size_t n = 0; n < admit->window.batch_n; n++) {
        const struct packed_batch *packed = &admit->window.batches[n];
        if (packed->suppressed_n > 0)
            close_suppressed_event(c, admit->job, packed->batch, &packed->suppressed);
    }
}

/* Visible from this commit on. */
static struct change_job *accept(struct admit *admit, struct change *c)
{
    struct change_job *job = change_job(c, admit->job);
    job->row.state = JOB_ACTIVE;
    job->row.uploaded = job->dirty = true;
    job->row.begun = job->row.not_before_ms > 0 && job->row.not_before_ms <= c->now.wall_ms;
    job->row.accepted_seq = c->meta.last_seq + 1;
    c->meta.accepted += job->row.total;
    c->meta.ended[RCPT_SUPPRESSED] += job->row.by_state[RCPT_SUPPRESSED];
    c->meta.jobs++;
    struct event_item item = {.type = EVENT_ACCEPTED,
                              .form = ITEM_JOB,
                              .time_ms = c->now.wall_ms,
                              .rid = {.job = admit->job},
                              .total = job->row.total};
    change_event(c, &item);
    if (job->row.by_state[RCPT_SUPPRESSED] > 0)
        tell_suppressed(admit, c);
    if (admit->key.set)
        key_write(admit, c);
    return job;
}

/* And, unless it is to wait, its lanes have work. */
static void finish(struct admit *admit, struct change *c)
{
    const struct change_job *job = accept(admit, c);
    uint8_t key[KEY_JOB];
    change_timer(c, warn_time_ms(c->store, &job->row), TIMER_EXPIRY, admit->job, STR(""));
    if (admit->trying.listed) {
        key_job(admit->job, key);
        change_del(c, T_UPLOADS, key, sizeof key);
    }
    if (admit->consumes.set)
        change_dsn_consume(c, &admit->consumes);
    if (job->row.not_before_ms > c->now.wall_ms)
        change_timer(c, job->row.not_before_ms, TIMER_NOT_BEFORE, admit->job, STR(""));
    else if (admit->at.begun)
        change_id(&c->after.walks, admit->job);
    else
        for (size_t n = 0; n < admit->window.domain_n; n++)
            change_lane(c, admit->window.list[n]->lane)->gained = true;
}

/* The sweep finds it from now on, should the end not come. */
static void list(struct admit *admit, struct change *c)
{
    uint8_t key[KEY_JOB];
    if (admit->trying.listed)
        return;
    key_job(admit->job, key);
    change_put(c, T_UPLOADS, key, sizeof key, "", 0);
    admit->trying.listed = true;
}

bool admit_write(struct admit *admit, struct change *c)
{
    if (admit->final && admit->key.set && !admit->fresh.landed &&
        (!fresh_key_hold(admit) || key_taken(c, &admit->key))) {
        admit->result = ADMIT_KEY_TAKEN;
        return true;
    }
    if (!admit->trying.begun)
        begin(admit, c);
    bool written = content_more(admit, c);
    while (written && admit->trying.batch < admit->window.batch_n) {
        batch_write(admit, c, &admit->window.batches[admit->trying.batch++]);
        if (admit->trying.batch < admit->window.batch_n)
            written = !change_spent(c);
    }
    if (written && admit->final)
        finish(admit, c);
    else
        list(admit, c);
    return written;
}

/* A report to the sender brings the message along. */
static bool is_reported(const struct admit *admit, const struct taken *settled)
{
    for (; settled != NULL; settled = settled->next) {
        bool failed = settled->outcome == OUTCOME_BOUNCED || settled->outcome == OUTCOME_EXPIRED;
        bool relayed = settled->outcome == OUTCOME_DELIVERED && !settled->peer_reports;
        if ((failed || relayed) &&
            change_dsn_asked(&admit->row, settled->notify, failed ? DSN_FAILED : DSN_RELAYED))
            return true;
    }
    return false;
}

void admit_write_ended(struct admit *admit, struct change *c, const struct taken *settled)
{
    const struct packed_batch *packed = &admit->window.batches[0];
    struct slots slots = {.job = admit->job, .batch = packed->batch, .n = packed->slots, .dirty = true};
    struct change_job *job = change_job_new(c, admit->job, &admit->row);
    job->row.own_content = true;
    job->no_expiry = true;
    uint32_t part = 0;
    uint8_t name[32];
    job_content_key(&job->row, admit->job, name);
    if (is_reported(admit, settled))
        content_write(c, name, admit->content, job->row.content_size, &part);
    groups_write(admit, c, packed, (uint8_t *)admit->window.packed.data + packed->offset + BATCH_HEAD_SIZE,
                 false);
    parts_write(admit, c, packed);
    batch_count(admit, c, packed);
    accept(admit, c);
    slots_begin(packed, slots.state);
    for (; settled != NULL; settled = settled->next)
        settle_one(c, job, &slots, settled);
    slots_store(c, &slots);
}
