/* calls_sites.c - sites and their paths, from the workers' own words. */
#include "engine/admin/calls.h"
#include "engine/report/status_json.h"

#include <stdlib.h>

/* What a site's paths add up to. */
struct site_sum {
    const char *name;
    struct path_info sum;
    bool begun;
};

static void add_path(struct site_sum *site, const struct path_info *path)
{
    struct path_info *sum = &site->sum;
    sum->connections += path->connections;
    sum->connecting += path->connecting;
    sum->idle += path->idle;
    sum->window += path->window;
    sum->max_connections += path->max_connections;
    sum->lent += path->lent;
    sum->lanes += path->lanes;
    sum->buffered += path->buffered;
    sum->in_flight += path->in_flight;
    sum->delivered += path->delivered;
    sum->deferred += path->deferred;
    sum->failed += path->failed;
    sum->rate_1m += path->rate_1m;
    if (path->slowed_ns > sum->slowed_ns)
        sum->slowed_ns = path->slowed_ns;
    sum->cap += path->cap;
    if (path->stopped_ms != 0 && (sum->stopped_ms == 0 || path->stopped_ms < sum->stopped_ms))
        sum->stopped_ms = path->stopped_ms;
    if (path->blocked_by[0] != '\0' && (!site->begun || path->blocked_until_ms >= sum->blocked_until_ms)) {
        sum->blocked_until_ms = path->blocked_until_ms;
        memcpy(sum->blocked_by, path->blocked_by, sizeof sum->blocked_by);
        memcpy(sum->reason, path->reason, sizeof sum->reason);
        site->begun = true;
    }
}

/* Messages a minute that replies have left. */
static double rate_of(int64_t slowed_ns)
{
    double rate = 60.0 * (double)NS_PER_S / (double)slowed_ns;
    return (double)(int64_t)(rate * 100.0 + 0.5) / 100.0;
}

/* What replies have taught about it, beside rate and cap. */
static void set_learnt(json_t *root, const struct path_info *path)
{
    js_set(root, "recipients_max",
           path->recipients_max > 0 ? json_integer(path->recipients_max) : json_null());
    js_set(root, "messages_max", path->messages_max > 0 ? json_integer(path->messages_max) : json_null());
    js_set(root, "tls_only", json_boolean(path->tls_only));
    js_set(root, "tls", json_string(path->tls));
    js_set(root, "learnt", js_time(path->learnt_ms));
    js_set_int(root, "code", path->code);
    js_set(root, "status", js_status(path->status));
}

static void set_path(json_t *root, const struct path_info *path)
{
    js_set_int(root, "connections", path->connections);
    js_set_int(root, "connecting", path->connecting);
    js_set_int(root, "idle", path->idle);
    js_set_int(root, "window", path->window);
    js_set_int(root, "max_connections", path->max_connections);
    js_set_int(root, "lent", path->lent);
    js_set_int(root, "lanes", path->lanes);
    js_set_int(root, "buffered", path->buffered);
    js_set_int(root, "in_flight", path->in_flight);
    js_set_int(root, "delivered", path->delivered);
    js_set_int(root, "deferred", path->deferred);
    js_set_int(root, "failed", path->failed);
    js_set_int(root, "rate_1m", path->rate_1m);
    js_set(root, "slowed_to", path->slowed_ns > 0 ? json_real(rate_of(path->slowed_ns)) : json_null());
    js_set(root, "cap", path->cap > 0 ? json_integer(path->cap) : json_null());
    js_set(root, "stopped", js_time(path->stopped_ms));
    js_set(root, "blocked_until", js_time(path->blocked_until_ms));
    js_set(root, "blocked_by", js_text(str_of(path->blocked_by)));
    js_set(root, "reason", js_text(str_of(path->reason)));
}

