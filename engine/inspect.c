/* inspect.c - see inspect.h. Each question is a look (look.h) that fills an answer of its own; the asker
 * merges what came in time. */
#include "engine/inspect.h"

#include "engine/fleet.h"
#include "engine/route/lane.h"
#include "engine/route/lane_held.h"
#include "engine/route/loan.h"
#include "engine/route/look.h"
#include "engine/route/path.h"
#include "engine/route/path_learn.h"
#include "engine/route/pool.h"
#include "engine/route/secure.h"
#include "engine/route/sender_rate.h"
#include "engine/route/shipment.h"
#include "engine/route/trace.h"
#include "engine/worker.h"

#include <stdio.h>
#include <stdlib.h>

/* A path's or pool's time on the worker's clock, for people. */
static int64_t inspect_wall_ms(const struct router *router, int64_t mono_ns)
{
    if (mono_ns == INT64_MAX || mono_ns <= 0)
        return 0;
    return router->now.wall_ms + (mono_ns - router->now.mono_ns) / NS_PER_MS;
}

/* ---- paths ---- */

struct paths_look {
    struct look look;
    unsigned worker;
    bool only_site;
    char site[DOMAIN_MAX + 1];
    struct path_info *list;
    size_t count;
};

static void paths_fill_holds(const struct path *path, struct path_info *info)
{
    struct path_answer answer = path_check(path, PATH_SEND);
    int64_t until_ns = answer.until_ns;
    /* Every pool of it unreachable: the path is held by its hosts. */
    if (answer.yes && path->pools != NULL) {
        until_ns = INT64_MAX;
        for (const struct pool *pool = path->pools; pool != NULL && until_ns != 0; pool = pool->hh.next)
            until_ns = pool->hold_until_ns <= path->router->now.mono_ns ? 0
                       : pool->hold_until_ns < until_ns                 ? pool->hold_until_ns
                                                                        : until_ns;
        if (until_ns == 0) {
            struct path_answer connect = path_check(path, PATH_CONNECT);
            snprintf(info->blocked_by, sizeof info->blocked_by, "%s", path->wait_head ? connect.limit : "");
            info->blocked_until_ms = connect.yes ? 0 : inspect_wall_ms(path->router, connect.until_ns);
            return;
        }
        answer = (struct path_answer){false, "unreachable", until_ns};
    }
    if (answer.yes)
        return;
    snprintf(info->blocked_by, sizeof info->blocked_by, "%s", answer.limit);
    info->blocked_until_ms = inspect_wall_ms(path->router, until_ns);
}

static void paths_fill(const struct path *path, struct path_info *info)
{
    *info = (struct path_info){
        .worker = path->router->index,
        .connections = path->connections,
        .connecting = path->connecting,
        .idle = path->idle,
        .window = path->borrowed ? 0 : ledger_window(path->ledger), /* the owner has them for all */
        .max_connections = path->borrowed ? 0 : path->settings->max_connections,
        .lent = path->lent,
        .delivered = path->figures.delivered,
        .deferred = path->figures.deferred,
        .failed = path->figures.failed,
        .rate_1m = path_rate_1m(path),
        .cap = atomic_load_explicit(&path->ledger->cap, memory_order_relaxed),
        .slowed_ns = atomic_load_explicit(&path->ledger->slowed.interval_ns, memory_order_relaxed),
        .recipients_max = atomic_load_explicit(&path->ledger->rcpts_max, memory_order_relaxed),
        .messages_max = atomic_load_explicit(&path->ledger->messages_max, memory_order_relaxed),
        .tls_only = path_is_tls_only(path),
        .drained = atomic_load_explicit(&path->ledger->drained, memory_order_relaxed),
        .tls = tls_policy_name(path->settings->tls),
        .stopped_ms = path->learnt.stopped_ms,
        .learnt_ms = path->learnt.since_ms,
        .code = path->learnt.code,
        .status = path->learnt.status,
    };
    snprintf(info->site, sizeof info->site, "%s", path_site(path));
    snprintf(info->source, sizeof info->source, "%s", path->source.name);
    snprintf(info->reason, sizeof info->reason, "%s", path_reason(path));
    for (const struct pool *pool = path->pools; pool != NULL; pool = pool->hh.next) {
        info->buffered += (unsigned)pool->backlog;
        for (const struct strand *strand = pool->strands; strand != NULL; strand = strand->pool_next)
            info->lanes += strand->lane->resting || strand->lane->loan || strand->flow->rate ? 0 : 1;
        info->in_flight += pool->in_flight;
    }
    paths_fill_holds(path, info);
}

