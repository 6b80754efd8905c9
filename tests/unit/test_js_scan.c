/* test_js_scan.c - js_load against jansson: over random texts, and random texts that were damaged, both give
 * the same value with its members in the same order, or the same error; and jansson never takes more memory
 * than js_load_room says. */
#include "engine/base/js_scan.h"

#include "engine/base/buf.h"
#include "engine/base/js.h"
#include "engine/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#define ROUNDS 60000

static struct prng prng = {7};

static const char *pick(const char *const *list, size_t n)
{
    return list[prng_below(&prng, n)];
}

static void add_space(struct buf *out)
{
    static const char *const spaces[] = {"", "", "", "", " ", "  ", "\t", "\r\n", "\n"};
    buf_add_z(out, pick(spaces, 9));
}

static void add_string(struct buf *out)
{
    static const char *const pieces[] = {
        "a", "Ada", "name", "message", "to", "0123456789abcdef", "\\n", "\\r\\n", "\\\"", "\\\\", "\\/",
        "\\b", "\\f", "\\t", "\\u00e9", "\\u20AC", "\\ud83d\\ude00", "\xc3\xa9", "\xe6\x97\xa5",
        "\xf0\x9f\x98\x80", "{{x}}", " ", "\x7f", "'", "[]{}:,", "A line of text that is somewhat longer",
        /* and what no string may hold */
        "\\u0000", "\\ud83d", "\\ude00", "\\ud83d\\u0041", "\\x", "\\", "\x01", "\n", "\xc3", "\xff",
        "\xe0\x80\x80", "\xed\xa0\x80", "\\u12", "\\u00g0"};
    size_t good = 26, bad = sizeof pieces / sizeof *pieces;
    buf_add_char(out, '"');
    for (size_t n = prng_below(&prng, 7); n > 0; n--)
        buf_add_z(out, pick(pieces, prng_below(&prng, 60) == 0 ? bad : good));
    buf_add_char(out, '"');
}

static void add_plain(struct buf *out)
{
    static const char *const words[] = {"0",
                                        "1",
                                        "-1",
                                        "42",
                                        "123456789012345678",
                                        "-123456789012345678",
                                        "true",
                                        "false",
                                        "null",
                                        "7",
                                        "10",
                                        "1234567890123456789",
                                        "9223372036854775807",
                                        "9223372036854775808",
                                        "-9223372036854775808",
                                        "1.5",
                                        "-0",
                                        "1e3",
                                        "0.0",
                                        "01",
                                        "-",
                                        "+1",
                                        "1.",
                                        ".5",
                                        "tru",
                                        "truex",
                                        "nul",
                                        "12a",
                                        "NaN",
                                        "0x10",
                                        "--1",
                                        "1e400"};
    buf_add_z(out, pick(words, prng_below(&prng, 12) == 0 ? sizeof words / sizeof *words : 11));
}

static void add_value(struct buf *out, unsigned depth)
{
    size_t kind = prng_below(&prng, depth < 4 ? 6 : 4);
    add_space(out);
    if (kind < 2)
        add_string(out);
    else if (kind < 4)
        add_plain(out);
    else {
        buf_add_char(out, kind == 4 ? '{' : '[');
        for (size_t n = prng_below(&prng, 4), i = 0; i < n; i++) {
            if (i > 0)
                buf_add_char(out, ',');
            add_space(out);
            if (kind == 4) {
                add_string(out);
                add_space(out);
                buf_add_char(out, ':');
            }
            add_value(out, depth + 1);
        }
        add_space(out);
        buf_add_char(out, kind == 4 ? '}' : ']');
    }
    add_space(out);
}

/* Cuts it, changes a byte, doubles a piece or puts one byte more. */
static void damage(struct buf *text)
{
    static const char bytes[] = "{}[]\",:\\ 0a-\x01\x80\xc3u.e\n";
    size_t at = text->len > 0 ? prng_below(&prng, text->len) : 0;
    char byte = bytes[prng_below(&prng, sizeof bytes)]; /* NUL as well */
    switch (prng_below(&prng, 4)) {
    case 0:
        text->len = at;
        break;
    case 1:
        if (text->len > 0)
            text->data[at] = byte;
        break;
    case 2:
        buf_add_char(text, byte);
        break;
    default: {
        char copy[32];
        size_t n = text->len - at < sizeof copy ? text->len - at : sizeof copy;
        memcpy(copy, text->data + at, n);
        buf_add(text, copy, n);
    }
    }
}

