/* calls_sources.c - the sources that are configured, what leaves from each, and draining them; and DNS. */
#include "engine/admin/calls.h"
#include "engine/config.h"
#include "queue/edit.h"

#include <stdlib.h>

static void set_figures(json_t *root, const struct path_list *paths, const char *source)
{
    struct path_info sum = {0};
    unsigned sites = 0, blocked = 0;
    for (size_t i = 0; i < paths->count; i++) {
        const struct path_info *path = &paths->list[i];
        if (strcmp(path->source, source) != 0)
            continue;
        sites++;
        blocked += path->blocked_by[0] != '\0';
        sum.connections += path->connections;
        sum.idle += path->idle;
        sum.in_flight += path->in_flight;
        sum.delivered += path->delivered;
        sum.deferred += path->deferred;
        sum.failed += path->failed;
        sum.rate_1m += path->rate_1m;
    }
    js_set_int(root, "sites", sites);
    js_set_int(root, "blocked", blocked);
    js_set_int(root, "connections", sum.connections);
    js_set_int(root, "idle", sum.idle);
    js_set_int(root, "in_flight", sum.in_flight);
    js_set_int(root, "delivered", sum.delivered);
    js_set_int(root, "deferred", sum.deferred);
    js_set_int(root, "failed", sum.failed);
    js_set_int(root, "rate_1m", sum.rate_1m);
}

/* Marks those of the list that have a row. */
static bool mark_drained(struct str name, struct str value, void *user)
{
    json_t *list = user, *source;
    size_t i;
    (void)value;
    json_array_foreach(list, i, source)
    {
        if (str_eq(str_of(js_get_text(source, "source")), name))
            js_set(source, "drained", json_true());
    }
    return true;
}

void call_sources(struct http_request *request, struct now now, void *user)
{
    struct api *api = user;
    const struct config *config = api->context.config;
    struct path_list paths = {0};
    (void)now;
    if (!for_operators(api, request))
        return;
    inspect_paths(api->context.fleet, NULL, &paths);
    json_t *list = json_array(), *root = json_object();
    for (size_t i = 0; i < config->source_count; i++) {
        json_t *source = json_object();
        js_set(source, "source", js_text(str_of(config->sources[i].name)));
        js_set(source, "address", js_text(str_of(config->sources[i].address)));
        js_set(source, "ehlo", js_text(str_of(config->sources[i].ehlo)));
        js_set(source, "drained", json_false());
        set_figures(source, &paths, config->sources[i].name);
        json_array_append_new(list, source);
    }
    query_policy(api->context.store, POLICY_SOURCE, mark_drained, list);
    js_set(root, "complete", json_boolean(paths.complete));
    js_set(root, "sources", list);
    answer_json(request, 200, root);
    free(paths.list);
}

static void steer_one_source(struct http_request *request, struct api *api, bool drain)
{
    const struct config *config = api->context.config;
    struct str name = http_segment(request, 0);
    size_t i = 0;
    if (!for_operators(api, request))
        return;
    while (i < config->source_count && !str_eq(str_of(config->sources[i].name), name))
        i++;
    if (i == config->source_count) {
        http_fail(request, 404, "not_found", "no source named %.*s is configured; GET /v1/sources lists them",
                  STR_ARG(name));
        return;
    }
    if (!steered(request, steer_source(api->context.fleet, config->sources[i].name, drain)))
        return;
    json_t *root = json_object();
    js_set(root, "source", js_text(name));
    js_set(root, "drained", json_boolean(drain));
    answer_json(request, 200, root);
}

void call_source_enable(struct http_request *request, struct now now, void *user)
{
    (void)now;
    steer_one_source(request, user, false);
}

void call_source_drain(struct http_request *request, struct now now, void *user)
{
    (void)now;
    steer_one_source(request, user, true);
}

void call_dns_flush(struct http_request *request, struct now now, void *user)
{
    struct api *api = user;
    (void)now;
    if (!for_operators(api, request) || !steered(request, steer_flush_dns(api->context.fleet)))
        return;
    json_t *root = json_object();
    js_set(root, "flushed", json_true());
    answer_json(request, 200, root);
}
