/* path.c - see path.h. What is counted over all workers is in ledger.c, which tells of the window. */
#include "engine/route/path.h"

#include "engine/base/log.h"
#include "engine/base/names.h"
#include "engine/route/carrier.h"
#include "engine/route/lane_line.h"
#include "engine/route/loan.h"
#include "engine/route/path_learn.h"
#include "engine/route/pool.h"
#include "engine/route/source.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static void path_leave_line(struct path *path);

static size_t path_key(char key[sizeof(uint32_t) + DOMAIN_MAX + 1], const char *site, unsigned source)
{
    uint32_t index = source;
    memcpy(key, &index, sizeof index);
    size_t n = strnlen(site, DOMAIN_MAX);
    memcpy(key + sizeof index, site, n);
    key[sizeof index + n] = '\0';
    return sizeof index + n + 1;
}

struct path *path_find(struct router *router, const char *site, unsigned source)
{
    char key[sizeof(uint32_t) + DOMAIN_MAX + 1];
    size_t n = path_key(key, site, source);
    struct path *path;
    HASH_FIND(hh, router->paths, key, n, path);
    return path;
}

static void path_set_session(struct path *path, const struct config_site *site)
{
    path->session = (struct session_settings){
        .ehlo = path->source.ehlo,
        .timeouts = {.connect = site->connect_timeout_ms,
                     .greeting = site->greeting_timeout_ms,
                     .ehlo = site->helo_timeout_ms,
                     .mail = site->mail_timeout_ms,
                     .rcpt = site->rcpt_timeout_ms,
                     .data_start = site->data_timeout_ms,
                     .data_block = site->block_timeout_ms,
                     .data_end = site->end_timeout_ms,
                     .quit = site->quit_timeout_ms,
                     .idle = site->idle_timeout_ms,
                     .tls = site->tls_timeout_ms},
        .messages_max = site->max_messages_per_connection,
        .rcpts_max = site->max_recipients_per_transaction,
        .chunking = site->chunking,
    };
}

/* Whether the site has a path of this worker's from any source that is configured. */
static bool path_site_is_known(struct router *router, const char *site)
{
    for (unsigned i = 0; i < router->config->source_count; i++) {
        const struct path *path = path_find(router, site, i);
        if (path != NULL && !path->borrowed)
            return true;
    }
    return false;
}

/* With it, which is not in the table, there is one more site than without. */
static bool path_makes_site(const struct path *path)
{
    return !path->borrowed && path->source_index != PATH_SOURCE_GONE &&
           !path_site_is_known(path->router, path_site(path));
}

/* Copied, its names kept: the configuration may go before the last of its sessions does. */
static bool path_set_source(struct path *path, const struct config_source *source)
{
    const char *name = names_keep(source->name), *address = names_keep(source->address),
               *ehlo = names_keep(source->ehlo);
    const char *proxy = names_keep(source->proxy.text), *user = names_keep(source->proxy.user),
               *file = names_keep(source->proxy.password_file);
    if (name == NULL || address == NULL || ehlo == NULL || proxy == NULL || user == NULL || file == NULL)
        return false;
    path->source = *source;
    path->source.name = name;
    path->source.address = address;
    path->source.ehlo = ehlo;
    path->source.proxy.text = proxy;
    path->source.proxy.user = user;
    path->source.proxy.password_file = file;
    return true;
}

void path_enter(struct router *router, struct path *path, unsigned source)
{
    uint32_t index = source;
    if (source == PATH_SOURCE_GONE) /* none is looked for by it; any of them is as good */
        index = UINT32_MAX - router->gone_paths++ % (UINT32_MAX / 2);
    memcpy(path->key, &index, sizeof index);
    path->source_index = source;
    router->site_count += path_makes_site(path);
    HASH_ADD(hh, router->paths, key, path->key_size, path);
}

static struct path *path_make(struct router *router, const char *site, const struct config_site *settings,
                              unsigned source, bool borrowed)
{
    char key[sizeof(uint32_t) + DOMAIN_MAX + 1];
    size_t n = path_key(key, site, source);
    struct path *path = calloc(1, sizeof *path + n);
    if (path == NULL || !path_set_source(path, &router->config->sources[source])) {
        free(path);
        return NULL;
    }
    path->router = router;
    path->settings = settings;
    path->borrowed = borrowed;
    path->wait_tail = &path->wait_head;
    lane_line_init(&path->hungry);
    path->key_size = n;
    memcpy(path->key, key, n);
    path_set_session(path, settings);
    path_enter(router, path, source);
    return path;
}

