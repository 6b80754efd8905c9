/* await.h - a handler waits, for a limited time, for what another thread will tell: the store's writer.
 *
 * Made by who waits and told once by who answers, on any threads, in either order; whichever of both comes
 * last frees it, so that an answer that comes too late finds its place still there. */
#ifndef POSTRIDER_ADMIN_AWAIT_H
#define POSTRIDER_ADMIN_AWAIT_H

#include <stdbool.h>
#include <stddef.h>

#define AWAIT_SIZE   64 /* bytes that can be told */
#define AWAIT_LAST_S 10 /* the store always answers; a guard all the same */

struct await;

/* NULL: no memory. */
struct await *await_create(void);
/* Exactly once. Copies n bytes, at most AWAIT_SIZE. */
void await_tell(struct await *await, const void *what, size_t n);
/* Exactly once. False: nothing was told within AWAIT_LAST_S. */
bool await_take(struct await *await, void *what, size_t n);

#endif
