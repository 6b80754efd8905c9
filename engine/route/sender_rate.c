/* sender_rate.c - see sender_rate.h. */
#include "engine/route/sender_rate.h"

#include "engine/base/log.h"
#include "engine/route/aside.h"
#include "engine/route/loan.h"
#include "engine/route/path.h"
#include "engine/route/path_learn.h"
#include "engine/route/remember.h"
#include "engine/route/shipment.h"
#include "engine/rules/rules.h"

#include <stdio.h>
#include <stdlib.h>

#define KEY_ROOM (2 * (DOMAIN_MAX + 1))
#define DAY_NS   (24 * 3600 * NS_PER_S)

static char *key_add(char *at, struct str s)
{
    size_t n = s.n < DOMAIN_MAX ? s.n : DOMAIN_MAX;
    if (n > 0)
        memcpy(at, s.p, n);
    at[n] = '\0';
    return at + n + 1;
}

static struct sender_rate *rate_find(const struct router *router, struct str site, struct str sender,
                                     char key[KEY_ROOM], size_t *size)
{
    struct sender_rate *rate;
    char *from = key_add(key, site), *end = key_add(from, sender);
    str_lower(str_make(from, (size_t)(end - from)), from);
    *size = (size_t)(end - key);
    HASH_FIND(hh, router->sender_rates, key, *size, rate);
    return rate;
}

struct sender_rate *sender_rate_find(const struct router *router, const char *site, struct str from)
{
    char key[KEY_ROOM];
    size_t size;
    if (router->sender_rates == NULL)
        return NULL;
    struct sender_rate *rate = rate_find(router, str_of(site), str_domain(from), key, &size);
    return rate != NULL && !rate->over ? rate : NULL;
}

const char *sender_rate_site(const struct sender_rate *rate)
{
    return rate->key;
}

const char *sender_rate_sender(const struct sender_rate *rate)
{
    return rate->key + strlen(rate->key) + 1;
}

/* NULL: no memory, or too many; then it is not slowed. */
static struct sender_rate *rate_get(struct router *router, struct str site, struct str sender)
{
    char key[KEY_ROOM];
    size_t size;
    struct sender_rate *rate = rate_find(router, site, sender, key, &size);
    if (rate != NULL)
        return rate;
    if (HASH_COUNT(router->sender_rates) < SENDER_RATES_MAX)
        rate = calloc(1, sizeof *rate + size);
    if (rate == NULL) {
        log_error("%.*s speaks of mail from %.*s, which is not slowed: %u sender domains are already, or "
                  "memory is out",
                  STR_ARG(site), STR_ARG(sender), HASH_COUNT(router->sender_rates));
        return NULL;
    }
    TAILQ_INIT(&rate->open);
    TAILQ_INIT(&rate->full);
    rate->key_size = size;
    memcpy(rate->key, key, size);
    HASH_ADD(hh, router->sender_rates, key, size, rate);
    return rate;
}

/* ---- into force, and written down ---- */

/* Paths with mail of it that waits may have been told to come again by the interval of before. */
static void rate_change(struct router *router, struct sender_rate *rate, int64_t interval_ns)
{
    limit_change(&rate->limit, interval_ns, router->now.mono_ns);
    int64_t when_ns = limit_when_ns(&rate->limit, router->now.mono_ns);
    for (unsigned i = 0; i < router->config->source_count; i++) {
        struct path *path = path_find(router, sender_rate_site(rate), i);
        if (path != NULL)
            path_hurry(path, when_ns);
    }
}

/* Works out what holds now; false: it has faded. */
static bool rate_apply(struct router *router, struct sender_rate *rate)
{
    const struct config_site *settings = path_settings(router->config, sender_rate_site(rate));
    struct learnt_now now;
    bool any = learnt_look(&rate->learnt, settings->max_connections, settings->recovery_ms,
                           router->now.wall_ms, &now);
    if (atomic_load_explicit(&rate->limit.interval_ns, memory_order_relaxed) != now.interval_ns)
        rate_change(router, rate, now.interval_ns);
    return any;
}

static void rate_save(struct router *router, struct sender_rate *rate)
{
    char name[POLICY_NAME_MAX];
    struct edits *edits = remember_edits(router);
    struct buf row;
    if (edits == NULL)
        return;
    struct str site = str_of(sender_rate_site(rate)), sender = str_of(sender_rate_sender(rate));
    int n = snprintf(name, sizeof name, "%s %s", site.p, sender.p);
    buf_init(&row, POLICY_VALUE_MAX);
    if (!rate->over)
        learnt_encode(&rate->learnt, site, sender, &row);
    if ((size_t)n >= sizeof name) /* a row that long is none: it is known until the next start */
        rate->dirty = false;
    else if (!row.failed)
        rate->dirty = !edits_policy(edits, POLICY_SENDER_RATE, str_make(name, (size_t)n), buf_str(&row));
    buf_free(&row);
}

