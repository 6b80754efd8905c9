/* api_rig.c - see api_rig.h. */
#include "tests/unit/api_rig.h"

#include "engine/inbound/inbound.h"
#include "engine/inspect.h"
#include "engine/setup.h"
#include "engine/steer.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define TAKE_AT_ONCE 200
#define WAIT_MS      20000
#define MAP_MAX      ((uint64_t)1 << 30)

/* ---- the fleet, made up ---- */

void inspect_paths(struct fleet *fleet, const char *site, struct path_list *out)
{
    (void)fleet;
    *out = (struct path_list){.complete = true};
    if (site != NULL && strcmp(site, "site.example") != 0)
        return;
    out->list = calloc(2, sizeof *out->list);
    assert_non_null(out->list);
    out->count = 2;
    for (unsigned i = 0; i < 2; i++) {
        struct path_info *path = &out->list[i];
        snprintf(path->site, sizeof path->site, "site.example");
        snprintf(path->source, sizeof path->source, "source%u", i);
        path->connections = 3 + i;
        path->window = 10;
        path->delivered = 100;
    }
    snprintf(out->list[1].blocked_by, sizeof out->list[1].blocked_by, "backoff");
    snprintf(out->list[1].reason, sizeof out->list[1].reason, "421 4.7.0 \"slow down\"");
    out->list[1].blocked_until_ms = INT64_C(1900000000000);
}

void inspect_senders(struct fleet *fleet, const char *site, struct sender_list *out)
{
    (void)fleet;
    (void)site;
    *out = (struct sender_list){.complete = true};
}

void inspect_lane(struct fleet *fleet, uint32_t lane, const char *domain, struct str from,
                  struct lane_why *why)
{
    (void)from;
    (void)fleet;
    (void)lane;
    *why = (struct lane_why){.known = true, .until_ms = INT64_C(1900000000000)};
    snprintf(why->site, sizeof why->site, "site.example");
    snprintf(why->limit, sizeof why->limit, "max_rate");
    snprintf(why->reason, sizeof why->reason, "600/min for %s", domain);
}

enum steer_result steer_source(struct fleet *fleet, const char *source, bool drain)
{
    (void)fleet;
    (void)source;
    (void)drain;
    return STEER_OK;
}

enum steer_result steer_flush_dns(struct fleet *fleet)
{
    (void)fleet;
    return STEER_OK;
}

/* Nobody may watch here. */
struct trace *inspect_trace(struct fleet *fleet, const char *site)
{
    (void)fleet;
    (void)site;
    return NULL;
}

bool inspect_trace_ready(const struct trace *trace)
{
    (void)trace;
    return false;
}

void inspect_trace_take(struct trace *trace, struct buf *out)
{
    (void)trace;
    (void)out;
}

void inspect_trace_end(struct trace *trace)
{
    (void)trace;
}

void inspect_figures(struct fleet *fleet, struct fleet_figures *figures)
{
    (void)fleet;
    *figures = (struct fleet_figures){.sessions = 7, .sites = 1, .rate_1m = 42};
}

void inspect_domain_sites(struct fleet *fleet, const char *const *domains, char (*sites)[DOMAIN_MAX + 1],
                          size_t n)
{
    (void)fleet;
    for (size_t i = 0; i < n; i++)
        snprintf(sites[i], DOMAIN_MAX + 1, "%s", strcmp(domains[i], "b.example") == 0 ? "" : "site.example");
}

/* One suspension, of a tenant that nobody has; and one stop. */
void steer_held(struct fleet *fleet, struct held_list *out)
{
    (void)fleet;
    *out = (struct held_list){.complete = true, .count = 2};
    out->list = calloc(2, sizeof *out->list);
    assert_non_null(out->list);
    out->list[0] = (struct held_info){.kind = "suspension", .since_ms = 1, .tenant = "nobody"};
    out->list[1] = (struct held_info){.kind = "stop", .since_ms = 1, .site = "site.example", .code = 550};
}

void steer_held_free(struct held_list *held)
{
    free(held->list);
    free(held->lanes);
    *held = (struct held_list){0};
}

bool steer_held_find(struct fleet *fleet, const struct steer_filter *recipient, struct held_info *info)
{
    (void)fleet;
    if (!str_eq(recipient->campaign, STR("held")))
        return false;
    *info =
        (struct held_info){.kind = "suspension", .since_ms = 1, .remedy = "postrider resume --campaign held"};
    return true;
}

enum steer_result steer_suspend(struct fleet *fleet, const struct steer_filter *filter, struct now now,
                                unsigned *changed)
{
    (void)fleet;
    (void)now;
    *changed = str_eq(filter->domain, STR("xn--bcher-kva.example"));
    return filter->job == 507 ? STEER_FULL : STEER_OK;
}

