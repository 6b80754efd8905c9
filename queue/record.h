/* record.h - the rows of the store as C values, to bytes and back.
 *
 * Encoders append to a buf (whose maximum the caller chose) and return false when it has no room; decoders
 * return false on anything malformed, and the strings they give are views into the row: valid as long as the
 * read transaction, or the copy the caller made. Every row begins with a version byte. Any thread. */
#ifndef POSTRIDER_QUEUE_RECORD_H
#define POSTRIDER_QUEUE_RECORD_H

#include "queue/query.h"
#include "queue/schema.h"

#define ROW_VERSION 1

/* T_META "state": the counters of ids, and totals since the directory was made. */
struct meta {
    uint32_t schema;
    uint32_t next_lane;
    uint64_t next_job, next_op, last_seq;
    uint64_t accepted, ended[RCPT_STATES]; /* ended: by final state; other entries are 0 */
    uint64_t deferred, jobs; /* now: recipients waiting for a retry, visible jobs that have not ended */
    uint64_t fresh_seq;      /* what landed up to here (fresh.h) is in these tables */
};
bool meta_encode(const struct meta *meta, struct buf *out);
bool meta_decode(struct str row, struct meta *meta);

/* T_JOBS. by_state counts what is on disk, also while the upload is under way (total as well). */
struct job_row {
    enum job_state state;
    bool expired;  /* its time has passed: what is released or deferred after that is expired */
    bool uploaded; /* the last commit has been: state says which, never JOB_UPLOADING */
    enum job_class class_;
    enum job_bounces bounces;
    enum dsn_ret ret;
    uint8_t notify;
    bool same_for_all, require_tls, is_dsn;
    bool own_content; /* its message is this job's alone: see job_content_key */
    bool begun;       /* its not_before has come, and stays so if the clock is set back */
    uint32_t batches; /* numbered from 0 */
    uint32_t warned;  /* so many of them, from the first, have been gone through for who is delayed */
    int64_t created_ms, not_before_ms, expires_ms, ended_ms; /* ended_ms 0: not ended */
    int64_t delay_warning_ms;                                /* its own; 0: the setting's */
    uint64_t message_size, content_size;
    uint64_t total, by_state[RCPT_STATES];
    uint64_t accepted_seq; /* of its first recipient's `accepted` event */
    uint8_t content_hash[32];
    struct str tenant, campaign, pool, from, envid, metadata;
};
bool job_row_encode(const struct job_row *job, struct buf *out);
bool job_row_decode(struct str row, struct job_row *job);
/* Recipients that have not ended. */
static inline uint64_t job_row_open(const struct job_row *job)
{
    return job->by_state[RCPT_READY] + job->by_state[RCPT_DEFERRED];
}

/* T_CONTENT part 0 of a message that jobs share. A message seen for the first time in a small job has no
 * part 0 and stands under its job's number instead of its hash: next to its neighbours, not on a page of its
 * own. */
struct content_row {
    uint32_t references; /* jobs on disk that name it */
    uint64_t size;
    bool complete; /* all parts are there */
};
#define CONTENT_PART_SIZE VALUE_MAX
/* What stands for the hash in the keys of T_CONTENT. */
void job_content_key(const struct job_row *job, uint64_t id, uint8_t name[32]);
void content_key(const uint8_t hash[32], bool own, uint64_t id, uint8_t name[32]);
bool content_row_encode(const struct content_row *content, struct buf *out);
bool content_row_decode(struct str row, struct content_row *content);

/* ---- batches ----
 * version u8, parts be16, ordinal be64 (how many recipients of the job stand before the batch), slots be16,
 * groups be16, then a group: lane be32, first be16, count be16, then the recipients, each behind its length.
 * The fixed widths are so that the writer can put the lane's number into a batch packed by another thread. A
 * batch of several parts holds one recipient; its parts joined are a batch as here. */
#define BATCH_HEAD_SIZE  15
#define BATCH_GROUP_SIZE 8
struct batch_group {
    uint32_t lane;
    uint16_t first, count;
};
struct batch {
    uint16_t parts, slots, groups;
    uint64_t ordinal;
    const uint8_t *group_bytes;
    struct str records;
};
struct rcpt_record { /* one recipient as stored */
    struct str to, id, orcpt, metadata, vars;
    uint8_t notify;
};
void batch_head_put(uint8_t head[BATCH_HEAD_SIZE], uint16_t parts, uint64_t ordinal, uint16_t slots,
                    uint16_t groups);
void batch_group_put(uint8_t at[BATCH_GROUP_SIZE], struct batch_group group);
/* Checks the head, that groups cover the slots in order, and that the records fill the rest. With parts > 1
 * the row must be all parts joined; batch_parts tells from part 0 alone. */
bool batch_decode(struct str row, struct batch *batch);
uint16_t batch_parts(struct str part0);
/* Only the head and the groups: also from part 0 of several. records is then not to be used. */
bool batch_decode_head(struct str row, struct batch *batch);
struct batch_group batch_group_at(const struct batch *batch, unsigned n);
/* The group that holds the slot. */
bool batch_group_of(const struct batch *batch, uint16_t slot, struct batch_group *group);
/* Finds one slot by walking; false when there is none. */
bool batch_find(const struct batch *batch, uint16_t slot, struct rcpt_record *record);
/* Walks all: start with *at = batch.records; false at the end or when malformed. */
bool batch_next(struct str *at, struct rcpt_record *record);
/* The size rcpt_record_encode will append, length prefix included. */
size_t rcpt_record_size(const struct rcpt_record *record);
bool rcpt_record_encode(const struct rcpt_record *record, struct buf *out);

