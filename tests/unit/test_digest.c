/* test_digest.c - SHA-256 against the vectors of FIPS 180-4, whole and in pieces. */
#include "engine/tls/digest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *text, *hex;
} vectors[] = {
    {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
};

static void expect_hex(const uint8_t digest[DIGEST_SIZE], const char *hex)
{
    char text[2 * DIGEST_SIZE + 1];
    for (size_t i = 0; i < DIGEST_SIZE; i++)
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    assert_string_equal(text, hex);
}

static void test_whole_and_split(void **state)
{
    (void)state;
    uint8_t out[DIGEST_SIZE];
    for (size_t v = 0; v < sizeof vectors / sizeof *vectors; v++) {
        size_t n = strlen(vectors[v].text);
        digest_of(vectors[v].text, n, out);
        expect_hex(out, vectors[v].hex);
        for (size_t cut = 0; cut <= n; cut++) {
            struct digest *digest = digest_begin();
            assert_non_null(digest);
            digest_add(digest, vectors[v].text, cut);
            struct digest *copy = digest_copy(digest);
            assert_non_null(copy);
            digest_add(copy, "something else", 14);
            digest_end(copy, out);
            copy = digest_copy(digest);
            digest_add(copy, vectors[v].text + cut, n - cut);
            digest_end(copy, out);
            expect_hex(out, vectors[v].hex);
            digest_add(digest, vectors[v].text + cut, n - cut);
            memset(out, 0, sizeof out);
            digest_end(digest, out);
            expect_hex(out, vectors[v].hex);
        }
    }
}

static void test_given_up(void **state)
{
    (void)state;
    struct digest *digest = digest_begin();
    assert_non_null(digest);
    digest_add(digest, "abc", 3);
    digest_end(digest, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_and_split),
        cmocka_unit_test(test_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
