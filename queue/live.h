/* live.h - the jobs whose recipients are with workers, and their messages, in memory once each.
 *
 * Only the taker makes and frees them; a worker's last store_job_unref is just a decrement. The table itself
 * holds one reference; a hand goes round and frees what has had no other for a whole turn, so that an opened
 * template survives the short gaps between two takes. Messages with equal digests are one. Their bytes are
 * bounded by CONTENT_LIVE_MAX, but one message always passes. */
#ifndef POSTRIDER_QUEUE_LIVE_H
#define POSTRIDER_QUEUE_LIVE_H

#include "queue/store_internal.h"

/* The job with one more reference, made if need be. NULL: its message does not fit now (or no memory). Its
 * content is there after live_load. */
struct store_job *live_get(struct store *store, uint64_t job, const struct job_row *row);
/* The same of a fresh job, whose message is in memory already. */
struct store_job *live_get_fresh(struct store *store, const struct admit *admit);
/* A fresh job of one recipient that is given to a worker: beside the table, the worker's alone, with the
 * admit's own memory. `credit` (and the store's given_unfreed) counts it from here: one goes with
 * live_settled, the other with its last reference. NULL: no memory. Under the lock. */
struct store_job *live_give(struct store *store, struct admit *admit, atomic_uint *credit);
/* A recipient of it comes back: any worker. */
void live_settled(struct store_job *job);
/* Reads the contents that live_get promised. */
void live_load(struct store *store, MDB_txn *txn);
/* After live_load: false when its content is damaged on disk; it is not to be sent then. */
bool live_usable(const struct store_job *job);
/* Moves the hand over up to n jobs; `force` frees at once what has no other reference. */
void live_sweep(struct store *store, size_t n, bool force);
size_t live_count(const struct store *store);
void live_free(struct store *store);

#endif