static void paths_run(struct look *look, struct router *router)
{
    struct paths_look *paths = (struct paths_look *)(void *)look;
    size_t room = HASH_COUNT(router->paths);
    paths->list = room ? calloc(room, sizeof *paths->list) : NULL;
    if (paths->list == NULL)
        return;
    for (const struct path *path = router->paths; path != NULL; path = path->hh.next)
        if (!paths->only_site || strcmp(path_site(path), paths->site) == 0)
            paths_fill(path, &paths->list[paths->count++]);
}

static void paths_drop(struct look *look)
{
    free(((struct paths_look *)(void *)look)->list);
}

static bool paths_merge(struct path_list *out, const struct paths_look *paths)
{
    if (paths->count == 0)
        return true;
    struct path_info *list = realloc(out->list, (out->count + paths->count) * sizeof *list);
    if (list == NULL)
        return false;
    memcpy(list + out->count, paths->list, paths->count * sizeof *list);
    out->list = list;
    out->count += paths->count;
    return true;
}

void inspect_paths(struct fleet *fleet, const char *site, struct path_list *out)
{
    *out = (struct path_list){.complete = true};
    for (unsigned i = 0; i < fleet_size(fleet); i++) { /* a site's sessions may be lent to any */
        struct paths_look *paths =
            (struct paths_look *)(void *)look_create(sizeof *paths, paths_run, paths_drop);
        if (paths == NULL) {
            out->complete = false;
            return;
        }
        paths->only_site = site != NULL;
        snprintf(paths->site, sizeof paths->site, "%s", site ? site : "");
        fleet_ask(fleet, i, &paths->look);
        out->complete &= look_wait(&paths->look, INSPECT_WAIT_MS) && paths_merge(out, paths);
        look_let_go(&paths->look);
    }
}

/* ---- slowed senders ---- */

struct senders_look {
    struct look look;
    char site[DOMAIN_MAX + 1];
    struct sender_info *list;
    size_t count;
};

static void senders_run(struct look *look, struct router *router)
{
    struct senders_look *senders = (struct senders_look *)(void *)look;
    senders->list = calloc(HASH_COUNT(router->sender_rates) + 1, sizeof *senders->list);
    for (const struct sender_rate *rate = router->sender_rates; rate != NULL && senders->list != NULL;
         rate = rate->hh.next) {
        if (rate->over || strcasecmp(sender_rate_site(rate), senders->site) != 0)
            continue;
        struct sender_info *info = &senders->list[senders->count++];
        *info = (struct sender_info){
            .slowed_ns = atomic_load_explicit(&rate->limit.interval_ns, memory_order_relaxed),
            .buffered = rate->buffered,
            .learnt_ms = rate->learnt.since_ms,
            .code = rate->learnt.code,
            .status = rate->learnt.status,
        };
        snprintf(info->sender, sizeof info->sender, "%s", sender_rate_sender(rate));
        snprintf(info->reason, sizeof info->reason, "%s", rate->learnt.reason);
    }
}

static void senders_drop(struct look *look)
{
    free(((struct senders_look *)(void *)look)->list);
}

