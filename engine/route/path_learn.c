/* path_learn.c - see path_learn.h. */
#include "engine/route/path_learn.h"

#include "engine/base/log.h"
#include "engine/route/loan.h"
#include "engine/route/path.h"
#include "engine/route/pool.h"
#include "engine/route/remember.h"
#include "engine/route/sender_rate.h"
#include "engine/rules/rules.h"

#include <stdatomic.h>
#include <stdio.h>

#define RATE_S 10 /* seconds over which it is measured how fast a path is */

static int64_t wall_ms(const struct path *path)
{
    return path->router->now.wall_ms;
}

/* ---- into force ---- */

static void path_set(_Atomic unsigned *word, unsigned value)
{
    if (atomic_load_explicit(word, memory_order_relaxed) != value)
        atomic_store_explicit(word, value, memory_order_relaxed);
}

/* Works out what holds now. False: nothing is left. */
static bool path_apply(struct path *path)
{
    struct router *router = path->router;
    struct ledger *ledger = path->ledger;
    struct learnt_now now;
    bool any = learnt_look(&path->learnt, path->settings->max_connections, path->settings->recovery_ms,
                           router->now.wall_ms, &now);
    unsigned cap = atomic_load_explicit(&ledger->cap, memory_order_relaxed);
    if (atomic_load_explicit(&ledger->slowed.interval_ns, memory_order_relaxed) != now.interval_ns) {
        limit_change(&ledger->slowed, now.interval_ns, router->now.mono_ns);
        path_hurry(path, limit_when_ns(&ledger->slowed, router->now.mono_ns));
    }
    path_set(&ledger->cap, now.cap);
    path_set(&ledger->rcpts_max, now.rcpts_max);
    path_set(&ledger->messages_max, now.messages_max);
    atomic_store_explicit(&ledger->tls_only, now.tls_only, memory_order_relaxed);
    if (now.cap > 0 && (cap == 0 || now.cap < cap))
        path_trim(path);
    else if (now.cap != cap)
        path_serve(path);
    return any;
}

/* Something was learnt: in force at once, written down soon. */
static void path_learnt(struct path *path)
{
    struct router *router = path->router;
    path->dirty = true;
    if (!path->learning) {
        path->learning = true;
        LIST_INSERT_HEAD(&router->learners, path, learner);
    }
    path_apply(path);
}

/* ---- written down ---- */

static void path_save(struct path *path, bool any)
{
    char name[POLICY_NAME_MAX];
    struct edits *edits = remember_edits(path->router);
    struct buf row;
    if (edits == NULL)
        return;
    int n = snprintf(name, sizeof name, "%s %s", path_site(path), path->source.name);
    buf_init(&row, POLICY_VALUE_MAX);
    if (any)
        learnt_encode(&path->learnt, str_of(path_site(path)), str_of(path->source.name), &row);
    if (n > 0 && (size_t)n < sizeof name && !row.failed)
        path->dirty = !edits_policy(edits, POLICY_PATH, str_make(name, (size_t)n), buf_str(&row));
    buf_free(&row);
}

void path_learn_tick(struct router *router)
{
    struct path *path, *next;
    for (path = LIST_FIRST(&router->learners); path != NULL; path = next) {
        next = LIST_NEXT(path, learner);
        bool any = path_apply(path);
        if (path->dirty || !any)
            path_save(path, any);
        if (!any) {
            path->learning = false;
            LIST_REMOVE(path, learner);
        }
    }
}

void path_learn_end(struct path *path)
{
    if (path->learning)
        LIST_REMOVE(path, learner);
    path->learning = false;
}

/* ---- lessons ---- */

/* While it is held, the words for it stay those that hold it: sessions on their way may still hear others. */
static void path_note_lesson(struct path *path, const struct path_lesson *lesson)
{
    struct learnt *learnt = &path->learnt;
    enum reaction_kind kind = lesson->reaction.kind;
    bool holds = kind == REACTION_STOP || kind == REACTION_FIX || kind == REACTION_PAUSE;
    if (learnt->stopped_ms != 0 || (!holds && learnt->pause_until_ms > wall_ms(path)))
        return;
    learnt->since_ms = wall_ms(path);
    learnt->code = lesson->code;
    learnt->status = lesson->status;
    memcpy(learnt->reason, lesson->reason, sizeof learnt->reason);
    memcpy(path->reason, lesson->reason, sizeof path->reason);
}

int64_t path_interval_ns(const struct path *path)
{
    const struct minute *minute = &path->figures.minute;
    int64_t now_s = path->router->now.mono_ns / NS_PER_S;
    uint64_t sum = 0, most = 0;
    for (int64_t s = minute->at_s; s >= 0 && s > now_s - RATE_S && s > minute->at_s - RATE_S; s--) {
        sum += minute->count[s % 60];
        if (s >= now_s - 1 && minute->count[s % 60] > most)
            most = minute->count[s % 60];
    }
    uint64_t rate = most > sum / RATE_S ? most : sum / RATE_S;
    unsigned own = path->connections, all = ledger_connections(path->ledger);
    if (own > 0 && all > own) /* what others deliver is not known, but about how many they are */
        rate = rate * all / own;
    return rate > 0 ? NS_PER_S / (int64_t)rate : sum > 0 ? RATE_S * NS_PER_S / (int64_t)sum : 0;
}

