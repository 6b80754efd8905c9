/* A queue with room for little: jobs are refused with 507 and leave nothing, what was accepted stays and goes
 * on. */
#include "tests/unit/api_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct api_rig rig;

#define TRIES 400

static void test_full(void **state)
{
    (void)state;
    struct buf body;
    uint64_t accepted = 0;
    unsigned refused = 0;
    buf_init(&body, 1 << 24);
    buf_add_z(&body, "{\"from\":\"\",\"not_before\":\"2099-01-01T00:00:00Z\",\"message\":{\"raw\":\"From: "
                     "a@a.example\\n\\nx\"}}\n");
    for (unsigned i = 0; i < 5000; i++)
        buf_printf(&body, "{\"to\":\"ok%u@a.example\",\"id\":\"%0100u\"}\n", i, i);
    for (unsigned i = 0; i < TRIES && refused < 3; i++) {
        struct http_reply reply;
        http_call(rig.socket, "POST", "/v1/jobs", "", buf_str(&body), &reply);
        json_t *root = reply_json(&reply);
        if (reply.status == 507) {
            refused++;
            assert_string_equal(text_at(root, "error.code"), "full");
            assert_int_equal(json_array_size(at(root, "jobs")), 0);
        } else {
            assert_int_equal(reply.status, 202);
            accepted += 5000;
        }
        json_decref(root);
        http_reply_free(&reply);
    }
    buf_free(&body);
    assert_int_equal(refused, 3);
    assert_true(accepted > 0);
    json_t *status = api_rig_call(&rig, "GET", "/v1/status", "", 200);
    assert_int_equal(int_at(status, "queued"), accepted);
    assert_int_equal(int_at(status, "held"), accepted);
    json_decref(status);
    /* What is there can still be cancelled. */
    json_t *jobs = api_rig_call(&rig, "GET", "/v1/jobs", "", 200);
    char url[64];
    snprintf(url, sizeof url, "/v1/jobs/%s/cancel", text_at(jobs, "jobs.0.job"));
    json_decref(jobs);
    struct http_reply reply;
    http_call(rig.socket, "POST", url, "", STR(""), &reply);
    assert_true(reply.status == 200 || reply.status == 202);
    http_reply_free(&reply);
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_full)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
