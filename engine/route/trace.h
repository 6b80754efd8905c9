/* trace.h - watching the dialogue of sessions to one site, live, a line as JSON each.
 *
 * A trace is shared by whoever reads it and by the workers, each of which holds it in its list (at most
 * TRACES_MAX). It is a sample: at most TRACE_SESSIONS_MAX sessions at once, those that are open first; when
 * one ends the next takes its place. Lines wait in at most TRACE_BYTES_MAX; what does not fit, or would make
 * a worker wait for the reader, is dropped and counted. Nobody traces: a session pays a branch (session.h),
 * and a worker one for each connection it opens. */
#ifndef POSTRIDER_ROUTE_TRACE_H
#define POSTRIDER_ROUTE_TRACE_H

#include "engine/route/model.h"

struct trace;

/* One reference. NULL: no memory. */
struct trace *trace_create(const char *site);
struct trace *trace_ref(struct trace *trace);
void trace_unref(struct trace *trace); /* NULL is fine */

/* The reader, any thread. */
bool trace_has_lines(const struct trace *trace);
void trace_take(struct trace *trace, struct buf *out);
/* No more: the workers let go of it within a second. */
void trace_end(struct trace *trace);

/* The worker: takes part from now on (false: it has TRACES_MAX already); looks after its traces, once a
 * second; lets go of all, at its end. */
bool trace_join(struct router *router, struct trace *trace);
void trace_tick(struct router *router);
void trace_leave_all(struct router *router);

/* A session that may be watched: its carrier asks when it opens, and keeps what it gets until it is over. */
struct trace_seat {
    struct trace *trace; /* NULL: nobody watches */
    unsigned number;     /* of the session in that trace */
};
void trace_seat_take(struct trace_seat *seat, struct router *router, const struct path *path);
void trace_seat_leave(struct trace_seat *seat);
/* what: "watched" (from now on; line: what it is doing), "sent", "heard", "closed" (line: why, "" an ordinary
 * end). False: the trace is over. */
bool trace_tell(const struct trace_seat *seat, const struct path *path, const char *host, const char *what,
                struct str line);

#endif
