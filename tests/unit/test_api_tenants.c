/* Two sockets, and a user bound to a tenant on the one for jobs. */
#include "tests/unit/api_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

static struct api_rig rig;

#define MESSAGE "\"message\":{\"raw\":\"From: news@a.example\\n\\nHi\\n\"}"

static json_t *call(const char *socket, const char *method, const char *url, const char *body,
                    unsigned status)
{
    struct http_reply reply;
    http_call(socket, method, url, "", str_of(body), &reply);
    if (reply.status != status)
        fail_msg("%s %s: %u, expected %u: %s", method, url, reply.status, status, reply.body.data);
    json_t *root = reply_json(&reply);
    http_reply_free(&reply);
    return root;
}

static void test_bound(void **state)
{
    (void)state;
    char url[64];
    json_t *root =
        call(rig.socket, "POST", "/v1/jobs", "{\"from\":\"\"," MESSAGE "}\n{\"to\":\"ok@a.example\"}\n", 202);
    char mine[24];
    snprintf(mine, sizeof mine, "%s", text_at(root, "jobs.0.job"));
    json_decref(root);
    root = call(rig.socket, "POST", "/v1/jobs",
                "{\"from\":\"\",\"tenant\":\"other\"," MESSAGE "}\n{\"to\":\"ok@a.example\"}\n", 403);
    assert_string_equal(text_at(root, "error.code"), "forbidden");
    json_decref(root);
    root = call(rig.control, "POST", "/v1/jobs",
                "{\"from\":\"\",\"tenant\":\"other\"," MESSAGE "}\n{\"to\":\"ok@a.example\"}\n", 202);
    char other[24];
    snprintf(other, sizeof other, "%s", text_at(root, "jobs.0.job"));
    json_decref(root);

    root = call(rig.socket, "GET", "/v1/jobs", "", 200);
    assert_int_equal(json_array_size(at(root, "jobs")), 1);
    assert_string_equal(text_at(root, "jobs.0.job"), mine);
    assert_string_equal(text_at(root, "jobs.0.tenant"), "acme");
    json_decref(root);
    root = call(rig.control, "GET", "/v1/jobs", "", 200);
    assert_int_equal(json_array_size(at(root, "jobs")), 2);
    json_decref(root);
    json_decref(call(rig.socket, "GET", "/v1/jobs?tenant=other", "", 403));
    snprintf(url, sizeof url, "/v1/jobs/%s", other);
    json_decref(call(rig.socket, "GET", url, "", 404));
    json_decref(call(rig.control, "GET", url, "", 200));
    snprintf(url, sizeof url, "/v1/jobs/%s/cancel", other);
    json_decref(call(rig.socket, "POST", url, "", 404));
    snprintf(url, sizeof url, "/v1/recipients/%s-0-0", other);
    json_decref(call(rig.socket, "GET", url, "", 404));
    json_decref(call(rig.control, "GET", url, "", 200));
    snprintf(url, sizeof url, "/v1/explain?rid=%s-0-0", other);
    json_decref(call(rig.socket, "GET", url, "", 404));

    json_decref(call(rig.socket, "GET", "/v1/tenants/other/bounces", "", 404));
    json_decref(call(rig.socket, "GET", "/v1/tenants/acme/bounces", "", 200));
    json_decref(call(rig.control, "GET", "/v1/tenants/other/bounces", "", 200));

    struct http_reply reply;
    api_rig_wait(&rig, mine, "delivered", 1);
    const char *events = api_rig_get(&rig, "/v1/events", &reply);
    assert_non_null(strstr(events, "\"tenant\":\"acme\""));
    assert_null(strstr(events, "\"tenant\":\"other\""));
    http_reply_free(&reply);
}

static void test_suppressions(void **state)
{
    (void)state;
    struct http_reply reply;
    json_decref(call(rig.control, "PUT", "/v1/suppressions?scope=other", "a@x.example\n", 200));
    json_t *root = call(rig.socket, "PUT", "/v1/suppressions", "b@x.example\nc@x.example,other\n", 200);
    assert_int_equal(int_at(root, "accepted"), 1);
    assert_int_equal(int_at(root, "rejected.0.line"), 2);
    json_decref(root);
    json_decref(call(rig.socket, "PUT", "/v1/suppressions?scope=other", "c@x.example\n", 403));
    root = call(rig.socket, "GET", "/v1/suppressions", "", 200); /* one line */
    assert_string_equal(text_at(root, "address"), "b@x.example");
    assert_string_equal(text_at(root, "scope"), "acme");
    json_decref(root);
    json_decref(call(rig.socket, "GET", "/v1/suppressions?scope=other", "", 403));
    http_call(rig.control, "GET", "/v1/suppressions?format=csv", "", STR(""), &reply);
    assert_non_null(strstr(reply.body.data, "address,scope,reason,source,time\r\nb@x.example,acme,,api,"));
    assert_non_null(strstr(reply.body.data, "a@x.example,other,"));
    http_reply_free(&reply);
    json_decref(call(rig.socket, "DELETE", "/v1/suppressions?address=a@x.example", "", 404));
    json_decref(call(rig.socket, "DELETE", "/v1/suppressions?address=B@x.example", "", 200));
    json_decref(call(rig.control, "DELETE", "/v1/suppressions?address=a@x.example&scope=other", "", 200));
}

static void test_control_only(void **state)
{
    (void)state;
    static const char *const urls[] = {"/v1/queue", "/v1/sites", "/v1/status", "/metrics", "/v1/ops"};
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        json_t *root = call(rig.socket, "GET", urls[i], "", 403);
        assert_string_equal(text_at(root, "error.code"), "forbidden");
        json_decref(root);
        struct http_reply reply;
        http_call(rig.control, "GET", urls[i], "", STR(""), &reply);
        assert_int_equal(reply.status, 200);
        http_reply_free(&reply);
    }
}

static int set_up(void **state)
{
    (void)state;
    char yaml[256], directory[TEMPORARY_PATH];
    /* The rig makes its own directory; the jobs socket needs the uid beside its path. */
    if (!temporary_directory(directory))
        return -1;
    snprintf(
        yaml, sizeof yaml,
        "jobs: { unix: %s/jobs.sock, mode: \"0600\", tenants: {%u: acme} }\ncontrol: { unix: @control@ }\n",
        directory, (unsigned)getuid());
    api_rig_open(&rig, yaml);
    snprintf(rig.socket, sizeof rig.socket, "%s/jobs.sock", directory);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char directory[sizeof rig.socket];
    snprintf(directory, sizeof directory, "%s", rig.socket);
    *strrchr(directory, '/') = '\0';
    api_rig_close(&rig);
    return rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_suppressions),
        cmocka_unit_test(test_control_only),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
