/* test_many_deferred.c - very many recipients wait for a retry, with mixed statuses: who is asked for by
 * status and domain is found by the index, and nobody else is looked at.
 *
 * POSTRIDER_MANY says how many, default 40 changes full, which is 200,000. */
#include "tests/unit/store_check.h"
#include "tests/unit/store_world.h"

#define MANY    (40U * TXN_ROWS_MAX)
#define DOMAINS 50

static const struct status statuses[] = {{4, 2, 1}, {4, 2, 2}, {4, 3, 0}, {4, 4, 1}, {4, 7, 1}};
#define STATUSES (sizeof statuses / sizeof *statuses)

static struct world w;
static unsigned many;

/* Each address has its status: user4@… is 4.7.1. */
static struct status status_of(struct str to)
{
    return statuses[(unsigned)strtoul(to.p + 4, NULL, 10) / DOMAINS % STATUSES];
}

static void defer_all(void)
{
    while (w.taken_n > 0) {
        for (struct taken *taken = w.taken; taken != NULL; taken = taken->next) {
            world_outcome(&w, taken, OUTCOME_DEFERRED);
            taken->status = status_of(taken->to);
            taken->next_ms = w.now.wall_ms + 3600000;
            taken->reply = STR("try again later");
        }
        store_settle(w.store, w.taken);
        w.taken = NULL;
        w.taken_n = 0;
        world_run(&w);
        world_pass(&w, COMMIT_LINGER_MS);
    }
}

static int make(void **state)
{
    (void)state;
    const char *text = getenv("POSTRIDER_MANY");
    many = text != NULL ? (unsigned)strtoul(text, NULL, 10) : MANY;
    world_make(&w, NULL);
    world_close(&w);
    w.settings.max_size = UINT64_C(8) << 30;
    world_open(&w);
    struct job_spec spec = world_spec("hello");
    for (unsigned job = 0; job < 4; job++)
        world_job(&w, &spec, many / 4, DOMAINS);
    world_run(&w);
    defer_all();
    struct store_figures figures;
    store_figures(w.store, &figures);
    assert_int_equal(figures.deferred, many);
    return 0;
}

static int unmake(void **state)
{
    (void)state;
    world_end(&w);
    return 0;
}

static struct store_filter full_at_d7(void)
{
    return (struct store_filter){.domain = STR("d7.example"), .has_status = true, .status = {4, 2, 2}};
}

static unsigned expected(void)
{
    unsigned n = 0;
    for (unsigned i = 7; i < many / 4; i += DOMAINS)
        n += i / DOMAINS % STATUSES == 1;
    return 4 * n;
}

static bool check_listed(const struct rcpt_info *info, void *user)
{
    assert_int_equal(status_number(info->status), status_number(STATUS(4, 2, 2)));
    assert_true(str_eq(info->domain, STR("d7.example")));
    (*(unsigned *)user)++;
    return true;
}

static void listed_by_the_index(void **state)
{
    struct store_filter filter = full_at_d7();
    struct buf after;
    unsigned seen = 0, pages = 1;
    (void)state;
    buf_init(&after, 64);
    for (; query_deferred(w.store, &filter, &after, check_listed, &seen); pages++)
        ;
    buf_free(&after);
    print_message("%u of %u listed in %u pages\n", seen, many, pages);
    assert_int_equal(seen, expected());
    assert_true(pages <= 4 * seen / READ_ROWS_MAX + 2); /* a page looks at READ_ROWS_MAX rows */
}

static void counted_by_status(void **state)
{
    struct status_count counts[16];
    (void)state;
    size_t n = query_queue_statuses(w.store, counts, 16);
    assert_int_equal(n, STATUSES);
    for (size_t i = 0; i < n; i++)
        assert_true(counts[i].count >= many / STATUSES - 4 * DOMAINS);
}

