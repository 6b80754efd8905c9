/* ops.c - the list of operations under way: their rows, their turns, their answers. See ops.h. */
#include "queue/ops.h"

#include "queue/bounce.h"

#include <stdlib.h>

#define OP_KEEP_MS (60 * 60 * 1000) /* how long the row of one that has ended stays */

static void op_free(struct op *op)
{
    arena_free(&op->strings);
    filter_free(&op->filter);
    free(op->lanes);
    free(op);
}

void store_operate(struct store *store, enum op_kind kind, const struct store_filter *filter, int64_t wait_ms,
                   op_done *done, void *user)
{
    struct op *op = reserve_must(sizeof *op);
    struct op_msg *msg = reserve_must(sizeof *msg);
    *op = (struct op){.kind = kind, .wait_ms = wait_ms, .done = done, .user = user};
    filter_copy(&op->filter, filter, &op->strings);
    *msg = (struct op_msg){.node.kind = WRITER_OPERATE, .op = op};
    inbox_post(store->writer_inbox, &msg->node);
}

/* Turns go round: a new one is next, one that had its slice goes to the end. */
void ops_append(struct store *store, struct op *op)
{
    struct op **end = &store->writer.ops;
    while (*end != NULL)
        end = &(*end)->next;
    op->next = NULL;
    *end = op;
}

void ops_add(struct store *store, struct op *op)
{
    op->after_seq = UINT64_MAX;
    op->next = store->writer.ops;
    store->writer.ops = op;
}

void ops_wait_for_fresh(struct store *store)
{
    struct fresh *fresh = &store->fresh;
    for (struct op *op = store->writer.ops; op != NULL && op->after_seq == UINT64_MAX; op = op->next) {
        op->after_seq = fresh->first != NULL ? fresh->collected_seq : 0;
        uint64_t wanted = atomic_load(&fresh->wanted_seq);
        while (wanted < op->after_seq &&
               !atomic_compare_exchange_weak(&fresh->wanted_seq, &wanted, op->after_seq))
            ;
    }
}

void ops_start(struct store *store, enum op_kind kind, uint64_t job)
{
    for (const struct op *op = store->writer.ops; op != NULL; op = op->next)
        if (op->kind == kind && op->filter.job == job)
            return;
    struct op *op = reserve_must(sizeof *op);
    *op = (struct op){.kind = kind, .filter.job = job, .unlisted = true};
    ops_append(store, op);
}

/* The list of domains goes into parts of its own. */
static void domains_write(const struct op *op, struct change *c, const struct buf *list)
{
    uint8_t key[KEY_OP];
    uint32_t part = 1;
    for (size_t at = 0; at < list->len; at += VALUE_MAX) {
        key_op(op->id, part++, key);
        change_put(c, T_OPS, key, sizeof key, list->data + at,
                   list->len - at < VALUE_MAX ? list->len - at : VALUE_MAX);
    }
}

static void op_write(struct op *op, struct change *c)
{
    uint8_t key[KEY_OP];
    struct buf list;
    buf_init(&list, UINT32_MAX);
    bool first = !op->trying.listed;
    if (first)
        op->id = c->meta.next_op++;
    for (size_t n = 0; n < op->filter.domain_count; n++)
        buf_add_field(&list, op->filter.domains[n]);
    if (list.failed)
        change_lack(c);
    struct op_row row = {.kind = op->kind,
                         .done = op->trying.ended,
                         .phase = op->trying.phase,
                         .started_ms = op->started_ms,
                         .ended_ms = op->trying.ended ? c->now.wall_ms : 0,
                         .matched = op->trying.counts.matched,
                         .changed = op->trying.counts.changed,
                         .in_flight = op->trying.counts.in_flight,
                         .filter = op->filter,
                         .domains_size = (uint32_t)list.len,
                         .cursor = str_make((const char *)op->trying.cursor, op->trying.cursor_size)};
    key_op(op->id, 0, key);
    op_row_encode(&row, &c->scratch);
    change_put_scratch(c, T_OPS, key, sizeof key);
    if (first)
        domains_write(op, c, &list);
    if (op->trying.ended)
        change_timer(c, c->now.wall_ms + OP_KEEP_MS, TIMER_OP, op->id, STR(""));
    op->trying.listed = true;
    buf_free(&list);
}

void ops_write(struct store *store, struct change *c)
{
    struct op *op = store->writer.ops;
    if (op == NULL || op->after_seq > atomic_load(&store->fresh.applied_seq))
        return;
    if (op->wait_until_ns == 0) {
        op->started_ms = c->now.wall_ms;
        op->wait_until_ns = c->now.mono_ns + op->wait_ms * NS_PER_MS;
    }
    op_slice(op, c);
    if (!op->unlisted && (!op->trying.ended || op->trying.listed))
        op_write(op, c);
}