void inspect_senders(struct fleet *fleet, const char *site, struct sender_list *out)
{
    *out = (struct sender_list){0};
    struct senders_look *senders =
        (struct senders_look *)(void *)look_create(sizeof *senders, senders_run, senders_drop);
    if (senders == NULL)
        return;
    snprintf(senders->site, sizeof senders->site, "%s", site);
    fleet_ask(fleet, fleet_home(fleet, str_of(site)), &senders->look);
    if (look_wait(&senders->look, INSPECT_WAIT_MS) && senders->list != NULL) {
        *out = (struct sender_list){senders->list, senders->count, true};
        senders->list = NULL;
    }
    look_let_go(&senders->look);
}

/* ---- lanes ---- */

struct lane_look {
    struct look look;
    uint32_t lane;
    bool has_from;
    char from[ADDRESS_MAX + 1];
    struct lane_why why;
    char tls[SECURE_TEXT_MAX];
};

/* What holds one strand, if anything. */
static struct path_answer strand_check(const struct strand *strand)
{
    const struct pool *pool = strand->pool;
    int64_t now_ns = pool->path->router->now.mono_ns;
    struct path_answer answer = path_check(pool->path, PATH_SEND);
    if (answer.yes && pool->hold_until_ns > now_ns)
        return (struct path_answer){false, "unreachable", pool->hold_until_ns};
    if (answer.yes && strand->lane->limit && limit_when_ns(strand->lane->limit, now_ns) > now_ns)
        return (struct path_answer){false, "tenant_max_rate", limit_when_ns(strand->lane->limit, now_ns)};
    return answer.yes && pool->waiting ? path_check(pool->path, PATH_CONNECT) : answer;
}

/* Of several sources the one that may send, else the one that may first. */
static void lane_why_path(const struct lane *lane, struct lane_why *why)
{
    const struct strand *strand = &lane->strands[0];
    struct path_answer answer = strand_check(strand);
    for (unsigned i = 1; i < lane->strand_count && !answer.yes; i++) {
        struct path_answer other = strand_check(&lane->strands[i]);
        if (other.yes || other.until_ns < answer.until_ns) {
            answer = other;
            strand = &lane->strands[i];
        }
    }
    const struct path *path = strand->pool->path;
    snprintf(why->site, sizeof why->site, "%s", path_site(path));
    snprintf(why->source, sizeof why->source, "%s", path->source.name);
    if (answer.yes)
        return;
    snprintf(why->limit, sizeof why->limit, "%s", answer.limit);
    why->until_ms = inspect_wall_ms(lane->router, answer.until_ns);
    snprintf(why->reason, sizeof why->reason, "%s", path_reason(path));
}

/* Where nothing else holds it; that no more connections may be made is then no cause. */
static void lane_why_sender(const struct router *router, struct str from, struct lane_why *why)
{
    const struct sender_rate *rate = sender_rate_find(router, why->site, from);
    bool connections = strcmp(why->limit, "max_connections") == 0;
    if (rate == NULL || (why->limit[0] != '\0' && !connections))
        return;
    int64_t when_ns = limit_when_ns(&rate->limit, router->now.mono_ns);
    snprintf(why->limit, sizeof why->limit, "slow_sender");
    why->until_ms = when_ns > router->now.mono_ns ? inspect_wall_ms(router, when_ns) : 0;
    snprintf(why->reason, sizeof why->reason, "%s", rate->learnt.reason);
}

/* What the lane's own worker has handed to this one. */
static void lane_run_borrowed(const struct router *router, uint32_t lane, struct lane_why *why)
{
    for (const struct loan *loan = router->borrowed; loan != NULL; loan = loan->next_borrowed) {
        unsigned buffered = 0, in_flight = shipment_count_lane(loan->shadow, lane);
        for (const struct taken *taken = loan->lane ? loan->lane->strands[0].head : NULL; taken != NULL;
             taken = taken->next)
            buffered += taken->lane == lane;
        if (buffered + in_flight == 0)
            continue;
        why->known = true;
        why->buffered += buffered;
        why->in_flight += in_flight;
        snprintf(why->site, sizeof why->site, "%s", loan->site);
        snprintf(why->source, sizeof why->source, "%s", loan->shadow->path->source.name);
    }
}

