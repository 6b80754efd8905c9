/* test_reporter_step.c - the reporter's rounds by hand (reporter.h): what is not as it should be delays a
 * report or shortens it, and neither loses nor repeats it. */
#include "engine/report/reporter.h"

#include "tests/unit/store_world.h"

#define DUE_MS 61000 /* by then, whatever came in between */

struct fixture {
    struct world w;
    struct config config;
    struct reporter *reporter;
    uint64_t job;
};

static void start(struct fixture *f, const char *from)
{
    struct err err;
    struct job_spec spec = world_spec("no template");
    spec.from = str_of(from);
    spec.bounces = BOUNCES_DSN;
    world_make(&f->w, NULL);
    f->config = (struct config){.hostname = "mta.test"};
    f->reporter = reporter_create(f->w.store, &f->config, &err);
    assert_non_null(f->reporter);
    f->job = world_job(&f->w, &spec, 3, 1);
    world_run(&f->w);
    assert_int_equal(world_settle(&f->w, OUTCOME_BOUNCED), 3);
    world_pass(&f->w, DUE_MS);
}

static void end(struct fixture *f)
{
    assert_false(reporter_is_busy(f->reporter));
    reporter_destroy(f->reporter);
    world_end(&f->w);
}

/* How long until it wants to be called again. */
static int64_t step_ms(struct fixture *f)
{
    int64_t next_ns = reporter_step(f->reporter, f->w.now);
    world_run(&f->w);
    return (next_ns - f->w.now.mono_ns) / NS_PER_MS;
}

/* The reports there are, with the message of the last and to whom it goes; the caller frees it. */
static unsigned reports(struct fixture *f, char **message, char to[ADDRESS_MAX])
{
    struct job_info jobs[8];
    size_t n = query_jobs(f->w.store, 0, jobs, 8), size;
    unsigned count = 0;
    for (size_t i = 0; i < n; i++)
        count += jobs[i].is_dsn;
    if (count == 0)
        return 0;
    struct rcpt_info info;
    rcpt_info_init(&info);
    assert_true(query_rcpt(f->w.store, (struct rid){jobs[0].id, 0, 0}, &info));
    snprintf(to, ADDRESS_MAX, "%.*s", STR_ARG(info.to));
    rcpt_info_free(&info);
    char *content = query_content(f->w.store, jobs[0].id, &size);
    assert_non_null(content);
    *message = calloc(1, size + 1); /* a record of parts, with the text between */
    for (size_t i = 0; i < size; i++)
        (*message)[i] = content[i] == '\0' ? ' ' : content[i];
    free(content);
    return count;
}

static void test_a_full_queue_delays_it(void **state)
{
    struct fixture f;
    char *message = NULL, to[ADDRESS_MAX];
    (void)state;
    start(&f, "news@a.example");
    unsigned before = atomic_exchange(&f.w.store->admits_in_flight, ADMIT_IN_FLIGHT_MAX);
    step_ms(&f);
    atomic_store(&f.w.store->admits_in_flight, before);
    assert_int_equal(step_ms(&f), 30000); /* it was refused */
    assert_int_equal(reports(&f, &message, to), 0);
    world_pass(&f.w, 30000);
    step_ms(&f);
    assert_int_equal(step_ms(&f), 0); /* done: is there another? */
    assert_int_equal(step_ms(&f), 500);
    assert_int_equal(reports(&f, &message, to), 1);
    assert_string_equal(to, "news@a.example");
    assert_non_null(strstr(message, "user2@d0.example"));
    free(message);
    world_pass(&f.w, DUE_MS);
    assert_int_equal(step_ms(&f), 500);
    end(&f);
}

/* Of a message that cannot be rendered nothing is returned; that it failed is said all the same. */
static void test_a_return_path_that_is_no_address(void **state)
{
    struct fixture f;
    char *message = NULL, to[ADDRESS_MAX];
    (void)state;
    start(&f, "nobody at all");
    step_ms(&f);
    step_ms(&f);
    assert_int_equal(reports(&f, &message, to), 1);
    assert_string_equal(to, "postmaster@mta.test");
    assert_non_null(strstr(message, "550 5.1.1 no such user"));
    assert_null(strstr(message, "no template"));
    free(message);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_full_queue_delays_it),
        cmocka_unit_test(test_a_return_path_that_is_no_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
