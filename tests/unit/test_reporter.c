/* Failures become reports: one a return path, once, never about a report. */
#include "engine/report/reporter.h"
#include "tests/unit/api_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static struct api_rig rig;
static struct reporter *reporter;

#define RAW                                                                                                  \
    "\"message\":{\"raw\":\"From: news@a.example\\nTo: {{to}}\\nSubject: Hi {{name|you}}\\n\\nthe "          \
    "text\\n\"}"

static void submit(const char *fields, const char *recipients, char id[24])
{
    char body[4096];
    snprintf(body, sizeof body, "{%s}\n%s", fields, recipients);
    json_t *root = api_rig_call(&rig, "POST", "/v1/jobs", body, 202);
    snprintf(id, 24, "%s", text_at(root, "jobs.0.job"));
    json_decref(root);
}

/* Reports among the jobs after `after`, as they are within some seconds: `n` of them. The list is the
 * caller's. */
static json_t *wait_for_reports(const char *after, size_t n)
{
    json_t *reports = json_array();
    for (int i = 0; i < 2000; i++) {
        size_t k;
        json_t *item, *root = api_rig_call(&rig, "GET", "/v1/jobs", "", 200);
        json_array_clear(reports);
        json_array_foreach(at(root, "jobs"), k, item)
        {
            if (json_is_true(at(item, "report")) &&
                strtoul(text_at(item, "job"), NULL, 10) > strtoul(after, NULL, 10))
                json_array_append(reports, item);
        }
        json_decref(root);
        if (json_array_size(reports) >= n)
            break;
        usleep(5000);
    }
    assert_true(json_array_size(reports) >= n);
    return reports;
}

static void expect_reports(const char *after, size_t n)
{
    json_t *reports = wait_for_reports(after, 0);
    assert_int_equal(json_array_size(reports), n);
    json_decref(reports);
}

/* To whom a report goes, and its text; the caller frees it. */
static char *read_report(const json_t *report, char to[ADDRESS_MAX])
{
    struct http_reply reply;
    char url[128];
    snprintf(url, sizeof url, "/v1/jobs/%s/recipients", text_at(report, "job"));
    json_t *rcpt = json_loads(api_rig_get(&rig, url, &reply), JSON_DISABLE_EOF_CHECK, NULL);
    snprintf(to, ADDRESS_MAX, "%s", text_at(rcpt, "to"));
    snprintf(url, sizeof url, "/v1/recipients/%s/message", text_at(rcpt, "rid"));
    http_reply_free(&reply);
    json_decref(rcpt);
    char *text = strdup(api_rig_get(&rig, url, &reply));
    assert_non_null(text);
    http_reply_free(&reply);
    return text;
}

static void expect(const char *text, const char *part)
{
    if (text == NULL || strstr(text, part) == NULL)
        fail_msg("no \"%s\" in\n%s", part, text ? text : "");
}

static size_t count(const char *text, const char *part)
{
    size_t n = 0;
    for (const char *hit = text; (hit = strstr(hit, part)) != NULL; hit += strlen(part))
        n++;
    return n;
}

static void test_one_report_for_many(void **state)
{
    (void)state;
    char id[24], to[ADDRESS_MAX];
    submit("\"from\":\"ok-sender@a.example\",\"tenant\":\"acme\",\"campaign\":\"c\",\"dsn\":{\"envid\":"
           "\"E7\"}," RAW,
           "{\"to\":\"bad1@a.example\",\"orcpt\":\"rfc822;old@a.example\",\"vars\":{\"name\":\"Ada\"}}\n"
           "{\"to\":\"ok1@a.example\"}\n{\"to\":\"bad2@b.example\"}\n{\"to\":\"bad3@b.example\",\"notify\":["
           "\"never\"]}\n",
           id);
    json_t *reports = wait_for_reports(id, 1);
    const json_t *report = json_array_get(reports, 0);
    assert_string_equal(text_at(report, "from"), "");
    assert_string_equal(text_at(report, "class"), "transactional");
    assert_string_equal(text_at(report, "tenant"), "acme");
    assert_string_equal(text_at(report, "campaign"), "c");
    char *text = read_report(report, to);
    assert_string_equal(to, "ok-sender@a.example");
    expect(text, "From: Mail Delivery System <MAILER-DAEMON@mta.test>\r\nTo: ok-sender@a.example\r\n");
    expect(text, "Reporting-MTA: dns; mta.test\r\nOriginal-Envelope-Id: E7\r\n");
    expect(text, "Original-Recipient: rfc822;old@a.example\r\nFinal-Recipient: rfc822; bad1@a.example\r\n"
                 "Action: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; mx.site.example\r\n"
                 "Diagnostic-Code: smtp; 550 5.1.1 no such \"user\", sorry\r\n");
    expect(text, "Final-Recipient: rfc822; bad2@b.example\r\n");
    assert_int_equal(count(text, "Action: failed"), 2); /* one wanted no report */
    expect(text, "text/rfc822-headers");
    expect(text, "Subject: Hi Ada\r\n");
    assert_null(strstr(text, "the text"));
    free(text);
    usleep(700000); /* longer than the reporter sleeps: no second one */
    expect_reports(id, 1);
    api_rig_wait(&rig, text_at(report, "job"), "delivered", 1);
    json_decref(reports);
}