/* Nothing of it is in memory, but where it goes is held: what the store has, such as what was given back when
 * that began, waits for the same. */
static bool lane_is_shut(const struct lane *lane)
{
    if (lane->state != LANE_ROUTED || lane->strand_count == 0)
        return false;
    for (unsigned i = 0; i < lane->strand_count; i++)
        if (pool_is_open(lane->strands[i].pool))
            return false;
    return true;
}

static void lane_run(struct look *look, struct router *router)
{
    struct lane_look *question = (struct lane_look *)(void *)look;
    struct lane_why *why = &question->why;
    struct lane *lane;
    HASH_FIND(hh, router->lanes, &question->lane, sizeof question->lane, lane);
    lane_run_borrowed(router, question->lane, why);
    if (lane != NULL && lane->state == LANE_ROUTED && lane->strand_count > 0)
        secure_text(&lane->strands[0].pool->tls, question->tls); /* also while it rests */
    if (lane == NULL || (lane->resting && !lane->held_back && !lane_is_shut(lane)))
        return;
    why->known = true;
    why->buffered += lane->buffered;
    why->in_flight += lane->in_flight;
    why->resolving = lane->state == LANE_RESOLVING;
    if (lane->state == LANE_HELD || lane->state == LANE_RESOLVING)
        snprintf(why->limit, sizeof why->limit, "dns");
    if (lane->state == LANE_HELD) {
        why->until_ms = inspect_wall_ms(router, lane->hold_until_ns);
        snprintf(why->reason, sizeof why->reason, "%.*s", (int)lane->doom->text_size, lane->doom->text);
    }
    if (lane->state == LANE_ROUTED && lane->strand_count > 0)
        lane_why_path(lane, why);
    if (question->has_from)
        lane_why_sender(router, str_of(question->from), why);
    if (lane->line == &router->starved)
        snprintf(why->limit, sizeof why->limit, "memory");
}

void inspect_lane(struct fleet *fleet, uint32_t lane, const char *domain, struct str from,
                  struct lane_why *why)
{
    *why = (struct lane_why){0};
    /* The home worker knows it unless it was handed over; then another does, and others may have borrowed of
     * it. */
    unsigned buffered = 0, in_flight = 0;
    char tls[SECURE_TEXT_MAX] = "";
    unsigned home = fleet_home(fleet, str_of(domain));
    for (unsigned i = 0; i < fleet_size(fleet); i++) {
        unsigned worker = (home + i) % fleet_size(fleet);
        struct lane_look *question =
            (struct lane_look *)(void *)look_create(sizeof *question, lane_run, NULL);
        if (question == NULL)
            return;
        question->lane = lane;
        question->has_from = from.p != NULL;
        snprintf(question->from, sizeof question->from, "%.*s", STR_ARG(from));
        fleet_ask(fleet, worker, &question->look);
        bool answered = look_wait(&question->look, INSPECT_WAIT_MS);
        if (answered && question->tls[0] != '\0')
            memcpy(tls, question->tls, sizeof tls);
        if (answered && question->why.known) {
            buffered += question->why.buffered;
            in_flight += question->why.in_flight;
            bool says_more = question->why.site[0] && (!why->site[0] || question->why.limit[0]);
            if (!why->known || says_more)
                *why = question->why;
        }
        look_let_go(&question->look);
    }
    why->buffered = buffered;
    why->in_flight = in_flight;
    memcpy(why->tls, tls, sizeof why->tls);
}

/* ---- lanes of which something is held ---- */

struct held_look {
    struct look look;
    struct held_lane *list;
    size_t count;
    struct held_site *sites;
    bool failed;
};

static const char *held_site(struct held_look *held, const struct lane *lane)
{
    if (lane->state != LANE_ROUTED || lane->strand_count == 0)
        return "";
    const char *name = path_site(lane->strands[0].pool->path);
    if (held->sites != NULL && strcmp(held->sites->name, name) == 0)
        return held->sites->name; /* neighbours are mostly of one */
    struct held_site *site = calloc(1, sizeof *site);
    if (site == NULL) {
        held->failed = true;
        return "";
    }
    snprintf(site->name, sizeof site->name, "%s", name);
    site->next = held->sites;
    held->sites = site;
    return site->name;
}

