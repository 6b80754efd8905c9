/* Canonicalisation: RFC 6376's own example, and any text against a byte at a time. Signatures are verified by
 * others in test_dkim.py. */
#include "engine/base/prng.h"
#include "engine/dkim/canon.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_field(void **state)
{
    (void)state;
    static const struct {
        const char *field, *want;
    } cases[] = {
        {"A: X\r\n", "a:X"}, /* RFC 6376 3.4.5 */
        {"B : Y\t\r\n\tZ  \r\n", "b:Y Z"},
        {"Subject:\r\n a\r\n", "subject:a"},
        {"X:\r\n", "x:"},
        {"X: \t \r\n \r\n", "x:"},
        {"X: a: b\r\n", "x:a: b"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf out;
        buf_init(&out, 1024);
        assert_true(canon_field(&out, str_of(cases[i].field)));
        assert_true(str_eq(buf_str(&out), str_of(cases[i].want)));
        buf_free(&out);
    }
}

/* The first bytes left out. */
static void expect_parts(const struct iovec *parts, size_t count, size_t skip, struct str want)
{
    struct canon_body body;
    uint8_t hash[DIGEST_SIZE], wanted[DIGEST_SIZE];
    digest_of(want.p, want.n, wanted);
    assert_true(canon_body_begin(&body));
    canon_body_add(&body, parts, count, skip, SIZE_MAX);
    canon_body_end(&body, hash);
    assert_memory_equal(hash, wanted, DIGEST_SIZE);
}

static void expect_body(struct str body, struct str want)
{
    const struct iovec whole = {(void *)(uintptr_t)body.p, body.n};
    uint8_t hash[DIGEST_SIZE], wanted[DIGEST_SIZE];
    digest_of(want.p, want.n, wanted);
    expect_parts(&whole, 1, 0, want);
    for (size_t cut = 0; cut <= body.n && cut < 80; cut++) { /* the same in two pieces */
        const struct iovec parts[2] = {{(void *)(uintptr_t)body.p, cut},
                                       {(void *)(uintptr_t)(body.p + cut), body.n - cut}};
        struct canon_body begun, rest;
        expect_parts(parts, 2, 0, want);
        assert_true(canon_body_begin(&begun)); /* and from a beginning, twice */
        canon_body_add(&begun, parts, 2, 0, cut);
        for (int i = 0; i < 2; i++) {
            assert_true(canon_body_copy(&rest, &begun));
            canon_body_add(&rest, &whole, 1, cut, SIZE_MAX);
            canon_body_end(&rest, hash);
            assert_memory_equal(hash, wanted, DIGEST_SIZE);
        }
        canon_body_end(&begun, NULL);
    }
}

static void test_body(void **state)
{
    (void)state;
    expect_body(STR(" C \r\nD \t E\r\n\r\n\r\n"), STR(" C\r\nD E\r\n")); /* RFC 6376 3.4.5 */
    expect_body(STR(""), STR(""));
    expect_body(STR("\r\n\r\n"), STR(""));
    expect_body(STR(" \t\r\n"), STR(""));
    expect_body(STR("\r\n\r\na"), STR("\r\n\r\na\r\n"));
    expect_body(STR("a\x01\tb\r\n"), STR("a\x01 b\r\n"));
    const struct iovec parts[] = {{(char[]){"\r"}, 1}, {(char[]){"\nab"}, 3}};
    expect_parts(parts, 2, 2, STR("ab\r\n")); /* the blank line left out */
}

/* A byte at a time. */
static void plainly(struct str body, struct buf *out)
{
    size_t line_ends = 0;
    bool blank = false;
    for (size_t i = 0; i < body.n; i++) {
        char c = body.p[i];
        if (c == '\n') {
            line_ends++;
            blank = false;
        } else if (c == ' ' || c == '\t') {
            blank = true;
        } else if (c != '\r') {
            for (; line_ends > 0; line_ends--)
                buf_add_z(out, "\r\n");
            buf_add_z(out, blank ? " " : "");
            buf_add_char(out, c);
            blank = false;
        }
    }
    buf_add_z(out, out->len > 0 ? "\r\n" : "");
}

static void test_any_body(void **state)
{
    (void)state;
    static const char *const words[] = {"a",     "words",    " ",    "  ",
                                        "\t",    "\r\n",     "\r\n", "\r\n\r\n",
                                        " \r\n", "\xc3\xa9", "\x01", "a longer piece of text"};
    struct prng prng = {.state = 5};
    for (int round = 0; round < 3000; round++) {
        struct buf body, want;
        buf_init(&body, 1 << 20);
        buf_init(&want, 1 << 20);
        for (uint64_t n = prng_below(&prng, round % 100 == 0 ? 3000 : 60); n > 0; n--)
            buf_add_z(&body, words[prng_below(&prng, sizeof words / sizeof words[0])]);
        buf_add_char(&body, 'x');
        plainly(buf_str(&body), &want);
        expect_body(buf_str(&body), buf_str(&want));
        buf_free(&body);
        buf_free(&want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_field),
        cmocka_unit_test(test_body),
        cmocka_unit_test(test_any_body),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
