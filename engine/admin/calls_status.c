/* calls_status.c - the figures: /v1/status for people, /metrics for Prometheus, /healthz for supervisors. */
#include "engine/admin/calls.h"
#include "engine/admin/process.h"
#include "engine/admin/upload.h"
#include "engine/inbound/inbound.h"
#include "engine/submission/submission.h"
#include "queue/edit.h"

#include <inttypes.h>
#include <stdlib.h>

#define METRICS_SITES_MAX 100            /* with gauges of their own: the busiest */
#define HELD_ROWS         5000           /* from so many rows of jobs on, their sum */
#define HELD_KEPT_NS      (5 * NS_PER_S) /* is good for so long */

struct held {
    int64_t now_ms;
    uint64_t count;
};

static void add_held(const struct job_info *job, void *user)
{
    struct held *held = user;
    if (job->state == JOB_PAUSED || (job->state == JOB_ACTIVE && job->not_before_ms > held->now_ms))
        held->count += job->by_state[RCPT_READY];
}

/* Recipients that a paused or later job holds. They are ready for the store's counters. */
static uint64_t held_by_jobs(struct api *api, struct now now)
{
    struct held held = {now.wall_ms, 0};
    pthread_mutex_lock(&api->held_lock);
    if (now.mono_ns >= api->held_until_ns) {
        uint64_t rows = visit_open_jobs(api->context.store, add_held, &held);
        api->held = held.count;
        api->held_until_ns = rows > HELD_ROWS ? now.mono_ns + HELD_KEPT_NS : 0;
    }
    held.count = api->held;
    pthread_mutex_unlock(&api->held_lock);
    return held.count;
}

/* All figures together. queued = ready + in_flight + deferred + held; as they are read one after the other,
 * what moves meanwhile is put down as ready. */
struct figures {
    struct store_figures store;
    struct fleet_figures fleet;
    struct intake_figures intake;
    struct http_figures http;
    uint64_t ready, held, deferred, memory, disk_free;
    int64_t uptime_s;
};

static uint64_t at_most(uint64_t value, uint64_t most)
{
    return value < most ? value : most;
}

static void collect_figures(struct api *api, const struct http_request *request, struct now now,
                            struct figures *f)
{
    store_figures(api->context.store, &f->store);
    inspect_figures(api->context.fleet, &f->fleet);
    intake_figures(api->intake, &f->intake);
    http_figures(request, &f->http);
    uint64_t rest = f->store.queued - at_most(f->store.deferred, f->store.queued);
    f->fleet.in_flight = at_most(f->fleet.in_flight, rest);
    rest -= f->fleet.in_flight;
    struct held_list held;
    held_take(api, now, &held);
    uint64_t held_ready = rest > 0 ? at_most(held_by_jobs(api, now) + held.total.ready, rest) : 0;
    uint64_t held_deferred = at_most(held.total.deferred, f->store.deferred);
    steer_held_free(&held);
    f->ready = rest - held_ready;
    f->deferred = f->store.deferred - held_deferred;
    f->held = held_ready + held_deferred;
    f->memory = process_memory();
    f->disk_free = process_disk_free(api->context.config->state_directory);
    f->uptime_s = (now.mono_ns - api->context.started.mono_ns) / NS_PER_S;
}

void call_status(struct http_request *request, struct now now, void *user)
{
    struct api *api = user;
    struct figures f;
    if (!for_operators(api, request))
        return;
    collect_figures(api, request, now, &f);
    json_t *root = json_object();
    js_set(root, "version", json_string(api->context.version));
    js_set_int(root, "uptime_s", (uint64_t)f.uptime_s);
    js_set_int(root, "queued", f.store.queued);
    js_set_int(root, "ready", f.ready);
    js_set_int(root, "in_flight", f.fleet.in_flight);
    js_set_int(root, "deferred", f.deferred);
    js_set_int(root, "held", f.held);
    js_set_int(root, "sessions", f.fleet.sessions);
    js_set_int(root, "sites", f.fleet.sites);
    js_set_int(root, "jobs", f.store.jobs);
    js_set_int(root, "accepted", f.store.accepted);
    js_set_int(root, "delivered", f.store.delivered);
    js_set_int(root, "bounced", f.store.bounced);
    js_set_int(root, "expired", f.store.expired);
    js_set_int(root, "rate_1m", f.fleet.rate_1m);
    js_set_int(root, "db_bytes", f.store.db_bytes);
    js_set_int(root, "disk_free", f.disk_free);
    js_set_int(root, "memory_bytes", f.memory);
    js_set(root, "full", json_boolean(f.store.full));
    js_set(root, "stopping", json_boolean(http_stopping(request)));
    answer_json(request, 200, root);
}