static void answer(struct op *op)
{
    if (op->done == NULL)
        return;
    struct op_progress progress = {.op = op->at.listed ? op->id : 0,
                                   .done = op->at.ended,
                                   .found = op->at.found || op->filter.job == 0,
                                   .matched = op->at.counts.matched,
                                   .changed = op->at.counts.changed,
                                   .in_flight = op->at.counts.in_flight};
    op->done(&progress, op->user);
    op->done = NULL;
}

/* Those whose caller has waited long enough, and have had a slice. */
static void answer_late(struct op *op, struct now now)
{
    for (; op != NULL; op = op->next)
        if (op->at.listed && op->wait_until_ns <= now.mono_ns)
            answer(op);
}

void ops_after(struct store *store, struct now now, bool committed)
{
    struct op *op = store->writer.ops;
    bounce_after(store, committed);
    if (op != NULL && committed && op->wait_until_ns != 0) {
        op->at = op->trying;
        store->writer.ops = op->next;
        if (op->at.ended) {
            answer(op);
            op_free(op);
        } else if (op->at.drains) {
            bounce_drain(store, op, now);
        } else {
            ops_append(store, op);
        }
    }
    answer_late(store->writer.ops, now);
    answer_late(store->writer.draining, now);
}

/* The filter of an operation: its list of domains is joined from the parts of its row. */
static void filter_load(struct store *store, MDB_txn *txn, struct op *op, const struct op_row *row)
{
    struct store_filter filter = row->filter;
    struct buf list;
    uint8_t key[KEY_OP];
    struct str part, *domains = NULL;
    size_t cap = 0;
    buf_init(&list, row->domains_size);
    for (uint32_t number = 1; list.len < row->domains_size; number++) {
        key_op(op->id, number, key);
        if (!env_get(&store->env, txn, T_OPS, key, sizeof key, &part) || !buf_add_str(&list, part))
            break;
    }
    struct reader r = reader_of(list.data, list.len);
    while (r.at < r.end && !r.bad) {
        domains = mem_grow(domains, &cap, filter.domain_count + 1, sizeof *domains);
        domains[filter.domain_count++] = read_field(&r);
    }
    filter.domains = domains;
    filter_copy(&op->filter, &filter, &op->strings);
    free(domains);
    buf_free(&list);
}

static void op_load(struct store *store, MDB_txn *txn, uint64_t id, const struct op_row *row)
{
    struct op *op = reserve_must(sizeof *op);
    *op =
        (struct op){.id = id,
                    .kind = row->kind,
                    .started_ms = row->started_ms,
                    .wait_until_ns = 1,
                    .at = {.phase = row->phase, .found = true, .listed = true, .cursor_size = row->cursor.n}};
    op->at.counts = (struct close_counts){row->matched, row->changed, row->in_flight};
    memcpy(op->at.cursor, row->cursor.p, row->cursor.n);
    filter_load(store, txn, op, row);
    ops_append(store, op);
}

/* Jobs that were closed while workers held some of them; at the start, also uploads that were cut off. */
static void start_listed(struct store *store, MDB_txn *txn, bool uploads)
{
    MDB_cursor *cursor = env_cursor(&store->env, txn, T_UPLOADS);
    MDB_val key, value;
    while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0)
        if (key.mv_size == KEY_JOB && (uploads || value.mv_size > 0))
            ops_start(store, value.mv_size > 0 ? OP_EXPIRE : OP_SWEEP, get_be64(key.mv_data));
    mdb_cursor_close(cursor);
}

void ops_load(struct store *store)
{
    MDB_txn *txn = env_read_must(&store->env);
    MDB_cursor *cursor = env_cursor(&store->env, txn, T_OPS);
    MDB_val key, value;
    while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
        struct op_row row;
        const uint8_t *bytes = key.mv_data;
        if (key.mv_size == KEY_OP && get_be32(bytes + 8) == 0 &&
            op_row_decode(str_make(value.mv_data, value.mv_size), &row) && !row.done)
            op_load(store, txn, get_be64(bytes), &row);
    }
    mdb_cursor_close(cursor);
    start_listed(store, txn, true);
    env_read_end(txn);
}

void ops_close_again(struct store *store)
{
    MDB_txn *txn = env_read_must(&store->env);
    start_listed(store, txn, false);
    env_read_end(txn);
}

bool ops_safe(const struct store *store)
{
    for (const struct op *op = store->writer.ops; op != NULL; op = op->next)
        if (!op->unlisted && !op->at.listed)
            return false;
    return true;
}

static void list_free(struct op *op)
{
    for (struct op *next; op != NULL; op = next) {
        next = op->next;
        answer(op);
        op_free(op);
    }
}

void ops_free(struct store *store)
{
    list_free(store->writer.ops);
    list_free(store->writer.draining);
    store->writer.ops = store->writer.draining = NULL;
}

bool op_rows_delete(struct change *c, uint64_t op)
{
    for (uint32_t part = 0;; part++) {
        uint8_t key[KEY_OP];
        key_op(op, part, key);
        if (!change_del(c, T_OPS, key, sizeof key))
            return c->rc == 0;
    }
}
