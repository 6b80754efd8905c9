/* calls_queue.c - the queue as a whole: its summary by one dimension, retry and bounce by filter,
 * operations. */
#include "engine/admin/calls.h"
#include "engine/report/status_json.h"

#include <stdlib.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define STATUSES_MAX  1000
#define OPS_MAX       1000
#define SITES_AT_ONCE 1000 /* domains in one question to the workers */

/* ---- rows by name ---- */

struct row {
    uint64_t ready, deferred, held, delivered, bounced, expired;
    int64_t next_ms;
    UT_hash_handle hh;
    char name[];
};

struct rows {
    struct row *table;
    const struct held_list *held; /* NULL: not asked for */
    bool by_tenant;
    bool all; /* also those of which nothing is queued any more */
    bool failed;
};

static struct row *row_of(struct rows *rows, const char *name)
{
    struct row *row;
    size_t n = strlen(name);
    HASH_FIND(hh, rows->table, name, n, row);
    if (row != NULL)
        return row;
    row = calloc(1, sizeof *row + n + 1);
    if (row != NULL) {
        memcpy(row->name, name, n);
        HASH_ADD(hh, rows->table, name[0], n, row);
        if (row->hh.tbl != NULL)
            return row;
    }
    free(row);
    rows->failed = true;
    return NULL;
}

static void add_to_row(struct row *row, const struct row *more)
{
    if (row == NULL)
        return;
    row->ready += more->ready;
    row->deferred += more->deferred;
    row->held += more->held;
    row->delivered += more->delivered;
    row->bounced += more->bounced;
    row->expired += more->expired;
    if (more->next_ms != 0 && (row->next_ms == 0 || more->next_ms < row->next_ms))
        row->next_ms = more->next_ms;
}

static bool count_lane(const struct lane_info *lane, void *user)
{
    struct rows *rows = user;
    struct held_count held = {0};
    if (rows->held != NULL)
        held = held_in_lane(rows->held, lane->lane);
    held.ready = held.ready < lane->ready ? held.ready : lane->ready; /* counted some moments apart */
    held.deferred = held.deferred < lane->deferred ? held.deferred : lane->deferred;
    const struct row counts = {
        .ready = lane->ready - held.ready,
        .deferred = lane->deferred - held.deferred,
        .held = held.ready + held.deferred,
        .delivered = lane->delivered,
        .bounced = lane->bounced,
        .expired = lane->expired,
        .next_ms = lane->next_due_ms,
    };
    if (rows->all || lane->ready + lane->deferred > 0)
        add_to_row(row_of(rows, rows->by_tenant ? lane->tenant : lane->domain), &counts);
    return !rows->failed;
}

static void free_rows(struct rows *rows)
{
    struct row *row, *next;
    HASH_ITER(hh, rows->table, row, next)
    {
        HASH_DEL(rows->table, row);
        free(row);
    }
}

static int by_queued(const struct row *a, const struct row *b)
{
    uint64_t x = a->ready + a->deferred + a->held, y = b->ready + b->deferred + b->held;
    if (x == y) {
        x = a->delivered + a->bounced + a->expired;
        y = b->delivered + b->bounced + b->expired;
    }
    return x != y ? (x < y) - (x > y) : strcmp(a->name, b->name);
}

/* Asks the workers for the sites of a table of domains, some at a time. */
static void domains_to_sites(struct fleet *fleet, struct rows *domains,
                             void (*visit)(const struct row *domain, const char *site, void *user),
                             void *user)
{
    const char **names = calloc(SITES_AT_ONCE, sizeof *names);
    char(*sites)[DOMAIN_MAX + 1] = calloc(SITES_AT_ONCE, sizeof *sites);
    struct row *from = domains->table;
    while (from != NULL && names != NULL && sites != NULL) {
        size_t n = 0;
        struct row *row = from;
        for (; row != NULL && n < SITES_AT_ONCE; row = row->hh.next)
            names[n++] = row->name;
        inspect_domain_sites(fleet, names, sites, n);
        for (size_t i = 0; i < n; i++, from = from->hh.next)
            visit(from, sites[i], user);
    }
    domains->failed |= names == NULL || sites == NULL;
    free(names);
    free(sites);
}

struct domains_of_site {
    const char *site;
    void (*visit)(const char *domain, void *user);
    void *user;
};

static void visit_if_there(const struct row *domain, const char *site, void *user)
{
    const struct domains_of_site *wanted = user;
    if (strcasecmp(site, wanted->site) == 0)
        wanted->visit(domain->name, wanted->user);
}

bool visit_site_domains(struct api *api, const char *site, void (*visit)(const char *domain, void *user),
                        void *user)
{
    struct rows domains = {0};
    struct domains_of_site wanted = {site, visit, user};
    visit_lanes(api->context.store, count_lane, &domains);
    if (!domains.failed)
        domains_to_sites(api->context.fleet, &domains, visit_if_there, &wanted);
    free_rows(&domains);
    return !domains.failed;
}

