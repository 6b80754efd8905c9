/* test_wheel.c - the timer wheel against a plain table of times, by random operations. */
#include "engine/base/wheel.h"

#include "engine/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
/* cmocka wants the above */
#include <cmocka.h>

enum { TIMERS = 200 };

struct entry {
    struct wheel_timer timer;
    int64_t due_ms; /* the tick at which it must fire; -1 while not set */
};

static struct world {
    struct wheel wheel;
    struct entry entries[TIMERS];
    struct prng prng;
    int64_t last_ms; /* of what fired: never goes back */
    int64_t now_ms;
    unsigned fired;
    bool meddle; /* callbacks set and cancel */
} world;

static struct now at_ms(int64_t ms)
{
    return (struct now){.mono_ns = ms * NS_PER_MS + 999};
}

static wheel_fire on_fire;

static void entry_set(struct entry *entry, int64_t ms)
{
    wheel_set(&world.wheel, &entry->timer, ms * NS_PER_MS, on_fire);
    entry->due_ms = ms > world.wheel.tick_ms ? ms : world.wheel.tick_ms + 1;
}

static void entry_cancel(struct entry *entry)
{
    wheel_cancel(&world.wheel, &entry->timer);
    entry->due_ms = -1;
}

/* Near and far, by magnitude; past 2^36 ms it leaves the wheel's span. */
static int64_t random_delay(void)
{
    unsigned bits = (unsigned)prng_below(&world.prng, 39);
    return (int64_t)prng_below(&world.prng, UINT64_C(1) << bits);
}

static void meddle(void)
{
    struct entry *entry = &world.entries[prng_below(&world.prng, TIMERS)];
    switch (prng_below(&world.prng, 4)) {
    case 0:
        entry_cancel(entry);
        break;
    case 1:
        entry_set(entry, world.now_ms); /* at once, or rather at the next tick */
        break;
    default:
        entry_set(entry, world.now_ms + random_delay());
        break;
    }
}

static void on_fire(struct wheel_timer *timer, struct now now)
{
    struct entry *entry = (struct entry *)timer;
    assert_int_equal(now.mono_ns, at_ms(world.now_ms).mono_ns);
    assert_false(wheel_is_set(timer));
    assert_true(entry->due_ms >= 0 && entry->due_ms <= world.now_ms);
    assert_true(entry->due_ms >= world.last_ms);
    assert_int_equal(entry->due_ms, world.wheel.tick_ms);
    world.last_ms = entry->due_ms;
    world.fired++;
    entry->due_ms = -1;
    if (!world.meddle)
        return;
    if (prng_below(&world.prng, 3) == 0)
        entry_set(entry, world.now_ms + random_delay());
    meddle();
}

static int64_t earliest(void)
{
    int64_t best = INT64_MAX;
    for (size_t i = 0; i < TIMERS; i++)
        if (world.entries[i].due_ms >= 0 && world.entries[i].due_ms < best)
            best = world.entries[i].due_ms;
    return best;
}

static void check(void)
{
    size_t count = 0;
    for (size_t i = 0; i < TIMERS; i++) {
        assert_int_equal(wheel_is_set(&world.entries[i].timer), world.entries[i].due_ms >= 0);
        count += world.entries[i].due_ms >= 0;
    }
    assert_int_equal(world.wheel.count, count);
    if (count == 0)
        assert_int_equal(wheel_next_ns(&world.wheel), INT64_MAX);
    else
        assert_true(wheel_next_ns(&world.wheel) <= earliest() * NS_PER_MS);
    assert_true(wheel_next_ns(&world.wheel) > world.wheel.tick_ms * NS_PER_MS);
}

static void begin(uint64_t seed, int64_t start_ms, bool with_meddling)
{
    world = (struct world){.prng = {seed}, .now_ms = start_ms, .meddle = with_meddling};
    wheel_init(&world.wheel, at_ms(start_ms));
    for (size_t i = 0; i < TIMERS; i++)
        world.entries[i].due_ms = -1;
}

static void run(int64_t until_ms)
{
    world.now_ms = until_ms;
    wheel_run(&world.wheel, at_ms(until_ms));
    assert_true(earliest() > until_ms);
    check();
}

static void test_random(void **state)
{
    (void)state;
    static const int64_t starts[] = {0, 63, 4095, (INT64_C(1) << 36) - 3, (INT64_C(1) << 36) * 5 - 70000};
    unsigned fired = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        begin(seed, starts[seed % 5], seed % 2);
        for (int step = 0; step < 400; step++) {
            for (uint64_t n = prng_below(&world.prng, 6); n > 0; n--)
                meddle();
            run(world.now_ms + random_delay() / 4);
        }
        fired += world.fired;
    }
    assert_true(fired > 10000);
}

/* As a worker does: sleep until wheel_next_ns. Each fires on its millisecond, after few wakes for nothing. */
static void test_sleeping_by_next(void **state)
{
    (void)state;
    for (uint64_t seed = 100; seed < 130; seed++) {
        begin(seed, (INT64_C(1) << 36) - 100000 * (int64_t)(seed % 3), false);
        for (size_t i = 0; i < TIMERS; i++)
            entry_set(&world.entries[i], world.now_ms + random_delay());
        unsigned wakes = 0;
        while (world.wheel.count > 0) {
            int64_t next = earliest();
            run(wheel_next_ns(&world.wheel) / NS_PER_MS);
            assert_true(world.now_ms <= next);
            assert_true(++wakes < TIMERS * 10);
        }
        assert_int_equal(world.fired, TIMERS);
    }
}

/* Across the moment where all of the wheel's bits turn over, two years and two months after a boot. */
static void test_soon_across_the_turn(void **state)
{
    (void)state;
    int64_t turn = INT64_C(1) << 36;
    begin(1, turn - 2, false);
    entry_set(&world.entries[0], turn + 3);
    entry_set(&world.entries[1], turn - 1);
    run(turn - 1);
    assert_int_equal(world.fired, 1);
    run(turn + 2);
    assert_int_equal(world.fired, 1);
    run(turn + 3);
    assert_int_equal(world.fired, 2);
}

static void test_rounds_up(void **state)
{
    (void)state;
    begin(1, 1000, false);
    wheel_set(&world.wheel, &world.entries[0].timer, 1005 * NS_PER_MS + 1, on_fire);
    world.entries[0].due_ms = 1006;
    run(1005);
    assert_int_equal(world.fired, 0);
    run(1006);
    assert_int_equal(world.fired, 1);
    wheel_cancel(&world.wheel, &world.entries[0].timer); /* not set: nothing */
    check();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_sleeping_by_next),
        cmocka_unit_test(test_soon_across_the_turn),
        cmocka_unit_test(test_rounds_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