enum steer_result steer_resume(struct fleet *fleet, const struct steer_filter *filter, unsigned *changed)
{
    (void)fleet;
    *changed = filter->all ? 17 : 1;
    return STEER_OK;
}

enum steer_result steer_site(struct fleet *fleet, const char *site, enum steer_site how, unsigned *changed)
{
    (void)fleet;
    *changed = strcmp(site, "site.example") == 0 ? 2 + (unsigned)how : 0;
    return STEER_OK;
}

/* ---- the worker ---- */

static void decide(struct taken *taken, struct now now)
{
    bool bad = str_starts(taken->to, STR("bad")), full = str_starts(taken->to, STR("full"));
    taken->outcome = bad ? OUTCOME_BOUNCED : full ? OUTCOME_DEFERRED : OUTCOME_DELIVERED;
    taken->code = bad ? 550 : full ? 452 : 250;
    taken->status = bad ? STATUS(5, 1, 1) : full ? STATUS(4, 2, 2) : STATUS(2, 0, 0);
    taken->at_ms = now.wall_ms;
    taken->next_ms = now.wall_ms + 3600 * MS_PER_S;
    taken->delay_ms = 12;
    taken->site = STR("site.example");
    taken->source = STR("source0");
    taken->mx = STR("mx.site.example");
    taken->tls = STR("TLSv1.3");
    taken->reply = bad    ? STR("5.1.1 no such \"user\", sorry")
                   : full ? STR("4.2.2 mailbox full")
                          : STR("2.0.0 ok");
}

static void settle(struct api_rig *rig, struct taken *list)
{
    struct taken *settled = NULL;
    while (list != NULL) {
        struct taken *taken = list;
        list = list->next;
        bool known = str_starts(taken->to, STR("ok")) || str_starts(taken->to, STR("bad")) ||
                     str_starts(taken->to, STR("full"));
        struct taken **to = known ? &settled : &rig->kept;
        if (known)
            decide(taken, clock_now());
        taken->next = *to;
        *to = taken;
    }
    if (settled != NULL)
        store_settle(rig->store, settled);
}

static void take_message(struct api_rig *rig, struct inbox_node *node)
{
    if (node->kind == STORE_LANE_READY) {
        store_take(rig->store, ((struct store_lane_msg *)node)->lane, TAKE_AT_ONCE, 0);
    } else if (node->kind == STORE_TAKEN) {
        struct store_taken_msg *message = (struct store_taken_msg *)node;
        settle(rig, message->list);
        if (!message->idle)
            store_take(rig->store, message->lane, TAKE_AT_ONCE, 0);
    } else if (node->kind == STORE_BOUNCE) { /* keeps what it has */
        store_bounced(rig->store, ((struct store_bounce_msg *)node)->bounce);
    }
    free(node);
}

static void *work(void *user)
{
    struct api_rig *rig = user;
    while (!atomic_load(&rig->over)) {
        struct inbox_node *node = inbox_take(rig->inbox);
        if (node == NULL && inbox_sleep(rig->inbox)) {
            struct pollfd ready = {.fd = inbox_fd(rig->inbox), .events = POLLIN};
            (void)poll(&ready, 1, 50);
        }
        inbox_wake(rig->inbox);
        while (node != NULL) {
            struct inbox_node *next = node->next;
            take_message(rig, node);
            node = next;
        }
    }
    return NULL;
}

/* ---- open and close ---- */

static void load_config(struct api_rig *rig, const char *yaml)
{
    char path[128];
    struct buf errors;
    const char *mark = strstr(yaml, "@control@");
    int before = mark ? (int)(mark - yaml) : (int)strlen(yaml);
    snprintf(path, sizeof path, "%s/postrider.yaml", rig->directory);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "hostname: mta.test\nstate_directory: %s\n%s%s%s%.*s%s%s\n", rig->directory,
            strstr(yaml, "jobs:") ? "" : "jobs: { unix: ", strstr(yaml, "jobs:") ? "" : rig->socket,
            strstr(yaml, "jobs:") ? "" : ", mode: \"0600\" }\n", before, yaml, mark ? rig->control : "",
            mark ? mark + strlen("@control@") : "");
    fclose(file);
    buf_init(&errors, CONFIG_ERRORS_MAX);
    if (!config_load(path, &rig->config, &errors))
        fail_msg("%.*s", (int)errors.len, errors.data);
    buf_free(&errors);
}

