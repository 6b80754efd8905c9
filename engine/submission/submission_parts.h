/* submission_parts.h - what submission.c shares with the workers' doors and clients. Private to them. */
#ifndef POSTRIDER_SUBMISSION_SUBMISSION_PARTS_H
#define POSTRIDER_SUBMISSION_SUBMISSION_PARTS_H

#include "engine/base/desk.h"
#include "engine/base/inbox.h"
#include "engine/base/network.h"
#include "engine/intake/repeats.h"
#include "engine/io/unix_socket.h"
#include "engine/setup.h"
#include "engine/submission/submission.h"
#include "engine/submission/users.h"
#include "engine/tls/tls_server.h"

#include <stdatomic.h>

/* One of the configuration's listeners. Immutable but for the count. */
struct entrance {
    const struct config_submission *config;
    struct dialogue_rules rules;
    struct tls_server *tls; /* NULL: none */
    struct users *users;    /* NULL: nobody logs in */
    struct network *networks;
    int fd;                  /* listening, blocking as a ring wants it; -1: not open */
    struct unix_socket file; /* of a Unix socket */
    atomic_uint connections; /* of all workers */
};

/* A worker's door, as the others see it: who has accepted a client gives it to the door with the fewest. */
struct doorplate {
    _Atomic(struct inbox *) inbox; /* NULL: it lets nobody in */
    atomic_uint count;             /* of its clients, those on their way included */
};

struct submission {
    struct store *store;
    struct setups *setups;
    struct setup *setup;         /* that the listeners are of, */
    const struct config *config; /* and its options */
    struct inbound *inbound;
    struct repeats repeats;
    struct desk *desk;            /* NULL: there are no entrances */
    atomic_bool stopping;         /* nobody waits on it any more for what may come */
    struct desk *logins;          /* a desk of their own: whoever guesses passwords holds up no message */
    atomic_uint logins_under_way; /* on that desk */
    struct entrance *entrances;
    size_t count;
    atomic_uint_fast64_t bytes; /* of messages being taken in */
    atomic_uint_fast64_t messages, recipients, refused, wrong_logins;
    uint64_t seed;
    atomic_uint seats[SUBMISSION_SEATS]; /* connections of strangers, by a seeded hash of where from */
    struct doorplate doors[SUBMISSION_DOORS_MAX]; /* by worker */
};

#endif
