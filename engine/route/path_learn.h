/* path_learn.h - a path learns from replies, fades back, and is the same after a restart.
 *
 * Everything here is for the worker that owns the path; a worker to which sessions are lent tells the owner
 * (loan_tell_reaction). What holds is put into the ledger's words, which all workers of the path ask; it is
 * worked out again once a second while anything of it is in force (path_learn_tick). The rules are pure, in
 * learnt.h. */
#ifndef POSTRIDER_ROUTE_PATH_LEARN_H
#define POSTRIDER_ROUTE_PATH_LEARN_H

#include "engine/route/model.h"
#include "engine/rules/reaction.h"

/* What a reply said, and about what: to be told to the owner. */
struct path_lesson {
    struct reaction reaction;
    int64_t started_ns;  /* when what it answers was begun: what has been cut since is not cut again */
    unsigned recipients; /* of the transaction; 0: none */
    int64_t wait_ms;     /* that the reply names; 0: none */
    uint16_t code;
    struct status status;
    char reason[256];
    bool of_sender; /* it is about mail of this sender domain, not about the path */
    char sender[DOMAIN_MAX + 1];
};
void path_learn(struct path *path, const struct path_lesson *lesson);
/* How long from message to message, of all workers, lately; 0: nothing was delivered. */
int64_t path_interval_ns(const struct path *path);
/* From message to message; 0: no limit. */
int64_t rate_interval_ns(struct rate rate);
/* Why it is held, else the words of its last failure. */
const char *path_reason(const struct path *path);

/* It was paused by the ledger: kept over a restart. */
void path_learn_pause(struct path *path);
/* A stop ends; false: it was not stopped. */
bool path_release(struct path *path);
/* An operator: as slow as after a complaint; at full rate again; as if nothing had ever been learnt, stops
 * and pauses included. */
void path_back_off(struct path *path);
void path_speed_up(struct path *path);
void path_forget(struct path *path);

/* Once a second. */
void path_learn_tick(struct router *router);
/* At the start: the paths of this worker's sites of which something is known. */
void path_learn_load(struct router *router);
/* It is about to be freed. */
void path_learn_end(struct path *path);

#endif
