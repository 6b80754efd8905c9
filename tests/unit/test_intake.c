/* POST /v1/jobs, over a real socket into a real store. */
#include "tests/unit/api_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static struct api_rig rig;

#define JOB                                                                                                  \
    "{\"from\":\"news@a.example\",\"message\":{\"raw\":\"From: news@a.example\\nSubject: Hi "                \
    "{{name|you}}\\n\\nHi\\n\"}}\n"
#define NEEDS                                                                                                \
    "{\"from\":\"news@a.example\",\"message\":{\"raw\":\"From: news@a.example\\nSubject: Hi "                \
    "{{name}}\\n\\nHi\\n\"}}\n"

static json_t *post(const char *body, unsigned status)
{
    return api_rig_call(&rig, "POST", "/v1/jobs", body, status);
}

static uint64_t accepted_in_store(void)
{
    struct store_figures figures;
    store_figures(rig.store, &figures);
    return figures.accepted;
}

static void test_lines(void **state)
{
    (void)state;
    uint64_t before = accepted_in_store();
    json_t *root = post("\xef\xbb\xbf" JOB "\r\n{\"to\":\"ok1@a.example\",\"id\":7}\r\n\n{\"to\":\"x@\"}\n"
                        "{\"to\":\"ok2@b.example\",\"vars\":{\"name\":\"Ada\"}}",
                        202);
    assert_int_equal(json_array_size(at(root, "jobs")), 1);
    assert_int_equal(int_at(root, "jobs.0.accepted"), 2);
    assert_int_equal(int_at(root, "jobs.0.suppressed"), 0);
    assert_int_equal(int_at(root, "jobs.0.rejected_count"), 1);
    assert_int_equal(int_at(root, "jobs.0.rejected.0.line"), 5);
    assert_string_equal(text_at(root, "jobs.0.rejected.0.to"), "x@");
    assert_true(strlen(text_at(root, "jobs.0.rejected.0.error")) > 5);
    assert_int_equal(accepted_in_store(), before + 2);
    api_rig_wait(&rig, text_at(root, "jobs.0.job"), "delivered", 2);
    json_decref(root);
}

static void test_put_and_nothing_rejected(void **state)
{
    (void)state;
    json_t *root = api_rig_call(&rig, "PUT", "/v1/jobs", JOB "{\"to\":\"ok1@a.example\"}\n", 202);
    assert_int_equal(json_array_size(at(root, "jobs.0.rejected")), 0);
    assert_null(json_object_get(at(root, "jobs.0"), "rejected_count"));
    json_decref(root);
}

static void test_rejected_recipients(void **state)
{
    (void)state;
    json_t *root = post(NEEDS "{\"to\":\"ok1@a.example\",\"vars\":{\"name\":\"Ada\"}}\n"
                              "{\"to\":\"ok2@a.example\"}\n"
                              "{\"to\":\"ok3@a.example\",\"colour\":\"red\"}\n"
                              "{\"to\":\"ok4@a.example\",\"to\":\"ok5@a.example\"}\n"
                              "{\"to\":\"ok6@a.example\"\n"
                              "[17]\n"
                              "{\"to\":\"a\\r\\nb@a.example\",\"vars\":{\"name\":\"x\"}}\n",
                        202);
    static const char *const errors[] = {"needs the variable \"name\"", "unknown field \"colour\"",
                                         "malformed JSON at column",    "malformed JSON at column",
                                         "must be a JSON object",       ""};
    assert_int_equal(int_at(root, "jobs.0.accepted"), 1);
    assert_int_equal(json_array_size(at(root, "jobs.0.rejected")), 6);
    for (unsigned i = 0; i < 6; i++) {
        char path[64];
        snprintf(path, sizeof path, "jobs.0.rejected.%u.error", i);
        if (strstr(text_at(root, path), errors[i]) == NULL)
            fail_msg("%u: %s, expected %s", i, text_at(root, path), errors[i]);
        snprintf(path, sizeof path, "jobs.0.rejected.%u.line", i);
        assert_int_equal(int_at(root, path), i + 3);
    }
    json_decref(root);
}

static void test_several_jobs(void **state)
{
    (void)state;
    json_t *root = post(JOB "{\"to\":\"ok1@a.example\"}\n" JOB
                            "{\"to\":\"ok2@a.example\"}\n{\"to\":\"ok3@a.example\"}\n" JOB
                            "{\"to\":\"ok4@a.example\"}\n",
                        202);
    assert_int_equal(json_array_size(at(root, "jobs")), 3);
    assert_int_equal(int_at(root, "jobs.1.accepted"), 2);
    assert_string_not_equal(text_at(root, "jobs.0.job"), text_at(root, "jobs.1.job"));
    json_decref(root);
}

