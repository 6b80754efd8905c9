/* A store when memory runs out: a change that LMDB finds none for is undone, jobs are refused with the
 * reason, and what was accepted is settled and counted as ever. */
#include "tests/unit/store_check.h"

#include <dlfcn.h>
#include <errno.h>
#include <sys/resource.h>

#define HOARD (1 << 20)

static struct world world;

/* Leaves nothing of that size or more to be had, neither within what the process has nor beyond, but for what
 * is given up. */
static void *hoard[HOARD];
static size_t hoarded;

static void memory_take_all(size_t least)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r"); /* size resident shared text lib data dt */
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*u %*u %*u %*u %*u %lu", &pages), 1);
    fclose(file);
    setrlimit(RLIMIT_DATA, &(struct rlimit){.rlim_cur = pages * 4096, .rlim_max = RLIM_INFINITY});
    for (size_t size = 1 << 20; size >= least; size /= 2)
        for (void *p; hoarded < HOARD && (p = malloc(size)) != NULL;)
            hoard[hoarded++] = p;
}

static void memory_give_back(void)
{
    setrlimit(RLIMIT_DATA, &(struct rlimit){.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY});
    while (hoarded > 0)
        free(hoard[--hoarded]);
}

static struct admit *big_job(void)
{
    struct job_spec spec = world_spec("hello");
    struct admit *admit = world_begin(&world, &spec);
    for (unsigned i = 0; i < ADMIT_WINDOW_RCPTS / 4; i++) {
        char to[64];
        snprintf(to, sizeof to, "user%u@d%u.example", i, i % 50);
        world_add(admit, to, "x");
    }
    return admit;
}

static void test_refused_and_again(void **state)
{
    (void)state;
    struct posted posted = {0};
    if (ADMIT_WINDOW_RCPTS < 1000)
        skip(); /* the tiny build's largest change needs less than what is left */
    world_make(&world, NULL);
    uint64_t first = world_small_job(&world, 100, 5);
    world_run(&world);
    assert_int_equal(world.taken_n, 100);
    struct admit *unpacked = big_job(), *unwritten = big_job(), *late = big_job();
    admit_commit(unwritten, NULL, NULL, world_posted, &posted);
    memory_take_all(2048); /* a page of LMDB's */
    for (unsigned n = 0; n < 10 && !posted.done; n++)
        store_write_step(world.store, world.now);
    bool gone = reserve_is_gone();
    memory_take_all(16);
    enum admit_result result = world_post(&world, unpacked, true, NULL);
    memory_give_back();
    assert_true(posted.done && gone);
    assert_int_equal(posted.result, ADMIT_NO_MEMORY);
    assert_int_equal(result, ADMIT_NO_MEMORY);
    admit_free(unwritten);
    admit_free(unpacked);
    world_pass(&world, 1000);
    assert_int_equal(world_settle(&world, OUTCOME_DELIVERED), 100);
    assert_int_equal(world_post(&world, late, true, NULL), ADMIT_OK);
    admit_free(late);
    assert_false(reserve_is_gone());
    struct job_row row;
    assert_true(world_job_row(&world, first, &row));
    assert_int_equal(row.state, JOB_ENDED);
    store_check(world.store, true);
    world_end(&world);
}

/* In place of LMDB's: as where it finds no memory for its pages. */
static bool commits_fail;
static unsigned commits;

int mdb_txn_commit(MDB_txn *txn)
{
    int (*real)(MDB_txn *);
    void *found = dlsym(RTLD_NEXT, "mdb_txn_commit");
    memcpy(&real, &found, sizeof real);
    commits++;
    if (!commits_fail)
        return real(txn);
    mdb_txn_abort(txn);
    return ENOMEM;
}

/* It is tried again every 100 ms, for longer than those may wait who cannot do without; new jobs are refused.
 * Then what was accepted is there, and what became of it. */
static void test_a_commit_is_tried_until_there_is_some(void **state)
{
    (void)state;
    struct posted posted = {0};
    enum { WHILE_MS = 2 * MEMORY_WAIT_MS, EVERY_MS = 100, STEP_MS = 10 };
    world_make(&world, NULL);
    uint64_t first = world_small_job(&world, 100, 5);
    world_run(&world);
    assert_int_equal(world.taken_n, 100);
    commits_fail = true;
    commits = 0;
    assert_int_equal(world_settle(&world, OUTCOME_DELIVERED), 100);
    for (unsigned ms = 0; ms < WHILE_MS; ms += STEP_MS)
        world_pass(&world, STEP_MS);
    assert_in_range(commits, WHILE_MS / EVERY_MS, WHILE_MS / EVERY_MS + 2);
    struct admit *refused = big_job();
    admit_commit(refused, NULL, NULL, world_posted, &posted);
    world_pass(&world, EVERY_MS);
    assert_true(posted.done);
    assert_int_equal(posted.result, ADMIT_NO_MEMORY);
    admit_free(refused);
    assert_int_equal(atomic_load(&world.store->figures.ended[RCPT_DELIVERED]), 0);
    commits_fail = false;
    world_pass(&world, EVERY_MS);
    assert_int_equal(atomic_load(&world.store->figures.ended[RCPT_DELIVERED]), 100);
    struct job_row row;
    assert_true(world_job_row(&world, first, &row));
    assert_int_equal(row.state, JOB_ENDED);
    store_check(world.store, true);
    world_end(&world);
}

int main(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return 0; /* they take more than they are given */
#else
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_refused_and_again),
                                       cmocka_unit_test(test_a_commit_is_tried_until_there_is_some)};
    return cmocka_run_group_tests(tests, NULL, NULL);
#endif
}
