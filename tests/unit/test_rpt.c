/* test_rpt.c - reports about TLS: what they say, how they travel, and where a domain wants them. */
#include "engine/tlsrpt/report.h"

#include "engine/message/template.h"
#include "engine/tlsrpt/wanted.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <zlib.h>

#include <cmocka.h>

static const struct rpt_line lines[] = {
    {RPT_STS, RPT_FINE, 0, "", "", "version: STSv1\r\nmode: enforce\r\nmx: *.a.example\r\n"},
    {RPT_STS, RPT_FINE, 40, "mx1.a.example", "192.0.2.1", ""},
    {RPT_TLSA, RPT_FINE, 7, "mx2.a.example", "", "3 1 1 AB\n"},
    {RPT_STS, RPT_EXPIRED, 2, "mx1.a.example", "192.0.2.1", ""},
    {RPT_TLSA, RPT_TLSA_INVALID, 1, "mx2.a.example", "", ""},
    {RPT_TLSA, RPT_DNSSEC_INVALID, 5, "mx3.a.example", "", ""},
    {RPT_STS, RPT_FETCH_ERROR, 1, "", "", ""},
    {RPT_NO_POLICY, RPT_FINE, 3, "mx4.a.example", "", ""},
    {RPT_NO_POLICY, RPT_NOT_OFFERED, 2, "mx5.a.example", "", ""},
};

static const struct rpt_report report = {.domain = "a.example",
                                         .organization = "Sender",
                                         .contact = "tls@b.example",
                                         .id = "1.2",
                                         .start_ms = INT64_C(1459468800000),
                                         .end_ms = INT64_C(1459555200000),
                                         .lines = lines,
                                         .count = sizeof lines / sizeof *lines};

static const char *text_at(const json_t *root, const char *a, const char *b)
{
    return json_string_value(json_object_get(json_object_get(root, a), b));
}

static void expect_sums(const json_t *policy, const char *type, const char *domain, int fine, int failed)
{
    const json_t *summary = json_object_get(policy, "summary");
    assert_string_equal(text_at(policy, "policy", "policy-type"), type);
    assert_string_equal(text_at(policy, "policy", "policy-domain"), domain);
    assert_int_equal(json_integer_value(json_object_get(summary, "total-successful-session-count")), fine);
    assert_int_equal(json_integer_value(json_object_get(summary, "total-failure-session-count")), failed);
}

static void test_json(void **state)
{
    (void)state;
    struct buf json;
    buf_init(&json, RPT_JSON_MAX);
    assert_true(rpt_json(&report, &json));
    json_t *root = json_loadb(json.data, json.len, 0, NULL);
    assert_string_equal(text_at(root, "date-range", "start-datetime"), "2016-04-01T00:00:00.000Z");
    assert_string_equal(text_at(root, "date-range", "end-datetime"), "2016-04-01T23:59:59.000Z");
    assert_string_equal(json_string_value(json_object_get(root, "report-id")), "1.2");
    const json_t *policies = json_object_get(root, "policies");
    assert_int_equal(json_array_size(policies), 4); /* of DANE one a host */
    const json_t *sts = json_array_get(policies, 0), *details = json_object_get(sts, "failure-details");
    expect_sums(sts, "sts", "a.example", 40, 3);
    expect_sums(json_array_get(policies, 1), "tlsa", "mx2.a.example", 7, 1);
    expect_sums(json_array_get(policies, 2), "tlsa", "mx3.a.example", 0, 5);
    expect_sums(json_array_get(policies, 3), "no-policy-found", "a.example", 3, 2);
    assert_null(json_object_get(json_object_get(json_array_get(policies, 3), "policy"), "policy-string"));
    assert_string_equal(
        json_string_value(json_array_get(json_object_get(json_object_get(sts, "policy"), "mx-host"), 0)),
        "*.a.example");
    assert_int_equal(json_array_size(details), 2);
    const json_t *expired = json_array_get(details, 0);
    assert_string_equal(json_string_value(json_object_get(expired, "result-type")), "certificate-expired");
    assert_string_equal(json_string_value(json_object_get(expired, "receiving-mx-hostname")),
                        "mx1.a.example");
    assert_string_equal(json_string_value(json_object_get(expired, "sending-mta-ip")), "192.0.2.1");
    assert_null(json_object_get(json_array_get(details, 1), "receiving-mx-hostname"));
    json_decref(root);
    buf_free(&json);
}

