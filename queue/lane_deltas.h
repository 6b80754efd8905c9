/* lane_deltas.h - the counters of lanes, gathered before they go into their rows.
 *
 * A change touches as many lanes as it has recipients, a page of T_LANES each; what it adds to their counters is
 * one row in order instead (T_LANE_DELTAS). Every LANE_FOLD_MS the writer folds the sums of a *generation* of
 * such rows into T_LANES, in the order of lanes and in slices between other work; a slice that is not the last
 * writes what it took out as a row of the same generation with the signs turned, the last one deletes all its
 * rows, which LANE_DELTA_ROWS bounds. So T_LANES and the rows of T_LANE_DELTAS add up to the exact counters in every commit, and a start goes on
 * with whatever rows it finds. Memory: the sums, of at most LANE_DELTAS_MAX lanes or so.
 *
 * The writer's thread, but for lane_deltas_read. */
#ifndef POSTRIDER_QUEUE_LANE_DELTAS_H
#define POSTRIDER_QUEUE_LANE_DELTAS_H

#include "queue/env.h"
#include "queue/memory.h"
#include "queue/query.h"

struct change;
struct now;
struct store;

struct lane_delta {
    uint32_t lane;
    int64_t by_state[RCPT_STATES];
    UT_hash_handle hh;
};

struct lane_deltas {
    struct lane_delta *sums; /* of the generation that is being written */
    uint32_t generation;
    int64_t since_ns;           /* when its first row came */
    struct lane_delta *folding; /* of those before it, by lane: [at .. n-1] are left */
    size_t at, n;
    bool turned;           /* something is being folded: its rows are there */
    uint32_t rows, number; /* of this generation; of the next row */
    /* Of the change under way: entries it folds, and whether they are the last; rows it adds. */
    size_t trying;
    bool trying_last;
    uint32_t trying_rows;
};

/* At the opening: what earlier runs left. */
void lane_deltas_load(struct store *store);
void lane_deltas_free(struct store *store);
/* Whether a slice is to be folded now; else when (mono_ns). */
bool lane_deltas_ripe(const struct store *store, struct now now, int64_t *next_ns);
/* In a change: one slice; and, at its end, the row of what it added to lanes. */
void lane_deltas_fold(struct store *store, struct change *c);
void lane_deltas_write(struct change *c);
/* After it. */
void lane_deltas_after(struct store *store, const struct change *c, bool committed);

/* Any thread, in its read transaction: adds every row to a table of sums, or, with `only`, to that one. Free the
 * table with lane_deltas_table_free. */
void lane_deltas_read(const struct env *env, MDB_txn *txn, struct lane_delta **table,
                      struct lane_delta *only);
void lane_deltas_table_free(struct lane_delta **table);

#endif
