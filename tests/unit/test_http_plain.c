/* The head of a plain request: what is taken as such, and all that is left to the library. */
#include "engine/admin/http_plain.h"
#include "engine/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define FRONT "POST /v1/jobs HTTP/1.1\r\nHost: x\r\n"
#define WHOLE FRONT "Content-Length: 5\r\n\r\n"

static bool reads(const char *text, struct plain_head *head)
{
    return plain_head_read(str_of(text), head);
}

static void test_plain(void **state)
{
    struct plain_head head;
    (void)state;
    assert_true(reads("PUT /v1/jobs HTTP/1.1\r\nhOST:\t x:80 \r\nContent-Type: a/b; c=\"d e\"\r\n"
                      "CONNECTION: Keep-Alive\r\nContent-Length: 0012\r\nX-A:\r\nX-B: \xc3\xa4\r\n\r\nbody",
                      &head));
    assert_true(str_eq(head.method, STR("PUT")) && str_eq(head.path, STR("/v1/jobs")));
    assert_int_equal(head.body, 12);
    assert_int_equal(head.field_count, 6);
    assert_true(str_eq(head.fields[0].name, STR("hOST")) && str_eq(head.fields[0].value, STR("x:80")));
    assert_true(str_eq(head.fields[1].value, STR("a/b; c=\"d e\"")));
    assert_true(str_eq(head.fields[4].name, STR("X-A")) && head.fields[4].value.n == 0);
    assert_true(str_eq(str_make(head.fields[5].value.p + 2 + 4, 4), STR("body")));
    assert_int_equal(head.size, (size_t)(head.fields[5].value.p + 2 + 4 - head.method.p));
    assert_true(reads(FRONT "Content-Length: 4294967295\r\n\r\n", &head));
    assert_int_equal(head.body, UINT32_MAX);
}

static void test_not_plain(void **state)
{
    static const char *const others[] = {
        "GET /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        "post /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        "POST /v1/jobs HTTP/1.0\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        "POST /v1/jobs HTTP/1.1 \r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        "POST  /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        "POST /v1/jobs?dry_run=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        "POST /v1/jo%62s HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        "POST http://x/v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        "POST /v1/jobs\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        "\r\n" WHOLE,
        FRONT "\r\n",                                          /* no length */
        "POST /v1/jobs HTTP/1.1\r\nContent-Length: 0\r\n\r\n", /* no host */
        FRONT "Host: x\r\nContent-Length: 5\r\n\r\n",          /* two */
        FRONT "Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
        FRONT "Content-Length: 5, 5\r\n\r\n",
        FRONT "Content-Length: +5\r\n\r\n",
        FRONT "Content-Length: -5\r\n\r\n",
        FRONT "Content-Length: 0x5\r\n\r\n",
        FRONT "Content-Length: 5 5\r\n\r\n",
        FRONT "Content-Length:\r\n\r\n",
        FRONT "Content-Length: 4294967296\r\n\r\n",
        FRONT "Content-Length: 99999999999999999999999\r\n\r\n",
        FRONT "Content-Length : 5\r\n\r\n",
        FRONT " Content-Length: 5\r\n\r\n",
        FRONT "X: a\r\n b\r\nContent-Length: 5\r\n\r\n",
        FRONT "X: a\rb\r\nContent-Length: 5\r\n\r\n",
        FRONT "X: a\nContent-Length: 5\r\n\r\n",
        FRONT "X: a\x01\r\nContent-Length: 5\r\n\r\n",
        FRONT "X: a\x7f\r\nContent-Length: 5\r\n\r\n",
        FRONT "X\r\nContent-Length: 5\r\n\r\n",
        FRONT ": a\r\nContent-Length: 5\r\n\r\n",
        FRONT "X Y: a\r\nContent-Length: 5\r\n\r\n",
        FRONT "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        FRONT "Content-Length: 5\r\ntransfer-encoding: identity\r\n\r\n",
        FRONT "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n",
        FRONT "Content-Length: 5\r\nConnection: close\r\n\r\n",
        FRONT "Content-Length: 5\r\nConnection: keep-alive, upgrade\r\n\r\n",
        FRONT "Content-Length: 5\r\nUpgrade: h2c\r\n\r\n",
        FRONT "Content-Length: 5\r\nTE: trailers\r\n\r\n",
        FRONT "Content-Length: 5\r\nTrailer: X\r\n\r\n",
        FRONT "Content-Length: 5\n\n",
        "",
    };
    struct plain_head head;
    (void)state;
    assert_true(reads(WHOLE, &head));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (reads(others[i], &head))
            fail_msg("taken as plain: %s", others[i]);
    assert_false(plain_head_read(str_make(FRONT "X: \0\r\nContent-Length: 5\r\n\r\n",
                                          sizeof FRONT "X: \0\r\nContent-Length: 5\r\n\r\n" - 1),
                                 &head));
}

