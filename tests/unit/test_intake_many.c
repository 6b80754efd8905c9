/* Many jobs in one body: they fly to the store together, and the answer is as if each had waited for the one
 * before. */
#include "tests/unit/api_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static struct api_rig rig;

#define JOBS_MANY 700 /* more than fly at once, twice */

/* Job n has n % 3 + 1 recipients, and every seventh one that is rejected. */
static void add_job(struct buf *body, unsigned n, const char *more)
{
    buf_printf(body,
               "{\"from\":\"\",\"not_before\":\"2099-01-01T00:00:00Z\"%s,\"message\":{\"raw\":\"From: "
               "a@a.example\\nSubject: %u\\n\\nx\"}}\n",
               more, n);
    for (unsigned i = 0; i <= n % 3; i++)
        buf_printf(body, "{\"to\":\"u%u@d%u.example\"}\n", n, i);
    if (n % 7 == 0)
        buf_add_z(body, "{\"to\":\"x@\"}\n");
}

static unsigned recipients_of(unsigned jobs)
{
    unsigned sum = 0;
    for (unsigned n = 0; n < jobs; n++)
        sum += n % 3 + 1;
    return sum;
}

static void make_body(struct buf *body, unsigned jobs)
{
    buf_init(body, 1 << 24);
    for (unsigned n = 0; n < jobs; n++)
        add_job(body, n, "");
}

static uint64_t accepted_in_store(void)
{
    struct store_figures figures;
    store_figures(rig.store, &figures);
    return figures.accepted;
}

static json_t *post(const char *headers, const struct buf *body, unsigned status)
{
    struct http_reply reply;
    http_call(rig.socket, "POST", "/v1/jobs", headers, buf_str(body), &reply);
    if (reply.status != status)
        fail_msg("%u, expected %u: %.400s", reply.status, status, reply.body.data);
    json_t *root = reply_json(&reply);
    http_reply_free(&reply);
    return root;
}

/* The answers of jobs 0 to `jobs`, in their order. */
static void check_jobs(const json_t *root, unsigned jobs)
{
    unsigned long long last = 0;
    const json_t *list = at(root, "jobs");
    assert_int_equal(json_array_size(list), jobs);
    for (unsigned n = 0; n < jobs; n++) {
        const json_t *job = json_array_get(list, n);
        unsigned long long id = strtoull(text_at(job, "job"), NULL, 10);
        assert_true(id > last);
        last = id;
        assert_int_equal(int_at(job, "accepted"), n % 3 + 1);
        assert_int_equal(json_array_size(at(job, "rejected")), n % 7 == 0);
        assert_null(json_object_get(job, "line"));
    }
}

static void test_order(void **state)
{
    (void)state;
    struct buf body;
    uint64_t before = accepted_in_store();
    make_body(&body, JOBS_MANY);
    json_t *root = post("", &body, 202);
    check_jobs(root, JOBS_MANY);
    assert_int_equal(accepted_in_store(), before + recipients_of(JOBS_MANY));
    json_decref(root);
    buf_free(&body);
}

static void test_key(void **state)
{
    (void)state;
    struct buf body;
    make_body(&body, JOBS_MANY);
    json_t *first = post("Idempotency-Key: many\r\n", &body, 202);
    uint64_t after = accepted_in_store();
    json_t *again = post("Idempotency-Key: many\r\n", &body, 202);
    assert_true(json_equal(first, again));
    assert_int_equal(accepted_in_store(), after);
    json_decref(again);
    /* What is new behind what was there before is done. */
    add_job(&body, JOBS_MANY, "");
    again = post("Idempotency-Key: many\r\n", &body, 202);
    check_jobs(again, JOBS_MANY + 1);
    assert_int_equal(accepted_in_store(), after + JOBS_MANY % 3 + 1);
    json_decref(again);
    json_decref(first);
    buf_free(&body);
}

/* The second finds the first's answer, which may be with the store still. */
static void test_same_key_twice(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 20; round++) {
        struct buf body;
        char key[64];
        uint64_t before = accepted_in_store();
        buf_init(&body, 1 << 20);
        snprintf(key, sizeof key, ",\"idempotency_key\":\"twice%u\"", round);
        for (unsigned n = 0; n < round; n++)
            add_job(&body, 2, "");
        add_job(&body, 1, key);
        add_job(&body, 1, key);
        json_t *root = post("", &body, 202);
        const json_t *list = at(root, "jobs");
        assert_int_equal(json_array_size(list), round + 2);
        assert_true(json_equal(json_array_get(list, round), json_array_get(list, round + 1)));
        assert_int_equal(accepted_in_store(), before + 3 * round + 2);
        json_decref(root);
        add_job(&body, 4, key); /* another job with this key */
        root = post("", &body, 422);
        assert_string_equal(text_at(root, "error.code"), "key_reused");
        assert_int_equal(json_array_size(at(root, "jobs")), round + 2);
        json_decref(root);
        buf_free(&body);
    }
}

