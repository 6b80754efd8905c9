/* wanted.c - see wanted.h. */
#include "engine/tlsrpt/wanted.h"

#define STATE UINT64_C(3)

_Static_assert((RPT_WANTED_SLOTS & (RPT_WANTED_SLOTS - 1)) == 0, "a mask picks the slot");

enum { NOTHING, ASKED, NOT_WANTED, WANTED };

static _Atomic uint64_t *slot_of(struct wanted *wanted, uint64_t digest)
{
    return &wanted->slots[(digest >> 2) & (RPT_WANTED_SLOTS - 1)];
}

bool wanted_ask(struct wanted *wanted, uint64_t digest)
{
    _Atomic uint64_t *slot = slot_of(wanted, digest);
    uint64_t known = atomic_load_explicit(slot, memory_order_relaxed);
    if ((known & ~STATE) == (digest & ~STATE) && (known & STATE) != NOTHING)
        return (known & STATE) == WANTED;
    return atomic_compare_exchange_strong(slot, &known, (digest & ~STATE) | ASKED);
}

bool wanted_is_known(const struct wanted *wanted, uint64_t digest)
{
    const _Atomic uint64_t *slot = &wanted->slots[(digest >> 2) & (RPT_WANTED_SLOTS - 1)];
    return atomic_load_explicit(slot, memory_order_relaxed) == ((digest & ~STATE) | WANTED);
}

static void set(struct wanted *wanted, uint64_t digest, uint64_t state)
{
    _Atomic uint64_t *slot = slot_of(wanted, digest);
    uint64_t known = atomic_load(slot);
    if ((known & ~STATE) == (digest & ~STATE)) /* else another has its place by now */
        atomic_compare_exchange_strong(slot, &known, (digest & ~STATE) | state);
}

void wanted_set(struct wanted *wanted, uint64_t digest, bool has_record)
{
    set(wanted, digest, has_record ? WANTED : NOT_WANTED);
}

void wanted_forget(struct wanted *wanted, uint64_t digest)
{
    set(wanted, digest, NOTHING);
}

void wanted_forget_all(struct wanted *wanted)
{
    for (unsigned i = 0; i < RPT_WANTED_SLOTS; i++)
        atomic_store_explicit(&wanted->slots[i], 0, memory_order_relaxed);
}
