/* Bounce reports: what is counted, and how text and page show it, also when receivers are hostile. */
#include "engine/report/bounces_html.h"
#include "engine/report/bounces_text.h"
#include "engine/report/tally.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void add(struct tally *tally, enum rcpt_state state, struct status status, unsigned code,
                const char *to, const char *reply, const char *site)
{
    const char *domain = strchr(to, '@');
    struct rcpt_info info = {.state = state,
                             .status = status,
                             .code = (uint16_t)code,
                             .to = str_of(to),
                             .domain = str_of(domain + 1),
                             .reply = str_of(reply),
                             .site = str_of(site)};
    tally_add(tally, &info);
}

/* The report of a job with these failures. */
static json_t *report_of(struct tally *tally)
{
    json_t *root = json_object();
    js_set(root, "job", json_string("17"));
    js_set(root, "tenant", json_string("acme"));
    js_set(root, "campaign", json_string("spring <b>"));
    js_set(root, "generated", json_string("2026-01-31T00:00:00.000Z"));
    js_set_int(root, "total", 10);
    js_set_int(root, "delivered", 4);
    js_set_int(root, "queued", 1);
    assert_true(tally_report(tally, root));
    return root;
}

static json_t *some(void)
{
    struct tally *tally = tally_create();
    assert_non_null(tally);
    add(tally, RCPT_BOUNCED, STATUS(5, 1, 1), 550, "a@a.example", "5.1.1 No such user", "google.com");
    add(tally, RCPT_BOUNCED, STATUS(5, 1, 1), 550, "b@a.example", "5.1.1 No such user", "google.com");
    add(tally, RCPT_BOUNCED, STATUS(5, 1, 1), 550, "c@b.example", "5.1.1 <c@b.example>: unknown",
        "b.example");
    add(tally, RCPT_BOUNCED, STATUS(5, 7, 1), 554, "d@b.example",
        "5.7.1 \x1b[2Jspam\xc2\x9b </td><script>&\"'", "b.example");
    add(tally, RCPT_EXPIRED, STATUS(4, 2, 2), 452, "e@c.example", "4.2.2 full", "");
    add(tally, RCPT_DELIVERED, STATUS(0, 0, 0), 250, "f@c.example", "", "");
    json_t *root = report_of(tally);
    tally_free(tally);
    return root;
}

static const json_t *item(const json_t *root, const char *list, size_t n)
{
    return json_array_get(json_object_get(root, list), n);
}

static void test_counts(void **state)
{
    (void)state;
    json_t *root = some();
    assert_int_equal(js_get_int(root, "failed"), 5);
    assert_int_equal(js_get_int(root, "expired"), 1);
    assert_string_equal(js_get_text(item(root, "classes", 0), "class"), "5.1");
    assert_string_equal(js_get_text(item(root, "statuses", 0), "status"), "5.1.1");
    assert_int_equal(js_get_int(item(root, "statuses", 0), "count"), 3);
    assert_int_equal(json_array_size(json_object_get(item(root, "statuses", 0), "examples")), 2);
    assert_string_equal(js_get_text(item(root, "categories", 0), "category"), "bad-mailbox");
    assert_int_equal(json_array_size(json_object_get(root, "categories")), 3);
    assert_string_equal(js_get_text(item(root, "sites", 0), "site"), "b.example");
    assert_int_equal(js_get_int(item(root, "sites", 0), "failed"), 2);
    assert_string_equal(js_get_text(item(root, "sites", 2), "site"), "");
    json_decref(root);
}

/* What is too much to list is summed, and nothing is lost. */
static void test_many_places(void **state)
{
    (void)state;
    struct tally *tally = tally_create();
    char to[64];
    long long sum = 0;
    unsigned n = TALLY_PLACES_MAX + 100;
    for (unsigned i = 0; i < n; i++) {
        snprintf(to, sizeof to, "x@d%u.example", i);
        add(tally, RCPT_BOUNCED, STATUS(5, 0, 0), 550, to, "no", "one.example");
    }
    json_t *root = report_of(tally);
    const json_t *list = json_object_get(root, "domains");
    assert_int_equal(json_array_size(list), TALLY_PLACES_SHOWN);
    for (size_t i = 0; i < json_array_size(list); i++)
        sum += js_get_int(json_array_get(list, i), "failed");
    assert_int_equal(sum + js_get_int(root, "other_domains"), n);
    assert_int_equal(js_get_int(item(root, "sites", 0), "failed"), n);
    assert_int_equal(js_get_int(root, "other_sites"), 0);
    json_decref(root);
    tally_free(tally);
}

