/* lane_names.h - the number of each lane, by its fields, and new numbers.
 *
 * The fresh writer and the writer both name lanes. A number is given out in memory; the writer puts the lane's
 * rows into the change that first refers to it (change_lane_named), so that no row on disk names a lane that is
 * not there. A number that was given out and never written is given to another after a restart.
 *
 * The table is a cache of LANE_NAMES_MAX names, of which those that are on disk can be dropped and looked up
 * again. Any thread; a lock of its own. */
#ifndef POSTRIDER_QUEUE_LANE_NAMES_H
#define POSTRIDER_QUEUE_LANE_NAMES_H

#include "queue/env.h"
#include "queue/memory.h"
#include "queue/record.h"

#include <pthread.h>

struct lane_name {
    uint32_t lane;
    enum { NAME_NEW, NAME_WRITING, NAME_KEPT } state; /* in memory; in the change under way; on disk */
    struct lane_name *next;                           /* of those in the change */
    UT_hash_handle hh;
    char key[]; /* class, tenant, 0, pool, 0, domain */
};
struct lane_names {
    pthread_mutex_t lock;
    struct lane_name *table;
    unsigned count;
    uint32_t next; /* the next new number */
};

void lane_names_init(struct lane_names *names, uint32_t next);
void lane_names_free(struct lane_names *names);
/* Finds it in memory, or on disk by `txn`, or gives it a number. For a thread that reads, the transaction (reset) is
 * renewed before it is looked into; 0: that was not possible now. For the writer, one that is not on disk yet
 * joins `writing`: it is to be written in this change. */
uint32_t lane_names_find(struct lane_names *names, const struct env *env, MDB_txn *reader,
                         const struct lane_row *fields);
uint32_t lane_names_write(struct lane_names *names, const struct env *env, MDB_txn *txn,
                          const struct lane_row *fields, struct lane_name **writing);
/* The writer's: after a change, those it wrote are on disk, or are to be written again. */
void lane_names_written(struct lane_names *names, struct lane_name *list, bool committed);

#endif
