/* ledger.c - see ledger.h. All accesses are relaxed: each word stands for itself. */
#include "engine/route/ledger.h"

#include "engine/base/clock.h"
#include "engine/limits.h"

#include <stdatomic.h>

#define GET(word)        atomic_load_explicit(word, memory_order_relaxed)
#define SET(word, value) atomic_store_explicit(word, value, memory_order_relaxed)
#define SWAP(word, old, new)                                                                                 \
    atomic_compare_exchange_weak_explicit(word, old, new, memory_order_relaxed, memory_order_relaxed)

void ledger_init(struct ledger *ledger)
{
    *ledger = (struct ledger){.window = WINDOW_START * LEDGER_ONE};
}

unsigned ledger_window(const struct ledger *ledger)
{
    return GET(&ledger->window) / LEDGER_ONE;
}

unsigned ledger_allows(const struct ledger *ledger, unsigned max)
{
    /* Rounded up: at a window of 1.5 a second connection may begin while one is open. */
    unsigned window = (GET(&ledger->window) + LEDGER_ONE - 1) / LEDGER_ONE, cap = GET(&ledger->cap);
    if (cap > 0 && cap < max)
        max = cap;
    return window < max ? window : max;
}

unsigned ledger_connections(const struct ledger *ledger)
{
    return GET(&ledger->connections);
}

unsigned ledger_ready(const struct ledger *ledger)
{
    unsigned connecting = GET(&ledger->connecting), connections = GET(&ledger->connections);
    return connections > connecting ? connections - connecting : 0;
}

bool ledger_open(struct ledger *ledger, unsigned max, int64_t now_ns)
{
    unsigned open = GET(&ledger->connections);
    do {
        if (open >= ledger_allows(ledger, max))
            return false;
    } while (!SWAP(&ledger->connections, &open, open + 1));
    if (!limit_try(&ledger->connects, now_ns)) {
        atomic_fetch_sub_explicit(&ledger->connections, 1, memory_order_relaxed);
        return false;
    }
    atomic_fetch_add_explicit(&ledger->connecting, 1, memory_order_relaxed);
    return true;
}

void ledger_grow(struct ledger *ledger, unsigned max, int64_t now_ns)
{
    unsigned window = GET(&ledger->window);
    do {
        bool refused = window >= GET(&ledger->ceiling) && now_ns < GET(&ledger->ceiling_until_ns);
        if (refused || window >= max * LEDGER_ONE)
            return;
    } while (!SWAP(&ledger->window, &window, window + LEDGER_ONE));
}

void ledger_opened(struct ledger *ledger, unsigned max, int64_t now_ns)
{
    atomic_fetch_sub_explicit(&ledger->connecting, 1, memory_order_relaxed);
    if (ledger_ready(ledger) * LEDGER_ONE > GET(&ledger->ceiling) && GET(&ledger->refusals) > 0)
        SET(&ledger->refusals, 0); /* it takes more now */
    ledger_grow(ledger, max, now_ns);
}

/* What is open now is what the receiver wants: asked again after a time that doubles as long as it says so.
 * Connections that hear the same at once are one refusal. */
static void ledger_refused(struct ledger *ledger, unsigned open, int64_t now_ns)
{
    int64_t believed_ns = GET(&ledger->ceiling_until_ns);
    unsigned refusals = GET(&ledger->refusals);
    SET(&ledger->ceiling, open * LEDGER_ONE);
    SET(&ledger->window, open * LEDGER_ONE);
    int64_t ms = WINDOW_CEILING_MS << (refusals < WINDOW_CEILING_DOUBLED ? refusals : WINDOW_CEILING_DOUBLED);
    if (believed_ns <= now_ns &&
        atomic_compare_exchange_strong(&ledger->ceiling_until_ns, &believed_ns, now_ns + ms * NS_PER_MS))
        atomic_fetch_add_explicit(&ledger->refusals, 1, memory_order_relaxed);
}

static void ledger_shrink(struct ledger *ledger)
{
    unsigned window = GET(&ledger->window), less;
    do {
        less = window - window / 4;
    } while (!SWAP(&ledger->window, &window, less > LEDGER_ONE ? less : LEDGER_ONE));
}

void ledger_closed(struct ledger *ledger, bool was_ready, enum path_end end, int64_t now_ns)
{
    if (!was_ready)
        atomic_fetch_sub_explicit(&ledger->connecting, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&ledger->connections, 1, memory_order_relaxed);
    unsigned open = ledger_ready(ledger);
    if (end == PATH_END_REFUSED)
        ledger_refused(ledger, open > 1 ? open : 1, now_ns);
    else if (end == PATH_END_FAILED)
        ledger_shrink(ledger);
}

int64_t ledger_pause_until_ns(const struct ledger *ledger)
{
    return GET(&ledger->drained) ? LEDGER_STOPPED : GET(&ledger->pause_until_ns);
}

void ledger_drain(struct ledger *ledger, bool drained)
{
    SET(&ledger->drained, drained);
}

unsigned ledger_pauses(const struct ledger *ledger)
{
    return GET(&ledger->pauses);
}

int64_t ledger_pause(struct ledger *ledger, int64_t now_ns, int64_t until_ns, bool *fresh)
{
    int64_t held_ns = GET(&ledger->pause_until_ns);
    *fresh = false;
    do {
        if (held_ns > now_ns)
            return held_ns;
    } while (!SWAP(&ledger->pause_until_ns, &held_ns, until_ns));
    atomic_fetch_add_explicit(&ledger->pauses, 1, memory_order_relaxed);
    *fresh = true;
    return until_ns;
}

void ledger_set_pause(struct ledger *ledger, int64_t until_ns, unsigned pauses)
{
    SET(&ledger->pause_until_ns, until_ns);
    SET(&ledger->pauses, pauses);
}

void ledger_reset(struct ledger *ledger)
{
    SET(&ledger->window, WINDOW_START * LEDGER_ONE);
    SET(&ledger->ceiling_until_ns, 0);
    SET(&ledger->refusals, 0);
}

void ledger_delivered(struct ledger *ledger)
{
    if (GET(&ledger->pauses) != 0) /* seldom written, so that the line stays shared */
        SET(&ledger->pauses, 0);
}
