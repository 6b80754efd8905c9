/* test_rcpt_scan.c - rcpt_scan against jansson and rcpt_read: whatever it takes, they take, and read the same
 * from it; and what it is made for, it takes. */
#include "engine/intake/rcpt_scan.h"

#include "engine/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define ROUNDS 60000

static struct prng prng = {11};
static struct rcpt_reader scanner, reader;

static void expect_same(struct str line, struct str is, struct str expected, const char *what)
{
    if (!str_eq(is, expected))
        fail_msg("%s: \"%.*s\", expected \"%.*s\": %.*s", what, STR_ARG(is), STR_ARG(expected),
                 STR_ARG(line));
}

/* True: rcpt_scan took it. */
static bool compare(struct str line)
{
    struct rcpt_spec is, expected;
    struct err err = {0};
    json_error_t error;
    char *copy = malloc(line.n + 1); /* of its own size, so that a sanitizer sees its end */
    assert_non_null(copy);
    if (line.n > 0)
        memcpy(copy + 1, line.p, line.n);
    struct str text = str_make(copy + 1, line.n);
    bool taken = rcpt_scan(&scanner, text, &is);
    if (taken) {
        json_t *root = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, &error);
        if (root == NULL || json_object_get(root, "message") != NULL)
            fail_msg("no recipient: %.*s", STR_ARG(line));
        if (!rcpt_read(&reader, root, &expected, &err))
            fail_msg("taken though %s: %.*s", err.text, STR_ARG(line));
        expect_same(line, is.to, expected.to, "to");
        expect_same(line, is.domain, expected.domain, "domain");
        expect_same(line, is.vars, expected.vars, "vars");
        expect_same(line, is.id, expected.id, "id");
        assert_int_equal(is.orcpt.n + is.metadata.n + is.notify + expected.orcpt.n + expected.metadata.n, 0);
        json_decref(root);
    }
    free(copy);
    return taken;
}

static const char *const names[] = {"to", "vars", "id", "\"", "t\\u006f", "notify", "message", "orcpt", ""};
static const char *const values[] = {
    "\"ada@example.com\"", "\"42\"", "42", "-7", "true", "false", "\"\"", "\"true\"", "\"x\\r\\ny\"",
    "\"\\u00e9\\ud83d\\ude00\"", "\"Zo\xc3\xab\"", "123456789012345678", "\"Ada.L+x@Example.COM\"",
    "\"b\\u0040example.com\"", "\"\\\"quoted\\\"@example.com\"",
    /* rare or wrong */
    "1.5", "-0", "01", "null", "{}", "[1]", "1e3", "\"x@b\xc3\xbc.example\"", "\"@example.com\"",
    "\"a b@example.com\"", "\"\x01\"", "\"\x7f\"", "\"\\u0000\"", "\"\xff\"", "tru", "1234567890123456789",
    "99999999999999999999", "\"[192.0.2.1]\"", "\"a@[192.0.2.1]\""};

static void add_space(struct buf *line)
{
    if (prng_below(&prng, 8) == 0)
        buf_add_z(line, prng_below(&prng, 2) ? " " : "\t");
}

static void add_one(struct buf *line, const char *const *list, size_t usual, size_t all)
{
    add_space(line);
    buf_add_z(line, list[prng_below(&prng, prng_below(&prng, 12) == 0 ? all : usual)]);
    add_space(line);
}

static void add_vars(struct buf *line)
{
    buf_add_char(line, '{');
    for (size_t n = prng_below(&prng, 5), i = 0; i < n; i++) {
        char name[24];
        snprintf(name, sizeof name, "%s\"%c%u\"%s:", i > 0 ? "," : "", "abc"[prng_below(&prng, 3)],
                 (unsigned)prng_below(&prng, 6), prng_below(&prng, 9) ? "" : " ");
        buf_add_z(line, name);
        add_one(line, values, 15, sizeof values / sizeof *values);
    }
    buf_add_char(line, '}');
}

static void add_line(struct buf *line)
{
    size_t n = 1 + prng_below(&prng, 4), first = prng_below(&prng, 2) ? 0 : prng_below(&prng, 3);
    buf_add_char(line, '{');
    for (size_t i = 0; i < n; i++) {
        size_t name =
            prng_below(&prng, 10) ? (first + i) % 3 : prng_below(&prng, sizeof names / sizeof *names);
        if (i > 0)
            buf_add_char(line, ',');
        add_space(line);
        buf_add_char(line, '"');
        buf_add_z(line, names[name]);
        buf_add_z(line, "\":");
        if (name == 1 && prng_below(&prng, 20))
            add_vars(line);
        else if (name == 0 && prng_below(&prng, 8))
            buf_add_z(line, values[0]);
        else
            add_one(line, values, 15, sizeof values / sizeof *values);
    }
    buf_add_char(line, '}');
    add_space(line);
}

