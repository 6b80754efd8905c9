/* samples.h - durations, collected to give their percentiles at the end.
 *
 * Room for all of them is taken at the start, so that adding one is a store; more are not kept. */
#ifndef POSTRIDER_LOAD_SAMPLES_H
#define POSTRIDER_LOAD_SAMPLES_H

#include "engine/base/err.h"

#include <jansson.h>
#include <stdint.h>

struct samples {
    int64_t *ns;
    uint64_t used, room;
};

bool samples_init(struct samples *samples, uint64_t room, struct err *err);
void samples_free(struct samples *samples);
void samples_add(struct samples *samples, int64_t ns);
/* {"p50", "p90", "p99", "max"} in milliseconds, null without samples. Sorts them. A new reference. */
json_t *samples_json(struct samples *samples);

#endif
