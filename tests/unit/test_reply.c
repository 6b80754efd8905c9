/* test_reply.c - the reply parser: tables of replies, cut at every byte, and what a hostile peer may send. */
#include "engine/base/prng.h"
#include "engine/smtp/reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* What the parser made of an input that came in pieces up to these ends: "CODE/lines/text;" a reply, "!why"
 * at the end when it refused. */
static void describe(struct buf *out, const char *input, const size_t *ends, size_t count)
{
    struct reply reply;
    reply_init(&reply);
    buf_clear(out);
    bool bad = false;
    for (size_t i = 0; i < count && !bad; i++) {
        /* An exact copy, so that a sanitizer sees a read past the end or of an earlier piece. */
        size_t start = i > 0 ? ends[i - 1] : 0;
        struct str part = str_make(input + start, ends[i] - start);
        char *copy = malloc(part.n + 1);
        assert_non_null(copy);
        memcpy(copy, part.p, part.n);
        struct str data = str_make(copy, part.n);
        while (data.n > 0 && !bad) {
            enum reply_result result = reply_feed(&reply, &data);
            if (result == REPLY_DONE)
                buf_printf(out, "%u/%u/%.*s;", reply.code, reply.lines, STR_ARG(reply.text));
            if (result == REPLY_BAD)
                buf_printf(out, "!%s", reply.why);
            bad = result == REPLY_BAD;
            assert_true(reply.partial.cap <= REPLY_LINE_MAX && reply.joined.cap <= REPLY_TEXT_MAX);
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
            describe(&out, replies[i].input, (const size_t[]){cut, n}, 2);
            assert_string_equal(out.data, replies[i].expected);
        }
    }
    buf_free(&out);
}

/* What a hostile peer may send: lines that are replies, nearly, or not at all. */
static size_t write_at_random(char *input, size_t room, struct prng *prng)
{
    static const char *const pieces[] = {
        "250", "250-", "250 ",     "354 ", "550-5.1.1 ", "999 ",      "25",
        " ",   "-",    "ok there", "\r",   "\r\n",       "\r\n",      "\n",
        "\0",  "\xff", "5.1.1 ",   "\t",   "\r\n250 x",  "\r\n250-y", "220 z\r\n"};
    size_t n = 0;
    for (uint64_t left = prng_below(prng, 40); left > 0; left--) {
        const char *piece = pieces[prng_below(prng, sizeof pieces / sizeof *pieces)];
        size_t size = *piece ? strlen(piece) : 1;
        uint64_t times = prng_below(prng, 50) == 0 ? prng_below(prng, 3000) : 1;
        for (; times > 0 && n + size <= room; times--, n += size)
            memcpy(input + n, piece, size);
    }
    return n;
}

#define PIECES_MAX 20

/* However it is cut, it means the same. */
static void test_random_cut_at_random(void **state)
{
    (void)state;
    struct prng prng = {.state = 1};
    struct buf whole, cut;
    buf_init(&whole, 1 << 20);
    buf_init(&cut, 1 << 20);
    static char input[16384];
    for (int round = 0; round < 20000; round++) {
        size_t n = write_at_random(input, sizeof input, &prng), ends[PIECES_MAX], count = 0;
        for (size_t at = 0; at < n && count < PIECES_MAX - 1; count++) {
            at += (size_t)prng_below(&prng, n - at + 1);
            ends[count] = at;
        }
        ends[count++] = n;
        describe(&whole, input, &n, 1);
        describe(&cut, input, ends, count);
        assert_int_equal(cut.len, whole.len);
        assert_memory_equal(cut.data, whole.data, whole.len);
    }
    buf_free(&whole);
    buf_free(&cut);
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
    for (int i = 0; i < REPLY_LINES_MAX - 1; i++) {
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
        cmocka_unit_test(test_random_cut_at_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