/* The sender domains whose mail replies have slowed there. */
static json_t *senders_json(struct api *api, const char *site, bool *complete)
{
    struct sender_list senders;
    json_t *list = json_array();
    inspect_senders(api->context.fleet, site, &senders);
    *complete &= senders.complete;
    for (size_t i = 0; i < senders.count; i++) {
        const struct sender_info *info = &senders.list[i];
        json_t *item = json_object();
        js_set(item, "sender", js_text(str_of(info->sender)));
        js_set(item, "slowed_to", info->slowed_ns > 0 ? json_real(rate_of(info->slowed_ns)) : json_null());
        js_set_int(item, "buffered", info->buffered);
        js_set(item, "learnt", js_time(info->learnt_ms));
        js_set_int(item, "code", info->code);
        js_set(item, "status", js_status(info->status));
        js_set(item, "reason", js_text(str_of(info->reason)));
        json_array_append_new(list, item);
    }
    free(senders.list);
    return list;
}

/* How many recipients are held there. */
static uint64_t held_at(const struct held_list *held, const char *site)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < held->count; i++)
        if (strcasecmp(held->list[i].site, site) == 0)
            sum += held->list[i].count.ready + held->list[i].count.deferred;
    return sum;
}

static json_t *site_json(const struct site_sum *site, const struct held_list *held)
{
    json_t *root = json_object();
    js_set(root, "site", js_text(str_of(site->name)));
    js_set_int(root, "held", held_at(held, site->name));
    set_path(root, &site->sum);
    return root;
}

static int by_site(const void *a, const void *b)
{
    return strcmp(((const struct path_info *)a)->site, ((const struct path_info *)b)->site);
}

void call_sites(struct http_request *request, struct now now, void *user)
{
    struct api *api = user;
    struct path_list paths = {0};
    struct held_list held;
    if (!for_operators(api, request))
        return;
    inspect_paths(api->context.fleet, NULL, &paths);
    held_take(api, now, &held);
    if (paths.count > 0)
        qsort(paths.list, paths.count, sizeof *paths.list, by_site);
    json_t *list = json_array(), *root = json_object();
    for (size_t i = 0; i < paths.count;) {
        struct site_sum site = {.name = paths.list[i].site};
        for (; i < paths.count && strcmp(paths.list[i].site, site.name) == 0; i++)
            add_path(&site, &paths.list[i]);
        json_array_append_new(list, site_json(&site, &held));
    }
    js_set(root, "complete", json_boolean(paths.complete));
    js_set(root, "sites", list);
    answer_json(request, 200, root);
    steer_held_free(&held);
    free(paths.list);
}

void call_site(struct http_request *request, struct now now, void *user)
{
    struct api *api = user;
    struct str text = http_segment(request, 0);
    struct path_list paths = {0};
    char name[DOMAIN_MAX + 1] = "";
    if (!for_operators(api, request))
        return;
    if (text.n <= DOMAIN_MAX)
        memcpy(name, text.p, text.n);
    inspect_paths(api->context.fleet, name, &paths);
    if (paths.count > 0) {
        struct site_sum site = {.name = paths.list[0].site};
        json_t *list = json_array();
        for (size_t i = 0; i < paths.count; i++) {
            json_t *path = json_object();
            js_set(path, "source", js_text(str_of(paths.list[i].source)));
            js_set_int(path, "worker", paths.list[i].worker);
            set_path(path, &paths.list[i]);
            set_learnt(path, &paths.list[i]);
            json_array_append_new(list, path);
            add_path(&site, &paths.list[i]);
        }
        struct held_list held;
        held_take(api, now, &held);
        json_t *root = site_json(&site, &held);
        steer_held_free(&held);
        js_set(root, "senders", senders_json(api, name, &paths.complete));
        js_set(root, "complete", json_boolean(paths.complete));
        js_set(root, "paths", list);
        answer_json(request, 200, root);
    } else if (!paths.complete) {
        http_fail(request, 503, "busy", "the workers did not answer in time: try again");
    } else {
        http_fail(request, 404, "not_found",
                  "no worker has mail for, or a connection to, a site named %.*s now", STR_ARG(text));
    }
    free(paths.list);
}
