/* Job lines, good and bad. */
#include "engine/intake/job_line.h"
#include "tests/unit/temporary.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct config *config;
static struct repeats repeats;
static const struct now test_now = {1000, INT64_C(1700000000000)};

#define RAW   "\"message\":{\"raw\":\"From: a@example.com\\nTo: {{to}}\\nSubject: x\\n\\nHi {{name|}}\\n\"}"
#define PLAIN "\"message\":{\"raw\":\"From: a@example.com\\nTo: x@example.com\\nSubject: x\\n\\nHi\\n\"}"
#define FROM  "\"from\":\"a@example.com\","

static bool read_job(const char *line, struct job_line *job, struct str tenant, struct err *err)
{
    json_error_t error;
    struct job_rules rules = {config, NULL, tenant, &repeats};
    json_t *root = json_loads(line, JSON_REJECT_DUPLICATES, &error);
    *job = (struct job_line){0};
    if (root == NULL)
        return err_set(err, 0, "json: %s", error.text);
    return job_line_read(job, root, &rules, test_now, err);
}

static void test_bad(void **state)
{
    (void)state;
    static const struct {
        const char *line, *reason;
    } cases[] = {
        {"{" RAW "}", "the job has no \"from\": give the envelope sender, or \"\" for none"},
        {"{\"from\":\"a@example.com\"}", "the job has no \"message\""},
        {"{\"from\":1," RAW "}", "\"from\" must be a string, not a number"},
        {"{\"from\":\"a\"," RAW "}", "\"from\""},
        {"{\"from\":\"a@example.com\\r\\n\"," RAW "}", "\"from\" holds a control character"},
        {"{\"from\":\"{{name}}@example.com\"," RAW "}", "\"from\""},
        {"{" FROM "\"message\":\"text\"}", "\"message\" must be an object, not a string"},
        {"{" FROM "\"message\":{}}", "\"message\""},
        {"{" FROM "\"message\":{\"raw\":1}}", "\"message\": \"raw\" must be a string, not a number"},
        {"{" FROM "\"message\":{\"raw\":\"x\",\"subject\":\"y\"}}", "\"raw\" is the whole message"},
        {"{" FROM "\"message\":{\"raw\":\"x\",\"raw_base64\":\"eA==\"}}", "exclude each other"},
        {"{" FROM "\"message\":{\"raw_base64\":\"=x=\"}}",
         "\"raw_base64\" is no base64: see its character 2"},
        {"{" FROM "\"message\":{\"raw_base64\":\"eA=\"}}", "\"raw_base64\" is cut short or wrongly padded"},
        {"{" FROM "\"message\":{\"raw_base64\":\"abc!\"}}",
         "\"raw_base64\" is no base64: see its character 4"},
        {"{" FROM "\"message\":{\"from\":\"a@example.com\",\"text\":\"x\",\"colour\":\"red\"}}",
         "\"message\": unknown field \"colour\""},
        {"{" FROM "\"message\":{\"from\":\"a@example.com\",\"text\":\"x\",\"attachments\":[{}]}}",
         "\"attachments\", number 1: there is no \"content_base64\""},
        {"{" FROM "\"message\":{\"attachments\":[{\"content_base64\":\"?\"}]}}",
         "\"content_base64\" is no base64: see its character 1"},
        {"{" FROM "\"message\":{\"attachments\":[{\"name\":\"x\"}]}}",
         "unknown field \"name\": there are filename"},
        {"{" FROM "\"message\":{\"list\":{\"colour\":\"x\"}}}", "\"list\" has an unknown field \"colour\""},
        {"{" FROM "\"message\":{\"list\":{\"id\":[\"a\",\"b\"]}}}", "there is one \"id\""},
        {"{" FROM "\"message\":{\"list\":{\"help\":{\"comment\":\"x\"}}}}", "\"help\" has no \"url\""},
        {"{" FROM "\"message\":{\"unsubscribe\":{}}}", "has neither \"url\" nor \"mailto\""},
        {"{" FROM "\"message\":{\"priority\":1}}", "\"priority\" must be \"high\", \"normal\" or \"low\""},
        {"{" FROM "\"message\":{\"from\":\"a@example.com\",\"text\":\"x\",\"headers\":[]}}",
         "\"headers\" must be an object of strings, not a list"},
        {"{" FROM "\"message\":{\"from\":\"a@example.com\",\"text\":\"x\",\"headers\":{\"X-A\":1}}}",
         "\"X-A\" must be a string, not a number"},
        {"{" FROM "\"message\":{\"subject\":\"x\"}}", "\"message\""},
        {"{" FROM "\"merge\":1," RAW "}", "\"merge\" must be true or false, not a number"},
        {"{" FROM "\"tenant\":\"\"," RAW "}", "\"tenant\" is empty"},
        {"{" FROM "\"tenant\":\"a\\tb\"," RAW "}", "\"tenant\" holds a control character"},
        {"{" FROM "\"class\":\"fast\"," RAW "}", "\"class\" must be \"bulk\" or \"transactional\""},
        {"{" FROM "\"class\":null," RAW "}", "\"class\" must be \"bulk\" or \"transactional\""},
        {"{" FROM "\"pool\":\"nosuch\"," RAW "}", "there is no pool \"nosuch\" in the configuration"},
        {"{" FROM "\"bounces\":\"maybe\"," RAW "}", "\"bounces\" must be"},
        {"{" FROM "\"bounces\":[]," RAW "}", "\"bounces\" must be"},
        {"{" FROM "\"dsn\":[]," RAW "}", "\"dsn\" must be an object, not a list"},
        {"{" FROM "\"dsn\":{\"ret\":\"body\"}," RAW "}", "\"ret\" must be \"hdrs\" or \"full\""},
        {"{" FROM "\"dsn\":{\"notify\":[\"x\"]}," RAW "}", "\"notify\" must be a list"},
        {"{" FROM "\"dsn\":{\"to\":\"x\"}," RAW "}", "\"dsn\" has an unknown field \"to\""},
        {"{" FROM "\"dsn\":{\"envid\":\"\\u00e9\"}," RAW "}", "\"envid\" must be ASCII"},
        {"{" FROM "\"not_before\":\"tomorrow\"," RAW "}", "\"not_before\" must be a time"},
        {"{" FROM "\"not_before\":true," RAW "}", "\"not_before\" must be a time"},
        {"{" FROM "\"lifetime\":3600," RAW "}", "\"lifetime\" must be a duration"},
        {"{" FROM "\"lifetime\":\"0\"," RAW "}", "\"lifetime\" must be a duration"},
        {"{" FROM "\"lifetime\":\"400d\"," RAW "}", "\"lifetime\" must be a duration"},
        {"{" FROM "\"require_tls\":1," RAW "}", "\"require_tls\" must be true or false"},
        {"{" FROM "\"require_dkim\":true," RAW "}", "\"require_dkim\": there is no key for \"example.com\""},
        {"{" FROM "\"idempotency_key\":\"\"," RAW "}", "\"idempotency_key\" is empty"},
        {"{" FROM "\"metadata\":{\"a\":[]}," RAW "}", "\"a\" is a list"},
        {"{" FROM "\"mesage\":{}," RAW "}", "unknown field \"mesage\" in the job"},
        {"{" FROM FROM RAW "}", "json: duplicate"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct job_line job;
        struct err err = {0};
        if (read_job(cases[i].line, &job, STR(""), &err))
            fail_msg("accepted: %s", cases[i].line);
        if (strstr(err.text, cases[i].reason) == NULL)
            fail_msg("%s: \"%s\", expected \"%s\"", cases[i].line, err.text, cases[i].reason);
        job_line_free(&job);
    }
}

static void test_defaults(void **state)
{
    (void)state;
    struct job_line job;
    struct err err;
    assert_true(read_job("{" FROM RAW "}", &job, STR(""), &err));
    assert_true(str_eq(job.spec.tenant, STR("default")));
    assert_true(str_eq(job.spec.pool, STR("default")));
    assert_int_equal(job.spec.campaign.n + job.spec.envid.n + job.spec.metadata.n, 0);
    assert_int_equal(job.spec.class_, CLASS_BULK);
    assert_int_equal(job.spec.bounces, BOUNCES_REPORT);
    assert_int_equal(job.spec.notify + job.spec.ret + job.spec.not_before_ms + job.spec.lifetime_ms, 0);
    assert_false(job.spec.same_for_all);
    assert_false(job.spec.is_dsn || job.spec.require_tls);
    assert_true(job.spec.content_size > 0 && job.spec.message_size > 0);
    job_line_free(&job);

    assert_true(read_job("{\"from\":\"\"," PLAIN "}", &job, STR(""), &err));
    assert_int_equal(job.spec.from.n, 0);
    assert_true(job.spec.same_for_all);
    job_line_free(&job);
}

static void test_all_fields(void **state)
{
    (void)state;
    struct job_line job;
    struct err err;
    if (!read_job("{\"from\":\"b-{{rid}}@example.com\",\"tenant\":\"acme\",\"campaign\":\"spring\","
                  "\"class\":\"transactional\",\"pool\":\"second\",\"dsn\":{\"notify\":[\"never\"],"
                  "\"ret\":\"full\",\"envid\":\"E1\"},\"bounces\":\"none\",\"not_before\":"
                  "\"2030-01-02T03:04:05Z\",\"lifetime\":\"1d12h\",\"require_tls\":false,"
                  "\"idempotency_key\":\"k\",\"metadata\":{\"a\":\"b\"}," PLAIN "}",
                  &job, STR(""), &err))
        fail_msg("%s", err.text);
    assert_true(str_eq(job.spec.tenant, STR("acme")) && str_eq(job.spec.campaign, STR("spring")));
    assert_true(str_eq(job.spec.pool, STR("second")) && str_eq(job.spec.envid, STR("E1")));
    assert_int_equal(job.spec.class_, CLASS_TRANSACTIONAL);
    assert_int_equal(job.spec.notify, NOTIFY_NEVER);
    assert_int_equal(job.spec.ret, RET_FULL);
    assert_int_equal(job.spec.bounces, BOUNCES_NONE);
    assert_int_equal(job.spec.not_before_ms, INT64_C(1893553445000));
    assert_int_equal(job.spec.lifetime_ms, INT64_C(129600000));
    assert_true(str_eq(job.idempotency_key, STR("k")));
    assert_true(str_eq(job.spec.metadata, STR("{\"a\":\"b\"}")));
    assert_false(job.spec.same_for_all); /* every recipient has a return path of its own */
    job_line_free(&job);
}

/* What a message asks of TLS names its lanes, behind the pool's name. */
static void test_tls(void **state)
{
    (void)state;
    static const char optional[] =
        "\"message\":{\"raw\":\"From: a@b.example\\r\\ntls-required: No\\r\\n\\r\\nHi\"}";
    struct job_line job;
    struct err err;
    char line[512];
    assert_true(
        read_job("{" FROM "\"require_tls\":true,\"dsn\":{\"ret\":\"full\"}," PLAIN "}", &job, STR(""), &err));
    assert_true(job.spec.require_tls && wish_of(job.spec.pool) == TLS_WISH_REQUIRED);
    assert_true(str_eq(wish_pool(job.spec.pool), STR("default")));
    assert_int_equal(job.spec.ret, RET_HDRS);
    job_line_free(&job);
    snprintf(line, sizeof line, "{" FROM "\"pool\":\"second\",%s}", optional);
    assert_true(read_job(line, &job, STR(""), &err));
    assert_true(wish_of(job.spec.pool) == TLS_WISH_OPTIONAL);
    assert_true(str_eq(wish_pool(job.spec.pool), STR("second")));
    job_line_free(&job);
    snprintf(line, sizeof line, "{" FROM "\"require_tls\":true,%s}",
             optional); /* RFC 8689 5: then it says nothing */
    assert_true(read_job(line, &job, STR(""), &err));
    assert_true(wish_of(job.spec.pool) == TLS_WISH_REQUIRED);
    job_line_free(&job);
    assert_true(wish_of(STR("default")) == TLS_WISH_NONE && wish_of(STR("default+x")) == TLS_WISH_NONE);
}

static void expect_bounces(const char *line, enum job_bounces bounces)
{
    struct job_line job;
    struct err err;
    assert_true(read_job(line, &job, STR(""), &err));
    assert_int_equal(job.spec.bounces, bounces);
    job_line_free(&job);
}

static void test_where_bounces_go(void **state)
{
    (void)state;
    expect_bounces("{" FROM PLAIN "}", BOUNCES_REPORT);
    expect_bounces("{" FROM "\"class\":\"transactional\"," PLAIN "}", BOUNCES_DSN);
    expect_bounces("{" FROM "\"dsn\":{}," PLAIN "}", BOUNCES_DSN);
    expect_bounces("{" FROM "\"dsn\":{},\"bounces\":\"report\"," PLAIN "}", BOUNCES_REPORT);
    expect_bounces("{" FROM "\"bounces\":\"dsn\"," PLAIN "}", BOUNCES_DSN);
    expect_bounces("{" FROM "\"bounces\":\"none\",\"class\":\"transactional\"," PLAIN "}", BOUNCES_NONE);
}

static void test_tenants(void **state)
{
    (void)state;
    struct job_line job;
    struct err err;
    assert_true(read_job("{" FROM PLAIN "}", &job, STR("acme"), &err));
    assert_true(str_eq(job.spec.tenant, STR("acme")));
    assert_true(str_eq(job.spec.pool, STR("second"))); /* the tenant's */
    job_line_free(&job);
    assert_true(read_job("{" FROM "\"tenant\":\"acme\"," PLAIN "}", &job, STR("acme"), &err));
    job_line_free(&job);
    assert_false(read_job("{" FROM "\"tenant\":\"other\"," PLAIN "}", &job, STR("acme"), &err));
    assert_non_null(strstr(err.text, "is not yours: this user is bound to \"acme\""));
    job_line_free(&job);
}

static void test_merge(void **state)
{
    (void)state;
    struct job_line job;
    struct err err;
    struct str missing;
    assert_true(read_job("{" FROM
                         "\"merge\":false,\"message\":{\"raw\":\"From: a@example.com\\n\\n{{x}}\\n\"}}",
                         &job, STR(""), &err));
    assert_true(job.spec.same_for_all);
    job_line_free(&job);
    assert_true(read_job("{" FROM "\"message\":{\"from\":\"a@example.com\",\"to\":[\"{{to}}\"],\"reply_to\":"
                         "[\"b@example.com\",\"c@example.com\"],\"subject\":\"s\",\"text\":\"Hi {{x}}\","
                         "\"html\":\"<p>Hi {{x}}</p>\",\"headers\":{\"X-A\":\"1\",\"X-B\":[\"2\",\"3\"]}}}",
                         &job, STR(""), &err));
    assert_false(job.spec.same_for_all);
    assert_true(template_missing(&job.template, STR(""), &missing));
    assert_true(str_eq(missing, STR("x")));
    job_line_free(&job);
    assert_true(read_job("{" FROM "\"message\":{\"raw_base64\":\"RnJvbTogYUBleGFtcGxlLmNvbQoKSGkK\"}}", &job,
                         STR(""), &err));
    assert_true(job.spec.same_for_all);
    job_line_free(&job);
}

/* What is not a job's to say is left out of a message, whichever way it is given, and the answer says so. */
static void test_removed(void **state)
{
    (void)state;
    static const char *const messages[] = {
        "{\"raw\":\"From: a@b.example\\nBCC: secret@x.example\\nReturn-Path: <x@y>\\nReceived: z\\n\\nx\"}",
        "{\"from\":\"a@b.example\",\"text\":\"x\",\"headers\":{\"bcc\":\"secret@x.example\","
        "\"return-path\":\"<x@y>\",\"RECEIVED\":[\"z\",\"y\"]}}",
    };
    for (size_t i = 0; i < sizeof messages / sizeof messages[0]; i++) {
        struct job_line job;
        struct err err;
        char line[1000], text[1000];
        snprintf(line, sizeof line, "{" FROM "\"message\":%s}", messages[i]);
        assert_true(read_job(line, &job, STR(""), &err));
        snprintf(text, sizeof text, "%.*s", STR_ARG(buf_str(&job.warnings)));
        assert_non_null(strstr(text, "Bcc was taken out"));
        assert_non_null(strstr(text, "Return-Path was taken out"));
        assert_non_null(strstr(text, "Received was taken out"));
        assert_non_null(job.spec.content);
        assert_null(memmem(job.spec.content, job.spec.content_size, "secret", 6));
        job_line_free(&job);
    }
}

static void test_feedback_id(void **state)
{
    (void)state;
    struct job_line job;
    struct err err;
    const char *pattern = config->feedback_id;
    config->feedback_id = "{{campaign}}:{{recipient_hash}}:{{class}}:{{tenant}}";
    assert_true(
        read_job("{" FROM "\"campaign\":\"a:b {{x}}\",\"tenant\":\"acme\"," PLAIN "}", &job, STR(""), &err));
    assert_false(job.spec.same_for_all);
    static const char begin[] = "Feedback-ID:", campaign[] = "a_b___x__:", rest[] = ":bulk:acme";
    assert_non_null(job.spec.content);
    assert_non_null(memmem(job.spec.content, job.spec.content_size, begin, sizeof begin - 1));
    assert_non_null(memmem(job.spec.content, job.spec.content_size, campaign, sizeof campaign - 1));
    assert_non_null(memmem(job.spec.content, job.spec.content_size, rest, sizeof rest - 1));
    job_line_free(&job);
    config->feedback_id = pattern;
}

/* A job line that is broken must not pass for a recipient of the job before it. */
static void test_resembles(void **state)
{
    (void)state;
    json_t *rcpt = json_pack("{s:s,s:{}}", "to", "a@example.com", "metadata");
    json_t *job = json_pack("{s:s,s:{}}", "from", "a@example.com", "mesage");
    assert_false(job_line_resembles(rcpt));
    assert_true(job_line_resembles(job));
    assert_true(job_line_resembles_text(STR("{\"from\":\"x\",\"message\":{")));
    assert_false(job_line_resembles_text(STR("{\"to\":\"x\",\"vars\":{")));
    json_decref(rcpt);
    json_decref(job);
}

static int set_up(void **state)
{
    (void)state;
    repeats_init(&repeats);
    char path[TEMPORARY_PATH];
    static const char yaml[] =
        "hostname: mta.test\nsources:\n  - { name: a }\n"
        "pools:\n  - { name: default, sources: {a: 1} }\n  - { name: second, sources: {a: 1} }\n"
        "tenants:\n  - { name: acme, pool: second }\n";
    struct buf errors;
    int fd = temporary_file(path);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (file == NULL || fputs(yaml, file) < 0 || fclose(file) != 0)
        return -1;
    buf_init(&errors, CONFIG_ERRORS_MAX);
    bool good = config_load(path, &config, &errors);
    if (!good)
        fprintf(stderr, "%.*s\n", (int)errors.len, errors.data);
    buf_free(&errors);
    remove(path);
    return good ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    config_free(config);
    return 0;
}

/* A digest only for a message that came before. */
static void test_digest(void **state)
{
    static const uint8_t none[sizeof((struct job_spec *)0)->content_hash];
    static const char same[] = "{" FROM "\"message\":{\"raw\":\"From: a@example.com\\nMessage-ID: <a@b.c>\\n"
                               "Date: Thu, 1 Jan 2026 00:00:00 +0000\\nSubject: x\\n\\nHi\\n\"}}";
    uint8_t second[sizeof none];
    (void)state;
    for (unsigned n = 0; n < 3; n++) {
        struct job_line job;
        struct err err;
        assert_true(read_job(same, &job, STR(""), &err));
        assert_int_equal(memcmp(job.spec.content_hash, none, sizeof none) == 0, n == 0);
        if (n == 2)
            assert_memory_equal(job.spec.content_hash, second, sizeof second);
        memcpy(second, job.spec.content_hash, sizeof second);
        job_line_free(&job);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_all_fields),
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_where_bounces_go),
        cmocka_unit_test(test_tenants),
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_resembles),
        cmocka_unit_test(test_digest),
        cmocka_unit_test(test_removed),
        cmocka_unit_test(test_feedback_id),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
