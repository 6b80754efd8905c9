/* What the load programs read: HTTP answers, SMTP replies, places to connect to; in whatever pieces. */
#include "bench/load/http.c"
#include "bench/load/reply.c"
#include "bench/load/target.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Whole only with its last byte; its status and body. */
static void answer_is(const char *text, int status, const char *body, uint64_t accepted, bool closes)
{
    struct answer answer;
    answer_init(&answer);
    for (size_t n = strlen(text), i = 0; i < n; i++) {
        buf_add_char(&answer.in, text[i]);
        assert_int_equal(answer_parse(&answer), i + 1 == n ? ANSWER_WHOLE : ANSWER_MORE);
    }
    assert_int_equal(answer.status, status);
    assert_int_equal(answer.body.n, strlen(body));
    assert_memory_equal(answer.body.p, body, answer.body.n);
    assert_int_equal(answer_accepted(&answer), accepted);
    assert_int_equal(answer.close, closes);
    answer_free(&answer);
}

static void test_answer_kinds(void **state)
{
    (void)state;
    answer_is("HTTP/1.1 202 Accepted\r\ncontent-length: 12\r\nConnection: close\r\n\r\n\"accepted\":1", 202,
              "\"accepted\":1", 1, true);
    answer_is("HTTP/1.1 202 A\r\nTransfer-Encoding: chunked\r\n\r\n"
              "6\r\n\"accep\r\n8\r\nted\": 20\r\n11\r\n5 \"accepted\":1000\r\n0\r\n\r\n",
              202, "\"accepted\": 205 \"accepted\":1000", 1205, false);
    answer_is("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 507 Full\r\nContent-Length: 3\r\n\r\nno\n", 507, "no\n",
              0, false);
    answer_is("HTTP/1.1 204 None\r\nContent-Length: 0\r\n\r\n", 204, "", 0, false);
}

static void test_answers_broken(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "220 mx.test ESMTP\r\n\r\n",
        "HTTP/1.1 2x2 A\r\n\r\n",
        "HTTP/1.1 202 A\r\n\r\n",
        "HTTP/1.1 202 A\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 202 A\r\nContent-Length: 99999999999\r\n\r\n",
        "HTTP/1.1 202 A\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 202 A\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n",
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct answer answer;
        answer_init(&answer);
        buf_add_z(&answer.in, bad[i]);
        assert_int_equal(answer_parse(&answer), ANSWER_BROKEN);
        answer_free(&answer);
    }
}

static void test_replies(void **state)
{
    (void)state;
    static const char text[] = "250-mx.test\r\n250-PIPELINING\r\n250 SIZE 10\r\n354 go\n421\r\n";
    static const int codes[] = {250, 354, 421};
    for (size_t n = 0; n < sizeof text; n++) { /* every part of it */
        struct str in = str_make(text, n);
        struct reply reply;
        size_t seen = 0;
        enum reply_state got;
        while ((got = reply_next(&in, &reply)) == REPLY_WHOLE)
            assert_int_equal(reply.code, codes[seen++]);
        assert_int_equal(got, REPLY_MORE);
        assert_int_equal(seen, n < 42 ? 0 : n < 49 ? 1 : n < 54 ? 2 : 3);
        assert_true(seen == 3 ? in.n == 0 : in.p + in.n == text + n);
    }
    struct str in = STR("250-mx.test\r\n250-PIPELINING\r\n250 SIZE 10\r\n");
    struct reply reply;
    assert_int_equal(reply_next(&in, &reply), REPLY_WHOLE);
    assert_true(reply_offers(reply.text, STR("PIPELINING")));
    assert_true(reply_offers(reply.text, STR("size")));
    assert_false(reply_offers(reply.text, STR("PIPE")));
    assert_false(reply_offers(reply.text, STR("mx.test"))); /* the first line names the host */
    in = STR("hello\r\n");
    assert_int_equal(reply_next(&in, &reply), REPLY_BROKEN);
    in = STR("\r\n");
    assert_int_equal(reply_next(&in, &reply), REPLY_BROKEN);
}

static void test_targets(void **state)
{
    (void)state;
    struct target target;
    struct err err;
    char text[INET_ADDRSTRLEN];
    assert_true(target_parse(&target, "127.0.9.1..300:2525", &err));
    assert_int_equal(target.count, 300);
    struct target other = target_of(&target, 555);
    assert_string_equal(inet_ntop(AF_INET, &other.address.v4.sin_addr, text, sizeof text), "127.0.10.0");
    assert_int_equal(ntohs(other.address.v4.sin_port), 2525);
    assert_true(target_parse(&target, "127.0.0.1:25", &err));
    assert_int_equal(target.count, 1);
    assert_true(target_parse(&target, "[::1]:25", &err));
    assert_int_equal(target.address.any.sa_family, AF_INET6);
    assert_true(target_parse(&target, "unix:/tmp/x", &err));
    assert_string_equal(target.address.local.sun_path, "/tmp/x");
    static const char *const bad[] = {
        "",          "127.0.0.1",      ":25",           "127.0.0.1:0", "127.0.0.1:65536",
        "host:25",   "127.0.0.1..0:1", "[::1]..2:25",   "[]:1",        "unix:",
        "127.0.0:1", "127.0.0.1..:25", "127.0.0.1..x:2"};
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_false(target_parse(&target, bad[i], &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answer_kinds),
        cmocka_unit_test(test_answers_broken),
        cmocka_unit_test(test_replies),
        cmocka_unit_test(test_targets),
    };
    return cmocka_run_group_tests_name("load answers", tests, NULL, NULL);
}
