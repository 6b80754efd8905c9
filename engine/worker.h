/* worker.h - one thread of the engine: its io, resolver, TLS, timers, and its share of the domains and sites.
 *
 * worker_step does one bounded round: messages from the store and from other workers, timers, DNS, the
 * network, then what was touched, then hands what was settled to the store. A thread is only a loop around
 * it. */
#ifndef POSTRIDER_WORKER_H
#define POSTRIDER_WORKER_H

#include "engine/route/model.h"

struct worker;

struct worker_settings {
    struct store *store;
    struct setup *setup;       /* a reference of its own is taken */
    struct holds *holds;       /* shared by all workers */
    struct evidence *evidence; /* the same */
    struct sts_keeper *sts;    /* NULL: none */
    struct rpt *rpt;           /* NULL: none */
    struct signers *signers;   /* NULL: nothing is signed */
    unsigned index, worker_count;
    struct inbox *const *inboxes;   /* of all workers; [index] is this one's */
    unsigned sessions_max;          /* of all workers together */
    _Atomic unsigned *sessions_all; /* shared by them */
    struct lend_word *lend_words;   /* one for each worker, shared by them */
    struct submission *submission;  /* shared; NULL: no mail is taken in over SMTP */
    uint64_t seed;
};

/* What a worker publishes for other threads to read at any time. */
struct worker_figures {
    unsigned sessions, sites;
    uint64_t in_flight, buffered, delivered, deferred, failed, rate_1m;
};

/* How the configuration wants names resolved. */
struct dns_settings worker_dns_settings(const struct config *config);
/* On the thread that will step it. */
struct worker *worker_create(const struct worker_settings *settings, struct now now, struct err *err);
/* Waits at most wait_ns. False: it has stopped, every session closed and everything settled. */
bool worker_step(struct worker *worker, struct now now, int64_t wait_ns);
void worker_destroy(struct worker *worker);
/* Any thread. */
void worker_read_figures(const struct worker *worker, struct worker_figures *figures);

#endif
