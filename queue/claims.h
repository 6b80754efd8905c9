/* claims.h - which recipients are in somebody's hands: a worker's, or an operation's for the length of a
 * commit.
 *
 * A bit a slot, by (job, batch). In memory only: a crash makes everything unclaimed. Guarded by store->lock;
 * what is cleared after a commit is seen settled by every read transaction begun (or renewed) later. */
#ifndef POSTRIDER_QUEUE_CLAIMS_H
#define POSTRIDER_QUEUE_CLAIMS_H

#include "engine/limits.h"
#include "queue/memory.h"
#include "queue/rid.h"

struct claim_key {
    uint64_t job;
    uint64_t batch; /* 64 bits wide, so that there is no padding to hash */
};
struct claim {
    struct claim_key key;
    unsigned count;
    uint64_t bits[(BATCH_SLOTS_MAX + 63) / 64];
    UT_hash_handle hh;
};
struct claims {
    struct claim *table;
    uint64_t count; /* of recipients */
};

/* The batch's bits, or NULL when none is set. */
struct claim *claims_find(const struct claims *claims, uint64_t job, uint32_t batch);
/* slot: any; an outsider may ask for one behind the last. */
static inline bool claim_has(const struct claim *claim, uint16_t slot)
{
    return claim != NULL && slot < BATCH_SLOTS_MAX && (claim->bits[slot / 64] >> (slot % 64) & 1);
}
bool claims_has(const struct claims *claims, struct rid rid);
/* False when it is claimed already. */
bool claims_set(struct claims *claims, struct rid rid);
/* False when it was not claimed. */
bool claims_clear(struct claims *claims, struct rid rid);
void claims_free(struct claims *claims);

#endif