struct path *path_get(struct router *router, const char *site, const struct config_site *settings,
                      unsigned source)
{
    struct path *path = path_find(router, site, source);
    if (path != NULL)
        return path;
    path = path_make(router, site, settings, source, false);
    if (path == NULL)
        return NULL;
    ledger_init(&path->own);
    path->ledger = &path->own;
    limit_set(&path->own.messages, settings->max_rate.count, settings->max_rate.per_ms);
    limit_set(&path->own.connects, settings->max_connection_rate.count, settings->max_connection_rate.per_ms);
    source_mark(path);
    return path;
}

struct path *path_borrow(struct router *router, const struct loan *loan)
{
    unsigned source = 0;
    while (source < router->config->source_count &&
           strcmp(router->config->sources[source].name, loan->source) != 0)
        source++;
    if (source == router->config->source_count)
        return NULL; /* a reload came between: one of the two does not know of it */
    struct path *path = path_find(router, loan->site, source);
    if (path != NULL)
        return path;
    path = path_make(router, loan->site, path_settings(router->config, loan->site), source, true);
    if (path == NULL)
        return NULL;
    path->ledger = loan->ledger;
    return path;
}

const struct config_site *path_settings(const struct config *config, const char *site)
{
    for (size_t i = 0; i < config->site_count; i++)
        if (strcmp(config->sites[i].name, site) == 0)
            return &config->sites[i];
    return &config->site_default;
}

void path_settle_in(struct path *path, const struct config_site *settings)
{
    const struct router *router = path->router;
    int64_t now_ns = router->now.mono_ns;
    if (path->source_index != PATH_SOURCE_GONE)
        path_set_source(path, &router->config->sources[path->source_index]); /* without memory: as before */
    path->settings = settings;
    path_set_session(path, settings);
    if (path->borrowed)
        return; /* its owner sees to the words */
    limit_set_anew(&path->own.messages, settings->max_rate.count, settings->max_rate.per_ms, now_ns);
    limit_set_anew(&path->own.connects, settings->max_connection_rate.count,
                   settings->max_connection_rate.per_ms, now_ns);
    path_trim(path);
    path_wake_at(path, now_ns);
}

void path_free(struct path *path)
{
    wheel_cancel(&path->router->wheel, &path->timer);
    path_leave_line(path);
    path_learn_end(path);
    HASH_DEL(path->router->paths, path);
    path->router->site_count -= path_makes_site(path);
    free(path);
}

/* Nothing about it would be missed: a new one would behave the same. */
static bool path_is_forgettable(const struct path *path)
{
    int64_t now_ns = path->router->now.mono_ns;
    const struct ledger *ledger = path->ledger;
    return path->pools == NULL && path->asked == 0 && !path->learning && path->loans == 0 &&
           !path->borrowed && !path->parked && ledger_pause_until_ns(ledger) <= now_ns &&
           ledger_pauses(ledger) == 0 && limit_when_ns(&ledger->messages, now_ns) <= now_ns &&
           limit_when_ns(&ledger->connects, now_ns) <= now_ns && path_rate_1m(path) == 0;
}

void path_sweep(struct router *router)
{
    struct path *path, *next;
    HASH_ITER(hh, router->paths, path, next)
    if (path_is_forgettable(path))
        path_free(path);
}

static struct path_answer path_no(const char *limit, int64_t until_ns)
{
    return (struct path_answer){false, limit, until_ns};
}

bool path_sessions_used_up(const struct router *router)
{
    return router->short_until_ns > router->now.mono_ns ||
           atomic_load_explicit(router->sessions_all, memory_order_relaxed) >= router->sessions_max;
}

/* How many connections this worker may have at most: what is lent is not its own. */
static bool path_is_at(const struct path *path, unsigned most)
{
    return path->connections + path->lent >= most || ledger_connections(path->ledger) >= most;
}

/* Ends sessions beyond what the path may have, of each pool in proportion. */
void path_trim(struct path *path)
{
    unsigned have = path->connections, may = ledger_allows(path->ledger, path->settings->max_connections);
    if (have <= may)
        return;
    for (struct pool *pool = path->pools; pool != NULL; pool = pool->hh.next)
        carrier_trim(pool, pool->open - pool->open * may / have);
}

