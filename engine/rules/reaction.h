/* reaction.h - what a reply rule does: to the recipient, and to whatever the reply is evidence about.
 *
 * Written in the configuration as clauses with commas between them:
 *
 *   slow [RATE]        cut the path's rate and window, recover gradually; RATE: to no more than that
 *   cap [N]            one connection less than there are; N: and no more than N
 *   for T              how long RATE and N hold before they recover
 *   pause [T]          hold for T; without it for the site's `pause`, doubled each time in a row
 *   stop               hold until an operator acts
 *   fix                hold until an operator acts: our own set-up (SPF, DKIM, DMARC, PTR) is at fault
 *   job                the content is at fault: evidence against the job, which is held at this site when
 *                      several such replies make up a share of its last hundreds; never by one alone
 *   rcpt [T]           this recipient alone, by the schedule of its status; T: after that, twice as long
 *                      each time, where the operator's `retry` says nothing of the status
 *   fail               fail without suppressing
 *   suppress [after N] fail and suppress; N: at the Nth such reply for the address, until then only fail
 *   reconnect [after N]
 *                      a new connection at once; no penalty the first time, then backing off from a minute;
 *                      N: from now on no more than N messages a connection
 *   split              again at once with fewer recipients a transaction
 *   tls                again, with TLS only
 *   sender             slow, pause and stop: about the sender domain at this site, from every source,
 *                      instead of the path
 *   path               fix: about the path instead of the sender domain
 *
 * One of pause to tls at most, beside slow, cap or both. Pure; any thread. */
#ifndef POSTRIDER_RULES_REACTION_H
#define POSTRIDER_RULES_REACTION_H

#include "engine/base/buf.h"
#include "engine/base/units.h"

enum reaction_kind {
    REACTION_SLOW, /* and nothing else but cap */
    REACTION_CAP,  /* and nothing else */
    REACTION_PAUSE,
    REACTION_STOP,
    REACTION_FIX,
    REACTION_JOB,
    REACTION_RCPT,
    REACTION_FAIL,
    REACTION_SUPPRESS,
    REACTION_RECONNECT,
    REACTION_SPLIT,
    REACTION_TLS,
};
#define REACTION_KINDS (REACTION_TLS + 1)

/* What becomes of the recipient, whatever the class of the reply (QQ says 550 for what is over in an hour).
 * Where several recipients share the transaction and the reply is to its data, it is evidence about none of
 * them alone: what reaches a recipient (FATE_RETRY, FATE_FAIL) is for one that was sent by itself. */
enum reaction_fate {
    FATE_KEEP,  /* waits or goes again: attempt not counted, lifetime not lengthened, never suppressed */
    FATE_RETRY, /* deferred by its own schedule; the attempt counts */
    FATE_FAIL,  /* bounced; suppressed where the kind says so */
    FATE_JOB,   /* kept if the job is held for it; else as the reply code says, and never suppressed */
};

/* How far it reaches: never wider than the evidence. */
enum reaction_reach {
    REACH_PATH,       /* one source to one site */
    REACH_SENDER,     /* one sender domain at one site, from every source */
    REACH_JOB,        /* one job at one site */
    REACH_CONNECTION, /* this session, host or transaction */
    REACH_RECIPIENT,
};

struct reaction {
    enum reaction_kind kind;
    enum reaction_fate fate; /* by the kind */
    enum reaction_reach reach;
    bool alert;           /* by the kind: stop, fix and job ask for an operator */
    bool slow, cap;       /* also; set too when they are the kind */
    int64_t wait_ms;      /* pause, rcpt: T; 0: none is given */
    int64_t for_ms;       /* of rate and connections; 0: they recover from the start */
    struct rate rate;     /* slow: no more than that; count 0: a cut of what there is */
    unsigned connections; /* cap: no more than so many; 0: one less */
    unsigned messages;    /* reconnect: so many a connection; 0: as configured */
    unsigned count;       /* suppress: at which such reply; 1: this one */
};

/* Reads what stands above; *why says what was expected instead. */
bool reaction_parse(struct str text, struct reaction *reaction, const char **why);
/* Text that parses to the same. */
void reaction_format(const struct reaction *reaction, struct buf *out);
/* "pause"; "path". Never NULL. */
const char *reaction_kind_name(enum reaction_kind kind);
const char *reaction_reach_name(enum reaction_reach reach);
/* In words, for people: "hold this path for 1h and cut its rate". */
void reaction_describe(const struct reaction *reaction, struct buf *out);

#endif
