/* loan.h - sessions of one pool lent to another worker, so that one huge receiver is not held to one core.
 *
 * A site's worker, its *owner*, keeps its lanes, its fairness and its limits. When it is saturated and a pool
 * of it has a backlog, it lends some of the path's connections to a worker with time to spare, the
 * *borrower*, which opens sessions of its own and asks the owner for recipients, a quantum at a time. To the
 * borrower the owner is what the store is otherwise: a lane (`borrowed`) that gives recipients. What becomes
 * of them goes straight to the store.
 *
 * Life of a loan:
 *   state    the owner                          the borrower                        next
 *   OFFERED  counts n connections as lent       (an offer in its inbox)             WANT: ASKED; cannot: BACK
 *   ASKED    has a WANT to answer               its lane waits for the answer       BATCH: WORKING, or ENDING
 *   WORKING  -                                  sends; half of it sent: WANT        WANT: ASKED
 *   ENDING   answered "over"                    sends what it has, sessions end     nothing left: BACK
 *   BACK     counts n as its own again, forgets it
 * "Over" is the answer when nothing could be handed over for LOAN_IDLE_MS, when the path may have too few
 * connections to share, when the owner has had time to spare for a while, at a pause and at the stop.
 *
 * Limits. Both count in the path's ledger (ledger.h), so connections, window, rates and pauses hold over all
 * workers at every moment. How many connections each may have is the loan's `sessions`, a word that the owner
 * lowers to call some in; the borrower looks at it before each message, and at none gives back what waits. A
 * quantum is at most LOAN_TAKE_MAX recipients, and of a limited path at most what its rate allows in
 * LOAN_AHEAD_MS.
 *
 * Fairness. The owner picks a quantum as it would pick for its own sessions: by class, tenant and turn; the
 * borrower keeps that order. So what is lent can be late against the order of the whole site by one quantum,
 * no more. Tenants with a rate of their own are not lent.
 *
 * Feedback. Window and pause are words in the ledger: the borrower's next question hears of them. At a pause
 * a message besides makes the others give back what waits; another tells what was learnt of a host (dead,
 * works again, no TLS). They pass through the owner, so all have heard after two inboxes.
 *
 * Both ends run on their worker's thread; the loan itself is reference counted: one for its life, held by the
 * owner, and one for each message on its way. */
#ifndef POSTRIDER_ROUTE_LOAN_H
#define POSTRIDER_ROUTE_LOAN_H

#include "engine/route/model.h"

/* What each worker shows the others. */
struct lend_word {
    _Atomic unsigned busy; /* thousandths of its time in which it did not sleep */
    _Atomic bool gone;     /* it has stopped: nothing is lent to it any more */
};

struct loan {
    _Atomic unsigned refs;
    _Atomic unsigned sessions; /* lent now */
    unsigned owner, borrower;  /* workers */
    struct ledger *ledger;     /* valid until BACK */
    const char *source;        /* its name, kept */
    struct dns_mx *hosts;      /* what the pool is made of */
    uint16_t port;
    struct pool_tls tls;
    const struct config_route *route;
    struct setup *setup; /* of which tls is; a reference */
    char site[DOMAIN_MAX + 1];
    struct loan_msg *back; /* the message that ends it, made beforehand so that it can't fail */
    /* The owner's: */
    struct loan *next;
    struct pool *pool;
    unsigned counted;  /* in the path's `lent` */
    unsigned wanted;   /* a WANT to answer; 0: none */
    int64_t wanted_ns; /* since when */
    bool over;
    /* The borrower's: */
    struct loan *next_borrowed;
    struct pool *shadow; /* NULL before and after */
    struct lane *lane;
    bool ending; /* it asks for no more */
};

/* HANDOVER_LOAN_OFFER and those that follow it: takes the message's reference and what it holds; the caller
 * frees the node. */
void loan_hear(struct router *router, struct inbox_node *node);
/* Frees what is in a message that nobody will hear. */
void loan_drop_message(struct inbox_node *node);

/* Once a step: looks, now and then, whether lending pays, and what is lent. */
void loan_look(struct router *router);
/* For pool_run at the owner: answers who waits for recipients of this pool. */
void loan_serve_pool(struct pool *pool);
/* How many connections the borrower's pool may have. */
unsigned loan_sessions(const struct loan *loan);
/* The borrower's lane wants so many. */
void loan_want(struct loan *loan, unsigned want);
/* The borrower's pool has nothing left, and is out of its path: gives the loan back. */
void loan_return(struct router *router, struct loan *loan, struct path *path);

/* The borrower can't use it now (the hosts are dead, the path is paused, it stops): asks for no more. */
void loan_end(struct loan *loan);

/* The path was paused: whoever else has sessions of it must hear. */
void loan_tell_pause(struct path *path);
/* A reply to a borrowed session taught something: its owner hears. */
struct path_lesson;
void loan_tell_lesson(struct path *path, const struct path_lesson *lesson);
/* Something was learnt of this address of a host. */
void loan_tell_host(struct path *path, const struct sockaddr_storage *address);
/* STORE_DROP_JOB: the borrowers must hear it after what was handed to them before. */
void loan_drop_job(struct router *router, uint64_t job);
/* A sender is slowed at the path's site from now on: what borrowers have of it is to come back. */
void loan_return_sender(struct path *path, struct str sender);
/* The worker stops: nothing is asked for any more. */
void loan_stop(struct router *router);
/* Nothing lent and nothing borrowed. */
bool loan_none_left(struct router *router);
/* At the end: forgets what was lent to workers that have gone. */
void loan_free_all(struct router *router);

#endif
