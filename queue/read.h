/* read.h - what the queries share: a read transaction, cursors, and small caches of what neighbours have in
 * common (batch, job, lane), so that a list of recipients costs one look-up a batch and not one a recipient.
 *
 * A `struct read` lives for one call on one thread. Views it hands out point into the map and are valid until
 * read_end, but for those of a batch in parts, which the next look-up in its cache slot may overwrite. A row
 * that does not decode is treated as one that is not there. */
#ifndef POSTRIDER_QUEUE_READ_H
#define POSTRIDER_QUEUE_READ_H

#include "queue/env.h"
#include "queue/fates.h"
#include "queue/record.h"

#define READ_BATCHES 64 /* cache slots, powers of two */
#define READ_JOBS    16
#define READ_LANES   64
#define READ_CURSORS 4

struct read_batch {
    struct rid rid; /* slot 0; job 0: nothing here */
    struct batch batch;
    uint32_t offsets[BATCH_SLOTS_MAX]; /* where each slot's record begins */
    struct buf joined;                 /* the parts of a long one */
};

struct read {
    struct store *store;
    const struct env *env;
    MDB_txn *txn;
    MDB_cursor *cursors[READ_CURSORS];
    unsigned cursor_count;
    unsigned rows; /* examined so far; callers compare it with READ_ROWS_MAX */
    struct read_batch *batches;
    MDB_cursor *deferred; /* NULL until the first is asked for */
    struct fates_row fates;
    struct {
        uint64_t id;
        bool found;
        struct job_row row;
    } jobs[READ_JOBS];
    struct {
        uint32_t id;
        bool found;
        struct lane_row row;
    } lanes[READ_LANES];
};

/* False when no reader slot or memory is to be had: logged, and the query finds nothing. */
bool read_begin(struct read *read, struct store *store);
/* The same, after all that was accepted is in the tables (fresh_barrier); or, if need be, for one job. */
bool read_begin_all(struct read *read, struct store *store);
bool read_begin_job(struct read *read, struct store *store, uint64_t job);
void read_end(struct read *read);

bool read_get(struct read *read, enum table table, const void *key, size_t size, struct str *value);
/* At most READ_CURSORS in a read; read_end closes them. */
bool read_cursor(struct read *read, enum table table, MDB_cursor **cursor);
/* The first row with key >= this one; its key and value. */
bool read_seek(struct read *read, MDB_cursor *cursor, const void *key, size_t size, struct str *found,
               struct str *value);
/* The last row with key <= this one. */
bool read_seek_back(struct read *read, MDB_cursor *cursor, const void *key, size_t size, struct str *found,
                    struct str *value);
/* op: MDB_FIRST, MDB_NEXT, MDB_PREV, MDB_LAST. */
bool read_move(struct read *read, MDB_cursor *cursor, MDB_cursor_op op, struct str *found, struct str *value);

/* A visible job; NULL when it is not there or still uploading. */
const struct job_row *read_job(struct read *read, uint64_t job);
const struct lane_row *read_lane(struct read *read, uint32_t lane);
/* Whether the filter's tenant and domains admit the lane. */
bool read_lane_wanted(struct read *read, const struct store_filter *filter, uint32_t lane);
/* The batch with all its parts; NULL when there is none. */
struct read_batch *read_batch(struct read *read, uint64_t job, uint32_t batch);
/* One recipient as it was admitted, and the group (lane) it is in; group may be NULL. */
bool read_rcpt(struct read_batch *batch, uint16_t slot, struct rcpt_record *record,
               struct batch_group *group);
/* One byte a slot, enum rcpt_state; empty when there is none. */
struct str read_slots(struct read *read, uint64_t job, uint32_t batch);
/* The state of one slot; false when there is none. */
bool read_state(struct str slots, uint16_t slot, enum rcpt_state *state);
/* What was last heard of it: of deferred, bounced and expired ones, else false. */
bool read_fate(struct read *read, struct rid rid, enum rcpt_state state, struct fate *fate);

/* The lanes of a domain, at most n; returns how many. */
size_t read_domain_lanes(struct read *read, struct str domain, uint32_t *list, size_t n);
/* A copy with a final NUL, cut to fit. */
void read_text(char *text, size_t size, struct str s);

/* Fills info from all this. False when the recipient is not there. */
bool read_info(struct read *read, struct rid rid, struct rcpt_info *info);
/* The same with what was told of it once, instead of what was last heard. */
bool read_told(struct read *read, struct rid rid, const struct fate *fate, struct rcpt_info *info);
/* The same as read_info when slots and state are at hand. */
bool read_info_of(struct read *read, struct rid rid, enum rcpt_state state, struct rcpt_info *info);

#endif
