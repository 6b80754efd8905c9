/* Lines of a body, however it is cut into pieces. */
#include "engine/intake/ndjson.h"
#include "engine/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* Feeds text in pieces of `step` bytes and notes "number:line|" for each line. */
static const char *split(struct str text, size_t step, size_t max, enum ndjson_result *last)
{
    static struct buf out;
    struct ndjson ndjson;
    struct str line;
    buf_free(&out);
    buf_init(&out, 1 << 20);
    ndjson_init(&ndjson, max);
    *last = NDJSON_MORE;
    for (size_t at = 0; at < text.n && *last == NDJSON_MORE; at += step) {
        size_t n = text.n - at < step ? text.n - at : step;
        char *piece = malloc(n); /* so that a sanitizer sees a line that outlives its piece */
        assert_non_null(piece);
        memcpy(piece, text.p + at, n);
        struct str data = str_make(piece, n);
        while ((*last = ndjson_next(&ndjson, &data, &line)) == NDJSON_LINE)
            buf_printf(&out, "%u:%.*s|", (unsigned)ndjson.number, STR_ARG(line));
        assert_true(*last != NDJSON_MORE || data.n == 0);
        free(piece);
    }
    while (*last == NDJSON_MORE && ndjson_last(&ndjson, &line) == NDJSON_LINE)
        buf_printf(&out, "%u:%.*s|", (unsigned)ndjson.number, STR_ARG(line));
    if (*last != NDJSON_MORE)
        buf_printf(&out, "stopped at %u", (unsigned)ndjson.number);
    buf_add_char(&out, '\0');
    ndjson_free(&ndjson);
    return out.data;
}

static void test_pieces(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *lines;
    } cases[] = {
        {"", ""},
        {"\n\n", ""},
        {"a", "1:a|"},
        {"a\n", "1:a|"},
        {"a\nb", "1:a|2:b|"},
        {"a\r\nb\r\n", "1:a|2:b|"},
        {"a\r\n\r\n  \t\r\nb", "1:a|4:b|"},
        {"\xef\xbb\xbf{}\nb\n", "1:{}|2:b|"},
        {"\xef\xbb\xbf\n\xef\xbb\xbf", "2:\xef\xbb\xbf|"}, /* only the first one is a mark */
        {"  a \n", "1:  a |"},
        {"\n\n{\"a\":\"b\"}\n\n", "3:{\"a\":\"b\"}|"},
        {"a\rb\nc", "1:a\rb|2:c|"},
        {"0123456789\n0123456789\n", "1:0123456789|2:0123456789|"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t step = 1; step < 30; step++) {
            enum ndjson_result last;
            assert_string_equal(split(str_of(cases[i].text), step, 100, &last), cases[i].lines);
            assert_int_equal(last, NDJSON_MORE);
        }
    }
}

static void test_too_long(void **state)
{
    (void)state;
    for (size_t step = 1; step < 60; step++) {
        enum ndjson_result last;
        assert_string_equal(split(STR("short\n0123456789x\nmore\n"), step, 10, &last),
                            "1:short|stopped at 2");
        assert_int_equal(last, NDJSON_TOO_LONG);
        assert_string_equal(split(STR("0123456789\n"), step, 10, &last), "1:0123456789|");
    }
}

/* The memory of a long line is given back, and `held` says how much there is. */
static void test_memory(void **state)
{
    (void)state;
    struct ndjson ndjson;
    struct str line, data;
    size_t n = 3 * INTAKE_LARGE_BYTES;
    char *text = malloc(n);
    assert_non_null(text);
    memset(text, 'x', n);
    ndjson_init(&ndjson, JOB_LINE_MAX);
    data = str_make(text, n);
    assert_int_equal(ndjson_next(&ndjson, &data, &line), NDJSON_MORE);
    assert_int_equal(ndjson_held(&ndjson), n);
    data = STR("\nab\nc");
    assert_int_equal(ndjson_next(&ndjson, &data, &line), NDJSON_LINE);
    assert_int_equal(line.n, n);
    assert_int_equal(ndjson_held(&ndjson), 0);
    assert_int_equal(ndjson_next(&ndjson, &data, &line), NDJSON_LINE);
    assert_int_equal(ndjson.carry.cap, 0);
    assert_int_equal(ndjson_next(&ndjson, &data, &line), NDJSON_MORE);
    assert_int_equal(ndjson_held(&ndjson), 1);
    ndjson_free(&ndjson);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