static void held_run(struct look *look, struct router *router)
{
    struct held_look *held = (struct held_look *)(void *)look;
    held->list = calloc(HASH_COUNT(router->lanes) + 1, sizeof *held->list);
    held->failed = held->list == NULL;
    for (const struct lane *lane = router->lanes; lane != NULL && !held->failed; lane = lane->hh.next) {
        bool stopped = lane_is_stopped(lane);
        if (stopped || lane->except != NULL)
            held->list[held->count++] = (struct held_lane){lane->id, stopped, held_site(held, lane)};
    }
}

static void held_sites_free(struct held_site *sites)
{
    while (sites != NULL) {
        struct held_site *next = sites->next;
        free(sites);
        sites = next;
    }
}

static void held_drop(struct look *look)
{
    struct held_look *held = (struct held_look *)(void *)look;
    free(held->list);
    held_sites_free(held->sites);
}

static bool held_merge(struct held_lanes *out, struct held_look *held)
{
    struct held_lane *list = reallocarray(out->list, out->count + held->count + 1, sizeof *list);
    if (list == NULL || held->failed)
        return false;
    if (held->count > 0)
        memcpy(list + out->count, held->list, held->count * sizeof *list);
    out->list = list;
    out->count += held->count;
    struct held_site **end = &held->sites;
    while (*end != NULL)
        end = &(*end)->next;
    *end = out->sites;
    out->sites = held->sites;
    held->sites = NULL;
    return true;
}

static int by_lane(const void *a, const void *b)
{
    uint32_t x = ((const struct held_lane *)a)->lane, y = ((const struct held_lane *)b)->lane;
    return (x > y) - (x < y);
}

void inspect_held_lanes(struct fleet *fleet, struct held_lanes *out)
{
    *out = (struct held_lanes){.complete = true};
    for (unsigned i = 0; i < fleet_size(fleet); i++) {
        struct held_look *held = (struct held_look *)(void *)look_create(sizeof *held, held_run, held_drop);
        if (held == NULL) {
            out->complete = false;
            continue;
        }
        fleet_ask(fleet, i, &held->look);
        out->complete &= look_wait(&held->look, INSPECT_WAIT_MS) && held_merge(out, held);
        look_let_go(&held->look);
    }
    if (out->count > 0)
        qsort(out->list, out->count, sizeof *out->list, by_lane);
}

void inspect_held_lanes_free(struct held_lanes *lanes)
{
    free(lanes->list);
    held_sites_free(lanes->sites);
    *lanes = (struct held_lanes){0};
}

/* ---- dialogues ---- */

struct trace_look {
    struct look look;
    struct trace *trace;
    bool joined;
};

static void trace_run(struct look *look, struct router *router)
{
    struct trace_look *asked = (struct trace_look *)(void *)look;
    asked->joined = trace_join(router, asked->trace);
}

static void trace_drop(struct look *look)
{
    trace_unref(((struct trace_look *)(void *)look)->trace);
}

/* False: the worker has no room for it. One that does not answer in time joins later. */
static bool trace_ask(struct fleet *fleet, unsigned worker, struct trace *trace)
{
    struct trace_look *asked = (struct trace_look *)(void *)look_create(sizeof *asked, trace_run, trace_drop);
    if (asked == NULL)
        return false;
    asked->trace = trace_ref(trace);
    fleet_ask(fleet, worker, &asked->look);
    bool good = !look_wait(&asked->look, INSPECT_WAIT_MS) || asked->joined;
    look_let_go(&asked->look);
    return good;
}

