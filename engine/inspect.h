/* inspect.h - looking at the workers from outside: sites, and why something waits.
 *
 * Any thread but a worker's: each call posts a question to the workers' inboxes and waits for the answers, at
 * most INSPECT_WAIT_MS; a worker that does not answer in time is left out and `complete` says so. */
#ifndef POSTRIDER_INSPECT_H
#define POSTRIDER_INSPECT_H

#include "engine/base/buf.h"
#include "engine/base/str.h"
#include "engine/limits.h"
#include "queue/status.h"

#include <stdbool.h>
#include <stdint.h>

struct fleet; /* all workers; see fleet.h */
struct trace;

#define INSPECT_WAIT_MS 2000

/* One path: a source to a site. */
struct path_info {
    char site[DOMAIN_MAX + 1], source[NAME_MAX_BYTES + 1];
    unsigned worker;
    unsigned connections, connecting, idle; /* now */
    unsigned window, max_connections;       /* what feedback allows, what is configured; 0: borrowed */
    unsigned lent;                          /* sessions lent to other workers */
    unsigned lanes, buffered, in_flight;    /* recipients in memory; of them in a transaction */
    uint64_t delivered, deferred, failed;   /* since the start */
    uint64_t rate_1m;                       /* delivered in the last minute */
    unsigned cap;                           /* connections, by what replies taught; 0: none */
    int64_t slowed_ns;                      /* from message to message, by the same; 0: not slowed */
    unsigned recipients_max, messages_max;  /* a transaction, a connection; 0: as configured */
    bool tls_only, drained;
    const char *tls;               /* the site's policy: static */
    int64_t stopped_ms, learnt_ms; /* wall: stopped since; when a reply taught something last */
    uint16_t code;                 /* of that reply */
    struct status status;
    int64_t blocked_until_ms; /* wall; 0: not held */
    char blocked_by[32];      /* "backoff", "max_rate", "max_connections", … empty: nothing */
    char reason[256];         /* the cause: the reply or error that led to it */
};

struct path_list {
    struct path_info *list; /* malloc'ed */
    size_t count;
    bool complete;
};
/* All paths, or those of one site (by name) when it is not NULL. The caller frees list. */
void inspect_paths(struct fleet *fleet, const char *site, struct path_list *out);

/* Mail of one sender domain to a site, slowed by replies (route/sender_rate.h). */
struct sender_info {
    char sender[DOMAIN_MAX + 1];
    int64_t slowed_ns; /* from message to message */
    unsigned buffered; /* recipients in memory */
    int64_t learnt_ms; /* wall: when the last reply came, */
    uint16_t code;
    struct status status;
    char reason[256]; /* and its words */
};
struct sender_list {
    struct sender_info *list; /* malloc'ed */
    size_t count;
    bool complete;
};
/* Those of a site, by its name. The caller frees list. */
void inspect_senders(struct fleet *fleet, const char *site, struct sender_list *out);

/* A lane of which something is held (route/hold.h), or that is stopped. */
struct held_lane {
    uint32_t lane;
    bool stopped;     /* all its sources are */
    const char *site; /* as the worker knows it; "" */
};
struct held_lanes {
    struct held_lane *list; /* malloc'ed, by lane; and the sites: */
    size_t count;
    struct held_site {
        struct held_site *next;
        char name[DOMAIN_MAX + 1];
    } * sites;
    bool complete;
};
void inspect_held_lanes(struct fleet *fleet, struct held_lanes *out);
void inspect_held_lanes_free(struct held_lanes *lanes);

/* Why does what is in this lane wait? */
struct lane_why {
    bool known;     /* the lane is with a worker */
    bool resolving; /* its domain's MX is being asked for */
    char site[DOMAIN_MAX + 1], source[NAME_MAX_BYTES + 1];
    char limit[32];   /* which limit says no: as blocked_by, or "dns", "" when nothing holds it */
    int64_t until_ms; /* wall, 0: not known */
    char reason[256];
    char tls[80]; /* what its mail asks of a host, "" while that is not known */
    unsigned buffered, in_flight;
};
/* from: of the recipient's job, for it may be of a slowed sender (limit is then "slow_sender"); p NULL: none
 * is meant. */
void inspect_lane(struct fleet *fleet, uint32_t lane, const char *domain, struct str from,
                  struct lane_why *why);

/* Watches the dialogues of some sessions to a site (route/trace.h), until it is ended. NULL: no memory, or
 * too many watch already. */
struct trace *inspect_trace(struct fleet *fleet, const char *site);
bool inspect_trace_ready(const struct trace *trace); /* lines are there; never waits */
void inspect_trace_take(struct trace *trace,
                        struct buf *out); /* {"time","session","source","host","what","line"} each */
void inspect_trace_end(struct trace *trace);

/* Of all workers together. */
struct fleet_figures {
    unsigned sessions, sites;
    uint64_t in_flight, buffered;
    uint64_t delivered, deferred, failed; /* since the start */
    uint64_t rate_1m;                     /* delivered a second, over the last minute */
};
/* Reads counters that the workers publish; never waits. */
void inspect_figures(struct fleet *fleet, struct fleet_figures *figures);
/* Which site a domain's mail goes to, as known now ("" when not known): for `queue --by site`. Never waits
 * long: one question for many domains. names and sites are arrays of n; sites are DOMAIN_MAX + 1 bytes
 * each. */
void inspect_domain_sites(struct fleet *fleet, const char *const *domains, char (*sites)[DOMAIN_MAX + 1],
                          size_t n);

#endif
