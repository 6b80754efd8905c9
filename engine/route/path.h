/* path.h - one source to one site: the limits as the receiver counts them, and back-off.
 *
 * `path_check` is the one place that answers "may this path connect, or send, now?", which limit says no and
 * until when. The scheduler, the path's timer and `explain` all use its answer. */
#ifndef POSTRIDER_ROUTE_PATH_H
#define POSTRIDER_ROUTE_PATH_H

#include "engine/route/model.h"

enum path_use { PATH_SEND, PATH_CONNECT };

struct path_answer {
    bool yes;
    const char *limit; /* which says no: "stop", "drain", "pause", "slow", "max_rate", "max_connection_rate",
                          "max_connections", "backoff", "sessions", "resources"; "" when yes */
    int64_t until_ns;  /* mono; INT64_MAX: when something ends, not at a time */
};

struct path *path_find(struct router *router, const char *site, unsigned source);
/* Finds or makes the path of this site and source; NULL: no memory. */
struct path *path_get(struct router *router, const char *site, const struct config_site *settings,
                      unsigned source);
/* A path with this number of its source, into the table; it is in none. */
void path_enter(struct router *router, struct path *path, unsigned source);
/* The settings by which a path of this site's name works. */
const struct config_site *path_settings(const struct config *config, const char *site);
/* A reload: its source as it is configured now, and these settings, for sessions that are open too. */
void path_settle_in(struct path *path, const struct config_site *settings);
/* The path of a site that another worker owns, for what it lends: counts in the owner's ledger. */
struct path *path_borrow(struct router *router, const struct loan *loan);
void path_free(struct path *path); /* has no pools any more */
/* Frees the paths that a new one would not differ from; once a minute. */
void path_sweep(struct router *router);

/* All the sessions that the process may have are in use, or it ran short of what one needs. */
bool path_sessions_used_up(const struct router *router);
/* A connection could not be begun for want of descriptors or memory, which is no host's fault and no
 * recipient's: this worker begins none for SHORT_WAIT_MS, or until one that it has ends, and the pool is in
 * the line for the next. */
void path_ran_short(struct path *path, struct pool *pool, const struct err *why);
struct path_answer path_check(const struct path *path, enum path_use use);

/* Ends sessions beyond what the path may have, of each pool in proportion. */
void path_trim(struct path *path);
/* It has, or all workers together have, as many connections as it may. */
bool path_is_full(const struct path *path);
/* This worker has more than are its own, since some were lent. */
bool path_has_too_many(const struct path *path);

/* Its receiver was heard to ask for TLS. */
bool path_is_tls_only(const struct path *path);
/* Recipients that may share a transaction. */
unsigned path_rcpts_max(const struct path *path);
/* A transaction is over; nobody: MAIL or every recipient was refused. */
void path_note_refused(struct path *path, bool nobody);
/* So often of late that a message is better sent when a recipient is known to be accepted. */
bool path_refuses_often(const struct path *path);

/* Accounting: a connection begins (false: another worker has just taken the last one), is through to EHLO,
 * ends. */
bool path_connecting(struct path *path);
void path_connected(struct path *path);
void path_connection_over(struct path *path, bool was_ready, enum path_end end);
/* A message was delivered: the window grows if it is what holds a pool up. */
void path_worked(struct path *path);
/* A message may be handed to a session, and is counted; false: another worker has just used the rate. */
bool path_send(struct path *path);
void path_count(struct path *path, enum verdict_outcome outcome);
/* Deliveries of the last minute; of all paths together. */
uint64_t path_rate_1m(const struct path *path);
uint64_t path_rates_1m(const struct router *router);
/* What was done for the path by a worker that borrowed of it. */
void path_add_figures(struct path *path, const struct figures *other);

/* The receiver said no to this source for now: nothing is sent until the pause is over; doubles in a row.
 * Returns its end (mono_ns). */
int64_t path_pause(struct path *path, const struct verdict *why);
/* It is paused (here or by another worker): what waits goes back, the sessions end. */
void path_hold(struct path *path);
void path_note(struct path *path, const struct verdict *why);

/* A pool wants a connection that the path refuses now: it is pumped when that may change. */
void path_wait(struct path *path, struct pool *pool);
void path_unwait(struct path *path, struct pool *pool);
/* Something ended that limits connections: lets the pools that wait try, in turn. */
void path_serve(struct path *path);
/* A session of any path ended: the first path that waits for that is served. */
void path_serve_line(struct router *router);
/* Sets the timer that serves and kicks the path's pools at mono_ns, unless it is set earlier. */
void path_wake_at(struct path *path, int64_t mono_ns);
/* A limit for which the timer may be set ends sooner than it did. */
void path_hurry(struct path *path, int64_t mono_ns);

#endif
