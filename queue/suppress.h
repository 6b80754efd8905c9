/* suppress.h - who gets no mail, from inside: the rows of edit.h's suppressions, and when they are looked at.
 *
 * At admit. The caller's thread looks up each recipient as its window is packed; who is found begins its life
 * as RCPT_SUPPRESSED. While the list is empty nobody looks.
 *
 * Before sending. A job's number is given out as its upload begins. When suppressions have been committed the
 * next number is noted (suppressed_below): jobs from there on began later and so found them at admit. The
 * recipients of jobs below are looked up once more as the taker hands them out, for the first time or for a
 * retry. After a start that is all that was there before it. What workers have in their hands by then they
 * are told of (STORE_SUPPRESSED), and settle it. */
#ifndef POSTRIDER_QUEUE_SUPPRESS_H
#define POSTRIDER_QUEUE_SUPPRESS_H

#include "queue/edit.h"
#include "queue/store_internal.h"

/* The scope, a NUL, the address: so those of a scope lie together, everybody's first. Returns the length, 0:
 * too long, or no address. */
size_t suppression_row_key(struct str scope, struct str address, char key[KEY_MAX]);

/* Whether everybody's list or the tenant's has the address. Any thread's transaction. */
bool suppress_find(const struct env *env, MDB_txn *txn, struct str tenant, struct str address);
/* Whether recipients of this job are to be looked up again. Any thread. */
static inline bool suppress_again(const struct store *store, uint64_t job)
{
    return job < atomic_load(&store->suppressed_below) && atomic_load(&store->suppressions) > 0;
}

/* The writer, after a commit that left `count` of them, and at the start. */
void suppress_committed(struct store *store, uint64_t count, bool added);
struct store_suppressed_msg *suppress_msg(size_t count, size_t size);
void suppress_msg_add(struct store_suppressed_msg *msg, struct str key);

#endif