/* The rows it touches are its own, some three each by batches, and the first is with its worker at once. */
static void retried_by_the_index(void **state)
{
    struct store_filter filter = full_at_d7();
    struct store_figures before, after;
    struct world_op op = {0};
    unsigned want = expected(), rounds = 0;
    (void)state;
    world_pass(&w, 1000);
    store_figures(w.store, &before);
    int64_t begun_ns = clock_now().mono_ns, first_ns = 0;
    store_operate(w.store, OP_RETRY, &filter, 1000000, world_op_done, &op);
    for (; !op.called || w.taken_n < want; rounds++) {
        assert_true(rounds < 100000);
        w.now.mono_ns += NS_PER_MS;
        w.now.wall_ms++;
        store_write_step(w.store, w.now);
        store_take_step(w.store, w.now);
        world_hear(&w);
        if (first_ns == 0 && w.taken_n > 0)
            first_ns = clock_now().mono_ns - begun_ns;
        for (unsigned i = 0; i < w.lane_n; i++)
            store_take(w.store, w.lanes[i], w.want, 0);
        w.lane_n = 0;
    }
    store_figures(w.store, &after);
    print_message("%u of %u retried: %u rows looked at or written, the first after %.1f ms\n", want, many,
                  (unsigned)(after.commit_rows - before.commit_rows), (double)first_ns / 1e6);
    assert_int_equal(op.progress.matched, want);
    assert_int_equal(op.progress.changed, want);
    assert_int_equal(w.taken_n, want);
    for (const struct taken *taken = w.taken; taken != NULL; taken = taken->next) {
        assert_int_equal(status_number(taken->last_status), status_number(STATUS(4, 2, 2)));
        assert_true(str_ends_nocase(taken->to, STR("@d7.example")));
    }
    assert_true(after.commit_rows - before.commit_rows <= 8 * (uint64_t)want + 500);
    assert_true(first_ns < 100 * NS_PER_MS * 10); /* ten times what is promised: the machine may be busy */
    defer_all();
}

/* Whoever asked does not wait for a long one: it can be looked up, goes on, also after a crash in its middle,
 * and can be looked up still when it has ended. */
static void a_long_one_goes_on(void **state)
{
    struct store_filter filter = {.has_status = true, .status = {4, 2, 1}};
    struct world_op op = {0};
    struct op_info info, list[4];
    (void)state;
    size_t listed = 1 + query_ops(w.store, list, 4); /* also an earlier one, where changes are small */
    w.asking = false;
    store_operate(w.store, OP_RETRY, &filter, 0, world_op_done, &op);
    for (unsigned n = 0; !op.called; n++) {
        assert_true(n < 1000);
        w.now.mono_ns += NS_PER_MS;
        store_write_step(w.store, w.now);
    }
    assert_false(op.progress.done);
    assert_true(query_op(w.store, op.progress.op, &info));
    assert_true(info.kind == OP_RETRY && !info.done && info.changed > 0 && info.changed < many / STATUSES);
    assert_int_equal(info.started_ms, w.now.wall_ms);
    assert_int_equal(query_ops(w.store, list, 4), listed);
    assert_true(list[0].op == info.op && list[0].matched == info.matched);
    assert_false(query_op(w.store, info.op + 1, &info));
    world_reopen(&w);
    world_run(&w);
    assert_true(query_op(w.store, op.progress.op, &info));
    assert_true(info.done && info.changed == info.matched);
    assert_in_range(info.matched, many / STATUSES - 4 * DOMAINS, many / STATUSES + 4 * DOMAINS);
    assert_int_equal(query_ops(w.store, list, 4), listed);
    w.asking = true;
    world_run(&w);
    defer_all();
}

static void bounced_by_the_index(void **state)
{
    struct store_filter filter = full_at_d7();
    struct store_figures before, after;
    unsigned want = expected();
    (void)state;
    store_figures(w.store, &before);
    struct op_progress progress = world_operate_on(&w, OP_BOUNCE, &filter);
    store_figures(w.store, &after);
    print_message("%u bounced: %u rows\n", want, (unsigned)(after.commit_rows - before.commit_rows));
    assert_int_equal(progress.matched, want);
    assert_int_equal(progress.changed, want);
    assert_int_equal(after.bounced, want);
    assert_int_equal(after.deferred, many - want);
    assert_true(after.commit_rows - before.commit_rows <= 8 * (uint64_t)want + 500);
    store_check(w.store, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(listed_by_the_index),  cmocka_unit_test(counted_by_status),
        cmocka_unit_test(retried_by_the_index), cmocka_unit_test(a_long_one_goes_on),
        cmocka_unit_test(bounced_by_the_index),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}
