/* lane_names.c - see lane_names.h. */
#include "queue/lane_names.h"

#include <stdlib.h>

#define LANE_NAMES_MAX 131072 /* some 20 MB */

void lane_names_init(struct lane_names *names, uint32_t next)
{
    *names = (struct lane_names){.next = next};
    pthread_mutex_init(&names->lock, NULL);
}

static void drop(struct lane_names *names, bool all)
{
    struct lane_name *name, *next;
    HASH_ITER(hh, names->table, name, next)
    {
        if (!all && name->state != NAME_KEPT)
            continue;
        HASH_DEL(names->table, name);
        free(name);
        names->count--;
    }
}

void lane_names_free(struct lane_names *names)
{
    drop(names, true);
    if (names->next != 0)
        pthread_mutex_destroy(&names->lock);
}

/* Names with equal hashes stand side by side, told apart by their values. 0: not there. */
static uint32_t look_up(const struct env *env, MDB_txn *txn, const struct lane_row *want)
{
    uint8_t prefix[KEY_LANE_NAME];
    uint64_t domain_hash, rest_hash;
    uint32_t lane = 0;
    MDB_cursor *cursor = env_cursor(env, txn, T_LANE_NAMES);
    lane_name_hashes(want->class_, want->tenant, want->pool, want->domain, &domain_hash, &rest_hash);
    key_lane_name(domain_hash, rest_hash, 0, prefix);
    MDB_val key = {sizeof prefix, prefix}, value;
    int rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    while (rc == 0 && lane == 0 && memcmp(key.mv_data, prefix, 16) == 0) {
        struct lane_row got;
        if (lane_name_decode(str_make(value.mv_data, value.mv_size), &got.class_, &got.tenant, &got.pool,
                             &got.domain) &&
            got.class_ == want->class_ && str_eq(got.tenant, want->tenant) && str_eq(got.pool, want->pool) &&
            str_eq(got.domain, want->domain))
            lane = get_be32((const uint8_t *)key.mv_data + 16);
        else
            rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    if (rc != 0 && rc != MDB_NOTFOUND)
        env_die("a read of the queue failed", rc);
    mdb_cursor_close(cursor);
    return lane;
}

static size_t key_put(char *key, const struct lane_row *fields)
{
    const struct str parts[3] = {fields->tenant, fields->pool, fields->domain};
    size_t n = 0;
    key[n++] = (char)fields->class_;
    for (unsigned i = 0; i < 3; i++) {
        if (parts[i].n > 0)
            memcpy(key + n, parts[i].p, parts[i].n);
        n += parts[i].n;
        if (i < 2)
            key[n++] = 0;
    }
    return n;
}

static struct lane_name *add(struct lane_names *names, const char *key, size_t n, uint32_t lane)
{
    if (names->count >= LANE_NAMES_MAX)
        drop(names, false);
    struct lane_name *name = reserve_must(sizeof *name + n);
    *name = (struct lane_name){.lane = lane ? lane : names->next++, .state = lane ? NAME_KEPT : NAME_NEW};
    memcpy(name->key, key, n);
    HASH_ADD_KEYPTR(hh, names->table, name->key, n, name);
    names->count++;
    return name;
}

/* Under the lock. */
static struct lane_name *get(struct lane_names *names, const struct env *env, MDB_txn *txn, bool renew,
                             const struct lane_row *fields)
{
    char key[3 + 2 * NAME_MAX_BYTES + DOMAIN_MAX];
    size_t n = key_put(key, fields);
    struct lane_name *name;
    HASH_FIND(hh, names->table, key, n, name);
    if (name != NULL)
        return name;
    if (renew && !env_read_renew(txn)) /* under the lock: what was dropped from memory was committed before */
        return NULL;
    uint32_t lane = look_up(env, txn, fields);
    if (renew)
        env_read_reset(txn);
    return add(names, key, n, lane);
}

uint32_t lane_names_find(struct lane_names *names, const struct env *env, MDB_txn *reader,
                         const struct lane_row *fields)
{
    pthread_mutex_lock(&names->lock);
    const struct lane_name *name = get(names, env, reader, true, fields);
    uint32_t lane = name != NULL ? name->lane : 0;
    pthread_mutex_unlock(&names->lock);
    return lane;
}

uint32_t lane_names_write(struct lane_names *names, const struct env *env, MDB_txn *txn,
                          const struct lane_row *fields, struct lane_name **writing)
{
    pthread_mutex_lock(&names->lock);
    struct lane_name *name = get(names, env, txn, false, fields);
    uint32_t lane = name->lane;
    if (name->state == NAME_NEW) {
        name->state = NAME_WRITING;
        name->next = *writing;
        *writing = name;
    }
    pthread_mutex_unlock(&names->lock);
    return lane;
}

void lane_names_written(struct lane_names *names, struct lane_name *list, bool committed)
{
    if (list == NULL)
        return;
    pthread_mutex_lock(&names->lock);
    for (struct lane_name *name = list; name != NULL; name = name->next)
        name->state = committed ? NAME_KEPT : NAME_NEW;
    pthread_mutex_unlock(&names->lock);
}