bool path_is_full(const struct path *path)
{
    return path_is_at(path, ledger_allows(path->ledger, path->settings->max_connections));
}

bool path_has_too_many(const struct path *path)
{
    return path->connections + path->lent > ledger_allows(path->ledger, path->settings->max_connections);
}

struct path_answer path_check(const struct path *path, enum path_use use)
{
    int64_t now_ns = path->router->now.mono_ns, until_ns = ledger_pause_until_ns(path->ledger);
    if (until_ns > now_ns)
        return path_no(until_ns != LEDGER_STOPPED                                           ? "pause"
                       : atomic_load_explicit(&path->ledger->drained, memory_order_relaxed) ? "drain"
                                                                                            : "stop",
                       until_ns);
    int64_t when_ns = limit_when_ns(&path->ledger->slowed, now_ns);
    if (when_ns > now_ns)
        return path_no("slow", when_ns);
    when_ns = limit_when_ns(&path->ledger->messages, now_ns);
    if (when_ns > now_ns)
        return path_no("max_rate", when_ns);
    if (use == PATH_CONNECT) {
        if (path_is_at(path, path->settings->max_connections))
            return path_no("max_connections", INT64_MAX);
        if (path_is_full(path))
            return path_no("backoff", INT64_MAX);
        if (limit_is_set(&path->ledger->slowed) && path->connecting > 0)
            return path_no("slow", INT64_MAX); /* one at a time: there is little to send */
        when_ns = limit_when_ns(&path->ledger->connects, now_ns);
        if (when_ns > now_ns)
            return path_no("max_connection_rate", when_ns);
        if (path->router->short_until_ns > now_ns)
            return path_no("resources", path->router->short_until_ns);
        if (path_sessions_used_up(path->router))
            return path_no("sessions", INT64_MAX);
    }
    return (struct path_answer){true, "", 0};
}

bool path_connecting(struct path *path)
{
    if (!ledger_open(path->ledger, path->settings->max_connections, path->router->now.mono_ns))
        return false;
    path->connections++;
    path->connecting++;
    path->router->sessions++;
    atomic_fetch_add_explicit(path->router->sessions_all, 1, memory_order_relaxed);
    return true;
}

void path_connected(struct path *path)
{
    path->connecting--;
    ledger_opened(path->ledger, path->settings->max_connections, path->router->now.mono_ns);
}

void path_connection_over(struct path *path, bool was_ready, enum path_end end)
{
    path->connections--;
    path->router->sessions--;
    path->router->short_until_ns = 0; /* what it held is free */
    atomic_fetch_sub_explicit(path->router->sessions_all, 1, memory_order_relaxed);
    if (!was_ready)
        path->connecting--;
    ledger_closed(path->ledger, was_ready, end, path->router->now.mono_ns);
}

void path_worked(struct path *path)
{
    if (path->wait_head == NULL)
        return;
    ledger_grow(path->ledger, path->settings->max_connections, path->router->now.mono_ns);
    path_serve(path);
}

bool path_send(struct path *path)
{
    int64_t now_ns = path->router->now.mono_ns;
    return limit_try(&path->ledger->slowed, now_ns) && limit_try(&path->ledger->messages, now_ns);
}

bool path_is_tls_only(const struct path *path)
{
    return path->settings->tls != TLS_POLICY_NONE &&
           atomic_load_explicit(&path->ledger->tls_only, memory_order_relaxed);
}

void path_note_refused(struct path *path, bool nobody)
{
    path->refusing -= path->refusing / REFUSING_LAST;
    path->refusing += nobody ? REFUSING_ALL / REFUSING_LAST : 0;
}

bool path_refuses_often(const struct path *path)
{
    return path->refusing > REFUSING_OFTEN;
}

unsigned path_rcpts_max(const struct path *path)
{
    unsigned most = path->settings->max_recipients_per_transaction;
    unsigned learnt = atomic_load_explicit(&path->ledger->rcpts_max, memory_order_relaxed);
    return learnt > 0 && learnt < most ? learnt : most;
}

/* ---- figures ---- */