/* T_READY */
struct ready_row {
    uint16_t first, count; /* slots of this lane in the batch; T_SLOTS says which are RCPT_READY */
};
#define READY_ROW_SIZE 4
void ready_row_encode(struct ready_row ready, uint8_t row[READY_ROW_SIZE]);
bool ready_row_decode(struct str row, struct ready_row *ready);

/* T_LANES */
struct lane_row {
    int64_t wake_ms;                /* its row in T_WAKE, 0: none */
    uint64_t by_state[RCPT_STATES]; /* exact; RCPT_READY counts uploads under way too */
    enum job_class class_;
    struct str tenant, pool, domain;
};
bool lane_row_encode(const struct lane_row *lane, struct buf *out);
bool lane_row_decode(struct str row, struct lane_row *lane);
/* T_LANE_NAMES: the key's hashes (str_hash of the domain, and of class, tenant, pool) and the value. */
void lane_name_hashes(enum job_class class_, struct str tenant, struct str pool, struct str domain,
                      uint64_t *domain_hash, uint64_t *rest_hash);
bool lane_name_encode(enum job_class class_, struct str tenant, struct str pool, struct str domain,
                      struct buf *out);
bool lane_name_decode(struct str row, enum job_class *class_, struct str *tenant, struct str *pool,
                      struct str *domain);

/* T_DEFERRED and T_ENDED: what was last heard of a recipient. */
struct fate {
    uint32_t lane, attempts;
    int64_t first_ms, last_ms, next_ms; /* next_ms: its row in T_DUE; 0 in T_ENDED */
    uint16_t code;
    struct status status;
    struct str reply, mx, source, site;
};
bool fate_encode(const struct fate *fate, struct buf *out);
bool fate_decode(struct str row, struct fate *fate);

/* T_OPS part 0. Strings of the filter are views. Its list of domains is not in it, but in the parts from 1
 * on: fields, joined. */
struct op_row {
    enum op_kind kind;
    bool done;     /* kept for a while for who asks */
    uint8_t phase; /* of its kind's own steps */
    int64_t started_ms, ended_ms;
    uint64_t matched, changed, in_flight;
    struct store_filter filter;
    uint32_t domains_size; /* bytes of the list; 0: none given */
    struct str cursor;     /* the last key done, of the table the phase walks */
};
bool op_row_encode(const struct op_row *op, struct buf *out);
bool op_row_decode(struct str row, struct op_row *op);

/* T_DSN window */
struct dsn_row {
    uint32_t count;
    int64_t first_ms, last_ms, due_ms; /* due_ms: its row in T_DSN_DUE */
};
bool dsn_row_encode(const struct dsn_row *dsn, struct buf *out);
bool dsn_row_decode(struct str row, struct dsn_row *dsn);

/* T_KEYS part 0; `answer` is what of it fits, further parts continue it up to answer_size. */
struct key_row {
    uint64_t job;
    int64_t expires_ms;
    uint8_t digest[32];
    uint32_t answer_size;
    struct str answer;
};
bool key_row_encode(const struct key_row *key, struct buf *out);
bool key_row_decode(struct str row, struct key_row *key);

/* ---- events ----
 * A value: version u8, then items until its end. Items take `span` sequence numbers each, in order, from the
 * key on. Strings that repeat stand once: the writer numbers them as it goes (struct event_strings). */
enum { EVENT_STRINGS_MAX = 64 };
struct event_strings {
    unsigned count;
    struct str list[EVENT_STRINGS_MAX];
};
struct event_item {
    enum event_type type;
    int64_t time_ms;
    /* ACCEPTED: recipients 0 .. total-1 of the job, in order of batch and slot: span = total.
     * A range (cancelled or expired by an operation): slots of one batch, span = their number.
     * Else: one recipient. */
    enum { ITEM_ONE, ITEM_JOB, ITEM_RANGE } form;
    struct rid rid;                    /* RANGE: slot 0; JOB: batch and slot 0 */
    uint64_t total;                    /* JOB */
    uint8_t bits[BATCH_SLOTS_MAX / 8]; /* RANGE: slot n is bit n % 8 of byte n / 8 */
    uint32_t lane;                     /* ONE */
    uint16_t code;                     /* ONE, RANGE */
    struct status status;
    uint32_t attempt;
    int32_t delay_ms;
    int64_t next_ms;
    struct str site, source, mx, tls, reply; /* ONE; of EVENT_ALERT tls is the tenant */
};
/* Appends one item; new strings are entered. When it returns false the buf is as before but `strings` may
 * have grown: start a new value with both empty. Strings given must live until the value is finished. */
bool event_item_encode(const struct event_item *item, struct event_strings *strings, struct buf *out);
/* Reads a value: begin, then next until false; r->bad tells a malformed value from its end. */
bool event_value_begin(struct str row, struct event_strings *strings, struct reader *r);
bool event_item_next(struct reader *r, struct event_strings *strings, struct event_item *item);
uint64_t event_item_span(const struct event_item *item);

#endif