static void damage(struct buf *line)
{
    static const char bytes[] = "{}[]\",:\\ 0a@-\x01\x80\xc3u.e";
    char byte = bytes[prng_below(&prng, sizeof bytes)];
    size_t at = prng_below(&prng, line->len);
    if (prng_below(&prng, 3) == 0)
        line->len = at;
    else if (prng_below(&prng, 2))
        line->data[at] = byte;
    else
        buf_add_char(line, byte);
}

static void test_random(void **state)
{
    (void)state;
    struct buf line;
    unsigned taken = 0;
    buf_init(&line, 1 << 16);
    for (unsigned round = 0; round < ROUNDS; round++) {
        buf_clear(&line);
        add_line(&line);
        if (prng_below(&prng, 4) == 0)
            damage(&line);
        taken += compare(buf_str(&line));
    }
    buf_free(&line);
    assert_in_range(taken, ROUNDS / 10, ROUNDS); /* the test is about those */
}

static void test_taken(void **state)
{
    (void)state;
    static const char *const good[] = {
        "{\"to\":\"ada@example.com\"}",
        " { \"to\" : \"ada@example.com\" , \"vars\" : { } } ",
        "{\"id\":42,\"vars\":{\"name\":\"Ada\",\"n\":3,\"ok\":true},\"to\":\"ada@example.com\"}",
        "{\"to\":\"ada@example.com\",\"vars\":{\"name\":\"Zo\xc3\xab \\\"x\\\" \\u00e9\"},\"id\":\"a-1\"}",
        "{\"to\":\"ada@example.com\",\"id\":\"\"}",
        "{\"to\":\"ada@example.com\",\"id\":\"true\"}",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (!compare(str_of(good[i])))
            fail_msg("not taken: %s", good[i]);
    }
}

static void test_left(void **state)
{
    (void)state;
    static const char *const left[] = {
        "",
        "{}",
        "[]",
        "{\"id\":1}",
        "{\"to\":\"ada@example.com\"",
        "{\"to\":\"ada@example.com\"}}",
        "{\"to\":\"ada@example.com\",}",
        "{\"to\":\"ada@example.com\",\"to\":\"ada@example.com\"}",
        "{\"to\":\"ada@example.com\",\"vars\":{\"a\":1,\"a\":2}}",
        "{\"to\":\"ada@example.com\",\"vars\":{\"\":2}}",
        "{\"to\":\"ada@example.com\",\"id\":true}",
        "{\"to\":\"ada@example.com\",\"message\":{}}",
        "{\"to\":\"ada@example.com\",\"notify\":[\"never\"]}",
    };
    for (size_t i = 0; i < sizeof left / sizeof *left; i++) {
        if (compare(str_of(left[i])))
            fail_msg("taken: %s", left[i]);
    }
}

/* One byte more than the room, and variables more than there may be, are not for it. */
static void test_bounds(void **state)
{
    (void)state;
    struct buf line;
    buf_init(&line, 1 << 16);
    for (size_t n = RCPT_SCAN_MAX - 3; n <= RCPT_SCAN_MAX + 3; n++) {
        buf_clear(&line);
        buf_add_z(&line, "{\"to\":\"a@example.com\",\"vars\":{\"a\":\"\\n");
        while (line.len < n - 3 && !line.failed)
            buf_add_char(&line, 'n');
        buf_add_z(&line, "\"}}");
        assert_true(compare(buf_str(&line)) == (n <= RCPT_SCAN_MAX));
    }
    buf_clear(&line);
    buf_add_z(&line, "{\"to\":\"a@example.com\",\"vars\":{\"a\":1");
    for (int i = 0; i < VARS_COUNT_MAX; i++)
        buf_printf(&line, ",\"%x\":1", i + 16);
    buf_add_z(&line, "}}");
    assert_false(compare(buf_str(&line)));
    buf_free(&line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_taken),
        cmocka_unit_test(test_left),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_random),
    };
    rcpt_reader_init(&scanner);
    rcpt_reader_init(&reader);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rcpt_reader_free(&scanner);
    rcpt_reader_free(&reader);
    return failed;
}
