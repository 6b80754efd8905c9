/* signers.h - the threads that sign ahead of need: a signature takes a quarter of a millisecond (RSA-2048),
 * and a worker that made it itself would let its sessions wait.
 *
 * A recipient that has come from the store, or unasked, goes to a signer before it waits in its strand. The
 * request, recipient and all, is the signers' until it comes back in the worker's inbox (HANDOVER_SIGNED):
 * meanwhile the worker only looks whose it is, to mark what is dropped or recalled. Transactional mail goes
 * first. How many wait is bounded by what workers may hold in memory. A lock each time: beside a signature it
 * is nothing. */
#ifndef POSTRIDER_ROUTE_SIGNERS_H
#define POSTRIDER_ROUTE_SIGNERS_H

#include "engine/route/model.h"
#include "engine/route/opened.h"

struct sign_request {
    struct inbox_node node; /* HANDOVER_SIGNED */
    struct sign_request *next;
    struct inbox *inbox; /* the worker's */
    struct taken *taken;
    uint32_t lane;
    /* The worker's alone, who walks over them: */
    LIST_ENTRY(sign_request) mine;
    bool dropped, recalled; /* meanwhile its job was dropped, its address suppressed */
    /* The signer's answer: */
    bool good;
    struct err err; /* why not */
};

/* NULL with err. A reference to the setup of its own. */
struct setup;
struct signers *signers_start(struct setup *setup, unsigned threads, struct err *err);
/* A reload: from the next request on with these keys. Any thread. */
void signers_change(struct signers *signers, struct setup *setup);
/* Workers only: sends a recipient of this lane to be signed, if it has to be and is not yet. True: it is
 * gone, and comes back with a request that the worker frees. */
bool signers_want(struct router *router, uint32_t lane, struct taken *taken);
/* The end is near: from now on requests come back unsigned at once. */
void signers_hurry(struct signers *signers);
/* After the workers have ended: there are no requests any more. NULL: nothing. */
void signers_stop(struct signers *signers);

#endif