/* The error, and which jobs before it stand. */
static void expect_error(const char *body, unsigned status, const char *code, json_int_t line,
                         const char *reason, size_t jobs)
{
    uint64_t before = accepted_in_store();
    json_t *root = post(body, status);
    if (strcmp(text_at(root, "error.code"), code) != 0 ||
        strstr(text_at(root, "error.reason"), reason) == NULL)
        fail_msg("%s: %s, expected %s: %s", text_at(root, "error.code"), text_at(root, "error.reason"), code,
                 reason);
    if (line > 0)
        assert_int_equal(int_at(root, "error.line"), line);
    assert_int_equal(json_array_size(at(root, "jobs")), jobs);
    assert_int_equal(accepted_in_store(), before + jobs);
    json_decref(root);
}

static void test_bad_jobs(void **state)
{
    (void)state;
    expect_error("", 400, "bad_job", 1, "the body is empty", 0);
    expect_error("\n\n", 400, "bad_job", 1, "the body is empty", 0);
    expect_error("{\"to\":\"ok@a.example\"}\n", 400, "bad_job", 1, "the first line must be a job", 0);
    expect_error("\n[]\n", 400, "bad_job", 2, "the first line must be a job", 0);
    expect_error("{\"from\":\n", 400, "bad_json", 1, "malformed JSON at column", 0);
    expect_error(JOB, 400, "bad_job", 1, "the job has no recipients", 0);
    expect_error(JOB "\n\n", 400, "bad_job", 1, "the job has no recipients", 0);
    expect_error(JOB "{\"to\":\"x@\"}\n", 400, "bad_job", 1, "none of the job's 1 recipients can be accepted",
                 0);
    expect_error("{\"from\":\"a\",\"message\":{\"raw\":\"x\"}}\n", 400, "bad_job", 1, "\"from\"", 0);
    /* What stands before a bad job is accepted, and named. */
    expect_error(JOB
                 "{\"to\":\"ok1@a.example\"}\n{\"message\":{},\"from\":\"\"}\n{\"to\":\"ok2@a.example\"}\n",
                 400, "bad_job", 3, "\"message\"", 1);
    expect_error(JOB "{\"to\":\"ok1@a.example\"}\n" JOB, 400, "bad_job", 3, "the job has no recipients", 1);
    expect_error(JOB "{\"to\":\"ok1@a.example\"}\n{\"message\":{\"raw\":\"x\"\n{\"to\":\"ok2@a.example\"}\n",
                 400, "bad_json", 3, "malformed JSON", 1);
    /* A job line that lost its message must not give its recipients the one before. */
    expect_error(JOB "{\"to\":\"ok1@a.example\"}\n{\"from\":\"b@a.example\"}\n{\"to\":\"ok2@a.example\"}\n",
                 400, "bad_job", 3, "the job has no \"message\"", 1);
}

static void test_too_long(void **state)
{
    (void)state;
    struct http_client client;
    struct http_reply reply;
    struct buf piece;
    client_open(&client, rig.socket);
    assert_true(
        client_send_z(&client, "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"));
    assert_true(client_send_chunk(&client, str_of(JOB "{\"to\":\"ok1@a.example\"}\n{\"to\":\"")));
    buf_init(&piece, 1 << 20);
    memset(buf_room(&piece, 1 << 20), 'x', 1 << 20);
    piece.len = 1 << 20;
    for (int i = 0; i < 100; i++)
        assert_true(client_send_chunk(&client, buf_str(&piece)));
    assert_true(client_send_chunk(&client, STR("\"}\n")));
    assert_true(client_send_chunk(&client, STR("")));
    client_read(&client, &reply);
    assert_int_equal(reply.status, 413);
    json_t *root = reply_json(&reply);
    assert_string_equal(text_at(root, "error.code"), "too_large");
    assert_int_equal(int_at(root, "error.line"), 3);
    assert_int_equal(json_array_size(at(root, "jobs")), 0);
    json_decref(root);
    http_reply_free(&reply);
    client_close(&client);
    buf_free(&piece);
}

/* Large messages take their turns, and arrive whole. */
static void *post_large(void *user)
{
    struct http_reply reply;
    struct buf body;
    (void)user;
    buf_init(&body, 1 << 24);
    buf_add_z(&body, "{\"from\":\"\",\"message\":{\"raw\":\"From: a@a.example\\n\\n");
    for (int i = 0; i < 40000; i++)
        buf_add_z(&body, "0123456789012345678901234567890123456789012345678\\n");
    buf_add_z(&body, "\"}}\n{\"to\":\"ok@a.example\"}\n");
    http_call(rig.socket, "POST", "/v1/jobs", "", buf_str(&body), &reply);
    buf_free(&body);
    bool good = reply.status == 202;
    http_reply_free(&reply);
    return good ? user : NULL;
}