struct trace *inspect_trace(struct fleet *fleet, const char *site)
{
    struct trace *trace = trace_create(site);
    for (unsigned i = 0; trace != NULL && i < fleet_size(fleet); i++)
        if (!trace_ask(fleet, i, trace)) {
            inspect_trace_end(trace);
            trace = NULL;
        }
    return trace;
}

bool inspect_trace_ready(const struct trace *trace)
{
    return trace_has_lines(trace);
}

void inspect_trace_take(struct trace *trace, struct buf *out)
{
    trace_take(trace, out);
}

void inspect_trace_end(struct trace *trace)
{
    trace_end(trace);
    trace_unref(trace);
}

/* ---- figures ---- */

void inspect_figures(struct fleet *fleet, struct fleet_figures *figures)
{
    *figures = (struct fleet_figures){0};
    for (unsigned i = 0; i < fleet_size(fleet); i++) {
        struct worker_figures worker;
        worker_read_figures(fleet_worker(fleet, i), &worker);
        figures->sessions += worker.sessions;
        figures->sites += worker.sites;
        figures->in_flight += worker.in_flight;
        figures->buffered += worker.buffered;
        figures->delivered += worker.delivered;
        figures->deferred += worker.deferred;
        figures->failed += worker.failed;
        figures->rate_1m += worker.rate_1m;
    }
    figures->rate_1m /= 60;
}

/* ---- sites of domains ---- */

struct sites_look {
    struct look look;
    size_t count;
    char (*domains)[DOMAIN_MAX + 1]; /* in: the domain; out: its site, or "" */
};

static void sites_drop(struct look *look)
{
    free(((struct sites_look *)(void *)look)->domains);
}

struct sites_entry {
    UT_hash_handle hh;
    const char *domain;
    const char *site;
};

static void sites_run(struct look *look, struct router *router)
{
    struct sites_look *question = (struct sites_look *)(void *)look;
    struct sites_entry *table = NULL, *entry, *next;
    struct sites_entry *entries = calloc(HASH_COUNT(router->lanes) + 1, sizeof *entries);
    size_t n = 0;
    for (const struct lane *lane = router->lanes; lane != NULL && entries != NULL; lane = lane->hh.next) {
        if (lane->state != LANE_ROUTED || lane->strand_count == 0)
            continue;
        HASH_FIND_STR(table, lane->domain, entry);
        if (entry != NULL)
            continue;
        entry = &entries[n++];
        entry->domain = lane->domain;
        entry->site = path_site(lane->strands[0].pool->path);
        HASH_ADD_KEYPTR(hh, table, entry->domain, strlen(entry->domain), entry);
    }
    for (size_t i = 0; i < question->count; i++) {
        HASH_FIND_STR(table, question->domains[i], entry);
        if (entry != NULL)
            snprintf(question->domains[i], sizeof question->domains[i], "%s", entry->site);
        else
            question->domains[i][0] = '\0';
    }
    HASH_ITER(hh, table, entry, next)
    HASH_DEL(table, entry);
    free(entries);
}

void inspect_domain_sites(struct fleet *fleet, const char *const *domains, char (*sites)[DOMAIN_MAX + 1],
                          size_t n)
{
    memset(sites, 0, n * sizeof *sites);
    for (unsigned worker = 0; worker < fleet_size(fleet); worker++) {
        struct sites_look *question =
            (struct sites_look *)(void *)look_create(sizeof *question, sites_run, sites_drop);
        if (question == NULL)
            return;
        question->count = n;
        question->domains = calloc(n + 1, sizeof *question->domains);
        if (question->domains == NULL) {
            look_let_go(&question->look);
            return;
        }
        for (size_t i = 0; i < n; i++)
            snprintf(question->domains[i], sizeof question->domains[i], "%s", domains[i]);
        fleet_ask(fleet, worker, &question->look);
        if (look_wait(&question->look, INSPECT_WAIT_MS))
            for (size_t i = 0; i < n; i++)
                if (question->domains[i][0] && !sites[i][0])
                    memcpy(sites[i], question->domains[i], sizeof sites[i]);
        look_let_go(&question->look);
    }
}