/* Moves the ring on to this second, emptying what it passes. */
static void minute_move(struct minute *minute, int64_t now_s)
{
    if (now_s - minute->at_s >= 60)
        memset(minute->count, 0, sizeof minute->count);
    else
        for (int64_t s = minute->at_s + 1; s <= now_s; s++)
            minute->count[s % 60] = 0;
    minute->at_s = now_s;
}

static void minute_count(struct minute *minute, int64_t now_s)
{
    if (minute->at_s != now_s)
        minute_move(minute, now_s);
    minute->count[now_s % 60]++;
}

static uint64_t minute_sum(const struct minute *minute, int64_t now_s)
{
    uint64_t sum = 0;
    for (int64_t s = minute->at_s; s >= 0 && s > now_s - 60 && s > minute->at_s - 60; s--)
        sum += minute->count[s % 60];
    return sum;
}

void path_count(struct path *path, enum verdict_outcome outcome)
{
    struct router *router = path->router;
    if (outcome == VERDICT_DELIVERED) {
        int64_t now_s = router->now.mono_ns / NS_PER_S;
        minute_count(&path->figures.minute, now_s);
        minute_count(&router->figures.minute, now_s);
        path->figures.delivered++;
        router->figures.delivered++;
        ledger_delivered(path->ledger);
    } else if (outcome == VERDICT_DEFERRED) {
        path->figures.deferred++;
        router->figures.deferred++;
    } else if (outcome == VERDICT_FAILED) {
        path->figures.failed++;
        router->figures.failed++;
    }
}

uint64_t path_rate_1m(const struct path *path)
{
    return minute_sum(&path->figures.minute, path->router->now.mono_ns / NS_PER_S);
}

uint64_t path_rates_1m(const struct router *router)
{
    return minute_sum(&router->figures.minute, router->now.mono_ns / NS_PER_S);
}

void path_add_figures(struct path *path, const struct figures *other)
{
    struct figures *sum = &path->figures;
    int64_t now_s = path->router->now.mono_ns / NS_PER_S;
    minute_move(&sum->minute, now_s);
    for (int64_t s = other->minute.at_s; s >= 0 && s > now_s - 60 && s > other->minute.at_s - 60; s--)
        if (s <= now_s)
            sum->minute.count[s % 60] += other->minute.count[s % 60];
    sum->delivered += other->delivered;
    sum->deferred += other->deferred;
    sum->failed += other->failed;
}

void path_note(struct path *path, const struct verdict *why)
{
    snprintf(path->reason, sizeof path->reason, "%.*s", (int)why->text_size, why->text);
}

void path_hold(struct path *path)
{
    for (struct pool *pool = path->pools; pool != NULL; pool = pool->hh.next)
        pool_hold(pool);
    path_wake_at(path, ledger_pause_until_ns(path->ledger)); /* a stop has no time */
}

int64_t path_pause(struct path *path, const struct verdict *why)
{
    struct router *router = path->router;
    int64_t now_ns = router->now.mono_ns;
    /* Sessions that hear the same at once are one pause. */
    if (ledger_pause_until_ns(path->ledger) > now_ns)
        return ledger_pause_until_ns(path->ledger);
    int64_t ms = retry_pause_ms(path->settings->pause_ms, path->settings->pause_max_ms,
                                ledger_pauses(path->ledger), &router->prng);
    if (why->wait_s > 0)
        ms = (int64_t)why->wait_s * MS_PER_S;
    bool fresh;
    int64_t until_ns = ledger_pause(path->ledger, now_ns, now_ns + ms * NS_PER_MS, &fresh);
    if (fresh) {
        path_note(path, why);
        path_hold(path);
        loan_tell_pause(path);
        path_learn_pause(path);
    }
    return until_ns;
}

void path_wait(struct path *path, struct pool *pool)
{
    if (pool->waiting)
        return;
    pool->waiting = true;
    pool->wait_next = NULL;
    *path->wait_tail = pool;
    path->wait_tail = &pool->wait_next;
}

void path_unwait(struct path *path, struct pool *pool)
{
    if (!pool->waiting)
        return;
    struct pool **link = &path->wait_head;
    while (*link != pool)
        link = &(*link)->wait_next;
    *link = pool->wait_next;
    if (path->wait_tail == &pool->wait_next)
        path->wait_tail = link;
    pool->waiting = false;
}

