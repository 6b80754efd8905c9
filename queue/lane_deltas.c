/* lane_deltas.c - see lane_deltas.h. A row: version u8, then entries: lane (varint), a bit a counter that
 * moved (u8), and for each its difference (zigzag varint). */
#include "queue/lane_deltas.h"

#include "queue/change.h"
#include "queue/store_internal.h"

#include <errno.h>
#include <stdlib.h>

#define KEY_DELTAS 8 /* generation, number */
#define ENTRY_MAX  (VARINT_MAX * (RCPT_STATES + 1) + 1)
#define FOLD_LANES 400 /* in one change; sorted, they share pages */

_Static_assert(RCPT_STATES <= 8, "a bit a state");

static uint64_t zigzag(int64_t v)
{
    return (uint64_t)v << 1 ^ (v < 0 ? UINT64_MAX : 0);
}

static int64_t unzigzag(uint64_t v)
{
    return (int64_t)(v >> 1 ^ (v & 1 ? UINT64_MAX : 0));
}

static bool is_zero(const int64_t by_state[RCPT_STATES])
{
    for (unsigned n = 0; n < RCPT_STATES; n++)
        if (by_state[n] != 0)
            return false;
    return true;
}

static struct lane_delta *sum_of(struct lane_delta **table, uint32_t lane)
{
    struct lane_delta *sum;
    HASH_FIND(hh, *table, &lane, sizeof lane, sum);
    if (sum == NULL) {
        sum = reserve_must(sizeof *sum);
        *sum = (struct lane_delta){.lane = lane};
        HASH_ADD(hh, *table, lane, sizeof sum->lane, sum);
    }
    return sum;
}

void lane_deltas_table_free(struct lane_delta **table)
{
    struct lane_delta *sum, *next;
    HASH_ITER(hh, *table, sum, next)
    {
        HASH_DEL(*table, sum);
        free(sum);
    }
}

/* ---- reading ---- */

static void row_add(struct str row, struct lane_delta **table, struct lane_delta *only)
{
    struct reader r = reader_of(row.p, row.n);
    if (read_u8(&r) != ROW_VERSION)
        return;
    while (!r.bad && r.at < r.end) {
        int64_t by_state[RCPT_STATES] = {0};
        uint32_t lane = (uint32_t)read_varint(&r);
        unsigned bits = read_u8(&r);
        for (unsigned n = 0; n < RCPT_STATES; n++)
            if (bits >> n & 1)
                by_state[n] = unzigzag(read_varint(&r));
        struct lane_delta *sum = only == NULL ? sum_of(table, lane) : only->lane == lane ? only : NULL;
        for (unsigned n = 0; sum != NULL && !r.bad && n < RCPT_STATES; n++)
            sum->by_state[n] += by_state[n];
    }
}

/* Returns generation and number of the last row, 0: none. */
static uint64_t rows_add(const struct env *env, MDB_txn *txn, struct lane_delta **table,
                         struct lane_delta *only)
{
    MDB_cursor *cursor = env_cursor(env, txn, T_LANE_DELTAS);
    MDB_val key, value;
    uint64_t last = 0;
    int rc;
    while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        row_add(str_make(value.mv_data, value.mv_size), table, only);
        last = key.mv_size == KEY_DELTAS ? get_be64(key.mv_data) : last;
    }
    if (rc != MDB_NOTFOUND)
        env_die("a read of the queue failed", rc);
    mdb_cursor_close(cursor);
    return last;
}

void lane_deltas_read(const struct env *env, MDB_txn *txn, struct lane_delta **table, struct lane_delta *only)
{
    rows_add(env, txn, table, only);
}

/* ---- generations ---- */

static int by_lane(const void *a, const void *b)
{
    uint32_t x = ((const struct lane_delta *)a)->lane, y = ((const struct lane_delta *)b)->lane;
    return x < y ? -1 : x > y;
}

/* The sums become what is folded; a new generation begins. */
static void turn(struct lane_deltas *deltas)
{
    size_t n = 0;
    free(deltas->folding);
    deltas->n = HASH_COUNT(deltas->sums);
    deltas->folding = reserve_must((deltas->n + 1) * sizeof *deltas->folding);
    for (const struct lane_delta *sum = deltas->sums; sum != NULL; sum = sum->hh.next)
        deltas->folding[n++] = *sum;
    qsort(deltas->folding, n, sizeof *deltas->folding, by_lane);
    lane_deltas_table_free(&deltas->sums);
    deltas->at = 0;
    deltas->turned = true;
    deltas->rows = 0;
    deltas->generation++;
}

void lane_deltas_load(struct store *store)
{
    struct lane_deltas *deltas = &store->writer.deltas;
    MDB_txn *txn = env_read_must(&store->env);
    uint64_t last = rows_add(&store->env, txn, &deltas->sums, NULL);
    env_read_end(txn);
    deltas->generation = (uint32_t)(last >> 32);
    deltas->number = (uint32_t)last + 1; /* a slice's row of that generation must not replace one of them */
    if (deltas->generation > 0)
        turn(deltas);
    else
        deltas->generation = 1;
}

