/* filter.h - what a store_filter means for rows: which statuses, lanes and jobs it wants, and where the next
 * wanted ones begin, so that whoever walks an index jumps over the rest. Pure, but for filter_lanes_find; any
 * thread. */
#ifndef POSTRIDER_QUEUE_FILTER_H
#define POSTRIDER_QUEUE_FILTER_H

#include "queue/env.h"
#include "queue/memory.h"
#include "queue/record.h"

#define FILTER_LANES_MAX 1024

/* The lanes of the filter's domain, where it has one and they are not too many: else any may be wanted. */
struct filter_lanes {
    bool known;
    size_t n;
    uint32_t list[FILTER_LANES_MAX]; /* rising */
};
/* Reads T_LANE_NAMES. A lane that is made later is not in it. */
void filter_lanes_find(const struct env *env, MDB_txn *txn, struct str domain, struct filter_lanes *lanes);
/* Moves *lane to the first at or above it that may be wanted; false: there is none. */
bool filter_lanes_next(const struct filter_lanes *lanes, uint32_t *lane);
/* The same for the number of a status. */
bool filter_status_next(const struct store_filter *filter, uint32_t *status);

bool filter_status(const struct store_filter *filter, struct status status);
/* False: by its tenant or domain it is not. */
bool filter_lane(const struct store_filter *filter, const struct lane_row *lane);
/* Whether filter_lane can say no. */
static inline bool filter_on_lanes(const struct store_filter *filter)
{
    return filter->tenant.n > 0 || filter->domain.n > 0 || filter->domains != NULL;
}
/* Copies it, its strings into the arena; ended with filter_free, and the arena's end. */
void filter_copy(struct store_filter *to, const struct store_filter *from, struct arena *strings);
void filter_free(struct store_filter *filter);
bool filter_job(const struct store_filter *filter, uint64_t id, const struct job_row *job);

#endif