static void test_bad_in_the_middle(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "{\"from\":\"a\",\"message\":{\"raw\":\"x\"}}\n{\"to\":\"a@a.example\"}\n", "{\"message\":\n",
        "{\"from\":\"\",\"message\":{\"raw\":\"x\"}}\n"};
    for (unsigned i = 0; i < 3; i++) {
        struct buf body;
        uint64_t before = accepted_in_store();
        unsigned jobs = 300 + i;
        make_body(&body, jobs);
        buf_add_z(&body, bad[i]);
        for (unsigned n = 0; n < 50; n++)
            add_job(&body, n, "");
        json_t *root = post("", &body, 400);
        check_jobs(root, jobs);
        assert_int_equal(int_at(root, "error.line"), recipients_of(jobs) + jobs + (jobs + 6) / 7 + 1);
        assert_null(json_object_get(root, "later"));
        assert_int_equal(accepted_in_store(), before + recipients_of(jobs));
        json_decref(root);
        buf_free(&body);
    }
}

/* Whoever leaves in the middle, with jobs at the store: what had been read is committed, each job whole, and
 * what was not read of a connection that is gone is not. */
static void test_leaving(void **state)
{
    (void)state;
    enum { CLIENTS = 40 };
    uint64_t before = accepted_in_store(), most = 0, last = 0;
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct buf body;
        struct http_client client;
        unsigned jobs = i % 2 ? 200 : 12;
        make_body(&body, jobs);
        most += recipients_of(jobs - 1); /* the last is not known to be whole */
        client_open(&client, rig.socket);
        assert_true(client_send_z(&client,
                                  "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"));
        assert_true(client_send_chunk(&client, buf_str(&body)));
        /* One stays until some of it is accepted; a busy machine may not look at the others in time. */
        for (unsigned n = 0; i == 1 && n < 1000 && accepted_in_store() == before; n++)
            usleep(20000);
        client_close(&client);
        buf_free(&body);
    }
    for (unsigned i = 0; i < 50 && accepted_in_store() != last; i++) {
        last = accepted_in_store();
        usleep(200000);
    }
    assert_int_equal(accepted_in_store(), last);
    assert_in_range(last - before, 1, most);
    struct http_reply reply;
    const char *list = api_rig_get(&rig, "/v1/jobs?limit=1000", &reply);
    assert_null(strstr(list, "\"uploading\""));
    http_reply_free(&reply);
}

static unsigned accepted_of(const json_t *list)
{
    size_t i;
    const json_t *job;
    unsigned sum = 0;
    json_array_foreach(list, i, job)
    {
        sum += (unsigned)int_at(job, "accepted");
    }
    return sum;
}

/* Until there is no room: every job that was accepted is named, those behind the first that was not with
 * their line. */
static void test_full(void **state)
{
    (void)state;
    struct buf body;
    char filling[3000];
    unsigned refused = 0;
    memset(filling, 'x', sizeof filling - 1);
    filling[sizeof filling - 1] = '\0';
    buf_init(&body, 1 << 24);
    for (unsigned n = 0; n < JOBS_MANY; n++)
        buf_printf(&body,
                   "{\"from\":\"\",\"not_before\":\"2099-01-01T00:00:00Z\",\"message\":{\"raw\":\"From: "
                   "a@a.example\\n\\n%u %s\"}}\n{\"to\":\"u@a.example\"}\n",
                   n, filling);
    for (unsigned i = 0; i < 100 && refused < 5; i++) {
        struct http_reply reply;
        uint64_t before = accepted_in_store();
        http_call(rig.socket, "POST", "/v1/jobs", "", buf_str(&body), &reply);
        json_t *root = reply_json(&reply);
        unsigned named = accepted_of(at(root, "jobs"));
        if (reply.status == 507) {
            const json_t *later = json_object_get(root, "later");
            refused++;
            assert_int_equal(int_at(root, "error.line"), 2 * named + 1);
            for (size_t n = 0; n < json_array_size(later); n++)
                assert_true(int_at(json_array_get(later, n), "line") > int_at(root, "error.line"));
            named += accepted_of(later);
        } else {
            assert_int_equal(reply.status, 202);
        }
        assert_int_equal(accepted_in_store(), before + named);
        json_decref(root);
        http_reply_free(&reply);
    }
    assert_int_equal(refused, 5);
    buf_free(&body);
}

static int set_up(void **state)
{
    (void)state;
    api_rig_open(&rig, "queue: { max_size: 64M, reserve: 16M }\n");
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
        cmocka_unit_test(test_order),          cmocka_unit_test(test_key),
        cmocka_unit_test(test_same_key_twice), cmocka_unit_test(test_bad_in_the_middle),
        cmocka_unit_test(test_leaving),        cmocka_unit_test(test_full),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
