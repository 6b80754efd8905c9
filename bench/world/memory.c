/* memory.c - see memory.h. An open hash table with linear probing, at most two thirds full; 16 bytes a place.
 */
#include "bench/world/memory.h"

#include "bench/world/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#define FIRST_ROOM 1024

struct remembered {
    uint64_t key; /* 0: free */
    int64_t number;
};

static struct remembered *place_of(struct remembered *places, uint64_t room, uint64_t key)
{
    uint64_t at = key & (room - 1);
    while (places[at].key != 0 && places[at].key != key)
        at = (at + 1) & (room - 1);
    return &places[at];
}

static bool grow(struct memory *memory)
{
    uint64_t room = memory->room ? memory->room * 2 : FIRST_ROOM;
    struct remembered *places = calloc(room, sizeof *places);
    if (places == NULL)
        return false;
    for (uint64_t i = 0; i < memory->room; i++)
        if (memory->places[i].key)
            *place_of(places, room, memory->places[i].key) = memory->places[i];
    free(memory->places);
    memory->places = places;
    memory->room = room;
    return true;
}

int64_t *memory_at(struct memory *memory, uint64_t key)
{
    key += key == 0;
    if (memory->used >= WORLD_REMEMBERED_MAX)
        memory_clear(memory);
    if (memory->used >= memory->room / 3 * 2 && !grow(memory))
        return NULL;
    struct remembered *found = place_of(memory->places, memory->room, key);
    if (found->key == 0) {
        found->key = key;
        memory->used++;
    }
    return &found->number;
}

void memory_clear(struct memory *memory)
{
    free(memory->places);
    *memory = (struct memory){0};
}