static bool same_text(const json_t *a, const json_t *b)
{
    char *first = json_dumps(a, JSON_COMPACT), *second = json_dumps(b, JSON_COMPACT);
    bool same = first != NULL && second != NULL && strcmp(first, second) == 0;
    free(first);
    free(second);
    return same;
}

/* True: it was good JSON. The text is given in a block of its own size, so that a sanitizer sees its end. */
static bool compare(struct str text)
{
    json_error_t error = {0}, expected_error = {0};
    char *copy = malloc(text.n + 1);
    assert_non_null(copy);
    if (text.n > 0)
        memcpy(copy + 1, text.p, text.n);
    json_t *is = js_load(str_make(copy + 1, text.n), &error);
    json_t *expected = json_loadb(copy + 1, text.n, JSON_REJECT_DUPLICATES, &expected_error);
    bool same =
        (is == NULL) == (expected == NULL) &&
        (is != NULL ? json_equal(is, expected) && same_text(is, expected)
                    : strcmp(error.text, expected_error.text) == 0 && error.column == expected_error.column);
    bool good = expected != NULL;
    free(copy);
    json_decref(is);
    json_decref(expected);
    if (!same)
        fail_msg("differs: %.*s", STR_ARG(text));
    return good;
}

static size_t live, peak;

static size_t block_size(void *p)
{
    return malloc_usable_size(p) + sizeof(size_t); /* the allocator's own word */
}

static void *counted_malloc(size_t n)
{
    void *p = malloc(n);
    assert_non_null(p);
    live += block_size(p);
    peak = live > peak ? live : peak;
    return p;
}

static void counted_free(void *p)
{
    if (p != NULL)
        live -= block_size(p);
    free(p);
}

/* The most that jansson has had for it, which is not above the bound. */
static size_t measure(struct str text)
{
    size_t room = js_load_room(text);
    live = peak = 0;
    json_set_alloc_funcs(counted_malloc, counted_free);
    json_decref(json_loadb(text.n > 0 ? text.p : "", text.n, JSON_REJECT_DUPLICATES, NULL));
    js_set_up();
    assert_int_equal(live, 0);
    if (peak > room)
        fail_msg("takes %zu, not %zu: %.*s", peak, room, text.n < 200 ? (int)text.n : 200, text.p);
    return peak;
}

static void test_random(void **state)
{
    (void)state;
    struct buf text;
    unsigned good = 0;
    buf_init(&text, 1 << 20);
    for (unsigned round = 0; round < ROUNDS; round++) {
        buf_clear(&text);
        add_value(&text, 0);
        if (prng_below(&prng, 3) == 0)
            damage(&text);
        good += compare(buf_str(&text));
        measure(buf_str(&text));
    }
    buf_free(&text);
    assert_in_range(good, ROUNDS / 10, ROUNDS); /* the test is about both */
    assert_in_range(ROUNDS - good, ROUNDS / 10, ROUNDS);
}

/* Around the sizes where rooms and words end. */
static void test_sizes(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, 1 << 20);
    for (size_t size = 0; size < 40; size++) {
        for (size_t escape = 0; escape <= size; escape++) {
            buf_clear(&text);
            buf_add_z(&text, "{\"a\":\"");
            for (size_t i = 0; i < size; i++)
                buf_add_z(&text, i == escape ? "\\n" : "x");
            buf_add_z(&text, "\"}");
            assert_true(compare(buf_str(&text)));
        }
    }
    for (size_t size = 12000; size < 14000; size += 61) {
        buf_clear(&text);
        buf_add_z(&text, "{\"message\":{\"raw\":\"");
        for (size_t i = 0; i < size; i += 8)
            buf_add_z(&text, "seven\\r\\n");
        buf_add_z(&text, "\"},\"metadata\":{\"a\":\"\\u00e9\"}}");
        assert_true(compare(buf_str(&text)));
    }
    buf_free(&text);
}

static void test_cases(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        "{",
        "{}",
        "{} ",
        " {}x",
        "[]",
        "{\"a\":1,}",
        "{,}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\" : 1 , \"b\" : [ ] }",
        "{\"a\":1,\"a\":1}",
        "{\"a\":{\"b\":1,\"b\":2}}",
        "{\"\":\"\"}",
        "{\"\\u0061\":1,\"a\":2}",
        "{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}",
        "{\"a\":nullx}",
        "{\"a\":null }",
        "\xef\xbb\xbf{}",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        compare(str_of(cases[i]));
    compare(str_make("{}\0", 3));
    compare(str_make("{\"a\":\"b\0c\"}", 11));
}

