/* The world's masks of a message's bytes: every way to make them gives what looking at each byte gives. */
#include "bench/world/scan.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define BLOCKS 16

typedef void maker(const char *p, size_t blocks, struct scan_masks *out);

static void check_blocks(maker *make, const char *bytes)
{
    struct scan_masks masks[BLOCKS];
    make(bytes, BLOCKS, masks);
    for (size_t i = 0; i < (size_t)BLOCKS * SCAN_BLOCK; i++) {
        const struct scan_masks *mask = &masks[i / SCAN_BLOCK];
        unsigned bit = i % SCAN_BLOCK;
        assert_int_equal(mask->cr >> bit & 1, bytes[i] == '\r');
        assert_int_equal(mask->lf >> bit & 1, bytes[i] == '\n');
        assert_int_equal(mask->dot >> bit & 1, bytes[i] == '.');
        assert_int_equal(mask->high >> bit & 1, (unsigned char)bytes[i] > 127);
    }
}

/* All bytes beside all others, then texts of few different ones. */
static void check_all(maker *make)
{
    static const char few[8] = {'\r', '\n', '.', 'x', '\x8d', '\0', '\x0e', '\xff'};
    char bytes[1 + BLOCKS * SCAN_BLOCK];
    uint64_t seed = 1;
    for (size_t round = 0; round < 200; round++) {
        for (size_t i = 0; i < sizeof bytes; i++) {
            seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
            bytes[i] = round % 2 ? few[seed >> 61] : (char)(seed >> 56);
        }
        check_blocks(make, bytes + round / 2 % 2);
    }
}

static void test_without_vectors(void **state)
{
    (void)state;
    check_all(plain_blocks);
}

static void test_as_chosen(void **state)
{
    (void)state;
    check_all(scan_blocks);
}

static void test_avx2(void **state)
{
    (void)state;
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2"))
        check_all(avx2_blocks);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_vectors),
        cmocka_unit_test(test_as_chosen),
        cmocka_unit_test(test_avx2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