/* A head that is not all there, or longer than may be. */
static void test_pieces(void **state)
{
    struct plain_head head;
    char text[HTTP_PLAIN_HEAD_MAX + 100];
    (void)state;
    for (size_t n = 0; n < sizeof WHOLE - 1; n++)
        assert_false(plain_head_read(str_make(WHOLE, n), &head));
    int n = snprintf(text, sizeof text, "%sX: ", FRONT);
    size_t fill = HTTP_PLAIN_HEAD_MAX - (size_t)n - strlen("\r\nContent-Length: 5\r\n\r\n");
    memset(text + n, 'x', fill + 1);
    snprintf(text + n + fill, 64, "\r\nContent-Length: 5\r\n\r\n");
    assert_true(reads(text, &head));
    assert_int_equal(head.size, HTTP_PLAIN_HEAD_MAX);
    memset(text + n + fill, 'x', 1);
    snprintf(text + n + fill + 1, 64, "\r\nContent-Length: 5\r\n\r\n");
    assert_false(reads(text, &head));

    n = snprintf(text, sizeof text, "%s", FRONT);
    for (unsigned i = 0; i < HTTP_PLAIN_FIELDS - 2; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "X: %u\r\n", i);
    snprintf(text + n, sizeof text - (size_t)n, "Content-Length: 5\r\n\r\n");
    assert_true(reads(text, &head));
    snprintf(text + n, sizeof text - (size_t)n, "Content-Length: 5\r\nX: 1\r\n\r\n");
    assert_false(reads(text, &head));
}

/* Damaged anywhere, what is still taken has one host and one length, which are those in its bytes. */
static void test_damaged(void **state)
{
    static const char text[] =
        FRONT "Content-Type: application/x-ndjson\r\nContent-Length: 123\r\nIdempotency-Key: k\r\n\r\n";
    static const char bytes[] = "\r\n \t:,;%?\0\x7f\x80"
                                "0aZ";
    struct prng prng = {prng_seed()};
    unsigned taken = 0;
    (void)state;
    for (unsigned round = 0; round < 200000; round++) {
        char damaged[sizeof text];
        struct plain_head head;
        memcpy(damaged, text, sizeof text);
        for (uint64_t n = 1 + prng_below(&prng, 3); n > 0; n--)
            damaged[prng_below(&prng, sizeof text - 1)] = bytes[prng_below(&prng, sizeof bytes - 1)];
        if (!plain_head_read(str_make(damaged, sizeof text - 1), &head))
            continue;
        taken++;
        unsigned hosts = 0, lengths = 0;
        for (unsigned i = 0; i < head.field_count; i++) {
            struct str value = head.fields[i].value;
            uint64_t length;
            hosts += str_eq_nocase(head.fields[i].name, STR("Host"));
            if (str_eq_nocase(head.fields[i].name, STR("Content-Length"))) {
                lengths++;
                assert_true(str_u64(value, UINT32_MAX, &length) && length == head.body);
            }
            for (size_t at = 0; at < value.n; at++)
                assert_true(value.p[at] != '\r' && value.p[at] != '\n' && value.p[at] != '\0');
        }
        assert_true(hosts == 1 && lengths == 1);
        assert_true(head.size <= sizeof text - 1);
        assert_memory_equal(damaged + head.size - 4, "\r\n\r\n", 4);
    }
    assert_true(taken > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_not_plain),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