static void test_message(void **state)
{
    (void)state;
    struct buf packed, message, content;
    struct err err;
    static char unpacked[64];
    z_stream stream = {0};
    buf_init(&packed, RPT_JSON_MAX);
    buf_init(&message, RPT_JSON_MAX);
    buf_init(&content, RPT_JSON_MAX);
    assert_true(rpt_pack(STR("{\"a\":1}"), &packed));
    assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
    stream.next_in = (Bytef *)packed.data;
    stream.avail_in = (uInt)packed.len;
    stream.next_out = (Bytef *)unpacked;
    stream.avail_out = sizeof unpacked;
    assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
    inflateEnd(&stream);
    assert_string_equal(unpacked, "{\"a\":1}");
    assert_true(rpt_message(&report, "mta.example", STR("x@a.example"), buf_str(&packed), &message));
    buf_add_char(&message, '\0');
    assert_non_null(strstr(message.data, "\r\nTLS-Report-Domain: a.example\r\n"));
    assert_non_null(strstr(message.data, "\r\nTLS-Required: No\r\n"));
    assert_non_null(strstr(message.data, "mta.example!a.example!1459468800!1459555199!1.2.json.gz"));
    struct message_spec spec = {.raw = str_make(message.data, message.len - 1), .merge = MESSAGE_MERGE_NO};
    struct template template;
    assert_true(template_compile(&spec, &content, &err));
    assert_true(template_open(content.data, content.len, &template, &err));
    assert_true(template.info.tls_optional && !template.info.lacks_from);
    buf_free(&packed);
    buf_free(&message);
    buf_free(&content);
}

static void test_record(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned count; /* 0: it is none */
        const char *first;
    } rows[] = {
        {"v=TLSRPTv1; rua=mailto:reports@example.com", 1, "mailto:reports@example.com"},
        {"v=TLSRPTv1;rua=https://r.example/v1/tlsrpt;", 1, "https://r.example/v1/tlsrpt"},
        {"v=TLSRPTv1; rua=mailto:a@b.example,https://r.example/x", 2, "mailto:a@b.example"},
        {"v=TLSRPTv1; x=y; rua=MAILTO:a%2bb%40c@d.example?subject=x", 1, "mailto:a+b@c@d.example"},
        {"v=TLSRPTv1; rua=http://r.example/x", 0, ""},
        {"v=TLSRPTv1; rua=ftp://r.example/x,mailto:a@b.example", 1, "mailto:a@b.example"},
        {"v=TLSRPTv1; rua=mailto:a b@c.example", 0, ""},
        {"v=TLSRPTv1", 0, ""},
        {"v=TLSRPTv2; rua=mailto:a@b.example", 0, ""},
        {"rua=mailto:a@b.example; v=TLSRPTv1", 0, ""},
        {"", 0, ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        static struct rpt_targets targets;
        assert_int_equal(rpt_record_parse(str_of(rows[i].text), &targets), rows[i].count > 0);
        assert_int_equal(targets.count, rows[i].count);
        if (rows[i].count > 0)
            assert_string_equal(targets.uri[0], rows[i].first);
    }
    static char many[40 * (RPT_TARGETS_MAX + 4)] = "v=TLSRPTv1; rua=";
    static struct rpt_targets targets;
    for (int i = 0; i < RPT_TARGETS_MAX + 2; i++)
        memcpy(many + strlen(many), "mailto:a@b.example,", 20);
    assert_true(rpt_record_parse(str_of(many), &targets));
    assert_int_equal(targets.count, RPT_TARGETS_MAX);
}

/* Digests of which the first two have one place. */
static void test_wanted(void **state)
{
    (void)state;
    static struct wanted wanted;
    const uint64_t one = 4, same_place = one + 4 * (uint64_t)RPT_WANTED_SLOTS, other = 8;
    assert_true(wanted_ask(&wanted, one)); /* the first: its record is looked for */
    assert_false(wanted_ask(&wanted, one));
    assert_false(wanted_is_known(&wanted, one));
    wanted_set(&wanted, one, true);
    assert_true(wanted_ask(&wanted, one) && wanted_ask(&wanted, one) && wanted_is_known(&wanted, one));
    assert_true(wanted_ask(&wanted, other));
    wanted_set(&wanted, other, false);
    assert_false(wanted_ask(&wanted, other) || wanted_is_known(&wanted, other));
    assert_true(wanted_ask(&wanted, same_place)); /* takes the place */
    wanted_set(&wanted, one, true);               /* too late */
    assert_false(wanted_is_known(&wanted, one) || wanted_is_known(&wanted, same_place));
    wanted_forget(&wanted, same_place);
    assert_true(wanted_ask(&wanted, same_place));
    wanted_forget_all(&wanted);
    assert_true(wanted_ask(&wanted, other));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_message),
        cmocka_unit_test(test_record),
        cmocka_unit_test(test_wanted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
