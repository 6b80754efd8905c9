/* settle.c - see settle.h. */
#include "engine/route/settle.h"

#include "engine/route/lane.h"
#include "engine/route/path.h"

#include <stdlib.h>

static void settle_add(struct router *router, struct taken *taken)
{
    taken->at_ms = router->now.wall_ms;
    taken->next = router->settled;
    router->settled = taken;
    router->taken--;
}

/* One allocation a settled recipient, and one only: the reply's words differ each time and must outlive the
 * session until the writer has put them in the event log; the names of hosts and sites go behind them in the
 * same block, since what they came from may be gone by then. */
static void settle_words(struct taken *taken, const struct verdict *why, const struct settle_where *where)
{
    struct str site = where->path ? str_of(path_site(where->path)) : STR("");
    size_t n = why ? why->text_size : 0;
    char *block = malloc(n + site.n + where->mx.n + 1);
    taken->source = where->path ? str_of(where->path->source->name) : STR("");
    taken->tls = where->tls;
    if (block == NULL) {
        taken->site = taken->mx = STR("");
        return; /* the outcome matters more than its words */
    }
    if (n)
        memcpy(block, why->text, n);
    memcpy(block + n, site.p, site.n);
    if (where->mx.n)
        memcpy(block + n + site.n, where->mx.p, where->mx.n);
    taken->reply = block;
    taken->reply_size = (uint16_t)n;
    taken->site = str_make(block + n, site.n);
    taken->mx = str_make(block + n + site.n, where->mx.n);
}

static void settle_deferred(struct router *router, struct taken *taken, const struct verdict *why,
                            const struct settle_where *where)
{
    int64_t wall_ms = router->now.wall_ms;
    taken->outcome = OUTCOME_DEFERRED;
    if (why->scope == SCOPE_PATH && where->path != NULL) {
        /* It waits with its path; the next seconds are shared out so that not all come at once. */
        int64_t until_ns = path_pause(where->path, why);
        taken->attempt_free = true;
        taken->next_ms = wall_ms + (until_ns - router->now.mono_ns) / NS_PER_MS +
                         (int64_t)prng_below(&router->prng, 5 * MS_PER_S);
        return;
    }
    if (why->wait_s > 0) {
        taken->next_ms = wall_ms + prng_jitter(&router->prng, (int64_t)why->wait_s * MS_PER_S, 0) +
                         (int64_t)prng_below(&router->prng, MS_PER_S);
        return;
    }
    struct retry_next next = retry_next(router->retry, why->status, why->greylisted, taken->attempts,
                                        taken->first_ms, wall_ms, &router->prng);
    if (next.give_up)
        taken->outcome = OUTCOME_BOUNCED;
    taken->next_ms = next.next_ms;
}

void settle_verdict(struct router *router, struct taken *taken, const struct verdict *why,
                    const struct settle_where *where)
{
    taken->code = why->code;
    taken->status = why->status;
    taken->delay_ms = where->delay_ms;
    taken->attempt_free = false;
    taken->next_ms = 0;
    settle_words(taken, why, where);
    if (why->outcome == VERDICT_DELIVERED)
        taken->outcome = OUTCOME_DELIVERED;
    else if (why->outcome == VERDICT_FAILED)
        taken->outcome = OUTCOME_BOUNCED;
    else
        settle_deferred(router, taken, why, where);
    if (where->path != NULL)
        path_count(where->path, why->outcome);
    settle_add(router, taken);
}

void settle_release(struct router *router, struct taken *taken)
{
    taken->outcome = OUTCOME_RELEASED;
    settle_add(router, taken);
}

void settle_expired(struct router *router, struct taken *taken)
{
    taken->outcome = OUTCOME_EXPIRED;
    taken->code = 0;
    taken->status = taken->last_status.class_ ? taken->last_status : STATUS(4, 4, 7);
    taken->delay_ms = 0;
    settle_words(taken, NULL, &(struct settle_where){.path = NULL});
    settle_add(router, taken);
}

void settle_flush(struct router *router)
{
    if (router->settled == NULL)
        return;
    struct taken *list = router->settled;
    router->settled = NULL;
    store_settle(router->store, list);
    lane_feed_starved(router);
}