int64_t rate_interval_ns(struct rate rate)
{
    return rate.count > 0 ? rate.per_ms * NS_PER_MS / (int64_t)rate.count : 0;
}

static void path_slow(struct path *path, const struct reaction *reaction)
{
    unsigned half = ledger_ready(path->ledger) / 2;
    learnt_slow(&path->learnt, path_interval_ns(path), rate_interval_ns(reaction->rate), reaction->for_ms,
                path->settings->recovery_ms, wall_ms(path));
    learnt_cap(&path->learnt, half, 0, path->settings->recovery_ms, wall_ms(path));
}

static void path_cap(struct path *path, const struct reaction *reaction)
{
    unsigned open = ledger_ready(path->ledger);
    unsigned cap = reaction->connections > 0 ? reaction->connections : open > 1 ? open - 1 : 1;
    learnt_cap(&path->learnt, cap, reaction->for_ms, path->settings->recovery_ms, wall_ms(path));
}

/* Held until then (LEDGER_STOPPED: for an operator), unless it is already for longer. */
static void path_hold_until(struct path *path, int64_t until_ns, unsigned pauses)
{
    if (ledger_pause_until_ns(path->ledger) >= until_ns)
        return;
    ledger_set_pause(path->ledger, until_ns, pauses);
    path_hold(path);
    loan_tell_pause(path);
    path_learn_pause(path);
}

static void path_pause_for(struct path *path, int64_t ms)
{
    struct ledger *ledger = path->ledger;
    unsigned before = ledger_pauses(ledger);
    bool paused = ledger_pause_until_ns(ledger) > path->router->now.mono_ns;
    if (ms == 0 && paused)
        return; /* sessions that hear the same at once are one pause */
    if (ms == 0)
        ms = retry_pause_ms(path->settings->pause_ms, path->settings->pause_max_ms, before,
                            &path->router->prng);
    path_hold_until(path, path->router->now.mono_ns + ms * NS_PER_MS, before + !paused);
}

static void path_stop(struct path *path)
{
    struct router *router = path->router;
    if (path->learnt.stopped_ms != 0)
        return;
    path->learnt.stopped_ms = wall_ms(path);
    path_hold_until(path, LEDGER_STOPPED, ledger_pauses(path->ledger));
    path_save(path, true);
    remember_alert(router, str_of(path_site(path)), str_of(path->source.name), STR(""),
                   "stopped from source %s until 'postrider resume --site %s': %s", path->source.name,
                   path_site(path), path->reason);
}

/* How many recipients have heard what became of them. */
static uint64_t path_answered(const struct path *path)
{
    return path->figures.delivered + path->figures.deferred + path->figures.failed;
}

/* A new connection at once the first time; when nothing at all was answered since, after a pause. */
static void path_reconnect(struct path *path, const struct path_lesson *lesson)
{
    const struct reaction *reaction = &lesson->reaction;
    if (reaction->messages > 0) {
        path->learnt.messages_max = reaction->messages;
        path->learnt.messages_until_ms = wall_ms(path) + MESSAGES_MS;
    }
    if (lesson->started_ns < path->reconnect_ns)
        return;
    bool again = path->reconnects > 0 && path_answered(path) == path->reconnect_answered;
    if (again)
        path_pause_for(path, retry_pause_ms(RECONNECT_MS, path->settings->pause_max_ms, path->reconnects - 1,
                                            &path->router->prng));
    path->reconnects = again ? path->reconnects + 1 : 1;
    path->reconnect_answered = path_answered(path);
    path->reconnect_ns = path->router->now.mono_ns;
}

static void path_split(struct path *path, unsigned recipients)
{
    struct learnt *learnt = &path->learnt;
    unsigned most = recipients > 1 ? recipients / 2 : 1;
    if (learnt->rcpts_until_ms <= wall_ms(path) || most < learnt->rcpts_max)
        learnt->rcpts_max = most;
    learnt->rcpts_until_ms = wall_ms(path) + SPLIT_MS;
}

