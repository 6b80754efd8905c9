/* upload_flight.h - the jobs of an upload that are whole and with the store. Private to upload*.c.
 *
 * Many are there at once, so that one commit takes many; their answers are noted in the order of the body.
 * The bounds are UPLOAD_FLYING_MAX, UPLOAD_FLYING_BYTES and, over all uploads, INTAKE_FLYING_MAX, beyond which
 * an upload has one at a time. HTTP's thread launches, waits and lands; the store's threads only count down,
 * and wake the request that waits for that. A client that leaves meanwhile leaves them behind: what was given
 * to the store is committed, and the last one to come back frees the upload. */
#ifndef POSTRIDER_ADMIN_UPLOAD_FLIGHT_H
#define POSTRIDER_ADMIN_UPLOAD_FLIGHT_H

#include "engine/intake/upload_job.h"

#include <stdatomic.h>

struct upload;

struct flight {
    struct flight *next;
    struct upload *upload;
    struct upload_done job;
    size_t bytes;
    enum admit_result result;
    atomic_bool done;
};

struct flights {
    struct flight *head, **tail; /* in the order of the body */
    size_t bytes;                /* about, of all in the list */
    /* How many are with the store; the waiter's `rest` and its mark; whether the client has left. */
    atomic_uint word;
};

void flights_init(struct flights *flights);
/* Ends the open job, whose upload_job_finish was true: to the store, if there is something to commit. False:
 * no memory, and the job is as it was. */
bool upload_launch(struct upload *upload);
/* Suspends the request, with waiting set, if there are more than may be. */
void upload_make_room(struct upload *upload);
/* The same, if any is left at all. */
void upload_wait_for_all(struct upload *upload);
/* The wait is over. */
void upload_waited(struct upload *upload);
/* Notes the answers of those that are back; a failure goes to upload->failure. */
void upload_land(struct upload *upload);
/* The request is over. True: nothing is with the store, the caller frees; else the last one does. */
bool upload_leave_behind(struct upload *upload);

#endif
