/* path.c - see path.h.
 *
 * The window starts at WINDOW_START, grows by one with each connection that gets through to EHLO (so it
 * doubles while all goes well) up to max_connections, and shrinks by a quarter with each one that fails; one
 * that is refused while others are open tells how many the receiver wants, and that is believed for a while.
 * Fractions, not steps of one: a path of 500 connections that lost its host would need 500 failures to come
 * down. */
#include "engine/route/path.h"

#include "engine/route/pool.h"

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
        .ehlo = path->source->ehlo,
        .tls = site->tls == CONFIG_TLS_MAY ? TLS_POLICY_MAY : TLS_POLICY_NONE,
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
    };
}

/* Whether the site has a path from any source. */
static bool path_site_is_known(struct router *router, const char *site)
{
    for (unsigned i = 0; i < router->config->source_count; i++)
        if (path_find(router, site, i) != NULL)
            return true;
    return false;
}

struct path *path_get(struct router *router, const char *site, const struct config_site *settings,
                      unsigned source)
{
    struct path *path = path_find(router, site, source);
    if (path != NULL)
        return path;
    char key[sizeof(uint32_t) + DOMAIN_MAX + 1];
    size_t n = path_key(key, site, source);
    path = calloc(1, sizeof *path + n);
    if (path == NULL)
        return NULL;
    path->router = router;
    path->settings = settings;
    path->source = &router->config->sources[source];
    path->wait_tail = &path->wait_head;
    path->hungry.tail = &path->hungry.head;
    path->window = WINDOW_START;
    path->key_size = n;
    memcpy(path->key, key, n);
    limit_set(&path->messages, settings->max_rate.count, settings->max_rate.per_ms);
    limit_set(&path->connects, settings->max_connection_rate.count, settings->max_connection_rate.per_ms);
    path_set_session(path, settings);
    router->site_count += path_site_is_known(router, site) ? 0 : 1;
    HASH_ADD(hh, router->paths, key, n, path);
    return path;
}

void path_free(struct path *path)
{
    wheel_cancel(&path->router->wheel, &path->timer);
    path_leave_line(path);
    HASH_DEL(path->router->paths, path);
    path->router->site_count -= path_site_is_known(path->router, path_site(path)) ? 0 : 1;
    free(path);
}

/* Nothing about it would be missed: a new one would behave the same. */
static bool path_is_forgettable(const struct path *path)
{
    int64_t now_ns = path->router->now.mono_ns;
    return path->pools == NULL && path->asked == 0 && path->pause_until_ns <= now_ns && path->pauses == 0 &&
           path->messages.ready_ns <= now_ns && path->connects.ready_ns <= now_ns && path_rate_1m(path) == 0;
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
    return atomic_load_explicit(router->sessions_all, memory_order_relaxed) >= router->sessions_max;
}

struct path_answer path_check(const struct path *path, enum path_use use)
{
    int64_t now_ns = path->router->now.mono_ns;
    if (path->pause_until_ns > now_ns)
        return path_no("pause", path->pause_until_ns);
    int64_t when_ns = limit_when_ns(&path->messages, now_ns);
    if (when_ns > now_ns)
        return path_no("max_rate", when_ns);
    if (use == PATH_CONNECT) {
        if (path->connections >= path->settings->max_connections)
            return path_no("max_connections", INT64_MAX);
        if ((double)path->connections >= path->window)
            return path_no("backoff", INT64_MAX);
        when_ns = limit_when_ns(&path->connects, now_ns);
        if (when_ns > now_ns)
            return path_no("max_connection_rate", when_ns);
        if (path_sessions_used_up(path->router))
            return path_no("sessions", INT64_MAX);
    }
    return (struct path_answer){true, "", 0};
}

void path_connecting(struct path *path)
{
    path->connections++;
    path->connecting++;
    path->router->sessions++;
    atomic_fetch_add_explicit(path->router->sessions_all, 1, memory_order_relaxed);
    limit_use(&path->connects, 1, path->router->now.mono_ns);
}

static void path_grow(struct path *path)
{
    if (path->window >= path->ceiling && path->router->now.mono_ns < path->ceiling_until_ns)
        return;
    if (path->window < (double)path->settings->max_connections)
        path->window += 1;
}

/* What is open now is what the receiver wants: asked again after a time that doubles as long as it says so.
 * */
static void path_refused(struct path *path, double open)
{
    int64_t now_ns = path->router->now.mono_ns;
    path->window = path->ceiling = open;
    if (path->ceiling_until_ns > now_ns)
        return; /* connections that hear the same at once are one refusal */
    int64_t ms = WINDOW_CEILING_MS << (path->refusals < WINDOW_CEILING_DOUBLED ? path->refusals
                                                                               : WINDOW_CEILING_DOUBLED);
    path->refusals++;
    path->ceiling_until_ns = now_ns + ms * NS_PER_MS;
}

