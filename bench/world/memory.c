/* memory.c - see memory.h. */
#include "bench/world/memory.h"

#include "bench/world/limits.h"

#include <stdlib.h>
#include <uthash.h>

struct remembered {
    uint64_t key;
    int64_t number;
    UT_hash_handle hh;
};

int64_t *memory_at(struct memory *memory, uint64_t key)
{
    struct remembered *found = NULL;
    HASH_FIND(hh, memory->table, &key, sizeof key, found);
    if (found)
        return &found->number;
    if (HASH_COUNT(memory->table) >= WORLD_REMEMBERED_MAX)
        memory_clear(memory);
    found = malloc(sizeof *found);
    if (found == NULL)
        return NULL;
    *found = (struct remembered){.key = key};
    HASH_ADD(hh, memory->table, key, sizeof found->key, found);
    return &found->number;
}

void memory_clear(struct memory *memory)
{
    struct remembered *each, *next;
    HASH_ITER(hh, memory->table, each, next)
    {
        HASH_DEL(memory->table, each);
        free(each);
    }
}
