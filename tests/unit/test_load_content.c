/* The bench's messages: every form of every kind says the same, has the size asked for, and can be brought to
 * another number in place. */
#include "bench/load/address.c"
#include "bench/load/content.c"

#include "bench/record.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define ROOM (8 * 1024 * 1024)

static const uint64_t numbers[] = {0, 1, 7, 999, 1000, 123456, 9999999, 10000000, ADDRESS_NUMBERS - 1};
static const size_t sizes[] = {CONTENT_SIZE_MIN, CONTENT_SIZE_MIN + 1, 700, 1000, 4096, 4097, 102400};

#define COUNT(array) (sizeof(array) / sizeof *(array))

static struct buf whole(const struct content *content, enum content_form form, uint64_t number)
{
    struct buf buf;
    buf_init(&buf, ROOM);
    assert_non_null(buf_room(&buf, CONTENT_HEAD_MAX + content_body_max(content, form)));
    size_t head = content_head(content, form, number, buf.data);
    size_t body = content_body(content, form, number, buf.data + head);
    assert_true(head < CONTENT_HEAD_MAX);
    assert_true(body <= content_body_max(content, form));
    assert_true(!content_fixed(content) || body == content_body_max(content, form));
    buf.len = head + body;
    return buf;
}

/* Takes the doubled dots out. */
static struct buf unstuffed(const struct buf *wire)
{
    struct buf plain;
    buf_init(&plain, ROOM);
    for (size_t i = 0; i < wire->len; i++) {
        bool at_start = i == 0 || wire->data[i - 1] == '\n';
        if (at_start && wire->data[i] == '.')
            assert_int_equal(wire->data[++i], '.');
        buf_add_char(&plain, wire->data[i]);
    }
    return plain;
}

static struct buf unescaped(const struct buf *text)
{
    struct buf json, plain;
    buf_init(&json, ROOM);
    buf_init(&plain, ROOM);
    buf_add_char(&json, '"');
    buf_add(&json, text->data, text->len);
    buf_add_char(&json, '"');
    json_t *value = json_loadb(json.data, json.len, JSON_DECODE_ANY, NULL);
    assert_non_null(value);
    buf_add(&plain, json_string_value(value), json_string_length(value));
    json_decref(value);
    buf_free(&json);
    return plain;
}

static void replace(struct buf *buf, const char *from, const char *to)
{
    struct buf out;
    buf_init(&out, ROOM);
    for (size_t i = 0; i < buf->len;) {
        bool here = buf->len - i >= strlen(from) && memcmp(buf->data + i, from, strlen(from)) == 0;
        if (here)
            buf_add_z(&out, to);
        else
            buf_add_char(&out, buf->data[i]);
        i += here ? strlen(from) : 1;
    }
    buf_free(buf);
    *buf = out;
}

static void same(struct buf a, const struct buf *b)
{
    assert_int_equal(a.len, b->len);
    assert_memory_equal(a.data, b->data, b->len);
    buf_free(&a);
}

static void check_lines(const struct buf *plain, enum content_kind kind)
{
    size_t blank = 0, dots = 0, at = 0;
    for (size_t end; at < plain->len; at = end + 1) {
        end = str_find(buf_str(plain), '\n', at);
        assert_true(end != SIZE_MAX && end > 0 && plain->data[end - 1] == '\r' && end - at <= 78);
        blank += end - at == 1;
        dots += plain->data[at] == '.';
    }
    assert_int_equal(blank, 1);
    assert_int_equal(dots, kind == CONTENT_MERGED ? 0 : 1);
}

static void merged_by_hand(struct buf *text, const struct domains *domains, uint64_t number)
{
    char to[ADDRESS_SIZE + 1], name[CONTENT_NAME_MAX + 1], digits[21];
    to[address_put(domains, number, to)] = '\0';
    name[content_name(number, name)] = '\0';
    digits[number_put(digits, number, 1)] = '\0';
    replace(text, "{{to}}", to);
    replace(text, "{{name}}", name);
    replace(text, "{{number}}", digits);
}

static void check_number(const struct content *content, const struct domains *domains, size_t size,
                         uint64_t number)
{
    struct buf plain = whole(content, CONTENT_PLAIN, number);
    size_t slack = content->kind == CONTENT_MERGED ? 30 + size / 50 : 30;
    assert_in_range(plain.len, size - slack, size + slack);
    check_lines(&plain, content->kind);
    struct buf wire = whole(content, CONTENT_WIRE, number);
    same(unstuffed(&wire), &plain);
    struct buf text = whole(content, CONTENT_JSON, number);
    same(unescaped(&text), &plain);
    if (content->kind != CONTENT_DISTINCT) {
        struct buf template = whole(content, CONTENT_TEMPLATE, 0);
        merged_by_hand(&template, domains, number);
        same(unescaped(&template), &plain);
        buf_free(&template);
    }
    buf_free(&text);
    buf_free(&wire);
    buf_free(&plain);
}

