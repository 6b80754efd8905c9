/* test_reserve.c - the memory in reserve: given up and taken again, and what the log is told of it. */
#include "engine/base/reserve.c" /* NOLINT(bugprone-suspicious-include): the time is moved on */

#include "tests/unit/log_catch.h"

#include <sys/resource.h>

static const char *const out_words = "memory is out", *const again_words = "there is memory again";

static void *gives_up(void *until)
{
    while (clock_now().mono_ns < *(int64_t *)until)
        reserve_give_up();
    return NULL;
}

/* One takes the reserve while another gives it up: in the end everybody knows whether it is there. */
static void test_taken_and_given_up_at_once(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 200; round++) {
        pthread_t other;
        int64_t until = clock_now().mono_ns + 2 * NS_PER_MS;
        assert_true(reserve_take());
        assert_int_equal(pthread_create(&other, NULL, gives_up, &until), 0);
        while (clock_now().mono_ns < until)
            reserve_take();
        pthread_join(other, NULL);
        bool gone = reserve_is_gone();
        assert_true(reserve_give_up() != gone);
    }
    assert_true(reserve_take());
}

/* As after MEMORY_TOLD_MS. */
static void minute_passes(void)
{
    told.next_ns -= MEMORY_TOLD_MS * NS_PER_MS;
}

static void flicker(unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        assert_true(reserve_give_up());
        assert_false(reserve_give_up());
        assert_true(reserve_take());
    }
}

static void test_a_pair_of_lines_a_minute(void **state)
{
    (void)state;
    struct log_catch log;
    minute_passes();
    atomic_store(&given_up, 0);
    log_catch_begin(&log);
    flicker(1000);
    log_catch_end(&log);
    assert_int_equal(log_catch_count(log.text, "\n"), 2);
    const char *out = strstr(log.text, out_words);
    assert_true(out != NULL && strstr(out, again_words) != NULL); /* the last word */
    assert_null(strstr(log.text, "since this was last said"));
    minute_passes();
    log_catch_begin(&log);
    flicker(2);
    log_catch_end(&log);
    assert_int_equal(log_catch_count(log.text, "\n"), 2);
    assert_non_null(strstr(log.text, "It was so 1000 times since this was last said\n"));
    minute_passes();
    log_catch_begin(&log);
    assert_true(reserve_give_up());
    log_catch_end(&log);
    assert_non_null(strstr(log.text, "It was so 2 times since this was last said\n"));
    minute_passes();
    log_catch_begin(&log);
    assert_true(reserve_take());
    log_catch_end(&log);
    assert_int_equal(log_catch_count(log.text, again_words), 1);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* they take more than they are given */
/* Given up again within the minute, and not to be had from then on: that is said once the minute is over. */
static void test_a_want_that_lasts_is_said(void **state)
{
    (void)state;
    struct log_catch log;
    minute_passes();
    log_catch_begin(&log);
    flicker(1);
    assert_true(reserve_give_up());
    atomic_store(&lacked_ns, INT64_MAX / 2); /* pieces do not serve, however slow this machine is */
    setrlimit(RLIMIT_DATA, &(struct rlimit){.rlim_cur = 4096, .rlim_max = RLIM_INFINITY});
    bool at_once = reserve_take();
    unsigned before = log_catch_count(log_catch_end(&log), out_words);
    log_catch_begin(&log);
    minute_passes();
    bool later = reserve_take(), still = reserve_take();
    setrlimit(RLIMIT_DATA, &(struct rlimit){.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY});
    bool again = reserve_take();
    log_catch_end(&log);
    assert_true(!at_once && !later && !still && again);
    assert_int_equal(before, 1);
    assert_int_equal(log_catch_count(log.text, out_words), 1);
    assert_int_equal(log_catch_count(log.text, again_words), 1);
    assert_int_equal(log_catch_count(log.text, "\n"), 2);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_taken_and_given_up_at_once),
        cmocka_unit_test(test_a_pair_of_lines_a_minute),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        cmocka_unit_test(test_a_want_that_lasts_is_said),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
