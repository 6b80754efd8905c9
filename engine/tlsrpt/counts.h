/* counts.h - the counts of rpt.h: in memory, and as rows. Private to tlsrpt/; one thread.
 *
 * At most RPT_ROWS_MAX. Those of one period and domain are made into a report together. */
#ifndef POSTRIDER_TLSRPT_COUNTS_H
#define POSTRIDER_TLSRPT_COUNTS_H

#include "engine/tlsrpt/rpt.h"

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

struct count_row {
    UT_hash_handle hh; /* by name */
    uint64_t name;     /* a digest of what it counts */
    int64_t start_ms, end_ms;
    uint64_t count;
    enum rpt_policy policy;
    enum rpt_result result;
    bool dirty;
    int64_t retry_ms;
    unsigned tries, sent;                /* sent: a bit a target that has its report */
    char *domain, *host, *source, *text; /* views into strings */
    char strings[];
};

struct counts {
    struct count_row *table;
};

/* One more; the row's text is that of the first. */
void counts_add(struct counts *counts, const struct rpt_event *event, int64_t start_ms, int64_t end_ms);
void counts_load(struct counts *counts, struct store *store);
/* Writes down what has changed, some at a time; true: there is more. */
bool counts_flush(struct counts *counts, struct store *store);
/* Takes those of one period and domain away, rows too. */
void counts_drop(struct counts *counts, struct store *store, int64_t start_ms, const char *domain);
void counts_free(struct counts *counts);

#endif
