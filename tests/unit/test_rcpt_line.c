/* Recipient lines, good and bad. */
#include "engine/intake/rcpt_line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct rcpt_reader reader;

static bool read_line(const char *line, json_t **root, struct rcpt_spec *out, struct err *err)
{
    json_error_t error;
    *root = json_loads(line, JSON_REJECT_DUPLICATES, &error);
    if (*root == NULL)
        return err_set(err, 0, "json: %s", error.text);
    return rcpt_read(&reader, *root, out, err);
}

static void test_bad(void **state)
{
    (void)state;
    static const struct {
        const char *line, *reason; /* reason: a part of it */
    } cases[] = {
        {"{}", "\"to\" is missing"},
        {"{\"id\":\"1\"}", "\"to\" is missing"},
        {"[]", "must be a JSON object"},
        {"\"a@b\"", "json:"},
        {"{\"to\":1}", "\"to\" must be a string, not a number"},
        {"{\"to\":null}", "\"to\" must be a string, not null"},
        {"{\"to\":[\"a@example.com\"]}", "\"to\" must be a string, not a list"},
        {"{\"to\":\"\"}", ""},
        {"{\"to\":\"x@\"}", ""},
        {"{\"to\":\"@example.com\"}", ""},
        {"{\"to\":\"Ada <ada@example.com>\"}", ""},
        {"{\"to\":\"a b@example.com\"}", ""},
        {"{\"to\":\"a@example.com\\r\\nRCPT TO:<b@example.com>\"}", ""},
        {"{\"to\":\"a\\u0000b@example.com\"}", "json:"},
        {"{\"to\":\"a@example.com\",\"to\":\"b@example.com\"}", "json: duplicate"},
        {"{\"to\":\"a@example.com\",\"name\":\"Ada\"}", "unknown field \"name\": a recipient has to, vars,"},
        {"{\"to\":\"a@example.com\",\"vars\":[]}", "\"vars\" must be an object, not a list"},
        {"{\"to\":\"a@example.com\",\"vars\":{\"a\":null}}",
         "the variable \"a\" must be a string, a number or"},
        {"{\"to\":\"a@example.com\",\"vars\":{\"a\":{}}}", "the variable \"a\" must be"},
        {"{\"to\":\"a@example.com\",\"vars\":{\"a\":1,\"a\":2}}", "json: duplicate"},
        {"{\"to\":\"a@example.com\",\"vars\":{\"\":\"x\"}}", ""},
        {"{\"to\":\"a@example.com\",\"id\":true}", "\"id\" must be a string or a number, not a boolean"},
        {"{\"to\":\"a@example.com\",\"id\":\"a\\nb\"}", "\"id\" holds a control character"},
        {"{\"to\":\"a@example.com\",\"notify\":\"never\"}", "\"notify\" must be a list of"},
        {"{\"to\":\"a@example.com\",\"notify\":[]}", "\"notify\" must be a list of"},
        {"{\"to\":\"a@example.com\",\"notify\":[\"never\",\"delay\"]}", "\"notify\" must be a list of"},
        {"{\"to\":\"a@example.com\",\"notify\":[\"often\"]}", "\"notify\" must be a list of"},
        {"{\"to\":\"a@example.com\",\"orcpt\":\"a@example.com\"}", "\"orcpt\" must be a type and an address"},
        {"{\"to\":\"a@example.com\",\"orcpt\":\"rfc822;a\\r\\nb\"}", "\"orcpt\" holds a control character"},
        {"{\"to\":\"a@example.com\",\"metadata\":\"x\"}", "\"metadata\" must be an object of strings"},
        {"{\"to\":\"a@example.com\",\"metadata\":{\"a\":1}}", "\"a\" is a number"},
        {"{\"to\":\"a@example.com\",\"id\":99999999999999999999}", "json: too big"},
        {"{\"to\":\"a@example.com\"", "json:"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rcpt_spec out = {0};
        struct err err = {0};
        json_t *root;
        if (read_line(cases[i].line, &root, &out, &err))
            fail_msg("accepted: %s", cases[i].line);
        if (strstr(err.text, cases[i].reason) == NULL || err.text[0] == '\0')
            fail_msg("%s: \"%s\", expected \"%s\"", cases[i].line, err.text, cases[i].reason);
        json_decref(root);
    }
}

static void expect_var(struct str blob, const char *name, const char *value)
{
    struct str found;
    assert_true(vars_find(blob, str_of(name), &found));
    assert_true(str_eq(found, str_of(value)));
}

static void test_good(void **state)
{
    (void)state;
    struct rcpt_spec out = {0};
    struct err err;
    json_t *root;
    assert_true(read_line("{\"to\":\"Ada.L+x@Example.COM\"}", &root, &out, &err));
    assert_true(str_eq(out.to, STR("Ada.L+x@Example.COM")));
    assert_true(str_eq(out.domain, STR("example.com")));
    assert_int_equal(out.vars.n + out.id.n + out.orcpt.n + out.metadata.n + out.notify, 0);
    json_decref(root);

    assert_true(
        read_line("{\"id\":42,\"vars\":{\"s\":\"x\\ny\",\"i\":-7,\"r\":2.5,\"p\":0.1,\"t\":true,\"f\":false,"
                  "\"e\":\"\"},\"to\":\"a@example.com\",\"notify\":[\"failure\",\"delay\"],"
                  "\"orcpt\":\"rfc822;b@example.com\",\"metadata\":{\"k\":\"v\"}}",
                  &root, &out, &err));
    assert_true(str_eq(out.id, STR("42")));
    assert_int_equal(out.notify, NOTIFY_FAILURE | NOTIFY_DELAY);
    assert_true(str_eq(out.orcpt, STR("rfc822;b@example.com")));
    assert_true(str_eq(out.metadata, STR("{\"k\":\"v\"}")));
    expect_var(out.vars, "s", "x\ny");
    expect_var(out.vars, "i", "-7");
    expect_var(out.vars, "r", "2.5");
    expect_var(out.vars, "p", "0.1");
    expect_var(out.vars, "t", "true");
    expect_var(out.vars, "f", "false");
    expect_var(out.vars, "e", "");
    json_decref(root);

    /* Nothing of one line is left for the next. */
    assert_true(read_line("{\"to\":\"b@example.com\",\"vars\":{}}", &root, &out, &err));
    assert_int_equal(out.vars.n + out.id.n + out.orcpt.n + out.metadata.n + out.notify, 0);
    json_decref(root);

    /* A domain in UTF-8 goes to its A-label, the local part stays. */
    assert_true(read_line("{\"to\":\"j\\u00f6rg@B\\u00fccher.example\"}", &root, &out, &err));
    assert_true(str_eq(out.to, STR("j\xc3\xb6rg@xn--bcher-kva.example")));
    assert_true(str_eq(out.domain, STR("xn--bcher-kva.example")));
    json_decref(root);
}

/* Bounds: one byte more is refused. */
static void test_bounds(void **state)
{
    (void)state;
    struct rcpt_spec out = {0};
    struct err err;
    json_t *root;
    char line[2048], text[1024];
    memset(text, 'x', sizeof text);
    snprintf(line, sizeof line, "{\"to\":\"a@example.com\",\"id\":\"%.*s\"}", RCPT_ID_MAX, text);
    assert_true(read_line(line, &root, &out, &err));
    json_decref(root);
    snprintf(line, sizeof line, "{\"to\":\"a@example.com\",\"id\":\"%.*s\"}", RCPT_ID_MAX + 1, text);
    assert_false(read_line(line, &root, &out, &err));
    assert_non_null(strstr(err.text, "256 bytes long: at most 255"));
    json_decref(root);
    snprintf(line, sizeof line, "{\"to\":\"%.*s@example.com\"}", LOCAL_PART_MAX, text);
    assert_true(read_line(line, &root, &out, &err));
    json_decref(root);
    snprintf(line, sizeof line, "{\"to\":\"%.*s@example.com\"}", LOCAL_PART_MAX + 1, text);
    assert_false(read_line(line, &root, &out, &err));
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bounds),
    };
    rcpt_reader_init(&reader);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rcpt_reader_free(&reader);
    return failed;
}