void api_rig_open(struct api_rig *rig, const char *yaml)
{
    struct err err;
    *rig = (struct api_rig){0};
    assert_true(temporary_directory(rig->directory));
    snprintf(rig->socket, sizeof rig->socket, "%s/jobs.sock", rig->directory);
    snprintf(rig->control, sizeof rig->control, "%s/control.sock", rig->directory);
    load_config(rig, yaml);
    struct err wrong;
    struct setup *setup = setup_create(rig->config, NULL, &wrong);
    assert_non_null(setup);
    rig->setups = setups_create(setup);
    assert_non_null(rig->setups);
    uint64_t max_size = rig->config->queue.max_size;
    struct store_settings settings = {.directory = rig->directory,
                                      .max_size = max_size < MAP_MAX ? max_size : MAP_MAX,
                                      .reserve = 1u << 20,
                                      .lifetime_ms = 3600 * MS_PER_S,
                                      .retain_ms = 3600 * MS_PER_S,
                                      .workers = 1};
    rig->inbox = inbox_create(&err);
    rig->store = store_open(&settings, clock_now(), &err);
    if (rig->store == NULL)
        fail_msg("%s", err.text);
    store_attach_worker(rig->store, 0, rig->inbox);
    assert_true(store_start(rig->store, &err));
    assert_int_equal(pthread_create(&rig->worker, NULL, work, rig), 0);
    rig->inbound = inbound_create(rig->store);
    assert_non_null(rig->inbound);
    struct api_context context = {.store = rig->store,
                                  .config = rig->config,
                                  .setups = rig->setups,
                                  .inbound = rig->inbound,
                                  .version = "1.2.3",
                                  .started = clock_now()};
    rig->api = api_create(&context, &err);
    if (rig->api == NULL)
        fail_msg("%s", err.text);
}

void api_rig_close(struct api_rig *rig)
{
    if (rig->api != NULL) {
        api_stop(rig->api);
        api_destroy(rig->api);
    }
    inbound_destroy(rig->inbound);
    atomic_store(&rig->over, true);
    pthread_join(rig->worker, NULL);
    store_stop(rig->store);
    for (struct inbox_node *node = inbox_take(rig->inbox), *next; node != NULL; node = next) {
        next = node->next;
        if (node->kind == STORE_TAKEN && ((struct store_taken_msg *)node)->list != NULL)
            store_taken_free(((struct store_taken_msg *)node)->list);
        if (node->kind == STORE_BOUNCE)
            store_bounce_free(((struct store_bounce_msg *)node)->bounce);
        free(node);
    }
    if (rig->kept != NULL)
        store_taken_free(rig->kept);
    store_close(rig->store);
    inbox_destroy(rig->inbox);
    setups_destroy(rig->setups);
    temporary_remove(rig->directory);
}

/* ---- calls ---- */

json_t *api_rig_call(struct api_rig *rig, const char *method, const char *url, const char *body,
                     unsigned status)
{
    struct http_reply reply;
    json_t *root = NULL;
    http_call(rig->socket, method, url, "", str_of(body), &reply);
    if (reply.status != status)
        fail_msg("%s %s: %u, expected %u: %s", method, url, reply.status, status, reply.body.data);
    if (strstr(reply.header, "application/json") != NULL)
        root = reply_json(&reply);
    http_reply_free(&reply);
    return root;
}

const char *api_rig_get(struct api_rig *rig, const char *url, struct http_reply *reply)
{
    http_call(rig->socket, "GET", url, "", STR(""), reply);
    if (reply->status != 200 || reply->cut)
        fail_msg("GET %s: %u %s", url, reply->status, reply->body.data);
    return reply->body.data;
}

void api_rig_wait(struct api_rig *rig, const char *job, const char *count, json_int_t n)
{
    char url[64], path[64];
    json_int_t is = -1;
    snprintf(url, sizeof url, "/v1/jobs/%s", job);
    snprintf(path, sizeof path, "counts.%s", count);
    for (int waited_ms = 0; waited_ms < WAIT_MS; waited_ms += 5) {
        json_t *root = api_rig_call(rig, "GET", url, "", 200);
        is = int_at(root, path);
        json_decref(root);
        if (is == n)
            return;
        usleep(5000);
    }
    fail_msg("job %s: %s is %lld, expected %lld", job, count, (long long)is, (long long)n);
}

const json_t *at(const json_t *root, const char *path)
{
    char name[64];
    while (*path != '\0' && root != NULL) {
        size_t n = strcspn(path, ".");
        assert_true(n < sizeof name);
        memcpy(name, path, n);
        name[n] = '\0';
        root =
            json_is_array(root) ? json_array_get(root, strtoul(name, NULL, 10)) : json_object_get(root, name);
        path += n + (path[n] == '.');
    }
    if (root == NULL)
        fail_msg("nothing at the end: %s", path);
    return root;
}

const char *text_at(const json_t *root, const char *path)
{
    const json_t *value = at(root, path);
    if (!json_is_string(value))
        fail_msg("%s is no string", path);
    return json_string_value(value);
}

json_int_t int_at(const json_t *root, const char *path)
{
    const json_t *value = at(root, path);
    if (!json_is_integer(value))
        fail_msg("%s is no integer", path);
    return json_integer_value(value);
}
