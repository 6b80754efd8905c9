/* settle.c - see settle.h. */
#include "engine/route/settle.h"

#include "engine/base/log.h"
#include "engine/route/evidence.h"
#include "engine/route/path.h"
#include "engine/route/react.h"
#include "engine/rules/rules.h"

#include <inttypes.h>

#define WORDS_SLAB_MIN 512   /* bytes of replies and names in one block: of the first recipients of a step, */
#define WORDS_SLAB_MAX 16384 /* of the others */

static void settle_add(struct router *router, struct taken *taken)
{
    taken->at_ms = router->now.wall_ms;
    taken->next = router->settled;
    router->settled = taken;
    router->taken--;
}

/* Nothing more goes into the slab. Its references are counted at once and not one by one, which is right
 * because what holds them is not handed over before. */
static void settle_close_words(struct router *router)
{
    if (router->words == NULL)
        return;
    slab_ref(router->words, router->words_refs);
    slab_unref(router->words);
    router->words = NULL;
    router->words_refs = 0;
}

/* Room for words, in the step's slab or a new one. The slabs grow with the step: a lone recipient keeps a
 * small one. */
static char *settle_room(struct router *router, size_t n)
{
    char *room = router->words ? slab_take(router->words, n) : NULL;
    if (room != NULL)
        return room;
    size_t size = router->words == NULL ? WORDS_SLAB_MIN : WORDS_SLAB_MAX;
    settle_close_words(router);
    router->words = slab_create(n > size ? n : size);
    return router->words ? slab_take(router->words, n) : NULL;
}

static struct str settle_copy(char **at, struct str s)
{
    struct str copy = str_make(*at, s.n);
    if (s.n > 0)
        memcpy(*at, s.p, s.n);
    *at += s.n;
    return copy;
}

/* The reply's words, and the names of host and site, which may all be gone before the writer has put them in
 * the event log: copied once for all recipients of a transaction that share them. */
static bool settle_note(struct router *router, const struct verdict *why, struct settle_where *where)
{
    struct str site = where->path ? str_of(path_site(where->path)) : STR("");
    struct str reply = why ? str_make(why->text, why->text_size) : STR("");
    if (where->noted != NULL && where->noted == router->words && where->why == why)
        return true;
    char *at = settle_room(router, reply.n + site.n + where->mx.n);
    if (at == NULL)
        return false;
    where->reply = settle_copy(&at, reply);
    where->site = settle_copy(&at, site);
    where->mx_kept = settle_copy(&at, where->mx);
    where->noted = router->words;
    where->why = why;
    return true;
}

static void settle_words(struct router *router, struct taken *taken, const struct verdict *why,
                         struct settle_where *where)
{
    taken->source = where->path ? str_of(where->path->source.name) : STR("");
    taken->tls = where->tls;
    taken->words = NULL;
    taken->reply = taken->site = taken->mx = STR("");
    if (!settle_note(router, why, where))
        return; /* no memory: the outcome matters more than its words */
    taken->reply = where->reply;
    taken->site = where->site;
    taken->mx = where->mx_kept;
    taken->words = router->words;
    router->words_refs++;
}

