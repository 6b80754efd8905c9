/* memory.h - what receivers remember of former attempts: when a pair first came, how often a rule was used.
 *
 * Keys are well mixed 64-bit hashes, each with one number. Bounded: at WORLD_REMEMBERED_MAX all is
 * forgotten. One thread. */
#ifndef POSTRIDER_WORLD_MEMORY_H
#define POSTRIDER_WORLD_MEMORY_H

#include <stdint.h>

struct memory {
    struct remembered *places;
    uint64_t room, used; /* room is a power of two */
};

/* Where the key's number is, made as 0 if new; valid until the next call. NULL if memory is out. */
int64_t *memory_at(struct memory *memory, uint64_t key);
void memory_clear(struct memory *memory);

static inline uint64_t mix(uint64_t a, uint64_t b)
{
    a ^= b + UINT64_C(0x9e3779b97f4a7c15) + (a << 6) + (a >> 2);
    a *= UINT64_C(0xff51afd7ed558ccd);
    return a ^ (a >> 33);
}

#endif
