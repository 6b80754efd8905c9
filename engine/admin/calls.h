/* calls.h - the handlers behind api.c's routes, and what they share. Private to admin/. */
#ifndef POSTRIDER_ADMIN_CALLS_H
#define POSTRIDER_ADMIN_CALLS_H

#include "engine/admin/api.h"
#include "engine/admin/http.h"
#include "engine/base/js.h"
#include "engine/inspect.h"
#include "engine/steer.h"

#include <pthread.h>

struct rates;
struct intake;
struct backup;
struct token;

struct api {
    struct api_context context;
    struct http *http; /* for its owner; handlers run before it is set */
    struct intake *intake;
    struct rates *rates;
    struct backup *backup;
    struct http_listener listeners[3];
    struct token *token;       /* of the one over TCP; NULL: there is none */
    struct http_route *routes; /* a copy, with the listeners that are there */
    /* What held_by_jobs found last, kept for a while when it took long. */
    pthread_mutex_t held_lock;
    uint64_t held;
    int64_t held_until_ns;
    struct held_list held_mail; /* and by holds: the same */
    int64_t held_mail_until_ns;
};

#define JOBS_LISTENER 0

/* ---- shared: calls_common.c ---- */

/* Takes over root; a NULL or no memory becomes a 500. */
void answer_json(struct http_request *request, unsigned status, json_t *root);
/* The tenant the peer is bound to: false: to none. */
bool bound_tenant(const struct api *api, const struct http_request *request, struct str *tenant);
/* False, and answered 403, when the peer is bound to a tenant. */
bool for_operators(const struct api *api, struct http_request *request);
/* The job of the path's first star, visible to the peer. False: answered 404. */
bool find_job(const struct api *api, struct http_request *request, struct job_info *job);
/* `limit`; false: answered 400. */
bool take_limit(struct http_request *request, size_t standard, size_t max, size_t *limit);
/* An id in a parameter; absent: *out is left alone. False: answered 400. */
bool take_number(struct http_request *request, const char *name, uint64_t *out);
/* `status`; false: answered 400. */
bool take_status(struct http_request *request, struct str text, bool *has, struct status_pattern *pattern);
/* "a,b" to bits: the index of each name in names. False: answered 400. */
bool take_names(struct http_request *request, const char *parameter, const char *(*name_of)(unsigned),
                unsigned count, unsigned *bits);

json_t *rcpt_json(const struct rcpt_info *info);
json_t *job_json(struct api *api, const struct job_info *job, struct now now);
const char *job_state_name(enum job_state state);

/* Runs an operation and waits for it, a second at most: 200 or 202 with its progress; extra members are put
 * in front (taken over, may be NULL). */
void operate(struct api *api, struct http_request *request, enum op_kind kind,
             const struct store_filter *filter, json_t *extra);
/* All lanes. */
void visit_lanes(struct store *store, lane_visit *visit, void *user);
/* All jobs that have not ended, newest first. Returns how many rows that took: ended ones lie between them,
 * as long as they are retained. */
typedef void job_visit(const struct job_info *job, void *user);
uint64_t visit_open_jobs(struct store *store, job_visit *visit, void *user);

/* The domains that have mail queued which goes to this site now. False: no memory for all of them. */
bool visit_site_domains(struct api *api, const char *site, void (*visit)(const char *domain, void *user),
                        void *user);

/* ---- which of the queue: calls_filter.c ---- */

/* What the parameters tenant, campaign, job, domain, site, status and age, or an object of them as the body,
 * ask for. */
#define QUEUE_FILTER_PARAMETERS "tenant campaign job domain site status age all"
struct queue_filter {
    struct store_filter store;
    bool narrow;         /* it was given something, if only all=1 */
    struct str *domains; /* of the site; malloc'ed, as each of them */
    size_t domain_room;
    bool failed;
    char tenant[DOMAIN_MAX + 1], campaign[DOMAIN_MAX + 1], domain[DOMAIN_MAX + 1]; /* of `store` */
};
/* False: answered, and nothing is to be freed. A site of which nothing is queued is answered 404. The filter
 * stays where it is, for it points into itself. */
bool queue_filter_take(struct api *api, struct http_request *request, struct now now,
                       struct queue_filter *filter);
void queue_filter_free(struct queue_filter *filter);
/* The texts of a filter with these names, as parameters or as a JSON object of strings; p NULL: not given.
 * Views into the request or *root, which the caller lets go of in any case. False: answered 400. */
bool filter_texts_take(struct http_request *request, const char *const *known, unsigned count, json_t **root,
                       struct str *texts);

/* ---- what is held: calls_held.c ---- */

#define HELD_FILTER_PARAMETERS "tenant campaign job domain site sender all"
/* As steer_held, but what took long is good for a while. The caller calls steer_held_free. */
void held_take(struct api *api, struct now now, struct held_list *held);
/* Of one lane; zero: nothing is. */
struct held_count held_in_lane(const struct held_list *held, uint32_t lane);

/* True: 200; else it is answered. */
bool steered(struct http_request *request, enum steer_result result);

/* ---- the calls ---- */
http_handler call_jobs, call_job, call_job_pause, call_job_resume, call_job_cancel, call_job_retry,
    call_job_purge;
http_handler call_job_recipients, call_job_bounces, call_tenant_bounces;
http_handler call_queue, call_queue_retry, call_queue_bounce, call_queue_recipients, call_ops, call_op;
http_handler call_reload;
http_handler call_sites, call_site, call_site_backoff, call_site_normal, call_site_reset, call_explain;
http_handler call_queue_suspend, call_queue_resume, call_suspensions;
http_handler call_suppressions, call_suppression_remove;
extern const struct http_upload_ops suppressions_upload;
http_handler call_recipient, call_recipient_message;
http_handler call_rules, call_rules_test;
http_handler call_consumers;
http_handler call_trace, call_dashboard;
http_handler call_sources, call_source_enable, call_source_drain, call_dns_flush;
/* Their figures for Prometheus; NULL: there are none. */
void consumer_metrics(const struct consumers *consumers, struct now now, struct buf *out);
http_handler call_inbound;
http_handler call_backup, call_backup_make;
http_handler call_events, call_status, call_metrics, call_healthz;

#endif