static void settle_deferred(struct router *router, struct taken *taken, const struct verdict *why,
                            struct settle_where *where)
{
    int64_t wall_ms = router->now.wall_ms;
    struct prng dice = retry_dice(taken->rid, taken->lane, taken->attempts);
    taken->outcome = OUTCOME_DEFERRED;
    if (why->rule != NULL && where->path != NULL) {
        react_defer(where->path, taken, why, &dice);
    } else if (why->scope == SCOPE_PATH && where->path != NULL &&
               retry_pauses_path(router->retry, why->status, why->greylisted)) {
        /* It waits with its path; the next seconds are shared out so that not all come at once. */
        int64_t until_ns = path_pause(where->path, why);
        if (until_ns == LEDGER_STOPPED) /* held in the store; looked at again when it is released */
            until_ns = router->now.mono_ns + where->path->settings->pause_ms * NS_PER_MS;
        taken->attempt_free = true;
        taken->next_ms =
            wall_ms + (until_ns - router->now.mono_ns) / NS_PER_MS + (int64_t)prng_below(&dice, 5 * MS_PER_S);
    } else if (why->wait_s > 0) {
        /* Not before the time the receiver named, and not all that heard it at once. */
        int64_t wait_ms = (int64_t)why->wait_s * MS_PER_S;
        int64_t spread_ms = wait_ms / 10 > MS_PER_S ? wait_ms / 10 : MS_PER_S;
        taken->next_ms = wall_ms + wait_ms + (int64_t)prng_below(&dice, (uint64_t)spread_ms);
    } else {
        struct retry_next next = retry_next(router->retry, why->status, why->greylisted, taken->attempts,
                                            taken->first_ms, wall_ms, &dice);
        if (next.give_up)
            taken->outcome = OUTCOME_BOUNCED;
        taken->next_ms = next.next_ms;
    }
    taken->next_ms = retry_round(taken->next_ms, wall_ms);
}

void settle_verdict(struct router *router, struct taken *taken, const struct verdict *why,
                    struct settle_where *where)
{
    taken->code = why->code;
    taken->status = why->status;
    taken->delay_ms = where->delay_ms;
    taken->attempt_free = false;
    taken->peer_reports = where->peer_dsn;
    taken->next_ms = 0;
    settle_words(router, taken, why, where);
    if (why->outcome == VERDICT_DELIVERED)
        taken->outcome = OUTCOME_DELIVERED;
    else if (why->outcome == VERDICT_FAILED)
        taken->outcome = OUTCOME_BOUNCED;
    else
        settle_deferred(router, taken, why, where);
    if (why->rule != NULL && taken->outcome == OUTCOME_BOUNCED && where->path != NULL)
        react_fail(where->path, taken, why);
    if (evidence_is_any(router->evidence) && why->code != 0 && where->path != NULL &&
        evidence_may_be(router->evidence, taken->rid.job) &&
        (why->rule == NULL || why->rule->reaction.kind != REACTION_JOB))
        evidence_good(router->evidence, str_of(path_site(where->path)), taken->rid.job);
    if (where->path != NULL) /* a deferral that gives up is a failure */
        path_count(where->path, taken->outcome == OUTCOME_BOUNCED ? VERDICT_FAILED : why->outcome);
    settle_add(router, taken);
}

void settle_tell_broken(struct router *router, uint64_t job, const struct err *why)
{
    unsigned left_out;
    if (!log_gate_pass(&router->broken_said, router->now.mono_ns, BROKEN_TOLD_MS, &left_out))
        return;
    if (left_out > 0)
        log_warn("job %" PRIu64 ": %s; %u such lines before it were left out", job, why->text, left_out);
    else
        log_warn("job %" PRIu64 ": %s", job, why->text);
}

void settle_release(struct router *router, struct taken *taken)
{
    taken->outcome = OUTCOME_RELEASED;
    settle_add(router, taken);
}

void settle_suppressed(struct router *router, struct taken *taken)
{
    taken->outcome = OUTCOME_SUPPRESSED;
    settle_add(router, taken);
}

void settle_expired(struct router *router, struct taken *taken)
{
    taken->outcome = OUTCOME_EXPIRED;
    taken->code = 0;
    taken->status = taken->last_status.class_ ? taken->last_status : STATUS(4, 4, 7);
    taken->delay_ms = 0;
    settle_words(router, taken, NULL, &(struct settle_where){.path = NULL});
    settle_add(router, taken);
}

void settle_flush(struct router *router)
{
    if (router->settled == NULL)
        return;
    struct taken *list = router->settled;
    router->settled = NULL;
    settle_close_words(router);
    store_settle(router->store, list);
}
