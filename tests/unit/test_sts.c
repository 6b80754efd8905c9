/* test_sts.c - MTA-STS: records, policies, and which hosts they allow. */
#include "engine/tls/sts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void test_record(void **state)
{
    (void)state;
    static const struct {
        const char *text, *id; /* NULL: no such record */
    } rows[] = {
        {"v=STSv1; id=20160831085700Z;", "20160831085700Z"},
        {"v=STSv1;id=1", "1"},
        {" v = STSv1 ; id = a9 ; x=y;", "a9"},
        {"v=STSv1; x=y; id=1;", "1"},
        {"v=STSv1; id=12345678901234567890123456789012;", "12345678901234567890123456789012"},
        {"v=STSv1; id=123456789012345678901234567890123;", NULL},
        {"v=STSv1; id=a-b;", NULL},
        {"v=STSv1; id=;", NULL},
        {"v=STSv1; id=1; id=2", NULL},
        {"v=STSv1", NULL},
        {"v=STSv2; id=1", NULL},
        {"id=1; v=STSv1", NULL},
        {"v=spf1 -all", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char id[STS_ID_MAX + 1];
        assert_int_equal(sts_record_parse(str_of(rows[i].text), id), rows[i].id != NULL);
        if (rows[i].id != NULL)
            assert_string_equal(id, rows[i].id);
    }
}

static struct sts_policy policy;
static struct err err;

static void test_policy(void **state)
{
    (void)state;
    assert_true(sts_policy_parse(STR("version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\n"
                                     "mx: *.Example.NET.\r\nmx: backupmx.example.com\r\nmax_age: 604800\r\n"),
                                 &policy, &err));
    assert_int_equal(policy.mode, STS_ENFORCE);
    assert_int_equal(policy.max_age_s, 604800);
    assert_int_equal(policy.mx_count, 3);
    assert_string_equal(policy.mx[1], "*.example.net");
    char text[1024];
    size_t n = sts_policy_format(&policy, text, sizeof text);
    struct sts_policy again;
    assert_true(n > 0 && sts_policy_parse(str_make(text, n), &again, &err));
    assert_int_equal(again.mx_count, 3);
    assert_int_equal(again.mode, STS_ENFORCE);
    assert_int_equal(sts_policy_format(&policy, text, 40), 0);

    /* Lines may end in LF alone, keys may be unknown, what may stand once counts the first time. */
    assert_true(sts_policy_parse(STR("version:STSv1\nmode:testing\nnew: thing\nmode: none\nmx:a.b\n"
                                     "max_age:99999999\nmax_age: 1\n\n"),
                                 &policy, &err));
    assert_int_equal(policy.mode, STS_TESTING);
    assert_int_equal(policy.max_age_s, STS_MAX_AGE_S);
    assert_true(sts_policy_parse(STR("version: STSv1\nmode: none\nmax_age: 0"), &policy, &err));
    assert_int_equal(policy.mode, STS_NONE);
}

static void refused(const char *text, const char *why)
{
    assert_false(sts_policy_parse(str_of(text), &policy, &err));
    if (strstr(err.text, why) == NULL)
        fail_msg("%s: %s", text, err.text);
}

static void test_refused(void **state)
{
    (void)state;
    refused("", "no version");
    refused("version: STSv1\nmode: enforce\nmx: a.b\n", "no max_age");
    refused("version: STSv1\nmx: a.b\nmax_age: 1\n", "no mode");
    refused("version: STSv1\nmode: enforce\nmax_age: 1\n", "names no mx");
    refused("version: STSv2\nmode: none\nmax_age: 1\n", "version is not STSv1");
    refused("version: STSv1\nmode: Enforce\nmx: a.b\nmax_age: 1\n", "mode is not");
    refused("version: STSv1\nmode: none\nmax_age: -1\n", "max_age");
    refused("version: STSv1\nmode: none\nmax_age: 99999999999\n", "max_age");
    refused("<html>\n", "no ':'");
    refused("version: STSv1\nmode: enforce\nmx: a..b\nmax_age: 1\n", "no host name");
    refused("version: STSv1\nmode: enforce\nmx: a.*.b\nmax_age: 1\n", "no host name");
    refused("version: STSv1\nmode: enforce\nmx: \nmax_age: 1\n", "no host name");
    char many[20 * (STS_MX_MAX + 2)] = "";
    for (int i = 0; i <= STS_MX_MAX; i++)
        memcpy(many + strlen(many), "mx: a.example\n", 15);
    refused(many, "more than");
}

static void test_hosts(void **state)
{
    (void)state;
    static const struct {
        const char *host;
        enum sts_verdict verdict;
    } rows[] = {{"mail.example.com", STS_REQUIRED}, {"MAIL.example.COM.", STS_REQUIRED},
                {"other.example.com", STS_REFUSED}, {"a.wild.test", STS_REQUIRED},
                {"a.b.wild.test", STS_REFUSED},     {"wild.test", STS_REFUSED},
                {".wild.test", STS_REFUSED},        {"mail.example.com.evil.test", STS_REFUSED},
                {"xmail.example.com", STS_REFUSED}, {"", STS_REFUSED}};
    assert_true(sts_policy_parse(STR("version: STSv1\nmode: enforce\nmx: mail.example.com\nmx: *.wild.test\n"
                                     "max_age: 1\n"),
                                 &policy, &err));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(sts_verdict(&policy, str_of(rows[i].host)), rows[i].verdict);
    assert_int_equal(sts_verdict(NULL, STR("a.test")), STS_ABSENT);
    policy.mode = STS_NONE;
    assert_int_equal(sts_verdict(&policy, STR("a.test")), STS_ABSENT);
    assert_string_equal(sts_mode_name(STS_TESTING), "testing");
    assert_string_equal(sts_verdict_name(STS_REFUSED), "refused");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_record),
        cmocka_unit_test(test_policy),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_hosts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
