/* door.h - a worker's part of the submission: it accepts from every listener, and keeps its clients.
 *
 * Belongs to the worker's thread. The store and the desk give a client back through the worker's inbox, as
 * one DOOR_CLIENT, and another worker's door gives a new one as a DOOR_VISITOR, since the kernel would let
 * one ring accept them all; the worker hands both to door_hear, and frees nothing. */
#ifndef POSTRIDER_SUBMISSION_DOOR_H
#define POSTRIDER_SUBMISSION_DOOR_H

#include "engine/base/wheel.h"
#include "engine/io/io.h"
#include "engine/submission/submission.h"
#include "engine/tls/tls.h"

enum { DOOR_CLIENT = 300, DOOR_VISITOR }; /* in a worker's inbox */

struct door;

struct door_settings {             /* all of it the worker's, but for the submission */
    struct submission *submission; /* NULL: nobody is let in */
    struct io *io;
    struct wheel *wheel;
    struct tls *tls;
    const struct now *now;
    struct inbox *inbox;
    unsigned index;
};

/* NULL: no memory. */
struct door *door_create(const struct door_settings *settings, struct err *err);
/* Lets clients in. False: out of descriptors. */
bool door_open(struct door *door, struct err *err);
void door_hear(struct door *door, struct inbox_node *node);
/* Nobody comes in any more, and whoever waits for nothing is sent away (421). What is with the store is
 * answered first; hard: connections are cut, but the answers awaited all the same. */
void door_stop(struct door *door, bool hard);
bool door_is_empty(const struct door *door);
/* Lets go of the sockets, before the io is destroyed; door_free comes after that. */
void door_close(struct door *door);
void door_free(struct door *door);

#endif