void path_learn(struct path *path, const struct path_lesson *lesson)
{
    const struct reaction *reaction = &lesson->reaction;
    if (lesson->of_sender) {
        sender_rate_learn(path, lesson);
        return;
    }
    path_note_lesson(path, lesson);
    if ((reaction->slow || reaction->cap) && lesson->started_ns >= path->cut_ns) {
        if (reaction->slow)
            path_slow(path, reaction);
        if (reaction->cap)
            path_cap(path, reaction);
        path->cut_ns = path->router->now.mono_ns;
    }
    switch (reaction->kind) {
    case REACTION_PAUSE:
        path_pause_for(path, reaction->wait_ms > 0 ? reaction->wait_ms : lesson->wait_ms);
        break;
    case REACTION_STOP:
    case REACTION_FIX: /* of the source, or where no sender is known: before a transaction */
        path_stop(path);
        break;
    case REACTION_RECONNECT:
        path_reconnect(path, lesson);
        break;
    case REACTION_SPLIT:
        path_split(path, lesson->recipients);
        break;
    case REACTION_TLS:
        path->learnt.tls_until_ms = wall_ms(path) + TLS_ONLY_MS;
        break;
    default:
        break;
    }
    path_learnt(path);
}

void path_learn_pause(struct path *path)
{
    int64_t until_ns = ledger_pause_until_ns(path->ledger), now_ns = path->router->now.mono_ns;
    struct learnt *learnt = &path->learnt;
    if (path->borrowed)
        return; /* its owner does */
    if (until_ns != LEDGER_STOPPED)
        learnt->pause_until_ms = wall_ms(path) + (until_ns - now_ns) / NS_PER_MS;
    learnt->pauses = ledger_pauses(path->ledger);
    if (learnt->reason[0] == '\0' || learnt->since_ms < wall_ms(path)) {
        learnt->since_ms = wall_ms(path);
        memcpy(learnt->reason, path->reason, sizeof learnt->reason);
    }
    path_learnt(path);
}

const char *path_reason(const struct path *path)
{
    const struct learnt *learnt = &path->learnt;
    bool held = learnt->stopped_ms != 0 || learnt->pause_until_ms > wall_ms(path);
    return held ? learnt->reason : path->reason;
}

/* ---- by an operator ---- */

static void path_end_pause(struct path *path)
{
    path->learnt.stopped_ms = path->learnt.pause_until_ms = 0;
    ledger_set_pause(path->ledger, 0, 0);
    path_wake_at(path, path->router->now.mono_ns);
    loan_tell_pause(path);
}

/* At once, for somebody waits for it. */
static void path_learnt_now(struct path *path)
{
    path_learnt(path);
    path_save(path, path_apply(path));
}

bool path_release(struct path *path)
{
    if (path->learnt.stopped_ms == 0)
        return false;
    path_end_pause(path);
    path_learnt_now(path);
    return true;
}

void path_back_off(struct path *path)
{
    path_slow(path, &(struct reaction){.slow = true});
    path->cut_ns = path->router->now.mono_ns;
    path_learnt_now(path);
}

void path_speed_up(struct path *path)
{
    struct learnt *learnt = &path->learnt;
    learnt->interval_ns = learnt->before_ns = 0;
    learnt->cap = learnt->rcpts_max = learnt->messages_max = 0;
    learnt->rcpts_until_ms = learnt->messages_until_ms = learnt->tls_until_ms = 0;
    if (learnt->stopped_ms == 0)
        path_end_pause(path);
    path_learnt_now(path);
}

void path_forget(struct path *path)
{
    path_end_pause(path);
    path->learnt = (struct learnt){0};
    path->reason[0] = '\0';
    path->reconnects = 0;
    ledger_reset(path->ledger);
    path_learnt_now(path);
}

/* ---- at the start ---- */

static bool load_one(struct str name, struct str value, void *user)
{
    struct router *router = user;
    const struct config *config = router->config;
    struct str site, source;
    struct learnt learnt;
    char text[DOMAIN_MAX + 1] = "";
    if (!learnt_decode(value, &learnt, &site, &source) || site.n > DOMAIN_MAX) {
        log_error("what was learnt of %.*s cannot be read from the store, and is not in force",
                  STR_ARG(name));
        return true;
    }
    memcpy(text, site.p, site.n);
    unsigned at = 0;
    while (at < config->source_count && !str_eq(str_of(config->sources[at].name), source))
        at++;
    if (str_hash(site) % router->worker_count != router->index || at == config->source_count)
        return true;
    struct path *path = path_get(router, text, path_settings(config, text), at);
    if (path == NULL)
        return true;
    path->learnt = learnt;
    memcpy(path->reason, learnt.reason, sizeof path->reason);
    int64_t left_ms = learnt.pause_until_ms - router->now.wall_ms;
    if (learnt.stopped_ms != 0 || left_ms > 0)
        ledger_set_pause(path->ledger,
                         learnt.stopped_ms != 0 ? LEDGER_STOPPED : router->now.mono_ns + left_ms * NS_PER_MS,
                         learnt.pauses);
    path_wake_at(path, ledger_pause_until_ns(path->ledger)); /* its lanes ask for nothing until then */
    path_learnt(path);
    return true;
}

void path_learn_load(struct router *router)
{
    query_policy(router->store, POLICY_PATH, load_one, router);
}
