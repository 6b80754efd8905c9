/* scan.c - see scan.h. */
#include "bench/world/scan.h"

#ifdef __x86_64__

#include <immintrin.h>

static uint64_t sse2_mask(__m128i v, unsigned i)
{
    return (uint64_t)(uint32_t)_mm_movemask_epi8(v) << (16 * i);
}

static void sse2_blocks(const char *p, size_t blocks, struct scan_masks *out)
{
    const __m128i cr = _mm_set1_epi8('\r'), lf = _mm_set1_epi8('\n'), dot = _mm_set1_epi8('.');
    for (; blocks > 0; blocks--, p += SCAN_BLOCK, out++) {
        *out = (struct scan_masks){0};
        for (unsigned i = 0; i < 4; i++) {
            __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i));
            out->cr |= sse2_mask(_mm_cmpeq_epi8(v, cr), i);
            out->lf |= sse2_mask(_mm_cmpeq_epi8(v, lf), i);
            out->dot |= sse2_mask(_mm_cmpeq_epi8(v, dot), i);
            out->high |= sse2_mask(v, i);
        }
    }
}

__attribute__((target("avx2"))) static uint64_t avx2_masks(__m256i low, __m256i high)
{
    return (uint32_t)_mm256_movemask_epi8(low) | (uint64_t)(uint32_t)_mm256_movemask_epi8(high) << 32;
}

__attribute__((target("avx2"))) static void avx2_blocks(const char *p, size_t blocks, struct scan_masks *out)
{
    const __m256i cr = _mm256_set1_epi8('\r'), lf = _mm256_set1_epi8('\n'), dot = _mm256_set1_epi8('.');
    for (; blocks > 0; blocks--, p += SCAN_BLOCK, out++) {
        __m256i low = _mm256_loadu_si256((const __m256i *)(const void *)p);
        __m256i high = _mm256_loadu_si256((const __m256i *)(const void *)(p + 32));
        out->cr = avx2_masks(_mm256_cmpeq_epi8(low, cr), _mm256_cmpeq_epi8(high, cr));
        out->lf = avx2_masks(_mm256_cmpeq_epi8(low, lf), _mm256_cmpeq_epi8(high, lf));
        out->dot = avx2_masks(_mm256_cmpeq_epi8(low, dot), _mm256_cmpeq_epi8(high, dot));
        out->high = avx2_masks(low, high);
    }
}

void scan_blocks(const char *p, size_t blocks, struct scan_masks *out)
{
    if (__builtin_cpu_supports("avx2"))
        avx2_blocks(p, blocks, out);
    else
        sse2_blocks(p, blocks, out);
}

#else

#include <endian.h>
#include <string.h>

#define LOW_BITS  UINT64_C(0x0101010101010101)
#define HIGH_BITS UINT64_C(0x8080808080808080)

/* The high bits of eight bytes, side by side. */
static uint64_t gather(uint64_t word)
{
    return ((word & HIGH_BITS) >> 7) * UINT64_C(0x0102040810204080) >> 56;
}

static uint64_t equal(uint64_t word, char c)
{
    uint64_t differ = word ^ (LOW_BITS * (uint8_t)c);
    return gather(~(((differ & ~HIGH_BITS) + ~HIGH_BITS) | differ));
}

void scan_blocks(const char *p, size_t blocks, struct scan_masks *out)
{
    for (; blocks > 0; blocks--, p += SCAN_BLOCK, out++) {
        *out = (struct scan_masks){0};
        for (unsigned i = 0; i < SCAN_BLOCK; i += 8) {
            uint64_t word;
            memcpy(&word, p + i, sizeof word);
            word = le64toh(word);
            out->cr |= equal(word, '\r') << i;
            out->lf |= equal(word, '\n') << i;
            out->dot |= equal(word, '.') << i;
            out->high |= gather(word) << i;
        }
    }
}

#endif