/* What is worst for it, in lists around each size at which they grow; n: a name that was not there. */
static void test_room_of_many(void **state)
{
    (void)state;
    static const struct many {
        const char *begin, *each, *end;
    } cases[] = {
        {"[0", ",[]", "]"},
        {"[0", ",{}", "]"},
        {"[0", ",0", "]"},
        {"[0", ",1.5", "]"},
        {"[0", ",\"\"", "]"},
        {"[0", ",\"0123456789012345678901\"", "]"},
        {"[0", ",[[[[{}]]]]", "]"},
        {"[0", ",{\"\":\"\"}", "]"},
        {"[0", ",[{}", "]"},
        {"{\"x\":0", ",\"n\":0", "}"},
        {"{\"x\":0", ",\"n\":\"\"", "}"},
        {"{\"x\":0", ",\"n\":{}", "}"},
        {"{\"x\":0", ",\"n\":[0", "}"},
        {"", "[", ""},
        {"", "{\"\":", ""},
        {"[\"", "x", "\"]"},
        {"[\"", "\\n", "\"]"},
        {"{\"", "x", "\":0}"},
        {"{\"", "x", "\":\"abc"},
    };
    struct buf text;
    buf_init(&text, 8 << 20);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct many *one = &cases[i];
        const char *name = strchr(one->each, 'n');
        for (unsigned n = 1; n < 40000; n += n < 70 ? 1 : n / 9) {
            buf_clear(&text);
            buf_add_z(&text, one->begin);
            for (unsigned k = 0; k < n; k++) {
                if (name != NULL && one->begin[0] == '{')
                    buf_printf(&text, "%.*s%x%s", (int)(name - one->each), one->each, k, name + 1);
                else
                    buf_add_z(&text, one->each);
            }
            buf_add_z(&text, one->end);
            measure(buf_str(&text));
        }
    }
    buf_free(&text);
}

/* Where the bound is near: it lets in what it can. */
static void test_room_is_near(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, 1 << 20);
    buf_add_z(&text, "[0");
    while (text.len < 500000)
        buf_add_z(&text, ",{\"Ada\":\"of London\",\"a\":[1]},\"text, as [it] is: {plain}\"");
    buf_add_z(&text, "]");
    assert_in_range(js_load_room(buf_str(&text)), 1, 3 * measure(buf_str(&text)));
    buf_free(&text);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* they take more than they are given */
/* Many small values take many times their text: where there is no room for them it says so, and waits for
 * none. */
static void test_many_values_without_memory(void **state)
{
    (void)state;
    static const struct str begins[] = {{"{\"a\":[0", 7}, {"{\"a\":[{}", 8}, {"[0", 2}};
    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++) {
        json_error_t error;
        struct buf text;
        buf_init(&text, 8 << 20);
        buf_add_str(&text, begins[i]);
        while (text.len < (4 << 20))
            buf_add_str(&text, STR(",0,{},0,{},0"));
        buf_add_str(&text, i < 2 ? STR("]}") : STR("]"));
        setrlimit(RLIMIT_DATA, &(struct rlimit){.rlim_cur = 64 << 20, .rlim_max = RLIM_INFINITY});
        alarm(60);
        json_t *root = js_load(buf_str(&text), &error);
        alarm(0);
        setrlimit(RLIMIT_DATA, &(struct rlimit){.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY});
        assert_null(root);
        assert_int_equal(json_error_code(&error), json_error_out_of_memory);
        buf_free(&text);
    }
}

/* A text that no value comes of is malformed, and not too much for a small machine. */
static void test_malformed_with_little_memory(void **state)
{
    (void)state;
    json_error_t error;
    struct buf text;
    buf_init(&text, 8 << 20);
    buf_add_z(&text, "{\"to\":\"");
    while (text.len < (4 << 20))
        buf_add_z(&text, "[a line, as long as: this] ");
    setrlimit(RLIMIT_DATA, &(struct rlimit){.rlim_cur = 64 << 20, .rlim_max = RLIM_INFINITY});
    json_t *root = js_load(buf_str(&text), &error);
    setrlimit(RLIMIT_DATA, &(struct rlimit){.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY});
    assert_null(root);
    assert_int_equal(json_error_code(&error), json_error_premature_end_of_input);
    buf_free(&text);
}
#endif

int main(void)
{
    js_set_up();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_room_of_many),
        cmocka_unit_test(test_room_is_near),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        cmocka_unit_test(test_many_values_without_memory),
        cmocka_unit_test(test_malformed_with_little_memory),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
