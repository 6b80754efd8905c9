/* Lists of addresses as people have them: CSV with a header of any order, plain lists, JSON; and what is
 * wrong with a line. */
#include "engine/base/csv.h"
#include "engine/intake/suppress_line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static struct suppress_reader reader;

static void begin(bool bound)
{
    const struct suppression standard = {
        .scope = STR("acme"), .reason = STR("standard"), .source = STR("test"), .added_ms = 7};
    suppress_reader_init(&reader, &standard, bound);
}

static void expect(struct str got, const char *want)
{
    if (!str_eq(got, str_of(want)))
        fail_msg("\"%.*s\", not \"%s\"", STR_ARG(got), want);
}

/* The line gives these. */
static void good(const char *line, const char *address, const char *scope, const char *reason)
{
    struct suppression one;
    struct err err = {0};
    if (suppress_line_read(&reader, str_of(line), &one, &err) != SUPPRESS_GIVEN)
        fail_msg("%s: %s", line, err.text);
    expect(one.address, address);
    expect(one.scope, scope);
    expect(one.reason, reason);
}

static void bad(const char *line, const char *why)
{
    struct suppression one;
    struct err err = {0};
    assert_int_equal(suppress_line_read(&reader, str_of(line), &one, &err), SUPPRESS_BAD);
    if (strstr(err.text, why) == NULL)
        fail_msg("%s: \"%s\" does not hold \"%s\"", line, err.text, why);
}

static void header(const char *line)
{
    struct suppression one;
    struct err err;
    assert_int_equal(suppress_line_read(&reader, str_of(line), &one, &err), SUPPRESS_HEADER);
}

static void plain_lists(void **state)
{
    (void)state;
    begin(false);
    good("ada@example.com", "ada@example.com", "acme", "standard");
    good("  \"ada@example.com\" ", "ada@example.com", "acme", "standard");
    good("Bob@B\xc3\xbc"
         "cher.example,other,\"said \"\"no\"\", twice\",import,2026-01-02T03:04:05Z",
         "Bob@xn--bcher-kva.example", "other", "said \"no\", twice");
    good("c@example.com,,,,", "c@example.com", "acme", "standard");
    bad("address", "no @"); /* a header comes first or not at all */
    bad("nobody", "no @");
    bad("\"ada@example.com", "quote");
    bad("ada@example.com,,,,yesterday", "time");
    bad(",reason", "missing");
    suppress_reader_free(&reader);
}

static void headers(void **state)
{
    (void)state;
    begin(false);
    header("reason, Email ,bounce class,scope");
    good("full,ada@example.com,10,", "ada@example.com", "acme", "full");
    good(",ada@example.com,10,x", "ada@example.com", "x", "standard");
    bad("ada@example.com", "missing");
    suppress_reader_free(&reader);
    begin(false);
    header("address");
    good("ada@example.com,left,out", "ada@example.com", "acme", "standard");
    suppress_reader_free(&reader);
}

static void json(void **state)
{
    (void)state;
    begin(false);
    good("{\"address\":\"ada@example.com\",\"scope\":\"x\",\"reason\":\"r\",\"time\":1700000000}",
         "ada@example.com", "x", "r");
    good("{\n \"address\": \"ada@example.com\"\n}", "ada@example.com", "acme", "standard");
    bad("{\"address\":\"ada@example.com\",\"reson\":\"r\"}", "unknown field");
    bad("{\"address\":1}", "a string");
    bad("{\"reason\":\"r\"}", "missing");
    bad("{\"address\":", "not a JSON object");
    bad("{\"address\":\"a@example.com\",\"reason\":\"a\\nb\"}", "control");
    suppress_reader_free(&reader);
}

static void bound(void **state)
{
    (void)state;
    begin(true);
    good("ada@example.com,acme", "ada@example.com", "acme", "standard");
    bad("ada@example.com,other", "acme");
    suppress_reader_free(&reader);
}

static void csv(void **state)
{
    struct str values[4];
    struct buf scratch, out;
    unsigned n;
    (void)state;
    buf_init(&scratch, 100);
    buf_init(&out, 100);
    assert_int_equal(csv_split(STR(" a ,\"b,\"\"c\"\" \" , "), values, 4, &n, &scratch), CSV_GOOD);
    assert_int_equal(n, 3);
    expect(values[0], "a");
    expect(values[1], "b,\"c\" ");
    expect(values[2], "");
    assert_int_equal(csv_split(STR("1,2,3,4,5"), values, 4, &n, &scratch), CSV_MANY);
    assert_int_equal(csv_split(STR("\"1"), values, 4, &n, &scratch), CSV_UNCLOSED);
    csv_add(&out, STR("plain"), ',');
    csv_add(&out, STR(" a \"b\", c"), '\r');
    expect(buf_str(&out), "plain,\" a \"\"b\"\", c\"\r");
    buf_free(&scratch);
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_lists), cmocka_unit_test(headers), cmocka_unit_test(json),
        cmocka_unit_test(bound),       cmocka_unit_test(csv),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