static void test_forms(void **state)
{
    (void)state;
    struct domains domains;
    struct err err;
    assert_true(domains_parse(&domains, "d{0..999}.test", &err));
    for (int kind = CONTENT_MERGED; kind <= CONTENT_DISTINCT; kind++)
        for (size_t i = 0; i < COUNT(sizes); i++) {
            struct content *content = content_create((enum content_kind)kind, &domains, sizes[i], &err);
            assert_non_null(content);
            for (size_t j = 0; j < COUNT(numbers); j++)
                check_number(content, &domains, sizes[i], numbers[j]);
            content_free(content);
        }
}

static void test_patch(void **state)
{
    (void)state;
    struct domains domains;
    struct err err;
    assert_true(domains_parse(&domains, "d{0..999}.test", &err));
    struct content *content = content_create(CONTENT_DISTINCT, &domains, 4096, &err);
    for (int form = 0; form < CONTENT_TEMPLATE; form++) {
        char kept[2 * 4096], fresh[2 * 4096] = {0};
        size_t n = content_body(content, (enum content_form)form, 5, kept);
        assert_true(n <= sizeof kept);
        for (size_t j = 0; j < COUNT(numbers); j++) {
            content_patch(content, (enum content_form)form, numbers[j], kept);
            assert_memory_not_equal(kept, fresh, n);
            assert_int_equal(content_body(content, (enum content_form)form, numbers[j], fresh), n);
            assert_memory_equal(kept, fresh, n);
        }
    }
    content_free(content);
}

/* No part of two numbers' bodies is the same beyond the fixed text: every line has a word of its own. */
static void test_distinct(void **state)
{
    (void)state;
    struct domains domains;
    struct err err;
    assert_true(domains_parse(&domains, "one.test", &err));
    struct content *content = content_create(CONTENT_DISTINCT, &domains, 4096, &err);
    struct buf a = whole(content, CONTENT_PLAIN, 41), b = whole(content, CONTENT_PLAIN, 42);
    size_t lines_seen = 0, same_lines = 0;
    for (size_t at = 0, end; at < a.len; at = end + 1, lines_seen++) {
        end = str_find(buf_str(&a), '\n', at);
        same_lines += memcmp(a.data + at, b.data + at, end - at) == 0;
    }
    assert_true(lines_seen > 50);
    assert_true(same_lines <= 8); /* From, Date, MIME, the blank line, the dot's and the last */
    buf_free(&a);
    buf_free(&b);
    content_free(content);
}

static void test_sizes_refused(void **state)
{
    (void)state;
    struct domains domains;
    struct err err = {0};
    assert_true(domains_parse(&domains, "one.test", &err));
    assert_null(content_create(CONTENT_MERGED, &domains, CONTENT_SIZE_MIN - 1, &err));
    assert_null(content_create(CONTENT_MERGED, &domains, (uint64_t)CONTENT_SIZE_MAX + 1, &err));
    assert_non_null(strstr(err.text, "640"));
}

static void address_is(const char *pattern, uint64_t number, const char *want)
{
    struct domains domains;
    struct err err;
    char text[ADDRESS_SIZE];
    assert_true(domains_parse(&domains, pattern, &err));
    assert_int_equal(address_put(&domains, number, text), strlen(want));
    assert_memory_equal(text, want, strlen(want));
    assert_int_equal(record_number(str_of(want)), number);
}

static void test_addresses(void **state)
{
    (void)state;
    address_is("d{0..999}.test", 0, "u0000000@d0.test");
    address_is("d{0..999}.test", 1234567, "u1234567@d567.test");
    address_is("d{0..999}.test", 12345678, "u12345678@d678.test");
    address_is("{5..6}", 3, "u0000003@6");
    address_is("a.test", 3, "u0000003@a.test");
    static const char *const bad[] = {"",        "d{",          "d}",    "d{1}", "d{2..1}.test",
                                      "d{a..b}", "d{1.2}.test", "}1..2{"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct domains domains;
        struct err err = {0};
        assert_false(domains_parse(&domains, bad[i], &err));
        assert_true(*err.text != '\0');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),     cmocka_unit_test(test_patch),
        cmocka_unit_test(test_distinct),  cmocka_unit_test(test_sizes_refused),
        cmocka_unit_test(test_addresses),
    };
    return cmocka_run_group_tests_name("load content", tests, NULL, NULL);
}