/* All sessions of the worker are in use: the path waits until any ends. */
static void path_line_up(struct path *path)
{
    /* Another worker's session may end without our hearing of it, each time. */
    path_wake_at(path, path->router->now.mono_ns + LINE_LOOK_MS * NS_PER_MS);
    if (path->in_line)
        return;
    path->in_line = true;
    path->line_next = NULL;
    *path->router->line_tail = path;
    path->router->line_tail = &path->line_next;
}

void path_ran_short(struct path *path, struct pool *pool, const struct err *why)
{
    struct router *router = path->router;
    int64_t now_ns = router->now.mono_ns;
    router->short_until_ns = now_ns + SHORT_WAIT_MS * NS_PER_MS;
    if (log_gate_pass(&router->short_said, now_ns, SHORT_TOLD_MS, NULL))
        log_warn("%s: mail waits and goes on by itself; raise the limit of open files (ulimit -n, or "
                 "LimitNOFILE= of the service) or of memory, or lower max_connections",
                 why->text);
    path_wait(path, pool);
    path_line_up(path);
    path_wake_at(path, router->short_until_ns);
}

static void path_leave_line(struct path *path)
{
    if (!path->in_line)
        return;
    struct router *router = path->router;
    struct path **link = &router->line;
    while (*link != path)
        link = &(*link)->line_next;
    *link = path->line_next;
    if (router->line_tail == &path->line_next)
        router->line_tail = link;
    path->in_line = false;
}

void path_serve_line(struct router *router)
{
    if (router->line == NULL || path_sessions_used_up(router))
        return;
    struct path *path = router->line;
    path_leave_line(path);
    path_serve(path);
}

void path_serve(struct path *path)
{
    /* Each that waits now has one turn; who still wants joins the end again. */
    struct pool *last =
        path->wait_head ? (struct pool *)((char *)path->wait_tail - offsetof(struct pool, wait_next)) : NULL;
    while (path->wait_head != NULL) {
        struct path_answer answer = path_check(path, PATH_CONNECT);
        if (!answer.yes) {
            path_wake_at(path, answer.until_ns);
            if (path_sessions_used_up(path->router))
                path_line_up(path);
            if (path->borrowed || path->loans > 0) /* another worker's session may end unheard of */
                path_wake_at(path, path->router->now.mono_ns + LOAN_WAIT_MS * NS_PER_MS);
            return;
        }
        struct pool *pool = path->wait_head;
        path_unwait(path, pool);
        pool_connect_one(pool);
        if (pool == last)
            return;
    }
}

/* The store tells again of lanes that it has been told to forget; one that it has not come to yet asks anew
 * when it answers. */
static void path_unpark(struct path *path)
{
    path->parked = false;
    for (const struct pool *pool = path->pools; pool != NULL; pool = pool->hh.next)
        for (const struct strand *strand = pool->strands; strand != NULL; strand = strand->pool_next)
            strand->lane->renewed |= strand->lane->taking;
    store_look_again(path->router->store);
}

static void path_fire(struct wheel_timer *timer, struct now now)
{
    (void)now; /* the router's now is as fresh */
    struct path *path = (struct path *)((char *)timer - offsetof(struct path, timer));
    if (path->parked && ledger_pause_until_ns(path->ledger) <= path->router->now.mono_ns)
        path_unpark(path);
    if (ledger_pause_until_ns(path->ledger) > path->router->now.mono_ns)
        path_wake_at(path, ledger_pause_until_ns(path->ledger)); /* it fired for a limit that ended sooner */
    for (struct pool *pool = path->pools; pool != NULL; pool = pool->hh.next)
        pool_touch(pool);
    path_serve(path);
}

void path_hurry(struct path *path, int64_t mono_ns)
{
    if (wheel_is_set(&path->timer))
        path_wake_at(path, mono_ns);
}

void path_wake_at(struct path *path, int64_t mono_ns)
{
    int64_t look_ns = path->router->now.mono_ns + LOAN_LOOK_MS * NS_PER_MS;
    if (mono_ns == INT64_MAX)
        return;
    if (path->borrowed && mono_ns > look_ns) /* by its owner's words, which may change unheard of */
        mono_ns = look_ns;
    if (wheel_is_set(&path->timer) && path->timer.at_ms * NS_PER_MS <= mono_ns + NS_PER_MS)
        return;
    wheel_set(&path->router->wheel, &path->timer, mono_ns, path_fire);
}
