/* query.h - reading the queue: jobs, recipients, summaries, events, pending reports.
 *
 * Any thread. Each call uses a short read transaction of its own and copies what it returns; long lists are
 * paged by an `after` position, at most READ_ROWS_MAX rows examined a page, so that no read holds up the
 * reuse of pages. What a function returns was committed when it was called, and whatever was accepted before
 * the call is seen: small jobs that are still on their way into the tables (fresh.h) are waited for, but by
 * query_events and query_dsn_due, which give a job's events once they are in the log. That wait is limited:
 * query_catch_up tells whether it was long enough. */
#ifndef POSTRIDER_QUEUE_QUERY_H
#define POSTRIDER_QUEUE_QUERY_H

#include "queue/store.h"

/* For who can look again, instead of waiting: whether something is on its way into the tables, asked before
 * they are read; and the wait as queries have it. False: of what was accepted before the call, some cannot be
 * seen yet. */
bool query_is_behind(struct store *store);
bool query_catch_up(struct store *store);

enum rcpt_state {
    RCPT_READY, /* never tried, or released */
    RCPT_DELIVERED,
    RCPT_BOUNCED,
    RCPT_EXPIRED,
    RCPT_CANCELLED,
    RCPT_SUPPRESSED,
    RCPT_DEFERRED,
    RCPT_STATES
};
const char *rcpt_state_name(enum rcpt_state state);

struct job_info {
    uint64_t id;
    enum job_state state;
    enum job_class class_;
    enum job_bounces bounces;
    enum dsn_ret ret;
    uint8_t notify;
    bool is_dsn, same_for_all;
    char tenant[NAME_MAX_BYTES + 1], campaign[NAME_MAX_BYTES + 1], pool[NAME_MAX_BYTES + 1];
    char from[ADDRESS_MAX + 64], envid[256];
    char metadata[METADATA_MAX + 1];
    int64_t created_ms, not_before_ms, expires_ms, ended_ms;
    uint64_t message_size, total, by_state[RCPT_STATES]; /* exact; total = their sum */
    uint8_t content_hash[32];
};
bool query_job(struct store *store, uint64_t job, struct job_info *info);
/* Newest first; fills up to n, starting below `before` (0: the newest). */
size_t query_jobs(struct store *store, uint64_t before, struct job_info *list, size_t n);
/* Both without the wait: what is in the tables. */
bool query_job_written(struct store *store, uint64_t job, struct job_info *info);
size_t query_jobs_written(struct store *store, uint64_t before, struct job_info *list, size_t n);
/* Whether a job has had this number, or may be about to come with it. */
bool query_was_given(struct store *store, uint64_t job);
/* Counts of a job by enhanced status (its last one), deferred and failed alike. */
struct status_count {
    struct status status;
    uint64_t count;
};
size_t query_job_statuses(struct store *store, uint64_t job, struct status_count *list, size_t n);

struct rcpt_info { /* attempts to status, and reply to site: of who is deferred, bounced or expired, else 0 */
    struct rid rid;
    enum rcpt_state state;
    bool claimed; /* queued, and with a worker */
    uint32_t attempts;
    int64_t first_ms, last_ms, next_ms; /* 0: none */
    uint16_t code;
    struct status status;
    struct str to, domain, id, vars, orcpt, metadata, reply, mx, source, site; /* views into `memory` */
    uint8_t notify;
    uint32_t lane;
    struct buf memory; /* owned by the caller: rcpt_info_init, rcpt_info_free */
};
void rcpt_info_init(struct rcpt_info *info);
void rcpt_info_free(struct rcpt_info *info);
/* One that is queued and not claimed has no outcome that waits to be written down. */
bool query_rcpt(struct store *store, struct rid rid, struct rcpt_info *info);

/* Recipients of a job that match; `visit` returns false to stop. Returns false when the list is at its end,
 * else sets *after for the next page. states: a bit a state (1 << RCPT_…), 0: all. */
struct rcpt_filter {
    unsigned states;
    bool has_status; /* who has no status known matches no pattern */
    struct status_pattern status;
    struct str to; /* exactly this address, or empty */
};
typedef bool rcpt_visit(const struct rcpt_info *info, void *user);
bool query_job_rcpts(struct store *store, uint64_t job, const struct rcpt_filter *filter, struct rid *after,
                     rcpt_visit *visit, void *user);
/* Failures of a job, in order of rid: from the `ended` table, without touching the rest. Paged alike. */
bool query_job_failures(struct store *store, uint64_t job, struct rid *after, rcpt_visit *visit, void *user);
/* Deferred recipients by enhanced status over all jobs, by the index: never a scan of others. Paged alike, by
 * an opaque position (empty buf: the start). */
