/* reload.h - the configuration file read again, and put into force without a restart.
 *
 * The whole is read and checked first, keys and certificates included: with anything wrong nothing changes.
 * Then listeners have their certificates anew, the store is told its times, the setup that holds is replaced,
 * and the workers go over to it one after the other. Options that take a restart stay as they were; the
 * answer names them. One call at a time, the others wait. Any thread but a worker's. */
#ifndef POSTRIDER_RELOAD_H
#define POSTRIDER_RELOAD_H

#include "engine/base/buf.h"

struct fleet;
struct reload;
struct setups;
struct store;
struct submission;

/* Borrows all of it. NULL: no memory. */
struct reload *reload_create(const char *path, struct store *store, struct fleet *fleet,
                             struct setups *setups, struct submission *submission);
/* No more of them; waits for one that is under way. Before the workers are stopped. */
void reload_stop(struct reload *reload);
void reload_destroy(struct reload *reload);

#define RELOAD_CHANGES_MAX 128
struct reload_answer {
    bool done; /* false: the file is wrong, there was no memory, or it was stopped; `errors` says it, and
                  nothing changed */
    struct buf errors; /* as config_load gives them; or, when it is done, what a worker did not manage */
    unsigned count;    /* options that differ from what was in force */
    struct reload_change {
        char option[64];
        bool live; /* else it takes a restart */
    } changes[RELOAD_CHANGES_MAX];
};
/* Logs what it did. The caller frees errors. */
void reload(struct reload *reload, struct reload_answer *answer);

#endif
