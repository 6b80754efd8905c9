/* api.c - see api.h. The table of routes, the two listeners, and intake behind POST /v1/jobs. */
#include "engine/admin/calls.h"
#include "engine/admin/rates.h"
#include "engine/admin/token.h"
#include "engine/admin/upload.h"
#include "queue/backup.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define THREADS_MAX 4

static void *begin_upload(struct http_request *request, struct now now, void *user)
{
    struct api *api = user;
    struct str tenant;
    bound_tenant(api, request, &tenant);
    return upload_begin(api->intake, request, tenant, now);
}

static const struct http_upload_ops upload_ops = {begin_upload, upload_data, upload_end, upload_release};

#define JOBS    1u /* on the jobs socket and on the control socket */
#define CONTROL 2u /* on the control socket, or on the jobs socket while there is none */

static const struct http_route routes[] = {
    {HTTP_POST | HTTP_PUT, "/v1/jobs", "dry_run", NULL, &upload_ops, JOBS},
    {HTTP_GET, "/v1/jobs", "tenant campaign state limit before", call_jobs, NULL, JOBS},
    {HTTP_GET, "/v1/jobs/*", "", call_job, NULL, JOBS},
    {HTTP_DELETE, "/v1/jobs/*", "", call_job_purge, NULL, JOBS},
    {HTTP_POST, "/v1/jobs/*/pause", "", call_job_pause, NULL, JOBS},
    {HTTP_POST, "/v1/jobs/*/resume", "", call_job_resume, NULL, JOBS},
    {HTTP_POST, "/v1/jobs/*/cancel", "", call_job_cancel, NULL, JOBS},
    {HTTP_POST, "/v1/jobs/*/retry", "", call_job_retry, NULL, JOBS},
    {HTTP_GET, "/v1/jobs/*/recipients", "state status to after limit", call_job_recipients, NULL, JOBS},
    {HTTP_GET, "/v1/jobs/*/bounces", "format", call_job_bounces, NULL, JOBS},
    {HTTP_GET, "/v1/tenants/*/bounces", "format since", call_tenant_bounces, NULL, JOBS},
    {HTTP_GET, "/v1/recipients/*", "", call_recipient, NULL, JOBS},
    {HTTP_GET, "/v1/recipients/*/message", "", call_recipient_message, NULL, JOBS},
    {HTTP_GET, "/v1/explain", "rid to domain", call_explain, NULL, JOBS},
    {HTTP_GET, "/v1/events", "after follow limit job type", call_events, NULL, JOBS},
    {HTTP_POST | HTTP_LARGE, "/v1/inbound", "rcpt tenant trusted dry_run", call_inbound, NULL, JOBS},
    {HTTP_GET, "/v1/suppressions", "scope address format limit after_scope after", call_suppressions, NULL,
     JOBS},
    {HTTP_PUT | HTTP_POST, "/v1/suppressions", "scope reason source", NULL, &suppressions_upload, JOBS},
    {HTTP_DELETE, "/v1/suppressions", "scope address", call_suppression_remove, NULL, JOBS},
    {HTTP_GET, "/v1/consumers", "", call_consumers, NULL, CONTROL},
    {HTTP_GET, "/v1/ops", "", call_ops, NULL, CONTROL},
    {HTTP_GET, "/v1/ops/*", "", call_op, NULL, JOBS},
    {HTTP_GET, "/v1/queue", "by all limit", call_queue, NULL, CONTROL},
    {HTTP_POST, "/v1/queue/retry", QUEUE_FILTER_PARAMETERS, call_queue_retry, NULL, CONTROL},
    {HTTP_POST, "/v1/queue/bounce", QUEUE_FILTER_PARAMETERS, call_queue_bounce, NULL, CONTROL},
    {HTTP_GET, "/v1/queue/recipients", QUEUE_FILTER_PARAMETERS " state limit", call_queue_recipients, NULL,
     CONTROL},
    {HTTP_GET, "/v1/sites", "", call_sites, NULL, CONTROL},
    {HTTP_GET, "/v1/sites/*", "", call_site, NULL, CONTROL},
    {HTTP_POST, "/v1/sites/*/backoff", "", call_site_backoff, NULL, CONTROL},
    {HTTP_POST, "/v1/sites/*/normal", "", call_site_normal, NULL, CONTROL},
    {HTTP_POST, "/v1/sites/*/reset", "", call_site_reset, NULL, CONTROL},
    {HTTP_POST, "/v1/queue/suspend", HELD_FILTER_PARAMETERS, call_queue_suspend, NULL, CONTROL},
    {HTTP_POST, "/v1/queue/resume", HELD_FILTER_PARAMETERS, call_queue_resume, NULL, CONTROL},
    {HTTP_GET, "/v1/suspensions", "", call_suspensions, NULL, CONTROL},
    {HTTP_GET, "/v1/sources", "", call_sources, NULL, CONTROL},
    {HTTP_POST, "/v1/sources/*/enable", "", call_source_enable, NULL, CONTROL},
    {HTTP_POST, "/v1/sources/*/drain", "", call_source_drain, NULL, CONTROL},
    {HTTP_POST, "/v1/dns/flush", "", call_dns_flush, NULL, CONTROL},
    {HTTP_GET, "/v1/trace", "site", call_trace, NULL, CONTROL},
    {HTTP_POST, "/v1/reload", "", call_reload, NULL, CONTROL},
    {HTTP_GET, "/v1/rules", "site", call_rules, NULL, CONTROL},
    {HTTP_GET, "/v1/rules/test", "reply site mx at", call_rules_test, NULL, CONTROL},
    {HTTP_GET, "/v1/backup", "", call_backup, NULL, CONTROL},
    {HTTP_POST, "/v1/backup", "directory", call_backup_make, NULL, CONTROL},
    {HTTP_GET, "/v1/status", "", call_status, NULL, CONTROL},
    {HTTP_GET, "/", "", call_dashboard, NULL, CONTROL},
    {HTTP_GET, "/metrics", "", call_metrics, NULL, CONTROL},
    {HTTP_GET, "/healthz", "", call_healthz, NULL, JOBS},
};
#define ROUTE_COUNT (sizeof routes / sizeof *routes)