static void add_to_site(const struct row *domain, const char *site, void *user)
{
    add_to_row(row_of(user, site), domain);
}

static json_t *rows_json(struct rows *rows, const char *key, size_t limit, uint64_t *more)
{
    json_t *list = json_array();
    HASH_SORT(rows->table, by_queued);
    for (struct row *row = rows->table; row != NULL; row = row->hh.next) {
        if (json_array_size(list) == limit) {
            (*more)++;
            continue;
        }
        json_t *item = json_object();
        js_set(item, key, js_text(str_of(row->name)));
        js_set_int(item, "queued", row->ready + row->deferred + row->held);
        js_set_int(item, "ready", row->ready);
        js_set_int(item, "deferred", row->deferred);
        js_set_int(item, "held", row->held);
        js_set_int(item, "delivered", row->delivered);
        js_set_int(item, "bounced", row->bounced);
        js_set_int(item, "expired", row->expired);
        js_set(item, "next", js_time(row->next_ms));
        json_array_append_new(list, item);
    }
    return list;
}

/* By domain, tenant or site; NULL: no memory. */
static json_t *summary_by_name(struct api *api, const char *by, bool all, const struct held_list *held,
                               size_t limit, uint64_t *more)
{
    struct rows rows = {.held = held, .by_tenant = strcmp(by, "tenant") == 0, .all = all}, sites = {0};
    bool by_site = strcmp(by, "site") == 0;
    visit_lanes(api->context.store, count_lane, &rows);
    if (by_site)
        domains_to_sites(api->context.fleet, &rows, add_to_site, &sites);
    json_t *list = rows.failed || sites.failed ? NULL : rows_json(by_site ? &sites : &rows, by, limit, more);
    free_rows(&rows);
    free_rows(&sites);
    return list;
}

/* ---- by status, by age ---- */

static int by_count(const void *a, const void *b)
{
    uint64_t x = ((const struct status_count *)a)->count, y = ((const struct status_count *)b)->count;
    return (x < y) - (x > y);
}

static json_t *summary_by_status(struct store *store, size_t limit, uint64_t *more)
{
    struct status_count *counts = calloc(STATUSES_MAX, sizeof *counts);
    if (counts == NULL)
        return NULL;
    size_t n = query_queue_statuses(store, counts, STATUSES_MAX);
    qsort(counts, n, sizeof *counts, by_count);
    json_t *list = json_array();
    for (size_t i = 0; i < n && i < limit; i++) {
        json_t *item = json_object();
        js_set(item, "status", js_status(counts[i].status));
        js_set(item, "phrase", json_string(registry_phrase(counts[i].status)));
        js_set_int(item, "queued", counts[i].count);
        js_set_int(item, "deferred", counts[i].count);
        json_array_append_new(list, item);
    }
    *more = n > limit ? n - limit : 0;
    free(counts);
    return list;
}

/* Age is that of the job: its recipients were accepted together. */
static const struct {
    const char *name;
    int64_t below_ms;
} bands[] = {{"<5m", 300000},   {"<1h", 3600000},   {"<4h", 14400000},
             {"<1d", 86400000}, {"<4d", 345600000}, {">=4d", INT64_MAX}};
#define BANDS (sizeof bands / sizeof *bands)

struct ages {
    int64_t now_ms;
    uint64_t ready[BANDS], deferred[BANDS];
};

static void add_age(const struct job_info *job, void *user)
{
    struct ages *ages = user;
    unsigned band = 0;
    while (ages->now_ms - job->created_ms >= bands[band].below_ms)
        band++;
    ages->ready[band] += job->by_state[RCPT_READY];
    ages->deferred[band] += job->by_state[RCPT_DEFERRED];
}

static json_t *summary_by_age(struct store *store, struct now now)
{
    struct ages ages = {.now_ms = now.wall_ms};
    visit_open_jobs(store, add_age, &ages);
    json_t *list = json_array();
    for (unsigned i = 0; i < BANDS; i++) {
        json_t *item = json_object();
        js_set(item, "age", json_string(bands[i].name));
        js_set_int(item, "queued", ages.ready[i] + ages.deferred[i]);
        js_set_int(item, "ready", ages.ready[i]);
        js_set_int(item, "deferred", ages.deferred[i]);
        json_array_append_new(list, item);
    }
    return list;
}