void lane_deltas_free(struct store *store)
{
    lane_deltas_table_free(&store->writer.deltas.sums);
    free(store->writer.deltas.folding);
}

bool lane_deltas_ripe(const struct store *store, struct now now, int64_t *next_ns)
{
    const struct lane_deltas *deltas = &store->writer.deltas;
    *next_ns = INT64_MAX;
    if (deltas->turned)
        return true;
    if (deltas->sums == NULL)
        return false;
    *next_ns = deltas->since_ns + LANE_FOLD_MS * NS_PER_MS;
    return now.mono_ns >= *next_ns || deltas->rows >= LANE_DELTA_ROWS ||
           HASH_COUNT(deltas->sums) >= LANE_DELTAS_MAX;
}

/* ---- writing ---- */

static void row_flush(struct change *c, uint32_t generation)
{
    struct lane_deltas *deltas = &c->store->writer.deltas;
    uint8_t key[KEY_DELTAS];
    if (c->scratch.len == 0)
        return;
    put_be32(key, generation);
    put_be32(key + 4, deltas->number++);
    change_put_scratch(c, T_LANE_DELTAS, key, sizeof key);
    deltas->trying_rows += generation == deltas->generation;
}

static void entry_add(struct change *c, uint32_t generation, uint32_t lane,
                      const int64_t by_state[RCPT_STATES], bool turned)
{
    unsigned bits = 0;
    if (is_zero(by_state))
        return;
    if (c->scratch.len + ENTRY_MAX > VALUE_MAX)
        row_flush(c, generation);
    if (c->scratch.len == 0)
        buf_add_char(&c->scratch, ROW_VERSION);
    for (unsigned n = 0; n < RCPT_STATES; n++)
        bits |= by_state[n] != 0 ? 1U << n : 0U;
    buf_add_varint(&c->scratch, lane);
    buf_add_char(&c->scratch, (char)bits);
    for (unsigned n = 0; n < RCPT_STATES; n++)
        if (by_state[n] != 0)
            buf_add_varint(&c->scratch, zigzag(turned ? -by_state[n] : by_state[n]));
}

void lane_deltas_write(struct change *c)
{
    uint32_t generation = c->store->writer.deltas.generation;
    for (const struct change_lane *lane = c->lanes; lane != NULL; lane = lane->hh.next)
        entry_add(c, generation, lane->id, lane->delta, false);
    row_flush(c, generation);
}

static void fold_one(struct change *c, const struct lane_delta *sum)
{
    uint8_t key[KEY_LANE];
    struct str bytes;
    struct lane_row row;
    key_lane(sum->lane, key);
    if (is_zero(sum->by_state) || !change_get(c, T_LANES, key, sizeof key, &bytes) ||
        !lane_row_decode(bytes, &row))
        return;
    for (unsigned n = 0; n < RCPT_STATES; n++)
        row.by_state[n] += (uint64_t)sum->by_state[n];
    lane_row_encode(&row, &c->scratch);
    change_put_scratch(c, T_LANES, key, sizeof key);
}

/* All rows before the generation that is being written, whatever is left of the change. */
static void rows_delete(struct change *c, uint32_t generation)
{
    for (;;) {
        uint8_t key[KEY_MAX] = {0};
        size_t size = KEY_DELTAS;
        struct str row;
        if (!change_seek(c, T_LANE_DELTAS, key, &size, &row) || get_be32(key) >= generation)
            return;
        change_del(c, T_LANE_DELTAS, key, size);
    }
}

void lane_deltas_fold(struct store *store, struct change *c)
{
    struct lane_deltas *deltas = &store->writer.deltas;
    int64_t next_ns;
    if (!lane_deltas_ripe(store, c->now, &next_ns))
        return;
    if (!deltas->turned)
        turn(deltas);
    size_t from = deltas->at, at = from;
    for (; at < deltas->n && at - from < FOLD_LANES && !change_spent(c); at++)
        fold_one(c, &deltas->folding[at]);
    deltas->trying = at - from;
    deltas->trying_last = at == deltas->n;
    if (deltas->trying_last)
        rows_delete(c, deltas->generation);
    else
        for (size_t n = from; n < at; n++)
            entry_add(c, deltas->generation - 1, deltas->folding[n].lane, deltas->folding[n].by_state, true);
    row_flush(c, deltas->generation - 1);
}

void lane_deltas_after(struct store *store, const struct change *c, bool committed)
{
    struct lane_deltas *deltas = &store->writer.deltas;
    if (committed) {
        deltas->at += deltas->trying;
        deltas->rows += deltas->trying_rows;
        deltas->turned = deltas->turned && !deltas->trying_last;
    }
    deltas->trying = 0;
    deltas->trying_rows = 0;
    deltas->trying_last = false;
    for (const struct change_lane *lane = committed ? c->lanes : NULL; lane != NULL; lane = lane->hh.next) {
        if (is_zero(lane->delta))
            continue;
        if (deltas->sums == NULL)
            deltas->since_ns = c->now.mono_ns;
        struct lane_delta *sum = sum_of(&deltas->sums, lane->id);
        for (unsigned n = 0; n < RCPT_STATES; n++)
            sum->by_state[n] += lane->delta[n];
    }
}