void call_healthz(struct http_request *request, struct now now, void *user)
{
    struct api *api = user;
    struct store_figures store;
    struct buf body;
    (void)now;
    store_figures(api->context.store, &store);
    const char *word = http_stopping(request) ? "stopping" : store.full ? "full" : "ok";
    buf_init(&body, 64);
    buf_printf(&body, "%s\n", word);
    http_answer(request, strcmp(word, "ok") == 0 ? 200 : 503, "text/plain", &body);
    buf_free(&body);
}

/* ---- Prometheus, text format 0.0.4 ---- */

static void metric(struct buf *out, const char *name, const char *type, const char *help, uint64_t value)
{
    buf_printf(out, "# HELP postrider_%s %s\n# TYPE postrider_%s %s\npostrider_%s %" PRIu64 "\n", name, help,
               name, type, name, value);
}

static void queue_metrics(struct buf *out, const struct figures *f)
{
    metric(out, "accepted_total", "counter", "Recipients accepted since the state directory was made.",
           f->store.accepted);
    metric(out, "delivered_total", "counter", "Recipients delivered.", f->store.delivered);
    metric(out, "bounced_total", "counter", "Recipients that failed for good.", f->store.bounced);
    metric(out, "expired_total", "counter", "Recipients whose time was over.", f->store.expired);
    metric(out, "cancelled_total", "counter", "Recipients cancelled.", f->store.cancelled);
    metric(out, "suppressed_total", "counter", "Recipients suppressed.", f->store.suppressed);
    metric(out, "queued", "gauge", "Recipients that have not ended.", f->store.queued);
    metric(out, "ready", "gauge", "Of them, those that nothing but their turn holds.", f->ready);
    metric(out, "in_flight", "gauge", "Of them, those in a transaction.", f->fleet.in_flight);
    metric(out, "deferred", "gauge", "Of them, those that wait for a retry.", f->deferred);
    metric(out, "held", "gauge",
           "Of them, those that are held: stopped, suspended, or of paused or later jobs.", f->held);
    metric(out, "jobs", "gauge", "Jobs that have not ended.", f->store.jobs);
    metric(out, "events_seq", "counter", "The last sequence number of the event log.", f->store.events);
}

static void engine_metrics(struct buf *out, const struct figures *f)
{
    metric(out, "sessions", "gauge", "SMTP connections.", f->fleet.sessions);
    metric(out, "sites", "gauge", "Sites with paths.", f->fleet.sites);
    metric(out, "buffered", "gauge", "Recipients in the workers' memory.", f->fleet.buffered);
    metric(out, "attempts_delivered_total", "counter", "Deliveries since the start.", f->fleet.delivered);
    metric(out, "attempts_deferred_total", "counter", "Deferrals since the start.", f->fleet.deferred);
    metric(out, "attempts_failed_total", "counter", "Failures since the start.", f->fleet.failed);
    metric(out, "store_bytes", "gauge", "Bytes of the store that are in use.", f->store.db_bytes);
    metric(out, "store_commits_total", "counter", "Commits since the start.", f->store.commits);
    metric(out, "store_rows_total", "counter", "Rows in them.", f->store.commit_rows);
    metric(out, "store_settle_backlog", "gauge", "Outcomes that wait for a commit.", f->store.settle_backlog);
    metric(out, "store_full", "gauge", "1 while new jobs are refused for lack of space or memory.",
           f->store.full);
    metric(out, "event_log_bytes", "gauge", "The event log on disk.", f->store.log_bytes);
    metric(out, "disk_free_bytes", "gauge", "Bytes free where the store is.", f->disk_free);
    metric(out, "memory_bytes", "gauge", "Memory of the process without the store's map.", f->memory);
    metric(out, "intake_jobs_total", "counter", "Jobs accepted over HTTP since the start.", f->intake.jobs);
    metric(out, "intake_recipients_total", "counter", "Their recipients.", f->intake.recipients);
    metric(out, "intake_rejected_total", "counter", "Recipients rejected in them.", f->intake.rejected);
    metric(out, "intake_failed_total", "counter", "Uploads answered with an error.", f->intake.failed);
    metric(out, "http_requests_total", "counter", "HTTP requests since the start.", f->http.requests);
    metric(out, "http_connections", "gauge", "HTTP connections.", f->http.connections);
    metric(out, "uptime_seconds", "gauge", "Since the start.", (uint64_t)f->uptime_s);
}

