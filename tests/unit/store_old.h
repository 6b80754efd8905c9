/* store_old.h - makes a store what an older version of this program would have left: schema 2, with a row a
 * deferred recipient. For tests of the migration; the store's threads must stand still, and it is to be
 * opened again afterwards. */
#ifndef POSTRIDER_TESTS_STORE_OLD_H
#define POSTRIDER_TESTS_STORE_OLD_H

#include "tests/unit/store_world.h"

static inline void old_put_meta(struct world *w, const void *row, size_t n)
{
    MDB_txn *txn = env_write(&w->store->env);
    MDB_val key = {5, (void *)(uintptr_t) "state"}, value = {n, (void *)(uintptr_t)row};
    assert_int_equal(mdb_put(txn, w->store->env.dbi[T_META], &key, &value, 0), 0);
    assert_true(env_commit(&w->store->env, txn));
}

/* Rewrites a table row by row, as schema 2 had it: `rows` makes the old ones of a new one. */
static inline void old_rewrite(struct world *w, enum table table,
                               void rows(MDB_txn *txn, MDB_dbi dbi, MDB_val key, MDB_val value))
{
    enum { MANY = 4096 };
    static struct {
        uint8_t key[KEY_MAX], value[VALUE_MAX];
        size_t key_size, size;
    } list[MANY];
    unsigned n = 0;
    MDB_txn *txn = env_write(&w->store->env);
    MDB_dbi dbi = w->store->env.dbi[table];
    MDB_cursor *cursor;
    MDB_val key, value;
    assert_int_equal(mdb_cursor_open(txn, dbi, &cursor), 0);
    for (; mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0; n++) {
        assert_true(n < MANY);
        memcpy(list[n].key, key.mv_data, list[n].key_size = key.mv_size);
        memcpy(list[n].value, value.mv_data, list[n].size = value.mv_size);
    }
    mdb_cursor_close(cursor);
    assert_int_equal(mdb_drop(txn, dbi, 0), 0);
    for (unsigned i = 0; i < n; i++)
        rows(txn, dbi, (MDB_val){list[i].key_size, list[i].key}, (MDB_val){list[i].size, list[i].value});
    assert_true(env_commit(&w->store->env, txn));
}

static inline void old_put(MDB_txn *txn, MDB_dbi dbi, const void *key, size_t n, const void *value,
                           size_t size)
{
    MDB_val k = {n, (void *)(uintptr_t)key}, v = {size, (void *)(uintptr_t)value};
    assert_int_equal(mdb_put(txn, dbi, &k, &v, 0), 0);
}

static inline void old_index(MDB_txn *txn, MDB_dbi dbi, MDB_val key, MDB_val value)
{
    uint8_t old[KEY_MAX];
    struct slot_set set;
    assert_true(slot_set_decode(str_make(value.mv_data, value.mv_size), &set));
    memcpy(old, key.mv_data, key.mv_size);
    for (unsigned slot = 0; slot_set_next(&set, &slot); slot++) {
        put_be16(old + key.mv_size, (uint16_t)slot);
        old_put(txn, dbi, old, key.mv_size + 2, "\0\0\0\0", key.mv_size == KEY_DUE ? 4 : 0);
    }
}

static inline void old_fates(MDB_txn *txn, MDB_dbi dbi, MDB_val key, MDB_val value)
{
    struct rid rid = rid_from_key(key.mv_data);
    struct fates fates;
    struct buf row;
    buf_init(&row, VALUE_MAX);
    assert_true(fates_decode(str_make(value.mv_data, value.mv_size), rid.slot, &fates));
    for (unsigned n = 0; n < fates.n; n++) {
        uint8_t old[RID_KEY_SIZE];
        rid.slot = fates.slot[n];
        rid_to_key(rid, old);
        buf_clear(&row);
        assert_true(fate_encode(&fates.fate[n], &row));
        old_put(txn, dbi, old, sizeof old, row.data, row.len);
    }
    buf_free(&row);
}

/* whole: else one of its tables is of the new form already, as a migration that was cut off leaves it. */
static inline void store_make_old(struct world *w, bool whole)
{
    struct meta meta = w->store->writer.meta;
    struct buf row;
    old_rewrite(w, T_DEFERRED, old_fates);
    old_rewrite(w, T_BY_STATUS, old_index);
    if (whole)
        old_rewrite(w, T_DUE, old_index);
    meta.schema = 2;
    buf_init(&row, VALUE_MAX);
    assert_true(meta_encode(&meta, &row));
    old_put_meta(w, row.data, row.len);
    buf_free(&row);
}

#endif
