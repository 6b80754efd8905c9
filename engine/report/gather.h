/* gather.h - events of the log as one consumer wants them: filtered, in its shape, a few hundred at hand.
 *
 * Each gathered event is a record, its text without a line's end, in order. `read` is the last event looked
 * at, wanted or not, so that a consumer of rare events moves on as well. A gap in the sequence numbers is
 * what was dropped unread at the log's bound (queue/retention.h): it is counted in `missed`. One thread. */
#ifndef POSTRIDER_REPORT_GATHER_H
#define POSTRIDER_REPORT_GATHER_H

#include "engine/config.h"

struct gather_record {
    uint64_t seq;
    int64_t time_ms;
    size_t end; /* of its text, behind which the next one begins */
};

struct gather {
    const struct config_consumer *wanted;
    const char *hostname;
    uint64_t read, missed;
    int64_t seen_ms; /* the time of the last event looked at */
    size_t count;
    struct gather_record *records; /* room for wanted->batch */
    struct str *texts;             /* the same, filled by gather_texts */
    struct buf text;
};

/* From behind `read` on. False: no memory. */
bool gather_init(struct gather *gather, const struct config_consumer *wanted, const char *hostname,
                 uint64_t read);
void gather_free(struct gather *gather);
bool gather_full(const struct gather *gather);
/* Reads a page of the log, at most up to a full batch. False: there was nothing new. */
bool gather_more(struct gather *gather, struct store *store);
/* The texts of the records, good until it gathers more or drops some. */
const struct str *gather_texts(struct gather *gather);
/* The first n records are done with. */
void gather_drop(struct gather *gather, size_t n);
/* What has been read when the first n records are safe: all before the next one. */
uint64_t gather_read(const struct gather *gather, size_t n);

#endif
