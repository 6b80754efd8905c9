/* migrate.c - see migrate.h. */
#include "queue/migrate.h"

#include "engine/base/log.h"

#include <errno.h>

/* One slice from *key on; true when the table is at its end. A row of the old form is as long as one of the
 * new and a slot. */
static bool slice(struct change *c, enum table table, size_t key_size, uint8_t key[KEY_MAX], size_t *size)
{
    struct slot_set set = {0};
    uint8_t open[KEY_MAX], bytes[SLOT_SET_ROW_MAX];
    bool any = false, end = false;
    while (!end && !change_spent(c)) {
        struct str row;
        end = !change_seek(c, table, key, size, &row);
        if (any && (end || memcmp(open, key, key_size) != 0)) {
            change_put(c, table, open, key_size, bytes, slot_set_encode(&set, bytes));
            any = false;
        }
        if (end)
            break;
        if (*size == key_size + 2 && get_be16(key + key_size) < BATCH_SLOTS_MAX) {
            if (!any && (!change_get(c, table, key, key_size, &row) || !slot_set_decode(row, &set)))
                set = (struct slot_set){0};
            any = true;
            memcpy(open, key, key_size);
            slot_set_add(&set, get_be16(key + key_size));
            change_del(c, table, key, *size);
        } else {
            key[(*size)++] = 0; /* behind it */
        }
        c->rows++;
    }
    if (any)
        change_put(c, table, open, key_size, bytes, slot_set_encode(&set, bytes));
    return end;
}

static bool table_migrate(struct store *store, struct now now, enum table table, size_t key_size)
{
    struct change *c = &store->writer.change;
    uint8_t key[KEY_MAX] = {0};
    size_t size = 1;
    for (bool end = false; !end;) {
        if (!change_begin(c, now))
            return false;
        end = slice(c, table, key_size, key, &size);
        bool committed = change_finish(c);
        if (committed)
            store->writer.meta = c->meta;
        change_end(c);
        if (!committed)
            return false;
    }
    return true;
}

bool migrate(struct store *store, struct now now, struct err *err)
{
    struct meta *meta = &store->writer.meta;
    if (meta->schema < 3) {
        meta->schema = 2; /* 1 has the same tables */
        log_info("the queue in %s is of an older version: rewriting the index of who is deferred (%llu)",
                 store->env.directory, (unsigned long long)meta->deferred);
        if (!table_migrate(store, now, T_DUE, KEY_DUE) ||
            !table_migrate(store, now, T_BY_STATUS, KEY_BY_STATUS))
            return err_set(err, ENOSPC,
                           "no space to bring the queue in %s to this version; free some disk, or raise "
                           "queue.max_size, and start again",
                           store->env.directory);
    }
    meta->schema = SCHEMA_VERSION; /* written by the next commit */
    return true;
}
