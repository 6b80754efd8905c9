/* memory.h - memory of the store's own threads, and its hash tables (uthash).
 *
 * The writer and the taker cannot give up half-way: when memory for their small tables is out, they wait for
 * some (reserve.h), and intake is refused meanwhile. What callers bring (windows, contents, lists of
 * recipients) is allocated where failure can be answered, but for the table of a window's domains, which
 * waits too; what LMDB itself asks for is a reason to undo a change, as want of space is. An arena holds what
 * lives as long as one transaction. */
#ifndef POSTRIDER_QUEUE_MEMORY_H
#define POSTRIDER_QUEUE_MEMORY_H

#include "engine/base/reserve.h"
#include "engine/base/str.h"

#define HASH_FUNCTION(key, size, hash) (hash) = (unsigned)str_hash(str_make((const char *)(key), (size)))
#define uthash_malloc(size)            reserve_must(size)
#define uthash_fatal(message)          abort() /* which never happens */
#include <uthash.h>

/* Grows an array of items to hold at least n; *cap is in items. False: no memory, all is as it was. */
bool mem_try_grow(void *items_pointer, size_t *cap, size_t n, size_t item_size);
/* The same for those who wait; the array. */
void *mem_grow(void *items, size_t *cap, size_t n, size_t item_size);
/* What must hold, in every build: a broken promise of a caller or of ours stops the daemon before it is
 * written to disk. */
#define QUEUE_ASSERT(condition) ((condition) ? (void)0 : mem_assert_failed(#condition, __FILE__, __LINE__))
void mem_assert_failed(const char *condition, const char *file, int line) __attribute__((noreturn));

struct arena_chunk;
struct arena {
    struct arena_chunk *chunks; /* the one in use first */
    size_t left;
};
void *arena_alloc(struct arena *arena, size_t size); /* aligned to 16; never NULL */
struct str arena_copy(struct arena *arena, struct str s);
void arena_reset(struct arena *arena); /* keeps one chunk for the next use */
void arena_free(struct arena *arena);

#endif