static void test_large_ones_at_once(void **state)
{
    (void)state;
    pthread_t threads[12];
    void *good;
    for (size_t i = 0; i < 12; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, post_large, &rig), 0);
    for (size_t i = 0; i < 12; i++) {
        pthread_join(threads[i], &good);
        assert_non_null(good);
    }
}

/* Several windows, with the client held back between them; every recipient is there, once. */
static void test_many_recipients(void **state)
{
    (void)state;
    enum { RCPTS = 50000 };
    struct buf body;
    struct http_reply reply;
    buf_init(&body, 1 << 24);
    buf_add_z(&body, "{\"from\":\"\",\"not_before\":\"2099-01-01T00:00:00Z\",\"message\":{\"raw\":\"From: "
                     "a@a.example\\n\\nx\"}}\n");
    for (unsigned i = 0; i < RCPTS; i++)
        buf_printf(&body, "{\"to\":\"ok%u@d%u.example\",\"id\":%u}\n", i, i % 100, i);
    http_call(rig.socket, "POST", "/v1/jobs", "", buf_str(&body), &reply);
    assert_int_equal(reply.status, 202);
    json_t *root = reply_json(&reply);
    assert_int_equal(int_at(root, "jobs.0.accepted"), RCPTS);
    char url[128], *seen = calloc(RCPTS, 1);
    assert_non_null(seen);
    http_reply_free(&reply);
    snprintf(url, sizeof url, "/v1/jobs/%s/recipients?limit=100000", text_at(root, "jobs.0.job"));
    (void)api_rig_get(&rig, url, &reply);
    unsigned count = 0;
    for (size_t from = 0, end; from < reply.body.len; from = end + 1, count++) {
        end = str_find(buf_str(&reply.body), '\n', from);
        const char *id = memmem(reply.body.data + from, end - from, "\"id\":\"", 6);
        assert_non_null(id);
        unsigned long n = strtoul(id + 6, NULL, 10);
        assert_true(n < RCPTS && !seen[n]);
        seen[n] = 1;
    }
    assert_int_equal(count, RCPTS);
    http_reply_free(&reply);
    json_decref(root);
    buf_free(&body);
    free(seen);
}

static void test_cut_short(void **state)
{
    (void)state;
    uint64_t before = accepted_in_store();
    struct http_client client;
    client_open(&client, rig.socket);
    assert_true(
        client_send_z(&client, "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"));
    assert_true(client_send_chunk(&client, str_of(JOB "{\"to\":\"ok1@a.example\"}\n" JOB)));
    for (unsigned i = 0; i < 3000; i++)
        assert_true(
            client_send_chunk(&client, str_of("{\"to\":\"ok2@a.example\"}\n{\"to\":\"ok3@b.example\"}\n")));
    usleep(300000);
    client_close(&client);
    usleep(100000);
    assert_int_equal(accepted_in_store(), before + 1); /* the job before it, which was whole */
    struct store_figures figures;
    store_figures(rig.store, &figures);
    client_open(&client, rig.socket);
    assert_true(client_send_z(&client, "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n" JOB
                                       "{\"to\":\"ok1@a.example\"}\n"));
    usleep(50000);
    client_close(&client);
    usleep(100000);
    assert_int_equal(accepted_in_store(), before + 1);
}

