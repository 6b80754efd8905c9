/* sift.h - what waits in a worker's memory, looked through once: which of it stays, goes back, or ends.
 *
 * Looks at what waits in strands, its own and those of borrowed lanes, at what came unasked and has no strand
 * yet, and at what is being signed, which goes when it comes back. What is in a transaction is left alone.
 * Each lane then asks for more, since there may be room. A walk over all the worker holds, for what comes
 * seldom. One worker's thread. */
#ifndef POSTRIDER_ROUTE_SIFT_H
#define POSTRIDER_ROUTE_SIFT_H

#include "engine/route/model.h"

enum sift_fate {
    SIFT_KEEP,
    SIFT_RELEASE,  /* back to the store, not tried */
    SIFT_SUPPRESS, /* it ends, suppressed */
};
/* lane: in which it waits; of a borrowed one its own differs (taken->lane). */
typedef enum sift_fate sift_judge(const struct lane *lane, const struct taken *taken, const void *user);

void sift_all(struct router *router, sift_judge *judge, const void *user);
/* Borrowed lanes alone. */
void sift_borrowed(struct router *router, sift_judge *judge, const void *user);

#endif
