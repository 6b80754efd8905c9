/* test_claimed_due.c - due mail that somebody claims (queue/claims.h): an operation for the length of its
 * commit, a worker until it gives it back. Whoever looks then passes over it, and must hear of it again. */
#include "tests/unit/store_check.h"

#include <dlfcn.h>
#include <errno.h>

static struct world world;
static bool looks, lacks;

/* In place of LMDB's: a worker asks just before the commit, for which there is then no space. */
int mdb_txn_commit(MDB_txn *txn)
{
    int (*real)(MDB_txn *);
    void *found = dlsym(RTLD_NEXT, "mdb_txn_commit");
    memcpy(&real, &found, sizeof real);
    if (looks && world.store->shared.claims.count > 0) {
        looks = false;
        store_take(world.store, world.lanes[0], world.want, 0);
        store_take_step(world.store, world.now);
        world.lane_n = 0;
        if (lacks) {
            mdb_txn_abort(txn);
            return ENOSPC;
        }
    }
    return real(txn);
}

static void on_done(const struct op_progress *progress, void *user)
{
    (void)progress;
    *(bool *)user = true;
}

/* Three are due, and nobody has asked for them. */
static void make_due(void)
{
    world_make(&world, NULL);
    world_small_job(&world, 3, 1);
    world_run(&world);
    assert_int_equal(world_settle(&world, OUTCOME_DEFERRED), 3);
    world.asking = false;
    world_pass(&world, 3600000);
    assert_int_equal(world.lane_n, 1);
}

/* A retry leaves as it is what is due already. */
static void due_while_a_retry_commits(void **state)
{
    bool done = false;
    (void)state;
    make_due();
    looks = true;
    store_operate(world.store, OP_RETRY, &(struct store_filter){0}, 0, on_done, &done);
    world_run(&world);
    assert_true(!looks && done);
    world.asking = true;
    world_run(&world);
    world_pass(&world, 60000);
    assert_int_equal(world.taken_n, 3);
    assert_int_equal(world_settle(&world, OUTCOME_DELIVERED), 3);
    store_check(world.store, true);
    world_end(&world);
}

/* The taker sleeps until something comes. */
static bool taker_is_told(void)
{
    bool told = !inbox_sleep(world.store->taker_inbox);
    inbox_wake(world.store->taker_inbox);
    return told;
}

/* A change that was undone claims nothing any more. */
static void due_while_a_retry_finds_no_space(void **state)
{
    bool done = false;
    (void)state;
    make_due();
    looks = lacks = true;
    store_operate(world.store, OP_RETRY, &(struct store_filter){0}, 0, on_done, &done);
    assert_false(taker_is_told());
    store_write_step(world.store, world.now);
    assert_true(!looks && !done);
    lacks = false;
    assert_true(taker_is_told());
    world.asking = true;
    world_run(&world);
    assert_int_equal(world.taken_n, 3);
    world_pass(&world, 1000);
    assert_true(done);
    assert_int_equal(world_settle(&world, OUTCOME_DELIVERED), 3);
    store_check(world.store, true);
    world_end(&world);
}

/* No more lanes may be live as it is given back; room comes later. */
static void due_and_given_back_without_room(void **state)
{
    (void)state;
    world_make(&world, NULL);
    world_small_job(&world, 3, 1);
    world_run(&world);
    assert_int_equal(world_settle(&world, OUTCOME_DEFERRED), 3);
    world_pass(&world, 3600000);
    assert_int_equal(world.taken_n, 3);
    assert_int_equal(world.store->shared.lane_count, 0);
    world.store->shared.lane_count += LANES_LIVE_MAX;
    assert_int_equal(world_settle(&world, OUTCOME_RELEASED), 3);
    world_pass(&world, 60000);
    assert_int_equal(world.taken_n, 0);
    world.store->shared.lane_count -= LANES_LIVE_MAX;
    world_pass(&world, 60000);
    assert_int_equal(world.taken_n, 3);
    assert_int_equal(world_settle(&world, OUTCOME_DELIVERED), 3);
    store_check(world.store, true);
    world_end(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(due_while_a_retry_commits),
                                       cmocka_unit_test(due_while_a_retry_finds_no_space),
                                       cmocka_unit_test(due_and_given_back_without_room)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