/* The table with the listeners that there are: what is for operators is on all of them but the jobs socket,
 * or on that one where there is no control socket. */
static struct http_route *routes_for(bool has_control)
{
    struct http_route *copy = malloc(sizeof routes);
    if (copy == NULL)
        return NULL;
    memcpy(copy, routes, sizeof routes);
    for (size_t i = 0; i < ROUTE_COUNT; i++)
        copy[i].listeners = !has_control || routes[i].listeners == JOBS ? ~0u : ~(1u << JOBS_LISTENER);
    return copy;
}

static unsigned upload_threads(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores < 2 ? 2 : cores > THREADS_MAX ? THREADS_MAX : (unsigned)cores;
}

static bool serve(struct api *api, struct err *err)
{
    const struct config *config = api->context.config;
    bool has_control = config->control.unix_path[0] != '\0';
    size_t n = 0;
    api->listeners[n++] = (struct http_listener){.path = config->jobs.unix_path,
                                                 .mode = config->jobs.mode,
                                                 .group = config->jobs.group,
                                                 .threads = upload_threads()};
    if (has_control)
        api->listeners[n++] = (struct http_listener){
            .path = config->control.unix_path, .mode = config->control.mode, .group = "", .threads = 1};
    if (config->admin.listen[0] != '\0') {
        api->token = token_load(config->admin.token_file, err);
        if (api->token == NULL)
            return false;
        api->listeners[n++] =
            (struct http_listener){.path = config->admin.listen,
                                   .threads = 1,
                                   .address = (const struct sockaddr *)&config->admin.address,
                                   .address_len = config->admin.address_len,
                                   .token = api->token};
    }
    api->routes = routes_for(has_control);
    if (api->routes == NULL)
        return err_set(err, ENOMEM, "no memory for the HTTP API");
    struct http_settings settings = {api->routes, ROUTE_COUNT, api->listeners, n, api};
    api->http = http_create(&settings, err);
    return api->http != NULL;
}

static void free_api(struct api *api)
{
    if (api->intake != NULL)
        intake_destroy(api->intake);
    if (api->rates != NULL)
        rates_destroy(api->rates);
    backup_destroy(api->backup);
    token_free(api->token);
    steer_held_free(&api->held_mail);
    pthread_mutex_destroy(&api->held_lock);
    free(api->routes);
    free(api);
}

struct api *api_create(const struct api_context *context, struct err *err)
{
    struct api *api = calloc(1, sizeof *api);
    if (api == NULL) {
        err_set(err, ENOMEM, "no memory for the HTTP API");
        return NULL;
    }
    json_object_seed(0); /* before threads race for it */
    pthread_mutex_init(&api->held_lock, NULL);
    api->context = *context;
    api->intake = intake_create(context->store, context->setups);
    api->rates = rates_create();
    api->backup = backup_create(context->store);
    if (api->intake == NULL || api->rates == NULL || api->backup == NULL)
        err_set(err, ENOMEM, "no memory for the HTTP API");
    else if (serve(api, err))
        return api;
    free_api(api);
    return NULL;
}

void api_stop(struct api *api)
{
    http_stop(api->http);
    intake_stop(api->intake);
}

void api_destroy(struct api *api)
{
    api_stop(api);
    backup_stop(api->backup); /* also where a client that hangs keeps the rest in memory */
    if (http_destroy(api->http))
        free_api(api);
}