static json_t *total_json(struct api *api, const struct held_list *held)
{
    struct store_figures store;
    struct fleet_figures fleet;
    store_figures(api->context.store, &store);
    inspect_figures(api->context.fleet, &fleet);
    json_t *total = json_object();
    js_set_int(total, "queued", store.queued);
    uint64_t ready = store.queued > store.deferred ? store.queued - store.deferred : 0;
    uint64_t held_ready = held->total.ready < ready ? held->total.ready : ready;
    uint64_t held_deferred = held->total.deferred < store.deferred ? held->total.deferred : store.deferred;
    js_set_int(total, "ready", ready - held_ready);
    js_set_int(total, "deferred", store.deferred - held_deferred);
    js_set_int(total, "held", held_ready + held_deferred);
    js_set_int(total, "in_flight", fleet.in_flight);
    return total;
}

static void answer_summary(struct http_request *request, struct api *api, struct str by, json_t *list,
                           const struct held_list *held, uint64_t more)
{
    if (list == NULL) {
        http_fail(request, 500, "failed", "no memory for the summary");
        return;
    }
    json_t *root = json_object();
    js_set(root, "by", js_text(by));
    js_set(root, "total", total_json(api, held));
    js_set(root, "rows", list);
    js_set_int(root, "more", more);
    answer_json(request, 200, root);
}

void call_queue(struct http_request *request, struct now now, void *user)
{
    struct api *api = user;
    struct str by = http_parameter(request, "by");
    bool all = str_eq(http_parameter(request, "all"), STR("1"));
    struct held_list held;
    size_t limit;
    uint64_t more = 0;
    json_t *list;
    if (!for_operators(api, request) || !take_limit(request, 1000, 100000, &limit))
        return;
    if (by.p == NULL)
        by = STR("domain");
    bool by_name = str_eq(by, STR("domain")) || str_eq(by, STR("site")) || str_eq(by, STR("tenant"));
    if (!by_name && !str_eq(by, STR("status")) && !str_eq(by, STR("age"))) {
        http_fail(request, 400, "bad_parameter", "by must be domain, site, tenant, status or age");
        return;
    }
    held_take(api, now, &held);
    if (by_name)
        list = summary_by_name(api, by.p, all, &held, limit, &more);
    else if (str_eq(by, STR("status")))
        list = summary_by_status(api->context.store, limit, &more);
    else
        list = summary_by_age(api->context.store, now);
    answer_summary(request, api, by, list, &held, more);
    steer_held_free(&held);
}

/* ---- retry and bounce by filter ---- */

static void operate_on_filter(struct http_request *request, struct api *api, enum op_kind kind,
                              struct now now)
{
    struct queue_filter filter;
    if (!for_operators(api, request) || !queue_filter_take(api, request, now, &filter))
        return;
    if (kind == OP_BOUNCE && !filter.narrow)
        http_fail(
            request, 400, "bad_parameter",
            "say which to bounce, by tenant, campaign, job, domain, site, status or age; all=1 for all");
    else
        operate(api, request, kind, &filter.store, NULL);
    queue_filter_free(&filter);
}

void call_queue_retry(struct http_request *request, struct now now, void *user)
{
    operate_on_filter(request, user, OP_RETRY, now);
}

void call_queue_bounce(struct http_request *request, struct now now, void *user)
{
    operate_on_filter(request, user, OP_BOUNCE, now);
}

/* ---- operations ---- */

static json_t *op_json(const struct op_info *op)
{
    static const char *const kinds[] = {[OP_PAUSE] = "pause", [OP_RESUME] = "resume", [OP_CANCEL] = "cancel",
                                        [OP_RETRY] = "retry", [OP_BOUNCE] = "bounce", [OP_EXPIRE] = "expire",
                                        [OP_SWEEP] = "sweep", [OP_PURGE] = "purge",   [OP_WAKE] = "wake"};
    json_t *root = json_object();
    js_set(root, "op", js_id(op->op));
    js_set(root, "kind", json_string(kinds[op->kind]));
    js_set(root, "done", json_boolean(op->done));
    js_set_int(root, "matched", op->matched);
    js_set_int(root, "changed", op->changed);
    js_set(root, "started", js_time(op->started_ms));
    return root;
}

void call_ops(struct http_request *request, struct now now, void *user)
{
    struct api *api = user;
    (void)now;
    if (!for_operators(api, request))
        return;
    struct op_info *ops = calloc(OPS_MAX, sizeof *ops);
    size_t n = ops != NULL ? query_ops(api->context.store, ops, OPS_MAX) : 0;
    json_t *list = json_array(), *root = json_object();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, op_json(&ops[i]));
    js_set(root, "ops", list);
    answer_json(request, 200, root);
    free(ops);
}

void call_op(struct http_request *request, struct now now, void *user)
{
    struct api *api = user;
    struct str text = http_segment(request, 0);
    struct op_info op;
    uint64_t id;
    (void)now;
    if (str_u64(text, UINT64_MAX, &id) && query_op(api->context.store, id, &op))
        answer_json(request, 200, op_json(&op));
    else
        http_fail(request, 404, "not_found", "there is no operation %.*s (ended ones are kept for a while)",
                  STR_ARG(text));
}