static void test_json_form(void **state)
{
    (void)state;
    struct http_reply reply;
    const char *type = "Content-Type: application/json; charset=utf-8\r\n";
    http_call(
        rig.socket, "POST", "/v1/jobs", type,
        STR("{\"from\":\"\",\"message\":{\"from\":\"a@a.example\",\"subject\":\"s\",\"text\":\"Hi "
            "{{name}}\"},\n"
            "\"recipients\":[{\"to\":\"ok1@a.example\",\"vars\":{\"name\":1}},{\"to\":\"ok2@a.example\"},7,\n"
            "{\"to\":\"ok3@a.example\",\"vars\":{\"name\":\"x\"}}]}\n"),
        &reply);
    assert_int_equal(reply.status, 202);
    json_t *root = reply_json(&reply);
    assert_int_equal(int_at(root, "jobs.0.accepted"), 2);
    assert_int_equal(int_at(root, "jobs.0.rejected.0.index"), 2);
    assert_int_equal(int_at(root, "jobs.0.rejected.1.index"), 3);
    json_decref(root);
    http_reply_free(&reply);
    static const struct {
        const char *body, *reason;
    } bad[] = {
        {"", "malformed JSON"},
        {"{\"from\":\"\"", "malformed JSON"},
        {"[]", "must be an object with \\\"message\\\" and a list"},
        {"{\"from\":\"\",\"message\":{\"raw\":\"x\"}}", "must be an object with \\\"message\\\" and a list"},
        {"{\"from\":\"\",\"message\":{\"raw\":\"x\"},\"recipients\":[]}", "the job has no recipients"},
        {"{\"from\":\"\",\"message\":{\"raw\":\"x\"},\"recipients\":{}}", "and a list"},
        {JOB "{\"to\":\"ok@a.example\"}\n", "several lines are application/x-ndjson"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        http_call(rig.socket, "POST", "/v1/jobs", type, str_of(bad[i].body), &reply);
        if (reply.status != 400 || strstr(reply.body.data, bad[i].reason) == NULL)
            fail_msg("%s: %u %s", bad[i].body, reply.status, reply.body.data);
        http_reply_free(&reply);
    }
    http_call(rig.socket, "POST", "/v1/jobs", "Content-Type: multipart/form-data; boundary=x\r\n", STR("x"),
              &reply);
    assert_int_equal(reply.status, 415);
    http_reply_free(&reply);
}

static void test_dry_run(void **state)
{
    (void)state;
    uint64_t before = accepted_in_store();
    json_t *root = api_rig_call(
        &rig, "POST", "/v1/jobs?dry_run=1",
        JOB "{\"to\":\"ok1@a.example\"}\n{\"to\":\"x@\"}\n" JOB "{\"to\":\"ok2@a.example\"}\n", 200);
    assert_true(json_is_true(at(root, "dry_run")));
    assert_int_equal(json_array_size(at(root, "jobs")), 2);
    assert_int_equal(int_at(root, "jobs.0.accepted"), 1);
    assert_int_equal(int_at(root, "jobs.0.rejected_count"), 1);
    assert_null(json_object_get(at(root, "jobs.0"), "job"));
    json_decref(root);
    json_decref(api_rig_call(&rig, "POST", "/v1/jobs?dry_run=1", JOB, 400));
    json_decref(api_rig_call(&rig, "POST", "/v1/jobs?dry_run=yes", JOB, 400));
    json_decref(api_rig_call(&rig, "POST", "/v1/jobs?dryrun=1", JOB, 400));
    assert_int_equal(accepted_in_store(), before);
}

/* ---- idempotency ---- */

static void keyed(const char *key, const char *body, unsigned status, struct http_reply *reply)
{
    char header[128];
    snprintf(header, sizeof header, "Idempotency-Key: %s\r\n", key);
    http_call(rig.socket, "POST", "/v1/jobs", header, str_of(body), reply);
    if (reply->status != status)
        fail_msg("%u, expected %u: %s", reply->status, status, reply->body.data);
}

static void test_key(void **state)
{
    (void)state;
    struct http_reply first, again;
    const char *body = JOB "{\"to\":\"ok1@a.example\"}\n{\"to\":\"x@\"}\n" JOB "{\"to\":\"ok2@a.example\"}\n";
    const char *spaced =
        JOB "\n{\"to\":\"ok1@a.example\"}\r\n{\"to\":\"x@\"}\n" JOB "{\"to\":\"ok2@a.example\"}";
    const char *other =
        JOB "{\"to\":\"ok1@a.example\"}\n{\"to\":\"x@\"}\n" JOB "{\"to\":\"ok3@a.example\"}\n";
    uint64_t before = accepted_in_store();
    keyed("k1", body, 202, &first);
    assert_int_equal(accepted_in_store(), before + 2);
    keyed("k1", body, 202, &again);
    assert_string_equal(first.body.data, again.body.data);
    http_reply_free(&again);
    keyed("k1", spaced, 202, &again); /* blank lines and line ends are no difference */
    assert_string_equal(first.body.data, again.body.data);
    http_reply_free(&again);
    keyed("k1", other, 422, &again); /* its first job is the same, its second is not */
    json_t *root = reply_json(&again);
    assert_string_equal(text_at(root, "error.code"), "key_reused");
    assert_int_equal(json_array_size(at(root, "jobs")), 1);
    json_decref(root);
    http_reply_free(&again);
    assert_int_equal(accepted_in_store(), before + 2);
    keyed("k2", body, 202, &again);
    assert_string_not_equal(first.body.data, again.body.data);
    http_reply_free(&again);
    http_reply_free(&first);
    keyed("", body, 400, &again);
    http_reply_free(&again);
}

/* A job's own key, in any body; what failed may be tried again with the same key. */
static void test_own_key(void **state)
{
    (void)state;
#define OWN                                                                                                  \
    "{\"from\":\"\",\"idempotency_key\":\"own1\",\"message\":{\"raw\":\"From: a@a.example\\n\\nx\"}}\n"
    uint64_t before = accepted_in_store();
    json_decref(post(OWN, 400)); /* no recipients */
    json_t *first = post(OWN "{\"to\":\"ok1@a.example\"}\n", 202);
    json_t *again = post(JOB "{\"to\":\"ok1@a.example\"}\n" OWN "{\"to\":\"ok1@a.example\"}\n", 202);
    assert_string_equal(text_at(first, "jobs.0.job"), text_at(again, "jobs.1.job"));
    assert_int_equal(accepted_in_store(), before + 2);
    json_decref(again);
    json_decref(post(OWN "{\"to\":\"ok2@a.example\"}\n", 422));
    json_decref(first);
}

static void test_key_under_way(void **state)
{
    (void)state;
    struct http_client client;
    struct http_reply reply;
    const char *body = JOB "{\"to\":\"ok1@a.example\"}\n";
    client_open(&client, rig.socket);
    assert_true(client_send_z(&client, "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k3\r\n"
                                       "Transfer-Encoding: chunked\r\n\r\n"));
    assert_true(client_send_chunk(&client, str_of(body)));
    usleep(100000);
    keyed("k3", body, 409, &reply);
    json_t *root = reply_json(&reply);
    assert_string_equal(text_at(root, "error.code"), "in_progress");
    json_decref(root);
    http_reply_free(&reply);
    assert_true(client_send_chunk(&client, STR("")));
    client_read(&client, &reply);
    assert_int_equal(reply.status, 202);
    struct http_reply again;
    keyed("k3", body, 202, &again);
    assert_string_equal(reply.body.data, again.body.data);
    http_reply_free(&again);
    http_reply_free(&reply);
    client_close(&client);
}

/* One connection, one job after the other. */
static void test_keep_alive(void **state)
{
    (void)state;
    struct http_client client;
    const char *body = JOB "{\"to\":\"ok1@a.example\"}\n";
    char head[128];
    snprintf(head, sizeof head, "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n",
             strlen(body));
    client_open(&client, rig.socket);
    for (int i = 0; i < 200; i++) {
        struct http_reply reply;
        assert_true(client_send_z(&client, head) && client_send_z(&client, body));
        client_read(&client, &reply);
        assert_int_equal(reply.status, 202);
        http_reply_free(&reply);
    }
    client_close(&client);
}

/* At the end new jobs are refused, and an upload under way gets its answer. */
static void test_stopping(void **state)
{
    (void)state;
    struct http_client client;
    struct http_reply reply;
    client_open(&client, rig.socket);
    assert_true(
        client_send_z(&client, "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"));
    assert_true(client_send_chunk(&client, str_of(JOB "{\"to\":\"ok1@a.example\"}\n")));
    usleep(50000);
    assert_non_null(rig.api);
    api_stop(rig.api);
    json_t *root = post(JOB "{\"to\":\"ok1@a.example\"}\n", 503);
    assert_string_equal(text_at(root, "error.code"), "stopping");
    json_decref(root);
    assert_true(client_send_chunk(&client, str_of("{\"to\":\"ok2@a.example\"}\n")));
    assert_true(client_send_chunk(&client, STR("")));
    client_read(&client, &reply);
    assert_int_equal(reply.status, 202); /* what began before is taken */
    http_reply_free(&reply);
    client_close(&client);
}

static int set_up(void **state)
{
    (void)state;
    api_rig_open(&rig, "");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    api_rig_close(&rig);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_put_and_nothing_rejected),
        cmocka_unit_test(test_rejected_recipients),
        cmocka_unit_test(test_several_jobs),
        cmocka_unit_test(test_bad_jobs),
        cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_large_ones_at_once),
        cmocka_unit_test(test_many_recipients),
        cmocka_unit_test(test_cut_short),
        cmocka_unit_test(test_json_form),
        cmocka_unit_test(test_dry_run),
        cmocka_unit_test(test_key),
        cmocka_unit_test(test_own_key),
        cmocka_unit_test(test_key_under_way),
        cmocka_unit_test(test_keep_alive),
        cmocka_unit_test(test_stopping),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
