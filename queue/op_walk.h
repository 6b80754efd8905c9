/* op_walk.h - the slices of operations: what each kind walks, from its cursor on. See ops.h. */
#ifndef POSTRIDER_QUEUE_OP_WALK_H
#define POSTRIDER_QUEUE_OP_WALK_H

#include "queue/filter.h"
#include "queue/ops.h"

struct op_at { /* how far it is; a change that is undone goes back to what was committed */
    uint8_t phase;
    bool ended, found, listed; /* listed: its row is on disk */
    bool drains;               /* workers are to give back what matches before it goes on */
    uint8_t cursor[KEY_MAX];   /* where to go on: the first key not looked at */
    size_t cursor_size;
    struct close_counts counts;
};

struct op {
    struct op *next;
    uint64_t id; /* given when its row is first written */
    enum op_kind kind;
    bool unlisted;              /* never gets a row */
    struct store_filter filter; /* its strings in the arena, its list of domains malloc'ed */
    struct arena strings;
    struct filter_lanes *lanes; /* NULL: not looked for yet, or the filter has no domain */
    int64_t started_ms, wait_ms;
    int64_t wait_until_ns;  /* 0: not begun */
    uint64_t after_seq;     /* begins when what landed up to here is applied; 0: at once */
    unsigned awaited;       /* draining: workers that have not answered, */
    int64_t drain_until_ns; /* nor are waited for after this; */
    uint64_t drained;       /* ended by settles of the change */
    struct op_at at, trying;
    op_done *done; /* NULL once it has been called */
    void *user;
};

/* One slice; sets op->trying. */
void op_slice(struct op *op, struct change *c);
/* Whether its filter admits a recipient of this job and lane, whatever its status. */
bool op_matches(struct change *c, const struct op *op, const struct change_job *job, uint32_t lane);

#endif
