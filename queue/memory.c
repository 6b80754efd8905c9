/* memory.c - see memory.h. */
#include "queue/memory.h"

#include "engine/base/log.h"

#include <stdlib.h>

#define ARENA_FIRST ((size_t)1024) /* an upload of one recipient needs little */
#define ARENA_CHUNK ((size_t)64 * 1024)

struct arena_chunk {
    struct arena_chunk *next;
    size_t size;
    _Alignas(16) char bytes[];
};

void mem_assert_failed(const char *condition, const char *file, int line)
{
    log_error(
        "the queue stops, for its state is not what it must be: %s (%s:%d). What was accepted is on disk; "
        "please report this line",
        condition, file, line);
    abort();
}

bool mem_try_grow(void *items_pointer, size_t *cap, size_t n, size_t item_size)
{
    void *items;
    if (n <= *cap)
        return true;
    size_t grown = *cap ? *cap : 16;
    while (grown < n)
        grown *= 2;
    memcpy(&items, items_pointer, sizeof items);
    void *more = realloc(items, grown * item_size);
    if (more == NULL)
        return false;
    memcpy(items_pointer, &more, sizeof more);
    *cap = grown;
    return true;
}

void *mem_grow(void *items, size_t *cap, size_t n, size_t item_size)
{
    for (unsigned tries = 0; !mem_try_grow(&items, cap, n, item_size); tries++)
        reserve_wait(tries);
    return items;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    size = (size + 15) & ~(size_t)15;
    if (arena->chunks == NULL || size > arena->left) {
        size_t bytes = arena->chunks == NULL ? ARENA_FIRST : arena->chunks->size * 4;
        if (bytes > ARENA_CHUNK)
            bytes = ARENA_CHUNK;
        if (bytes < size)
            bytes = size;
        struct arena_chunk *chunk = reserve_must(sizeof *chunk + bytes);
        chunk->next = arena->chunks;
        chunk->size = bytes;
        arena->chunks = chunk;
        arena->left = bytes;
    }
    void *p = arena->chunks->bytes + (arena->chunks->size - arena->left);
    arena->left -= size;
    return p;
}

struct str arena_copy(struct arena *arena, struct str s)
{
    if (s.n == 0)
        return (struct str){"", 0};
    char *p = arena_alloc(arena, s.n);
    memcpy(p, s.p, s.n);
    return str_make(p, s.n);
}

void arena_reset(struct arena *arena)
{
    struct arena_chunk *keep = arena->chunks;
    if (keep == NULL)
        return;
    for (struct arena_chunk *chunk = keep->next, *next; chunk != NULL; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    keep->next = NULL;
    arena->left = keep->size;
}

void arena_free(struct arena *arena)
{
    arena_reset(arena);
    free(arena->chunks);
    *arena = (struct arena){0};
}
