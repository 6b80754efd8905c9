/* prng.c - see prng.h. */
#include "engine/base/prng.h"

#include <stdlib.h>
#include <sys/random.h>

uint64_t prng_seed(void)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed)
        abort(); /* cannot fail for 8 bytes on the kernels we run on */
    return seed;
}

uint64_t prng_next(struct prng *prng)
{
    uint64_t z = (prng->state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t prng_below(struct prng *prng, uint64_t bound)
{
    /* The high half of a 64x64 product; its bias is below 2^-32 for every bound in use. */
    __extension__ typedef unsigned __int128 wide;
    return (uint64_t)(((wide)prng_next(prng) * bound) >> 64);
}

int64_t prng_jitter(struct prng *prng, int64_t value, unsigned percent)
{
    if (value <= 0)
        return 0;
    uint64_t span = (uint64_t)value / 100 * percent;
    if (span == 0)
        return value;
    return value - (int64_t)span + (int64_t)prng_below(prng, 2 * span + 1);
}