/* Those that a hostile receiver makes up: the report is made, and nothing is lost. */
static void test_many_statuses(void **state)
{
    (void)state;
    struct tally *tally = tally_create();
    unsigned n = 0;
    for (uint16_t subject = 0; subject < 1000; subject++)
        for (uint16_t detail = 0; detail < 5; detail++, n++)
            add(tally, RCPT_BOUNCED, STATUS(5, subject, detail), 550, "x@d.example", "no", "d.example");
    json_t *root = report_of(tally);
    static const char *const lists[] = {"statuses", "classes"};
    for (int i = 0; i < 2; i++) {
        const json_t *list = json_object_get(root, lists[i]);
        long long sum = 0;
        assert_in_range(json_array_size(list), 200, 210);
        for (size_t k = 0; k < json_array_size(list); k++)
            sum += js_get_int(json_array_get(list, k), "count");
        assert_int_equal(sum, n);
    }
    json_decref(root);
    tally_free(tally);
}

static void test_text(void **state)
{
    (void)state;
    json_t *root = some();
    struct buf out;
    buf_init(&out, 1 << 20);
    bounces_text(root, &out);
    assert_true(buf_add_char(&out, '\0'));
    assert_ptr_equal(
        strstr(out.data, "job 17: 5 of 10 failed (4 bounced, 1 expired), 4 delivered, 1 queued\n"), out.data);
    assert_non_null(strstr(out.data, "\nCATEGORY         COUNT\nbad-mailbox          3\n"));
    assert_non_null(strstr(out.data, "\nSTATUS  COUNT  MEANING\n5.1.1       3  Bad destination mailbox"));
    assert_non_null(
        strstr(out.data, "\nSITE        COUNT\nb.example       2\ngoogle.com      2\n-               1\n"));
    assert_non_null(strstr(out.data, "  4.2.2 e@c.example: 452 4.2.2 full\n"));
    for (const char *p = out.data; *p; p++)
        assert_true(*p == '\n' || (unsigned char)*p >= ' ');
    assert_non_null(strstr(out.data, "?[2Jspam? "));
    buf_free(&out);
    json_decref(root);
}

static void test_page(void **state)
{
    (void)state;
    json_t *root = some();
    struct buf out;
    buf_init(&out, 1 << 20);
    bounces_html(root, &out);
    assert_true(buf_add_char(&out, '\0'));
    assert_non_null(strstr(out.data, "<svg"));
    assert_non_null(strstr(out.data, "campaign <bdi>spring &lt;b&gt;</bdi>"));
    assert_non_null(strstr(out.data, "&lt;/td&gt;&lt;script&gt;&amp;&quot;&#39;"));
    assert_null(strstr(out.data, "<script"));
    assert_null(strstr(out.data, "https:"));
    assert_null(strchr(out.data, '\x1b'));
    assert_non_null(strstr(out.data, "5 of 10 recipients failed"));
    buf_free(&out);
    json_decref(root);
    /* Nothing failed: a page all the same. */
    struct tally *tally = tally_create();
    root = report_of(tally);
    buf_init(&out, 1 << 20);
    bounces_html(root, &out);
    bounces_text(root, &out);
    assert_true(buf_add_char(&out, '\0'));
    assert_non_null(strstr(out.data, "0 of 10 recipients failed"));
    buf_free(&out);
    json_decref(root);
    tally_free(tally);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),        cmocka_unit_test(test_many_places),
        cmocka_unit_test(test_many_statuses), cmocka_unit_test(test_text),
        cmocka_unit_test(test_page),
    };
    return cmocka_run_group_tests_name("bounces", tests, NULL, NULL);
}
