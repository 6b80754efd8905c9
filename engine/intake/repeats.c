/* repeats.c - see repeats.h. */
#include "engine/intake/repeats.h"

#include "engine/base/prng.h"

void repeats_init(struct repeats *repeats)
{
    repeats->seed = prng_seed();
    for (size_t i = 0; i < INTAKE_REPEATS; i++)
        atomic_init(&repeats->seen[i], 0);
}

bool repeats_note(struct repeats *repeats, struct str content)
{
    uint64_t hash = str_hash_seeded(content, repeats->seed);
    atomic_uint_fast64_t *seen = &repeats->seen[hash % INTAKE_REPEATS];
    return atomic_exchange_explicit(seen, hash, memory_order_relaxed) == hash;
}