static void inbound_metrics(struct buf *out, struct api *api)
{
    struct inbound_figures f;
    inbound_figures(api->context.inbound, &f);
    buf_add_z(out,
              "# HELP postrider_inbound_total Bounces and complaints read, and what only looked like them.\n"
              "# TYPE postrider_inbound_total counter\n");
    for (unsigned i = 0; i < NOTICE_KINDS; i++)
        buf_printf(out, "postrider_inbound_total{kind=\"%s\"} %" PRIu64 "\n", notice_kind_name(i),
                   f.notices[i]);
    buf_add_z(out,
              "# HELP postrider_inbound_recipients_total Recipients in them, and what was made of each.\n"
              "# TYPE postrider_inbound_recipients_total counter\n");
    for (unsigned i = 0; i < ACTIONS; i++)
        buf_printf(out, "postrider_inbound_recipients_total{action=\"%s\"} %" PRIu64 "\n",
                   inbound_action_name(i), f.actions[i]);
}

static void submission_metrics(struct buf *out, const struct submission *submission)
{
    struct submission_figures f;
    submission_figures(submission, &f);
    metric(out, "submission_clients", "gauge", "Connections by SMTP.", f.clients);
    metric(out, "submission_messages_total", "counter", "Messages accepted over SMTP since the start.",
           f.messages);
    metric(out, "submission_recipients_total", "counter", "Their recipients.", f.recipients);
    metric(out, "submission_refused_total", "counter", "Messages refused once they were whole.", f.refused);
    metric(out, "submission_wrong_logins_total", "counter", "Logins with a wrong user or password.",
           f.wrong_logins);
}

static void label_value(struct buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\\' || *text == '"')
            buf_add_char(out, '\\');
        buf_add_char(out, *text);
    }
}

static int by_load(const void *a, const void *b)
{
    const struct path_info *x = a, *y = b;
    uint64_t load_x = x->delivered + x->deferred + x->failed + x->connections;
    uint64_t load_y = y->delivered + y->deferred + y->failed + y->connections;
    return (load_x < load_y) - (load_x > load_y);
}

static void path_metric(struct buf *out, const struct path_list *paths, const char *name, const char *type,
                        uint64_t (*value)(const struct path_info *path))
{
    buf_printf(out, "# TYPE postrider_path_%s %s\n", name, type);
    for (size_t i = 0; i < paths->count && i < METRICS_SITES_MAX; i++) {
        buf_printf(out, "postrider_path_%s{site=\"", name);
        label_value(out, paths->list[i].site);
        buf_add_z(out, "\",source=\"");
        label_value(out, paths->list[i].source);
        buf_printf(out, "\"} %" PRIu64 "\n", value(&paths->list[i]));
    }
}

static uint64_t path_connections(const struct path_info *path)
{
    return path->connections;
}

static uint64_t path_delivered(const struct path_info *path)
{
    return path->delivered;
}

static uint64_t path_deferred(const struct path_info *path)
{
    return path->deferred;
}

static uint64_t path_failed(const struct path_info *path)
{
    return path->failed;
}

static uint64_t path_stopped(const struct path_info *path)
{
    return path->stopped_ms != 0;
}

/* Messages an hour that replies have left it; 0: not slowed. */
static uint64_t path_slowed(const struct path_info *path)
{
    return path->slowed_ns > 0 ? (uint64_t)(3600 * NS_PER_S / path->slowed_ns) : 0;
}

static uint64_t path_blocked(const struct path_info *path)
{
    return path->blocked_by[0] != '\0';
}

void call_metrics(struct http_request *request, struct now now, void *user)
{
    struct api *api = user;
    struct figures f;
    struct path_list paths = {0};
    struct buf body;
    if (!for_operators(api, request))
        return;
    collect_figures(api, request, now, &f);
    inspect_paths(api->context.fleet, NULL, &paths);
    if (paths.count > 0)
        qsort(paths.list, paths.count, sizeof *paths.list, by_load);
    buf_init(&body, HTTP_ANSWER_MAX);
    queue_metrics(&body, &f);
    metric(&body, "suppressions", "gauge", "Addresses that get no mail, over all lists.",
           query_suppression_count(api->context.store));
    engine_metrics(&body, &f);
    inbound_metrics(&body, api);
    if (api->context.submission != NULL)
        submission_metrics(&body, api->context.submission);
    path_metric(&body, &paths, "connections", "gauge", path_connections);
    path_metric(&body, &paths, "delivered_total", "counter", path_delivered);
    path_metric(&body, &paths, "deferred_total", "counter", path_deferred);
    path_metric(&body, &paths, "failed_total", "counter", path_failed);
    path_metric(&body, &paths, "blocked", "gauge", path_blocked);
    path_metric(&body, &paths, "stopped", "gauge", path_stopped);
    path_metric(&body, &paths, "slowed_per_hour", "gauge", path_slowed);
    consumer_metrics(api->context.consumers, now, &body);
    free(paths.list);
    if (body.failed)
        http_fail(request, 500, "failed", "no memory for the metrics");
    else
        http_answer(request, 200, "text/plain; version=0.0.4; charset=utf-8", &body);
    buf_free(&body);
}
