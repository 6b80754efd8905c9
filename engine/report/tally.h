/* tally.h - failures counted: by status, class, category, domain and site, with examples of what was said.
 *
 * Memory is bounded: domains and sites are counted one by one up to TALLY_PLACES_MAX each, what failed at
 * further ones is summed; of each status and category the first few replies whose words differ are kept, and
 * statuses beyond the first hundreds are counted by class. One thread at a time. */
#ifndef POSTRIDER_REPORT_TALLY_H
#define POSTRIDER_REPORT_TALLY_H

#include "engine/base/js.h"
#include "queue/query.h"

#define TALLY_PLACES_MAX   50000
#define TALLY_PLACES_SHOWN 1000

struct tally;

/* NULL: no memory. */
struct tally *tally_create(void);
void tally_free(struct tally *tally);
/* Counts who bounced or expired; the others are passed over. */
void tally_add(struct tally *tally, const struct rcpt_info *info);
/* Sets failed, bounced, expired, classes, statuses, categories, domains, other_domains, sites, other_sites
 * (admin/api.h). False: no memory at some time, so that counts are missing. */
bool tally_report(struct tally *tally, json_t *root);

#endif
