/* store_compare.h - is what the queries tell what the model knows? Each returns false with rig->complaint set
 * at the first difference. */
#ifndef POSTRIDER_TESTS_STORE_COMPARE_H
#define POSTRIDER_TESTS_STORE_COMPARE_H

#include "tests/unit/store_rig.h"

#define CHECK(condition, ...)                                                                                \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            return rig_complain(rig, __VA_ARGS__);                                                           \
    } while (0)

typedef long long ll; /* for printf */

/* Jobs, recipients, lanes, figures, counts, indexes, reports: all but the events. */
bool compare_all(struct rig *rig);
bool compare_lanes(struct rig *rig); /* a part of it */
/* The length of a page of a list: how a list is cut must not matter. */
size_t compare_page(struct rig *rig);
/* One recipient. */
bool compare_rcpt(struct rig *rig, const struct model_job *job, const struct model_rcpt *rcpt,
                  const struct rcpt_info *info);
/* Learns the rids of jobs that are new. */
bool compare_names(struct rig *rig);
/* Asks what became of those whose end is the store's to time; done by all that compares. */
bool compare_limbo(struct rig *rig);
/* What is new in the event log, as a consumer reads it; to be called when the model is up to date. */
bool compare_events(struct rig *rig);
/* The whole log again, from the start, in pages of a random size. */
bool compare_events_again(struct rig *rig);
/* Every lane that has work has been announced, unless there are too many. */
bool compare_lanes_ready(struct rig *rig);

#endif