/* The limit is gone with it: what still waits goes as fast as the path lets it. */
static void rate_end(struct router *router, struct sender_rate *rate)
{
    rate->learnt.interval_ns = rate->learnt.before_ns = 0;
    limit_change(&rate->limit, 0, router->now.mono_ns);
    rate->over = rate->dirty = true;
    aside_end(rate);
}

static void rate_free(struct router *router, struct sender_rate *rate)
{
    HASH_DEL(router->sender_rates, rate);
    free(rate);
}

static void rate_tend(struct router *router, struct sender_rate *rate)
{
    if (!rate->over && !rate_apply(router, rate))
        rate_end(router, rate);
    if (rate->dirty)
        rate_save(router, rate);
    if (rate->missed && rate->buffered <= SENDER_TAKEN_MAX / 2) {
        rate->missed = false;
        store_look_again(router->store);
    }
    if (!rate->over) {
        aside_refill(rate);
        return;
    }
    aside_sweep(rate);
    if (!rate->dirty && TAILQ_EMPTY(&rate->open) && TAILQ_EMPTY(&rate->full))
        rate_free(router, rate);
}

void sender_rates_tick(struct router *router)
{
    struct sender_rate *rate, *next;
    HASH_ITER(hh, router->sender_rates, rate, next)
    rate_tend(router, rate);
}

void sender_rates_end(struct router *router, const char *site)
{
    for (struct sender_rate *rate = router->sender_rates; rate != NULL; rate = rate->hh.next) {
        if (rate->over || strcasecmp(sender_rate_site(rate), site) != 0)
            continue;
        rate_end(router, rate);
        rate_save(router, rate);
    }
}

/* ---- lessons ---- */

/* How long from message to message of this sender at the site, about: the paths of all sources together,
 * divided as what is on its way now is. 0: not known. */
static int64_t sender_interval_ns(const struct path *path, struct str sender)
{
    const struct router *router = path->router;
    int64_t a_day = 0;
    unsigned all = 0, own = 0;
    for (const struct path *other = router->paths; other != NULL; other = other->hh.next) {
        if (strcmp(path_site(other), path_site(path)) != 0)
            continue;
        int64_t interval_ns = path_interval_ns(other);
        a_day += interval_ns > 0 ? DAY_NS / interval_ns : 0;
        for (const struct pool *pool = other->pools; pool != NULL; pool = pool->hh.next)
            shipment_count_sender(pool, sender, &all, &own);
    }
    if (a_day == 0)
        return 0;
    int64_t interval_ns = DAY_NS / a_day;
    return own > 0 && interval_ns < DAY_NS / (int64_t)all ? interval_ns * (int64_t)all / (int64_t)own
                                                          : interval_ns;
}

static void rate_note(struct sender_rate *rate, const struct path_lesson *lesson, int64_t now_ms)
{
    struct learnt *learnt = &rate->learnt;
    learnt->since_ms = now_ms;
    learnt->code = lesson->code;
    learnt->status = lesson->status;
    memcpy(learnt->reason, lesson->reason, sizeof learnt->reason);
}

void sender_rate_learn(struct path *path, const struct path_lesson *lesson)
{
    struct router *router = path->router;
    const struct reaction *reaction = &lesson->reaction;
    struct str sender = str_of(lesson->sender);
    struct sender_rate *rate = rate_get(router, str_of(path_site(path)), sender);
    if (rate == NULL)
        return;
    bool first = rate->learnt.interval_ns == 0;
    rate_note(rate, lesson, router->now.wall_ms);
    if (lesson->started_ns < rate->cut_ns)
        return;
    learnt_slow(&rate->learnt, sender_interval_ns(path, sender), rate_interval_ns(reaction->rate),
                reaction->for_ms, path->settings->recovery_ms, router->now.wall_ms);
    rate->cut_ns = router->now.mono_ns;
    rate->over = false;
    rate->dirty = true;
    rate_apply(router, rate);
    if (!first)
        return;
    aside_gather(router, rate);
    loan_return_sender(path, sender);
    log_info("%s: mail from %s is slowed: %s", path_site(path), lesson->sender, lesson->reason);
}

/* ---- from start to end ---- */

static bool load_one(struct str name, struct str value, void *user)
{
    struct router *router = user;
    struct str site, sender;
    struct learnt learnt;
    if (!learnt_decode(value, &learnt, &site, &sender) || site.n > DOMAIN_MAX || sender.n > DOMAIN_MAX) {
        log_error("what was learnt of a sender (%.*s) cannot be read from the store, and is not in force",
                  STR_ARG(name));
        return true;
    }
    struct sender_rate *rate =
        str_hash(site) % router->worker_count == router->index ? rate_get(router, site, sender) : NULL;
    if (rate == NULL)
        return true;
    rate->learnt = learnt;
    rate_apply(router, rate);
    return true;
}

void sender_rates_load(struct router *router)
{
    query_policy(router->store, POLICY_SENDER_RATE, load_one, router);
}

void sender_rates_free(struct router *router)
{
    struct sender_rate *rate, *next;
    HASH_ITER(hh, router->sender_rates, rate, next)
    rate_free(router, rate);
}
