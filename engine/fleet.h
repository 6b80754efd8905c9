/* fleet.h - all workers and their threads.
 *
 * Created before the store is started, which posts to the workers' inboxes; started after it, for workers let
 * clients in whose mail it is to take; stopped before it is, and destroyed after. See also engine/inspect.h,
 * which looks at a fleet from outside. */
#ifndef POSTRIDER_FLEET_H
#define POSTRIDER_FLEET_H

#include "engine/config.h"
#include "engine/inspect.h"
#include "queue/store.h"

struct setup;
struct submission;
struct fleet_parts {
    struct store *store;           /* borrowed */
    struct setup *setup;           /* a reference is kept */
    struct submission *submission; /* borrowed; NULL: no mail comes in over SMTP */
    unsigned workers;              /* how many: lanes were shared out for so many */
};
/* Attaches the workers' inboxes to the store, and starts as many signers where a domain has keys. */
struct fleet *fleet_create(const struct fleet_parts *parts, struct err *err);
/* Starts the workers' threads; returns when each is up. False with the first error: those that are up are for
 * fleet_stop. */
bool fleet_start(struct fleet *fleet, struct err *err);
/* A reload: each worker goes over to this setup (route/renew.h), one after the other. False: not all said so
 * in time, but they will; or there was no memory or thread for signers: then the old keys sign, or none. Not
 * a worker's thread; one call at a time. */
bool fleet_renew(struct fleet *fleet, struct setup *setup, struct err *err);
/* No new transactions; waits until what is under way has ended, at most stop_timeout, and everything is
 * settled. */
void fleet_stop(struct fleet *fleet);
void fleet_destroy(struct fleet *fleet);

/* For a simulator instead of fleet_start and fleet_stop: each of its workers, which the caller then steps
 * with worker_step; and the word to stop, after which each step returns false in time. */
struct worker;
struct worker *fleet_open(struct fleet *fleet, unsigned index, struct now now, struct err *err);
void fleet_tell_stop(struct fleet *fleet);

/* What is held: hold.h. */
struct holds;
struct holds *fleet_holds(const struct fleet *fleet);
struct store *fleet_store(const struct fleet *fleet);
/* For inspect.c and steer.c. */
unsigned fleet_size(const struct fleet *fleet);
struct look;
/* Posts it to the worker, or refuses it when that has ended: nobody waits while the daemon stops. */
void fleet_ask(const struct fleet *fleet, unsigned worker, struct look *look);
struct inbox *fleet_inbox(const struct fleet *fleet, unsigned worker);
const struct worker *fleet_worker(const struct fleet *fleet, unsigned worker);
/* The worker that a domain, or a site, belongs to. */
unsigned fleet_home(const struct fleet *fleet, struct str name);

#endif
