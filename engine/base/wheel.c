/* wheel.c - see wheel.h. Level l holds what is due within 64^(l+1) ms; when the wheel's hand enters a slot of
 * a higher level, its timers move down. A bit mask a level lets the hand jump over empty slots. */
#include "engine/base/wheel.h"

#define SLOT_MASK (WHEEL_SLOTS - 1)

void wheel_init(struct wheel *wheel, struct now now)
{
    *wheel = (struct wheel){.tick_ms = now.mono_ns / NS_PER_MS};
}

static void wheel_link(struct wheel *wheel, struct wheel_timer *timer)
{
    int64_t at = timer->at_ms > wheel->tick_ms ? timer->at_ms : wheel->tick_ms + 1;
    uint64_t differ = (uint64_t)at ^ (uint64_t)wheel->tick_ms;
    int level = (63 - __builtin_clzll(differ)) / WHEEL_BITS;
    if (level >= WHEEL_LEVELS)
        level =
            WHEEL_LEVELS - 1; /* the top level turns round; what is further away parks, to be placed again */
    int64_t hand = wheel->tick_ms >> (level * WHEEL_BITS), turn = at >> (level * WHEEL_BITS);
    if (turn - hand > SLOT_MASK)
        turn = hand + SLOT_MASK;
    int slot = (int)(turn & SLOT_MASK);
    struct wheel_timer **head = &wheel->slots[level][slot];
    timer->next = *head;
    if (timer->next)
        timer->next->back = &timer->next;
    timer->back = head;
    *head = timer;
    wheel->used[level] |= UINT64_C(1) << slot;
}

static void wheel_unlink(struct wheel_timer *timer)
{
    *timer->back = timer->next;
    if (timer->next)
        timer->next->back = timer->back;
    timer->next = NULL;
    timer->back = NULL;
}

void wheel_set(struct wheel *wheel, struct wheel_timer *timer, int64_t mono_ns, wheel_fire *fire)
{
    wheel_cancel(wheel, timer);
    timer->at_ms = mono_ns / NS_PER_MS + (mono_ns % NS_PER_MS != 0);
    timer->fire = fire;
    wheel->count++;
    wheel_link(wheel, timer);
}

void wheel_cancel(struct wheel *wheel, struct wheel_timer *timer)
{
    if (!wheel_is_set(timer))
        return;
    wheel_unlink(timer);
    wheel->count--;
}

/* The next tick at which something may be due or must move down a level: INT64_MAX when empty. */
static int64_t wheel_next_tick(const struct wheel *wheel)
{
    int64_t best = INT64_MAX;
    for (int level = 0; level < WHEEL_LEVELS; level++) {
        if (wheel->used[level] == 0)
            continue;
        int shift = level * WHEEL_BITS;
        int64_t hand = wheel->tick_ms >> shift;
        unsigned turn = (unsigned)((hand + 1) & SLOT_MASK);
        uint64_t rotated = turn ? (wheel->used[level] >> turn) | (wheel->used[level] << (WHEEL_SLOTS - turn))
                                : wheel->used[level];
        int64_t tick = (hand + 1 + __builtin_ctzll(rotated)) << shift;
        if (tick < best)
            best = tick;
    }
    return best;
}

static struct wheel_timer *wheel_detach(struct wheel *wheel, int level, int slot)
{
    struct wheel_timer *list = wheel->slots[level][slot];
    wheel->slots[level][slot] = NULL;
    wheel->used[level] &= ~(UINT64_C(1) << slot);
    return list;
}

void wheel_run(struct wheel *wheel, struct now now)
{
    int64_t until = now.mono_ns / NS_PER_MS;
    while (wheel->tick_ms < until) {
        int64_t tick = wheel_next_tick(wheel);
        if (tick > until) {
            wheel->tick_ms = until;
            return;
        }
        wheel->tick_ms = tick;
        struct wheel_timer *moved[WHEEL_LEVELS] = {NULL};
        for (int level = WHEEL_LEVELS - 1; level > 0; level--) {
            if ((tick & ((INT64_C(1) << (level * WHEEL_BITS)) - 1)) == 0)
                moved[level] = wheel_detach(wheel, level, (int)((tick >> (level * WHEEL_BITS)) & SLOT_MASK));
        }
        /* Gather what is due in a list of its own that cancel can still unlink from. */
        struct wheel_timer *due = wheel_detach(wheel, 0, (int)(tick & SLOT_MASK));
        if (due)
            due->back = &due;
        for (int level = WHEEL_LEVELS - 1; level > 0; level--) {
            while (moved[level]) {
                struct wheel_timer *timer = moved[level];
                moved[level] = timer->next;
                if (timer->at_ms > tick) {
                    wheel_link(wheel, timer);
                    continue;
                }
                timer->next = due;
                if (due)
                    due->back = &timer->next;
                timer->back = &due;
                due = timer;
            }
        }
        while (due) {
            struct wheel_timer *timer = due;
            wheel_unlink(timer);
            wheel->count--;
            timer->fire(timer, now);
        }
    }
}

int64_t wheel_next_ns(const struct wheel *wheel)
{
    if (wheel->count == 0)
        return INT64_MAX;
    int64_t tick = wheel_next_tick(wheel);
    return tick == INT64_MAX ? INT64_MAX : tick * NS_PER_MS;
}
