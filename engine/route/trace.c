/* trace.c - see trace.h. */
#include "engine/route/trace.h"

#include "engine/base/js.h"
#include "engine/base/units.h"
#include "engine/route/carrier.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct trace {
    _Atomic unsigned refs, sessions /* now */, numbered;
    _Atomic bool over, waiting;
    _Atomic uint64_t dropped;
    pthread_mutex_t lock; /* of lines; a worker never waits for it */
    struct buf lines;
    char site[];
};

struct trace *trace_create(const char *site)
{
    struct trace *trace = calloc(1, sizeof *trace + strlen(site) + 1);
    if (trace == NULL)
        return NULL;
    atomic_init(&trace->refs, 1);
    pthread_mutex_init(&trace->lock, NULL);
    buf_init(&trace->lines, TRACE_BYTES_MAX);
    memcpy(trace->site, site, strlen(site) + 1);
    return trace;
}

struct trace *trace_ref(struct trace *trace)
{
    atomic_fetch_add(&trace->refs, 1);
    return trace;
}

void trace_unref(struct trace *trace)
{
    if (trace == NULL || atomic_fetch_sub(&trace->refs, 1) != 1)
        return;
    pthread_mutex_destroy(&trace->lock);
    buf_free(&trace->lines);
    free(trace);
}

/* ---- the reader ---- */

bool trace_has_lines(const struct trace *trace)
{
    return atomic_load(&trace->waiting);
}

void trace_take(struct trace *trace, struct buf *out)
{
    pthread_mutex_lock(&trace->lock);
    buf_add_str(out, buf_str(&trace->lines));
    buf_clear(&trace->lines);
    atomic_store(&trace->waiting, false);
    pthread_mutex_unlock(&trace->lock);
    uint64_t dropped = atomic_exchange(&trace->dropped, 0);
    if (dropped > 0)
        buf_printf(out, "{\"what\":\"dropped\",\"lines\":%llu}\n", (unsigned long long)dropped);
}

void trace_end(struct trace *trace)
{
    atomic_store(&trace->over, true);
}

/* ---- the worker ---- */

bool trace_join(struct router *router, struct trace *trace)
{
    if (router->trace_count == TRACES_MAX)
        return false;
    router->traces[router->trace_count++] = trace_ref(trace);
    trace_tick(router);
    return true;
}

static bool trace_is_full(const struct trace *trace)
{
    return atomic_load_explicit(&trace->sessions, memory_order_relaxed) >= TRACE_SESSIONS_MAX;
}

/* Sessions that are open already. */
static void trace_seat_open_ones(struct router *router, const struct trace *trace)
{
    for (struct path *path = router->paths; path != NULL; path = path->hh.next) {
        if (strcasecmp(path_site(path), trace->site) != 0)
            continue;
        for (struct pool *pool = path->pools; pool != NULL; pool = pool->hh.next)
            for (struct carrier *carrier = TAILQ_FIRST(&pool->carriers);
                 carrier != NULL && !trace_is_full(trace); carrier = carrier_next(carrier))
                carrier_watch(carrier);
    }
}

void trace_tick(struct router *router)
{
    for (unsigned i = 0; i < router->trace_count;) {
        struct trace *trace = router->traces[i];
        if (atomic_load(&trace->over)) {
            router->traces[i] = router->traces[--router->trace_count];
            trace_unref(trace);
            continue;
        }
        trace_seat_open_ones(router, trace);
        i++;
    }
}

void trace_leave_all(struct router *router)
{
    while (router->trace_count > 0)
        trace_unref(router->traces[--router->trace_count]);
}

void trace_seat_take(struct trace_seat *seat, struct router *router, const struct path *path)
{
    for (unsigned i = 0; i < router->trace_count && seat->trace == NULL; i++) {
        struct trace *trace = router->traces[i];
        if (trace_is_full(trace) || strcasecmp(path_site(path), trace->site) != 0)
            continue;
        atomic_fetch_add(&trace->sessions, 1);
        seat->trace = trace_ref(trace);
        seat->number = atomic_fetch_add(&trace->numbered, 1) + 1;
    }
}

void trace_seat_leave(struct trace_seat *seat)
{
    if (seat->trace == NULL)
        return;
    atomic_fetch_sub(&seat->trace->sessions, 1);
    trace_unref(seat->trace);
    seat->trace = NULL;
}

static void trace_append(struct trace *trace, const struct buf *line)
{
    if (pthread_mutex_trylock(&trace->lock) != 0) {
        atomic_fetch_add(&trace->dropped, 1);
        atomic_store(&trace->waiting, true); /* it may have been the last line for long */
        return;
    }
    if (line->failed || TRACE_BYTES_MAX - trace->lines.len < line->len ||
        !buf_add_str(&trace->lines, buf_str(line)))
        atomic_fetch_add(&trace->dropped, 1);
    atomic_store(&trace->waiting, true);
    pthread_mutex_unlock(&trace->lock);
}

bool trace_tell(const struct trace_seat *seat, const struct path *path, const char *host, const char *what,
                struct str line)
{
    char time[UNITS_TEXT_MAX];
    struct buf text;
    if (atomic_load_explicit(&seat->trace->over, memory_order_relaxed))
        return false;
    time_format(path->router->now.wall_ms, time);
    buf_init(&text, TRACE_LINE_MAX);
    buf_printf(&text, "{\"time\":\"%s\",\"session\":%u,\"source\":", time, seat->number);
    js_add_text(&text, str_of(path->source.name));
    buf_add_z(&text, ",\"host\":");
    js_add_text(&text, str_of(host));
    buf_printf(&text, ",\"what\":\"%s\",\"line\":", what);
    js_add_text(&text, line);
    buf_add_z(&text, "}\n");
    trace_append(seat->trace, &text);
    buf_free(&text);
    return true;
}
