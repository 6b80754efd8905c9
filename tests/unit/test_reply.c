/* test_reply.c - the reply parser: tables of replies, cut at every byte, and what a hostile peer may send. */
#include "engine/smtp/reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* What the parser made of an input: "CODE/lines/text;" a reply, "!why" at the end when it refused. */
static void describe(struct buf *out, const char *input, size_t n, size_t cut)
{
    struct reply reply;
    reply_init(&reply);
    buf_clear(out);
    struct str parts[2] = {str_make(input, cut), str_make(input + cut, n - cut)};
    bool bad = false;
    for (int i = 0; i < 2 && !bad; i++) {
        /* An exact copy, so that a sanitizer sees a read past the end or of an earlier piece. */
        char *copy = malloc(parts[i].n + 1);
        assert_non_null(copy);
        memcpy(copy, parts[i].p, parts[i].n);
        struct str data = str_make(copy, parts[i].n);
        while (data.n > 0 && !bad) {
            enum reply_result result = reply_feed(&reply, &data);
            if (result == REPLY_DONE)
                buf_printf(out, "%u/%u/%.*s;", reply.code, reply.lines, STR_ARG(reply.text));
            if (result == REPLY_BAD)
                buf_printf(out, "!%s", reply.why);
            bad = result == REPLY_BAD;
            assert_true(result != REPLY_MORE || data.n == 0);
        }
        free(copy);
    }
    if (!bad && reply_begun(&reply))
        buf_printf(out, "...");
    buf_free(&reply.partial);
    buf_free(&reply.joined);
    buf_add_char(out, '\0');
}

static const struct {
    const char *input, *expected;
} replies[] = {
    {"250 ok\r\n", "250/1/ok;"},
    {"250\r\n", "250/1/;"},
    {"250 \r\n", "250/1/;"},
    {"250 ok\n", "250/1/ok;"},
    {"250 ok\r\r\n", "250/1/ok;"},
    {"250-a\r\n250-b\r\n250 c\r\n", "250/3/a b c;"},
    {"250-a\r\n250\r\n", "250/2/a;"},
    {"250-\r\n250 x\r\n", "250/2/ x;"},
    {"550-5.1.1 The account\r\n550-5.1.1 you tried\r\n550 5.1.1 is not here\r\n",
     "550/3/5.1.1 The account you tried is not here;"},
    {"550-5.1.1 a\r\n550 5.1.12 b\r\n", "550/2/5.1.1 a 5.1.12 b;"},
    {"250 a\r\n354 b\r\n", "250/1/a;354/1/b;"},
    {"250 a\r\n354-b\r\n354 c\r\n221 d\r\n", "250/1/a;354/2/b c;221/1/d;"},
    {"250 o", "..."},
    {"250-a\r\n", "..."},
    {"250-a\r\n251 b\r\n", "!a reply whose lines have different codes"},
    {"25\r\n", "!a line that is no SMTP reply"},
    {"\r\n", "!a line that is no SMTP reply"},
    {"150 x\r\n", "!a line that is no SMTP reply"},
    {"650 x\r\n", "!a line that is no SMTP reply"},
    {"2x0 x\r\n", "!a line that is no SMTP reply"},
    {"250x\r\n", "!a line that is no SMTP reply"},
    {"250\tok\r\n", "!a line that is no SMTP reply"},
    {"HTTP/1.1 400 Bad Request\r\n", "!a line that is no SMTP reply"},
};

static void test_table_cut_everywhere(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 4096);
    for (size_t i = 0; i < sizeof replies / sizeof *replies; i++) {
        size_t n = strlen(replies[i].input);
        for (size_t cut = 0; cut <= n; cut++) {
            describe(&out, replies[i].input, n, cut);
            assert_string_equal(out.data, replies[i].expected);
        }
    }
    buf_free(&out);
}

static void test_nul_in_text_is_kept(void **state)
{
    (void)state;
    static const char input[] = "250 a\0b\r\n";
    for (size_t cut = 0; cut < sizeof input; cut++) {
        struct reply reply;
        reply_init(&reply);
        struct str first = str_make(input, cut), second = str_make(input + cut, sizeof input - 1 - cut);
        enum reply_result result = first.n ? reply_feed(&reply, &first) : REPLY_MORE;
        if (result == REPLY_MORE)
            result = reply_feed(&reply, &second);
        assert_int_equal(result, REPLY_DONE);
        assert_int_equal(reply.text.n, 3);
        assert_memory_equal(reply.text.p, "a\0b", 3);
        reply_release(&reply);
        assert_null(reply.partial.data);
    }
}

static void test_endless_line(void **state)
{
    (void)state;
    struct reply reply;
    reply_init(&reply);
    size_t fed = 0;
    enum reply_result result = REPLY_MORE;
    while (result == REPLY_MORE && fed < 100000) {
        struct str piece = STR("250 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
        fed += piece.n;
        result = reply_feed(&reply, &piece);
    }
    assert_int_equal(result, REPLY_BAD);
    assert_string_equal(reply.why, "a line that does not end");
    assert_true(fed <= REPLY_LINE_MAX + 64);
    assert_true(reply.partial.cap <= REPLY_LINE_MAX);
    buf_free(&reply.partial);
}

/* The longest line allowed arrives whole; a line longer by one is refused although its end is there. */
static void test_longest_line(void **state)
{
    (void)state;
    for (size_t n = REPLY_LINE_MAX; n <= REPLY_LINE_MAX + 1; n++) {
        char *line = malloc(n + 1);
        assert_non_null(line);
        memset(line, 'x', n);
        memcpy(line, "250 ", 4);
        line[n] = '\n';
        struct reply reply;
        reply_init(&reply);
        struct str data = str_make(line, n + 1);
        enum reply_result result = reply_feed(&reply, &data);
        assert_int_equal(result, n == REPLY_LINE_MAX ? REPLY_DONE : REPLY_BAD);
        reply_release(&reply);
        free(line);
    }
}

static void test_endless_continuation(void **state)
{
    (void)state;
    struct reply reply;
    reply_init(&reply);
    unsigned lines = 0;
    enum reply_result result = REPLY_LINE;
    while (result == REPLY_LINE && lines < 100000) {
        struct str line = STR("250-a line that goes on for a while, and then another one\r\n");
        result = reply_feed(&reply, &line);
        lines++;
    }
    assert_int_equal(result, REPLY_BAD);
    assert_int_equal(lines, REPLY_LINES_MAX + 1);
    assert_string_equal(reply.why, "a reply of too many lines");
    assert_int_equal(reply.joined.len, REPLY_TEXT_MAX);
    buf_free(&reply.joined);
}

/* Text beyond what is kept is dropped, the reply is still read. */
static void test_long_text_is_cut(void **state)
{
    (void)state;
    struct reply reply;
    reply_init(&reply);
    for (int i = 0; i < 100; i++) {
        struct str line = STR("554-0123456789012345678901234567890123456789\r\n");
        assert_int_equal(reply_feed(&reply, &line), REPLY_LINE);
    }
    struct str last = STR("554 end\r\n");
    assert_int_equal(reply_feed(&reply, &last), REPLY_DONE);
    assert_int_equal(reply.text.n, REPLY_TEXT_MAX);
    assert_false(reply_begun(&reply));
    reply_release(&reply);
    assert_null(reply.joined.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_cut_everywhere), cmocka_unit_test(test_nul_in_text_is_kept),
        cmocka_unit_test(test_endless_line),         cmocka_unit_test(test_longest_line),
        cmocka_unit_test(test_endless_continuation), cmocka_unit_test(test_long_text_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
