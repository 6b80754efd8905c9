/* upload.c - the admit of store.h on the caller's thread: begin, post, commit, give up. Packing is in pack.c,
 * the writing in admit.c. */
#include "queue/admit.h"
#include "queue/fresh.h"
#include "queue/suppress.h"

#include <errno.h>
#include <stdlib.h>

#define FROM_SIZE_MAX (ADDRESS_MAX + 63) /* of an envelope sender with its {{rid}} filled in */

/* The envelope sender with the longest rid there is. */
static size_t from_extent(struct str from)
{
    struct str mark = STR("{{rid}}");
    size_t n = from.n;
    for (size_t at = 0; at + mark.n <= from.n; at++)
        if (memcmp(from.p + at, mark.p, mark.n) == 0)
            n += RID_TEXT_MAX - mark.n;
    return n;
}

static bool spec_check(const struct job_spec *spec, struct err *err)
{
    if (spec->tenant.n > NAME_MAX_BYTES || spec->campaign.n > NAME_MAX_BYTES || spec->pool.n > NAME_MAX_BYTES)
        return err_set(err, 0, "tenant, campaign and pool have at most %d bytes each", NAME_MAX_BYTES);
    if (from_extent(spec->from) > FROM_SIZE_MAX)
        return err_set(err, 0,
                       "the envelope sender is too long: %zu bytes, at most %d with {{rid}} filled in",
                       spec->from.n, FROM_SIZE_MAX);
    if (spec->envid.n > 255)
        return err_set(err, 0, "the envid has %zu bytes; at most 255 are possible", spec->envid.n);
    if (spec->metadata.n > METADATA_MAX)
        return err_set(err, 0, "the job's metadata has %zu bytes; at most %d are possible", spec->metadata.n,
                       METADATA_MAX);
    if (spec->content_size > CONTENT_MAX)
        return err_set(err, 0, "the message has %zu bytes; at most %d are possible", spec->content_size,
                       CONTENT_MAX);
    return true;
}

static void row_fill(struct admit *admit, const struct job_spec *spec, struct now now)
{
    struct arena *arena = &admit->strings;
    int64_t start_ms = spec->not_before_ms > now.wall_ms ? spec->not_before_ms : now.wall_ms;
    int64_t lifetime_ms = spec->lifetime_ms > 0 ? spec->lifetime_ms : atomic_load(&admit->store->lifetime_ms);
    admit->row = (struct job_row){
        .state = JOB_UPLOADING,
        .class_ = spec->class_,
        .bounces = spec->bounces,
        .ret = spec->ret,
        .notify = spec->notify,
        .same_for_all = spec->same_for_all,
        .require_tls = spec->require_tls,
        .is_dsn = spec->is_dsn,
        .created_ms = now.wall_ms,
        .not_before_ms = spec->not_before_ms > 0 ? spec->not_before_ms : 0,
        .expires_ms = start_ms + lifetime_ms,
        .delay_warning_ms = spec->delay_warning_ms > 0 ? spec->delay_warning_ms : 0,
        .message_size = spec->message_size,
        .content_size = spec->content_size,
        .tenant = arena_copy(arena, spec->tenant.n ? spec->tenant : STR("default")),
        .campaign = arena_copy(arena, spec->campaign),
        .pool = arena_copy(arena, spec->pool),
        .from = arena_copy(arena, spec->from),
        .envid = arena_copy(arena, spec->envid),
        .metadata = arena_copy(arena, spec->metadata),
    };
    static const uint8_t none[sizeof spec->content_hash];
    admit->alone =
        memcmp(spec->content_hash, none, sizeof none) == 0 && spec->content_size <= FRESH_CONTENT_MAX;
    admit->row.own_content = admit->alone;
    memcpy(admit->row.content_hash, spec->content_hash, sizeof admit->row.content_hash);
}

struct admit *admit_begin(struct store *store, const struct job_spec *spec, struct now now, struct err *err)
{
    if (!spec_check(spec, err))
        return NULL;
    struct admit *admit = calloc(1, sizeof *admit);
    struct sweep_msg *sweep = calloc(1, sizeof *sweep);
    void *content = malloc(spec->content_size ? spec->content_size : 1);
    if (admit == NULL || sweep == NULL || content == NULL) {
        free(admit);
        free(sweep);
        free(content);
        err_set(err, ENOMEM, "no memory for another job; try again later");
        return NULL;
    }
    if (spec->content_size > 0)
        memcpy(content, spec->content, spec->content_size);
    admit->store = store;
    atomic_init(&admit->references, 1);
    admit->content = content;
    admit->sweep = sweep;
    admit->job = atomic_fetch_add(&store->next_job, 1);
    buf_init(&admit->window.bytes, ADMIT_WINDOW_MAX + RCPT_RECORD_MAX + 16);
    /* A group costs 8 bytes, a head 15, over what the records take. */
    buf_init(&admit->window.packed,
             ADMIT_WINDOW_MAX + RCPT_RECORD_MAX + 16 +
                 (BATCH_HEAD_SIZE + BATCH_GROUP_SIZE) * (size_t)(ADMIT_WINDOW_RCPTS + 1));
    row_fill(admit, spec, now);
    return admit;
}

