/* book.h - what is known of every recipient from outside the daemon, and what must hold of it.
 *
 * Told by whoever sees it: the driver (what was accepted), the hosts (what they were offered, answered,
 * took), the event log (what the daemon says became of it). It is checked at once, so that a failure comes
 * with the step that did it. A recipient is found by its address, "r3.j17@d2.test": the third of the plan's
 * job 17; reports go to "news+j17@d4.test", the sender of that job, or "news+j17+80-0-3@d4.test" where it has
 * a return path for each recipient. */
#ifndef POSTRIDER_TESTS_SIM_BOOK_H
#define POSTRIDER_TESTS_SIM_BOOK_H

#include "queue/query.h"
#include "tests/sim/plan.h"

struct host;

enum book_state {
    BOOK_UNKNOWN, /* not offered yet, or it is not known what became of it */
    BOOK_POSTED,
    BOOK_ACCEPTED, /* acknowledged, or found after a crash */
    BOOK_REFUSED,
};

struct book_rcpt {
    unsigned job, number;
    struct rid rid; /* as its first event says */
    bool named;
    /* What hosts say. */
    unsigned landed;  /* how often one took it */
    unsigned sure;    /* of those, the daemon had the reply and has had no excuse since */
    int64_t sure_ns;  /* the last of them */
    uint16_t refused; /* the 5xx that the daemon surely had, 0: none */
    int64_t grey_until_ns;
    bool was_refused; /* a 5xx, or what a rule makes one, was said, heard or not */
    bool suppressed;  /* by hand */
    bool murky;  /* a host said more than was asked: what the daemon takes for what is anybody's guess, */
    bool astray; /* even whether that is a delivery */
    /* What events say. */
    bool ended;
    enum event_type last; /* EVENT_ACCEPTED: nothing yet */
    int64_t last_ms, next_ms;
    unsigned events[EVENT_TYPES];
    uint64_t report; /* the first that says it failed, by its Message-ID; 0: none does */
};

struct book_job {
    enum book_state state;
    uint64_t id; /* the store's */
    struct book_rcpt *rcpts;
    char *body; /* as it must arrive */
    size_t body_size;
    int64_t not_before_ms, expires_ms; /* wall, as it was offered */
    bool murky, astray; /* mail of it was offered where a host had said more than was asked: as above */
    bool mail_refused;  /* by a 5xx to MAIL: its recipients may fail with that */
    bool cancelled, bounced, retried, paused; /* was asked for */
    bool reports_murky;                       /* the same of reports about it */
    bool reports_are_whole;                   /* every report about it was delivered */
    int64_t retried_ms;                       /* wall, of the last retry that was asked for */
    unsigned reports_accepted, reports_ended, reports_landed;
};
extern struct book_job book_jobs[PLAN_JOBS_MAX];

void book_begin(void);
void book_end(void);

/* ---- by address ---- */

struct book_rcpt *book_find(struct str address);
/* Whose sender it is; NULL: no job's. */
struct book_job *book_find_sender(struct str address);
/* Fails where a sender is the return path of another recipient. */
void book_check_path(const struct book_rcpt *rcpt, struct str sender);
unsigned book_number(const struct book_job *job);
void book_address(unsigned job, unsigned rcpt, char text[64]);
void book_sender(unsigned job, char text[64]); /* as the job has it; "" for the null sender */
void book_envid(unsigned job, char text[64]);  /* "": none */

/* ---- the driver ---- */

void book_accepted(unsigned job, uint64_t id);
/* Of a job (0 to jobs-1), a tenant, a domain: mail is held from now on, or no more. Nothing of it may be
 * offered some time after that. */
enum book_held { BOOK_PAUSED, BOOK_JOB_HELD, BOOK_TENANT_HELD, BOOK_DOMAIN_HELD, BOOK_HOLDS };
void book_hold(enum book_held what, unsigned number, bool held);
void book_release_all(void);
/* The daemon's memory is gone: what it heard and had no time to write down may come again. */
void book_crashed(void);
/* It was stopped in order: all that it heard must be written down. */
void book_stopped(void);
/* The daemon begins anew: rates begin with it. */
void book_restarted(void);
/* Reads the event log on from where it was. */
void book_read_events(struct store *store);
void book_events_begin(void);

/* ---- connections and hosts ---- */

void book_connect(const struct host *host, unsigned source);
void book_disconnect(const struct host *host, unsigned source);
/* A transaction begins on a connection, as its `messages`th. */
void book_message(const struct host *host, unsigned source, unsigned messages);
void book_tenant_message(unsigned tenant);
/* MAIL of this job, NULL: of a null sender, where a host said more than was asked: which of its recipients
 * that is about, if any, is not known. astray: it may pass for a delivery. */
void book_murk(const struct book_job *job, bool astray);
/* RCPT, as the `rcpts`th of its transaction. */
void book_attempt(struct book_rcpt *rcpt, const struct host *host, unsigned rcpts);
/* Taken with the 250 on its way; and what it means that this was heard. */
void book_landed(struct book_rcpt *rcpt);
void book_heard_landed(struct book_rcpt *rcpt, bool sure);
void book_heard_refused(struct book_rcpt *rcpt, uint16_t code, bool sure);
/* The text of a report that a host took for this job. */
void book_report(struct book_job *job, struct str text);

/* All of the job have ended, some time ago: it may be gone. */
bool book_is_purged(unsigned job);
/* How many recipients of accepted jobs have not ended. */
unsigned book_open(void);

#endif
