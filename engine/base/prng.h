/* prng.h - the seam to randomness: a small seeded generator (splitmix64) for jitter and shuffles.
 *
 * One per thread, seeded once from prng_seed (the kernel) or from the simulator's seed. Not for secrets. */
#ifndef POSTRIDER_BASE_PRNG_H
#define POSTRIDER_BASE_PRNG_H

#include <stdint.h>

struct prng {
    uint64_t state;
};

/* A seed from the kernel. */
uint64_t prng_seed(void);
uint64_t prng_next(struct prng *prng);
/* Evenly in [0, bound); bound > 0. */
uint64_t prng_below(struct prng *prng, uint64_t bound);
/* value changed by up to +-percent, evenly; never below 0. */
int64_t prng_jitter(struct prng *prng, int64_t value, unsigned percent);

#endif