static void test_whom_nobody_tells(void **state)
{
    (void)state;
    char id[24], other[24];
    submit("\"from\":\"\",\"bounces\":\"dsn\"," RAW, "{\"to\":\"bad1@a.example\"}\n", id);
    submit("\"from\":\"ok@a.example\",\"bounces\":\"report\"," RAW, "{\"to\":\"bad1@a.example\"}\n", other);
    submit("\"from\":\"ok@a.example\",\"bounces\":\"none\"," RAW, "{\"to\":\"bad1@a.example\"}\n", other);
    api_rig_wait(&rig, other, "bounced", 1);
    usleep(700000);
    expect_reports(id, 0);
    /* The sender does not exist either: the report bounces, and that is that. */
    submit("\"from\":\"bad-sender@a.example\",\"bounces\":\"dsn\"," RAW, "{\"to\":\"bad1@a.example\"}\n", id);
    json_t *reports = wait_for_reports(id, 1);
    api_rig_wait(&rig, text_at(json_array_get(reports, 0), "job"), "bounced", 1);
    json_decref(reports);
    usleep(700000);
    expect_reports(id, 1);
}

static void test_return_paths_apart(void **state)
{
    (void)state;
    char id[24], to[ADDRESS_MAX];
    submit("\"from\":\"ok-{{rid}}@a.example\",\"bounces\":\"dsn\"," RAW,
           "{\"to\":\"bad1@a.example\"}\n{\"to\":\"bad2@a.example\"}\n", id);
    json_t *reports = wait_for_reports(id, 2);
    for (size_t i = 0; i < 2; i++) {
        char *text = read_report(json_array_get(reports, i), to);
        assert_int_equal(strncmp(to, "ok-", 3), 0);
        assert_int_equal(count(text, "Action: failed"), 1);
        free(text);
    }
    json_decref(reports);
}

/* With RET=FULL, in 7 bits whatever it was: quoted-printable where it was merged, made so where it was 8-bit.
 */
static void expect_whole(const char *name, const char *line)
{
    char id[24], to[ADDRESS_MAX], fields[1024];
    snprintf(fields, sizeof fields,
             "\"from\":\"ok@a.example\",\"dsn\":{\"ret\":\"full\"},\"message\":{\"raw\":\"From: "
             "a@a.example\\nMIME-Version: "
             "1.0\\nContent-Type: text/plain; charset=utf-8\\nContent-Transfer-Encoding: "
             "8bit\\n\\nGr\\u00fc\\u00dfe %s\\n\"}",
             name);
    submit(fields, "{\"to\":\"bad1@a.example\",\"vars\":{\"name\":\"{{x}}\"}}\n", id);
    json_t *reports = wait_for_reports(id, 1);
    char *text = read_report(json_array_get(reports, 0), to);
    expect(text, "Content-Type: message/rfc822\r\n");
    expect(text, line);
    free(text);
    json_decref(reports);
}

static void test_whole_message(void **state)
{
    (void)state;
    expect_whole("{{name}}", "\r\nGr=C3=BC=C3=9Fe=20{{x}}\r\n");
    expect_whole("all", "\r\nGr=C3=BC=C3=9Fe all\r\n");
}

/* More than one report holds. */
static void test_many(void **state)
{
    (void)state;
    char id[24], to[ADDRESS_MAX];
    struct buf body;
    struct http_reply reply;
    size_t total = 0;
    buf_init(&body, 1 << 20);
    buf_add_z(&body, "{\"from\":\"ok@a.example\",\"bounces\":\"dsn\"," RAW "}\n");
    for (unsigned i = 0; i < 700; i++)
        buf_printf(&body, "{\"to\":\"bad%u@a.example\"}\n", i);
    http_call(rig.socket, "POST", "/v1/jobs", "", buf_str(&body), &reply);
    assert_int_equal(reply.status, 202);
    json_t *root = reply_json(&reply);
    snprintf(id, sizeof id, "%s", text_at(root, "jobs.0.job"));
    json_decref(root);
    http_reply_free(&reply);
    buf_free(&body);
    api_rig_wait(&rig, id, "bounced", 700);
    size_t n = 1;
    for (int i = 0; i < 400 && total < 700; i++) {
        json_t *reports = wait_for_reports(id, n);
        total = 0;
        for (size_t k = 0; k < json_array_size(reports); k++) {
            char *text = read_report(json_array_get(reports, k), to);
            size_t here = count(text, "Action: failed");
            assert_true(here >= 1 && here <= 500);
            total += here;
            free(text);
        }
        n = json_array_size(reports) + (total < 700);
        json_decref(reports);
    }
    assert_int_equal(total, 700);
}

static int set_up(void **state)
{
    (void)state;
    struct err err;
    api_rig_open(&rig, "");
    reporter = reporter_start(rig.store, rig.config, &err);
    return reporter != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    reporter_stop(reporter);
    api_rig_close(&rig);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_report_for_many),
        cmocka_unit_test(test_whom_nobody_tells),
        cmocka_unit_test(test_return_paths_apart),
        cmocka_unit_test(test_whole_message),
        cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
