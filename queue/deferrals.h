/* deferrals.h - the rows of who is deferred, as a change writes them: T_DEFERRED, T_DUE, T_BY_STATUS.
 *
 * One row of T_DEFERRED and a few sets of slots stay open in the change, so that neighbours are written
 * together; slots_store writes them out, and so must whoever reads these tables by change_seek. Counters and
 * slots are settle.c's. Writer's thread. */
#ifndef POSTRIDER_QUEUE_DEFERRALS_H
#define POSTRIDER_QUEUE_DEFERRALS_H

#include "queue/env.h"
#include "queue/fates.h"

struct change;

#define DEFERRAL_SETS 8

struct deferral_set {
    enum table table;
    uint8_t key[KEY_DUE];
    size_t key_size; /* 0: nothing is open here */
    bool on_disk, dirty;
    struct slot_set set;
};

struct deferrals {
    struct fates_row row;
    bool on_disk, dirty;
    bool appended; /* what came last was above all others */
    struct deferral_set sets[DEFERRAL_SETS];
    unsigned next; /* to make room */
};

/* What was last heard of it; strings live as long as the change. */
bool deferral_load(struct change *c, struct rid rid, struct fate *fate);
/* It is deferred, or deferred again: `old` is what stood there, or NULL. */
void deferral_put(struct change *c, struct rid rid, const struct fate *old, const struct fate *fate);
/* It is deferred no more. */
void deferral_drop(struct change *c, struct rid rid, const struct fate *old);
void deferrals_flush(struct change *c);
/* Forgets what is open: the change was undone. */
void deferrals_clear(struct deferrals *deferrals);

#endif