struct admit *admit_one(struct store *store, const struct job_spec *spec, const struct rcpt_spec *rcpt,
                        struct now now, struct err *err)
{
    struct admit *admit = admit_begin(store, spec, now, err);
    if (admit == NULL || admit_add(admit, rcpt, err))
        return admit;
    admit_free(admit);
    return NULL;
}

uint64_t admit_job(const struct admit *admit)
{
    return admit->job;
}

uint64_t admit_count(const struct admit *admit)
{
    return admit->count;
}

static void look_up(struct admit *admit, MDB_txn *txn)
{
    struct window *window = &admit->window;
    for (; window->checked < window->rcpt_n; window->checked++) {
        struct window_rcpt *rcpt = &window->rcpts[window->checked];
        struct str at = str_make(window->bytes.data + rcpt->offset, rcpt->size);
        struct rcpt_record record;
        rcpt->suppressed =
            batch_next(&at, &record) && suppress_find(&admit->store->env, txn, admit->row.tenant, record.to);
        admit->suppressed += rcpt->suppressed;
    }
}

uint64_t admit_suppressed(struct admit *admit)
{
    struct store *store = admit->store;
    if (admit->posted || admit->window.checked == admit->window.rcpt_n)
        return admit->suppressed;
    if (query_suppression_count(store) == 0) {
        admit->window.checked = admit->window.rcpt_n;
        return admit->suppressed;
    }
    MDB_txn *txn = env_read(&store->env);
    admit->unchecked |= txn == NULL;
    if (txn != NULL)
        look_up(admit, txn);
    env_read_end(txn);
    return admit->suppressed;
}

static void post(struct admit *admit, admit_done *done, void *user)
{
    struct store *store = admit->store;
    admit->done = done;
    admit->user = user;
    admit->result = ADMIT_OK;
    admit->node.kind = WRITER_ADMIT;
    admit->at.batch = 0;
    if (admit->posted)
        window_clear(&admit->window);
    admit_suppressed(admit);
    bool packed = !admit->unchecked && window_pack(admit);
    admit->posted = true;
    /* Refusals go through the writer as well: `done` always comes from its thread. */
    if (atomic_fetch_add(&store->admits_in_flight, 1) >= ADMIT_IN_FLIGHT_MAX)
        admit->result = ADMIT_FULL;
    if (!packed)
        admit->result = ADMIT_NO_MEMORY;
    if (atomic_load(&store->stopping))
        admit->result = ADMIT_STOPPING;
    if (atomic_load(&store->writer_gone)) {
        atomic_fetch_sub(&store->admits_in_flight, 1);
        done(admit, ADMIT_STOPPING, user);
        return;
    }
    inbox_post(fresh_fits(admit) ? store->fresh.inbox : store->writer_inbox, &admit->node);
}

void admit_post(struct admit *admit, admit_done *done, void *user)
{
    post(admit, done, user);
}

void admit_commit(struct admit *admit, const struct admit_key *key, const struct admit_consumes *consumes,
                  admit_done *done, void *user)
{
    admit->final = true;
    if (key != NULL && key->set) {
        admit->key = *key;
        admit->key.answer = arena_copy(&admit->strings, key->answer);
    }
    if (consumes != NULL && consumes->set) {
        admit->consumes = *consumes;
        admit->consumes.return_path = arena_copy(&admit->strings, consumes->return_path);
        struct rid *rids = arena_alloc(&admit->strings, (consumes->count + 1) * sizeof *rids);
        memcpy(rids, consumes->rids, consumes->count * sizeof *rids);
        admit->consumes.rids = rids;
    }
    post(admit, done, user);
}

void admit_complete(struct admit *admit, enum admit_result result)
{
    admit->committed = admit->final && result == ADMIT_OK;
    atomic_fetch_sub(&admit->store->admits_in_flight, 1);
    admit->done(admit, result, admit->user);
}

void admit_unref(struct admit *admit)
{
    if (atomic_fetch_sub(&admit->references, 1) > 1)
        return;
    window_free(&admit->window);
    arena_free(&admit->strings);
    free(admit->fresh.groups);
    free(admit->content);
    free(admit->sweep);
    free(admit);
}

void admit_free(struct admit *admit)
{
    if (admit == NULL)
        return;
    struct store *store = admit->store;
    if (!admit->fresh.landed && admit->at.begun && !admit->committed && !atomic_load(&store->writer_gone)) {
        admit->sweep->job = admit->job;
        admit->sweep->node.kind = WRITER_SWEEP;
        inbox_post(store->writer_inbox, &admit->sweep->node);
        admit->sweep = NULL;
    }
    admit_unref(admit);
}
