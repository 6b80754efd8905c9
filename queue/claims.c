/* claims.c - see claims.h. */
#include "queue/claims.h"

#include <stdlib.h>

struct claim *claims_find(const struct claims *claims, uint64_t job, uint32_t batch)
{
    struct claim_key key = {job, batch};
    struct claim *claim;
    HASH_FIND(hh, claims->table, &key, sizeof key, claim);
    return claim;
}

bool claims_has(const struct claims *claims, struct rid rid)
{
    return claim_has(claims_find(claims, rid.job, rid.batch), rid.slot);
}

bool claims_set(struct claims *claims, struct rid rid)
{
    struct claim *claim = claims_find(claims, rid.job, rid.batch);
    QUEUE_ASSERT(rid.slot < BATCH_SLOTS_MAX);
    if (claim_has(claim, rid.slot))
        return false;
    if (claim == NULL) {
        claim = reserve_must(sizeof *claim);
        *claim = (struct claim){.key = {rid.job, rid.batch}};
        HASH_ADD(hh, claims->table, key, sizeof claim->key, claim);
    }
    claim->bits[rid.slot / 64] |= UINT64_C(1) << (rid.slot % 64);
    claim->count++;
    claims->count++;
    return true;
}

bool claims_clear(struct claims *claims, struct rid rid)
{
    struct claim *claim = claims_find(claims, rid.job, rid.batch);
    if (!claim_has(claim, rid.slot))
        return false;
    claim->bits[rid.slot / 64] &= ~(UINT64_C(1) << (rid.slot % 64));
    claims->count--;
    if (--claim->count == 0) {
        HASH_DEL(claims->table, claim);
        free(claim);
    }
    return true;
}

void claims_free(struct claims *claims)
{
    struct claim *claim, *next;
    HASH_ITER(hh, claims->table, claim, next)
    {
        HASH_DEL(claims->table, claim);
        free(claim);
    }
    *claims = (struct claims){0};
}