bool query_deferred(struct store *store, const struct store_filter *filter, struct buf *after,
                    rcpt_visit *visit, void *user);
/* Those that were never tried, lane by lane, alike; a status of the filter is not looked at. */
bool query_ready(struct store *store, const struct store_filter *filter, struct buf *after, rcpt_visit *visit,
                 void *user);
/* Recipients with this address that are queued, of any active job: for explain. At most n. Reads lanes of its
 * domain only: `to` has it as an A-label, in any case. Looks at some tens of thousands of rows at most. */
size_t query_address(struct store *store, struct str to, struct rid *list, size_t n);

/* Lanes with their exact counters. */
struct lane_info {
    uint32_t lane;
    enum job_class class_;
    char tenant[NAME_MAX_BYTES + 1], pool[NAME_MAX_BYTES + 1], domain[DOMAIN_MAX + 1];
    uint64_t ready, deferred, delivered, bounced, expired, cancelled, suppressed;
    int64_t next_due_ms; /* 0: none */
};
typedef bool lane_visit(const struct lane_info *lane, void *user);
/* In order of lane ids, from *after on; false at the end. */
bool query_lanes(struct store *store, uint32_t *after, lane_visit *visit, void *user);
bool query_lane(struct store *store, uint32_t lane, struct lane_info *info);
/* How many of a lane are held, by the first of the list that matches: counts has one for each. Walks the
 * lane's rows of T_READY and T_DUE. */
struct held_count {
    uint64_t ready, deferred;
};
void query_lane_held(struct store *store, uint32_t lane, const struct store_except *except,
                     struct held_count *counts);
size_t query_domain_lanes(struct store *store, struct str domain, uint32_t *list, size_t n);
/* Deferred now, by enhanced status, over the whole queue. */
size_t query_queue_statuses(struct store *store, struct status_count *list, size_t n);

/* The compiled message of a job, malloc'ed; NULL when gone. */
void *query_content(struct store *store, uint64_t job, size_t *size);

/* ---- events ---- */
enum event_type {
    EVENT_ACCEPTED,
    EVENT_DELIVERED,
    EVENT_DEFERRED,
    EVENT_BOUNCED,
    EVENT_EXPIRED,
    EVENT_CANCELLED,
    EVENT_SUPPRESSED,
    EVENT_DELAYED,
    EVENT_COMPLAINED,
    EVENT_BOUNCED_LATE, /* by mail, after it had been delivered; its name is "bounced" too */
    EVENT_ALERT,        /* of a site, not of a recipient: rid is zero */
    EVENT_TYPES
};
const char *event_type_name(enum event_type type);
struct event {
    uint64_t seq;
    int64_t time_ms, next_ms;
    int64_t created_ms; /* of its job */
    enum event_type type;
    struct rid rid;
    /* Valid during the visit. from: the job's envelope sender; metadata: JSON, the recipient's, or else the
     * job's. */
    struct str tenant, campaign, from, id, to, domain, metadata, site, source, mx, reply, tls;
    uint32_t attempt;
    uint16_t code;
    struct status status;
    int32_t delay_ms;
};
typedef bool event_visit(const struct event *event, void *user);
/* Events with seq > after, in order, about READ_ROWS_MAX of them a call; `accepted` and ranges are expanded,
 * one event a recipient. Returns the last seq visited (== after when there is nothing new). */
uint64_t query_events(struct store *store, uint64_t after, event_visit *visit, void *user);

/* ---- reports that are due (RFC 3464) ---- */
struct dsn_due {
    uint64_t job;
    enum dsn_kind kind;                 /* never mixed: many who read reports tell by the first recipient */
    char return_path[ADDRESS_MAX + 64]; /* never empty */
    uint32_t count;                     /* recipients to report now, <= 500 */
};
/* The first report that is due at `now`; false when none is, *next_ms then says when to ask again. */
bool query_dsn_due(struct store *store, struct now now, struct dsn_due *due, int64_t *next_ms);
/* Its recipients, in the order of rid, `count` of them: what they failed with, or what was said as they were
 * delayed or delivered, whatever became of them since. Writes to rids (room for count) who was visited, and
 * who cannot be read, for the commit of the report; returns how many. */
uint32_t query_dsn_rcpts(struct store *store, const struct dsn_due *due, struct rid *rids, rcpt_visit *visit,
                         void *user);

/* ---- operations ---- */
struct op_info {
    uint64_t op;
    enum op_kind kind;
    bool done;
    uint64_t matched, changed;
    int64_t started_ms;
};
bool query_op(struct store *store, uint64_t op, struct op_info *info);
size_t query_ops(struct store *store, struct op_info *list, size_t n);

#endif
