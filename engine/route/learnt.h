/* learnt.h - what replies have taught about a path: paused or stopped, slowed, fewer connections, recipients
 * or messages, TLS only; how each of them fades, and its form on disk. Pure.
 *
 * A path that was slowed may send at `interval_ns` from message to message; from `slow_from_ms` on that rate
 * doubles with every `recovery` of the site, until it is SLOW_OVER times what it was before the first cut:
 * then the limit is gone. The cap on connections grows in the same way up to the site's own. So a receiver
 * that complains again and again is sent ever less, and one that does not is back at full rate in some steps
 * that it can stop at any time.
 *
 * Times are wall milliseconds, so that they mean the same after a restart. */
#ifndef POSTRIDER_ROUTE_LEARNT_H
#define POSTRIDER_ROUTE_LEARNT_H

#include "engine/base/buf.h"
#include "queue/status.h"

struct learnt {
    int64_t stopped_ms;     /* since when it waits for an operator; 0: it does not */
    int64_t pause_until_ms; /* past: not paused */
    uint32_t pauses;        /* in a row */
    int64_t interval_ns;    /* between messages, at slow_from_ms; 0: not slowed */
    int64_t slow_from_ms;   /* when it begins to recover */
    int64_t before_ns;      /* what the interval was before the first cut */
    uint32_t cap;           /* connections, at cap_from_ms; 0: no cap */
    int64_t cap_from_ms;
    uint32_t rcpts_max, messages_max; /* a transaction, a connection; 0: as configured */
    int64_t rcpts_until_ms, messages_until_ms, tls_until_ms;
    /* The last reply that taught something. */
    int64_t since_ms;
    uint16_t code;
    struct status status;
    char reason[256]; /* its words, with a NUL */
};

/* What holds now. */
struct learnt_now {
    bool stopped;
    int64_t pause_until_ms; /* 0: not paused */
    int64_t interval_ns;    /* 0: not slowed */
    uint32_t cap;           /* 0: none */
    uint32_t rcpts_max, messages_max;
    bool tls_only;
};
/* max_connections and recovery_ms are the site's. What has faded is forgotten. False: nothing is left. */
bool learnt_look(struct learnt *learnt, unsigned max_connections, int64_t recovery_ms, int64_t now_ms,
                 struct learnt_now *now);

/* Cuts to half of what is sent (interval_ns from message to message, as measured; 0: not known) and of what
 * is allowed, but not below one in SLOW_LEAST_MS. least_ns: if it is not 0, to no more than that rate, for
 * for_ms. */
void learnt_slow(struct learnt *learnt, int64_t interval_ns, int64_t least_ns, int64_t for_ms,
                 int64_t recovery_ms, int64_t now_ms);
/* No more connections than this, from now, or for so long; a cap that is lower already stays. */
void learnt_cap(struct learnt *learnt, unsigned connections, int64_t for_ms, int64_t recovery_ms,
                int64_t now_ms);

/* The row: with the names of site and source in front. */
bool learnt_encode(const struct learnt *learnt, struct str site, struct str source, struct buf *out);
/* site and source are views. False: not a row of ours. */
bool learnt_decode(struct str row, struct learnt *learnt, struct str *site, struct str *source);

#endif