void path_connected(struct path *path)
{
    path->connecting--;
    if (path->connections - path->connecting > path->ceiling)
        path->refusals = 0; /* it takes more now */
    path_grow(path);
}

void path_connection_over(struct path *path, bool was_ready, enum path_end end)
{
    path->connections--;
    path->router->sessions--;
    atomic_fetch_sub_explicit(path->router->sessions_all, 1, memory_order_relaxed);
    if (!was_ready)
        path->connecting--;
    if (end == PATH_END_FINE)
        return;
    double open = (double)(path->connections - path->connecting);
    if (end == PATH_END_REFUSED)
        path_refused(path, open > 1 ? open : 1);
    else
        path->window -= path->window / 4;
    if (path->window < 1)
        path->window = 1;
}

void path_worked(struct path *path)
{
    if (path->wait_head == NULL)
        return;
    path_grow(path);
    path_serve(path);
}

void path_sent(struct path *path)
{
    limit_use(&path->messages, 1, path->router->now.mono_ns);
}

/* Moves the minute's ring on to this second, emptying what it passes. */
static void path_minute(struct path *path)
{
    int64_t now_s = path->router->now.mono_ns / NS_PER_S;
    if (now_s - path->minute_at_s >= 60)
        memset(path->minute, 0, sizeof path->minute);
    else
        for (int64_t s = path->minute_at_s + 1; s <= now_s; s++)
            path->minute[s % 60] = 0;
    path->minute_at_s = now_s;
}

void path_count(struct path *path, enum verdict_outcome outcome)
{
    if (outcome == VERDICT_DELIVERED) {
        path_minute(path);
        path->minute[path->minute_at_s % 60]++;
        path->delivered++;
        path->router->delivered++;
        path->pauses = 0;
    } else if (outcome == VERDICT_DEFERRED) {
        path->deferred++;
        path->router->deferred++;
    } else if (outcome == VERDICT_FAILED) {
        path->failed++;
        path->router->failed++;
    }
}

uint64_t path_rate_1m(const struct path *path)
{
    int64_t now_s = path->router->now.mono_ns / NS_PER_S;
    uint64_t sum = 0;
    for (int64_t s = path->minute_at_s; s > now_s - 60 && s > path->minute_at_s - 60; s--)
        sum += path->minute[s % 60];
    return sum;
}

uint64_t path_rates_1m(const struct router *router)
{
    uint64_t sum = 0;
    for (const struct path *path = router->paths; path != NULL; path = path->hh.next)
        sum += path_rate_1m(path);
    return sum;
}

void path_note(struct path *path, const struct verdict *why)
{
    snprintf(path->reason, sizeof path->reason, "%.*s", (int)why->text_size, why->text);
}

int64_t path_pause(struct path *path, const struct verdict *why)
{
    struct router *router = path->router;
    /* Sessions that hear the same at once are one pause. */
    if (path->pause_until_ns > router->now.mono_ns)
        return path->pause_until_ns;
    int64_t ms =
        retry_pause_ms(path->settings->pause_ms, path->settings->pause_max_ms, path->pauses, &router->prng);
    if (why->wait_s > 0)
        ms = (int64_t)why->wait_s * MS_PER_S;
    path->pauses++;
    path->pause_until_ns = router->now.mono_ns + ms * NS_PER_MS;
    path_note(path, why);
    for (struct pool *pool = path->pools; pool != NULL; pool = pool->hh.next)
        pool_hold(pool);
    path_wake_at(path, path->pause_until_ns);
    return path->pause_until_ns;
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
    if (path->in_line)
        return;
    path->in_line = true;
    path->line_next = NULL;
    *path->router->line_tail = path;
    path->router->line_tail = &path->line_next;
    /* Another worker's session may end without our hearing of it. */
    path_wake_at(path, path->router->now.mono_ns + LINE_LOOK_MS * NS_PER_MS);
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
            return;
        }
        struct pool *pool = path->wait_head;
        path_unwait(path, pool);
        pool_connect_one(pool);
        if (pool == last)
            return;
    }
}

static void path_fire(struct wheel_timer *timer, struct now now)
{
    (void)now; /* the router's now is as fresh */
    struct path *path = (struct path *)((char *)timer - offsetof(struct path, timer));
    if (path->pause_until_ns != 0 && path->pause_until_ns <= path->router->now.mono_ns)
        path->pause_until_ns = 0;
    if (path->pause_until_ns != 0) /* it fired for a limit that ended sooner */
        path_wake_at(path, path->pause_until_ns);
    for (struct pool *pool = path->pools; pool != NULL; pool = pool->hh.next)
        pool_touch(pool);
    path_serve(path);
}

void path_wake_at(struct path *path, int64_t mono_ns)
{
    if (mono_ns == INT64_MAX)
        return;
    if (wheel_is_set(&path->timer) && path->timer.at_ms * NS_PER_MS <= mono_ns + NS_PER_MS)
        return;
    wheel_set(&path->router->wheel, &path->timer, mono_ns, path_fire);
}
