/* keys.c - see keys.h. */
#include "engine/intake/keys.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

struct key {
    uint8_t hash[DIGEST_SIZE];
    UT_hash_handle hh;
};

struct keys {
    pthread_mutex_t lock;
    struct key *table;
};

struct keys *keys_create(void)
{
    struct keys *keys = calloc(1, sizeof *keys);
    if (keys != NULL)
        pthread_mutex_init(&keys->lock, NULL);
    return keys;
}

void keys_destroy(struct keys *keys)
{
    struct key *key, *next;
    HASH_ITER(hh, keys->table, key, next)
    {
        HASH_DEL(keys->table, key);
        free(key);
    }
    pthread_mutex_destroy(&keys->lock);
    free(keys);
}

enum keys_result keys_enter(struct keys *keys, const uint8_t hash[DIGEST_SIZE])
{
    struct key *known, *key = calloc(1, sizeof *key);
    if (key == NULL)
        return KEYS_NO_MEMORY;
    memcpy(key->hash, hash, DIGEST_SIZE);
    pthread_mutex_lock(&keys->lock);
    HASH_FIND(hh, keys->table, hash, DIGEST_SIZE, known);
    if (known == NULL)
        HASH_ADD(hh, keys->table, hash, DIGEST_SIZE, key);
    bool added = known == NULL && key->hh.tbl != NULL;
    pthread_mutex_unlock(&keys->lock);
    if (!added)
        free(key);
    return added ? KEYS_ENTERED : known != NULL ? KEYS_UNDER_WAY : KEYS_NO_MEMORY;
}

void keys_leave(struct keys *keys, const uint8_t hash[DIGEST_SIZE])
{
    struct key *key;
    pthread_mutex_lock(&keys->lock);
    HASH_FIND(hh, keys->table, hash, DIGEST_SIZE, key);
    if (key != NULL)
        HASH_DEL(keys->table, key);
    pthread_mutex_unlock(&keys->lock);
    free(key);
}
