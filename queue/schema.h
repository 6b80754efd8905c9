/* schema.h - the tables of the store, their keys, and what stands in each.
 *
 * Keys are fixed big-endian numbers, so that LMDB's order is theirs; the functions below write them. Values
 * are in record.h. No value exceeds VALUE_MAX bytes (one overflow page): what is longer is cut into parts,
 * numbered in the key from 0. A newer SCHEMA_VERSION than the program's is refused at the start.
 *
 * An upload under way has its job row (JOB_UPLOADING), batches, slots and ready rows on disk; readers skip a
 * job in that state, so its last commit makes it visible by one flag. A recipient in state RCPT_READY has no
 * row of its own; RCPT_DEFERRED is in one each of deferred, due and by_status, which it shares with others of
 * its batch (fates.h); RCPT_BOUNCED and RCPT_EXPIRED have one in ended. */
#ifndef POSTRIDER_QUEUE_SCHEMA_H
#define POSTRIDER_QUEUE_SCHEMA_H

#include "engine/base/codec.h"
#include "queue/rid.h"
#include "queue/status.h"
#include "queue/store.h"

/* 1: without meta.fresh_seq and lane deltas; up to 2: a row a deferred recipient, see migrate.h; up to 3:
 * without policy and suppressions */
#define SCHEMA_VERSION 4

enum table {
    T_META,    /* "state" -> struct meta */
    T_JOBS,    /* job -> struct job_row */
    T_CONTENT, /* hash (job_content_key), part -> part 0: struct content_row; others: VALUE_MAX bytes each */
    T_BATCHES, /* job, batch, part -> batch (record.h); parts > 0 only for a recipient too long for a value */
    T_SLOTS,   /* job, batch -> one byte a slot, enum rcpt_state or SLOT_BORN_SUPPRESSED */
    T_LANE_NAMES,  /* hash of domain, hash of the other fields, lane -> the fields (lane_name_encode) */
    T_LANES,       /* lane -> struct lane_row */
    T_LANE_DELTAS, /* generation, number -> what commits added to the counters (lane_deltas.h) */
    T_READY, /* lane, job, batch -> struct ready_row; gone when none of these slots is RCPT_READY any more */
    T_DEFERRED,  /* job, batch, highest slot it may hold -> struct fates */
    T_DUE,       /* lane, time ms, job, batch -> struct slot_set */
    T_WAKE,      /* time ms, lane -> empty; each lane's earliest row of T_DUE */
    T_BY_STATUS, /* status number, lane, job, batch -> struct slot_set; what is deferred */
    T_ENDED,     /* rid -> struct fate; bounced and expired only */
    T_TIMERS,    /* time ms, kind, id -> by kind */
    T_UPLOADS,   /* job -> empty: uploads that span commits, at the start they are swept; UPLOADS_CLOSED: jobs
                    that ended while workers held some of them, at the start the rest is ended */
    T_OPS,       /* operation -> struct op_row */
    T_EVENTS,    /* first sequence number -> event items (record.h) */
    T_CURSORS,   /* consumer -> sequence number (be64) it has read */
    T_DSN, /* job, return path, kind -> struct dsn_row; and with batch, slot appended -> struct fate of one
                  that is to be reported; empty for a failure, whose fate is in T_ENDED */
    T_DSN_DUE,      /* time ms, job, return path, kind unless it is failed -> empty */
    T_KEYS,         /* hash of the idempotency key, part -> struct key_row; from 1 on the answer continued */
    T_POLICY,       /* enum policy_kind u8, name -> its owner's */
    T_SUPPRESSIONS, /* tenant, 0, address -> edit.c */
    T_COUNTS,       /* dimension, id, status number -> be64; rows that reach 0 are deleted */
    TABLES
};

enum timer_kind {
    TIMER_NOT_BEFORE = 1, /* id: job */
    TIMER_EXPIRY,         /* id: job; first at its delay warning (warn.h); of an ended job: TIMER_PURGE */
    TIMER_PURGE,          /* id: job; value: be64, what consumers must have read before; none: not yet due */
    TIMER_KEY,            /* id: first 8 bytes of the hash; value: the hash */
    TIMER_CONTENT,        /* the same: parts of a content that no job names are left to delete */
    TIMER_OP,             /* id: operation that ended a while ago: its rows go */
    TIMER_SUPPRESSED,     /* id: job; value: batch (be32) from which on those who are suppressed since its
                             beginning have no event yet, none: from the first; all at TIMER_AT_ONCE */
};
#define TIMER_AT_ONCE 0 /* ms: before all others, and found by kind and id alone */

#define UPLOADS_CLOSED       "c"
#define SLOT_BORN_SUPPRESSED 0x80 /* RCPT_SUPPRESSED since the beginning of the job */

enum count_dimension {
    COUNT_JOB = 1, /* id: job; recipients by last status, deferred, bounced and expired alike */
    COUNT_QUEUE,   /* id: 0; recipients that are deferred */
};

#define KEY_MAX        511 /* LMDB's own bound */
#define KEY_JOB        8
#define KEY_CONTENT    36
#define KEY_BATCH      14
#define KEY_SLOTS      12
#define KEY_LANE_NAME  20
#define KEY_LANE       4
#define KEY_READY      16
#define KEY_DUE        24
#define KEY_WAKE       12
#define KEY_BY_STATUS  20
#define KEY_OP         12
#define KEY_TIMER      17
#define KEY_KEYS       34
#define KEY_COUNTS     13
#define KEY_DSN_SUFFIX 6 /* batch, slot */

static inline void key_job(uint64_t job, uint8_t key[KEY_JOB])
{
    put_be64(key, job);
}

static inline void key_content(const uint8_t hash[32], uint32_t part, uint8_t key[KEY_CONTENT])
{
    memcpy(key, hash, 32);
    put_be32(key + 32, part);
}

static inline void key_batch(uint64_t job, uint32_t batch, uint16_t part, uint8_t key[KEY_BATCH])
{
    put_be64(key, job);
    put_be32(key + 8, batch);
    put_be16(key + 12, part);
}

static inline void key_slots(uint64_t job, uint32_t batch, uint8_t key[KEY_SLOTS])
{
    put_be64(key, job);
    put_be32(key + 8, batch);
}

static inline void key_lane(uint32_t lane, uint8_t key[KEY_LANE])
{
    put_be32(key, lane);
}

static inline void key_lane_name(uint64_t domain_hash, uint64_t rest_hash, uint32_t lane,
                                 uint8_t key[KEY_LANE_NAME])
{
    put_be64(key, domain_hash);
    put_be64(key + 8, rest_hash);
    put_be32(key + 16, lane);
}

static inline void key_ready(uint32_t lane, uint64_t job, uint32_t batch, uint8_t key[KEY_READY])
{
    put_be32(key, lane);
    put_be64(key + 4, job);
    put_be32(key + 12, batch);
}

/* The batch of the rid; its slot is in the set. */
static inline void key_due(uint32_t lane, int64_t time_ms, struct rid rid, uint8_t key[KEY_DUE])
{
    put_be32(key, lane);
    put_be64(key + 4, (uint64_t)time_ms);
    key_slots(rid.job, rid.batch, key + 12);
}

static inline void key_wake(int64_t time_ms, uint32_t lane, uint8_t key[KEY_WAKE])
{
    put_be64(key, (uint64_t)time_ms);
    put_be32(key + 8, lane);
}

static inline void key_by_status(uint32_t status, uint32_t lane, struct rid rid, uint8_t key[KEY_BY_STATUS])
{
    put_be32(key, status);
    put_be32(key + 4, lane);
    key_slots(rid.job, rid.batch, key + 8);
}

static inline void key_op(uint64_t op, uint32_t part, uint8_t key[KEY_OP])
{
    put_be64(key, op);
    put_be32(key + 8, part);
}

static inline void key_timer(int64_t time_ms, enum timer_kind kind, uint64_t id, uint8_t key[KEY_TIMER])
{
    put_be64(key, (uint64_t)time_ms);
    key[8] = (uint8_t)kind;
    put_be64(key + 9, id);
}

static inline void key_keys(const uint8_t hash[32], uint16_t part, uint8_t key[KEY_KEYS])
{
    memcpy(key, hash, 32);
    put_be16(key + 32, part);
}

static inline void key_counts(enum count_dimension dimension, uint64_t id, uint32_t status,
                              uint8_t key[KEY_COUNTS])
{
    key[0] = (uint8_t)dimension;
    put_be64(key + 1, id);
    put_be32(key + 9, status);
}

/* The window row of (job, return path, kind); its recipients have batch and slot appended. Returns the
 * length; return paths are at most ADDRESS_MAX + 64 bytes and hold no control characters, so that the kind's
 * byte ends them. */
static inline size_t key_dsn(uint64_t job, struct str return_path, enum dsn_kind kind, uint8_t key[KEY_MAX])
{
    put_be64(key, job);
    memcpy(key + 8, return_path.p, return_path.n);
    key[8 + return_path.n] = (uint8_t)kind;
    return 9 + return_path.n;
}

static inline size_t key_dsn_rcpt(struct rid rid, struct str return_path, enum dsn_kind kind,
                                  uint8_t key[KEY_MAX])
{
    size_t n = key_dsn(rid.job, return_path, kind, key);
    put_be32(key + n, rid.batch);
    put_be16(key + n + 4, rid.slot);
    return n + KEY_DSN_SUFFIX;
}

static inline size_t key_dsn_due(int64_t time_ms, uint64_t job, struct str return_path, enum dsn_kind kind,
                                 uint8_t key[KEY_MAX])
{
    put_be64(key, (uint64_t)time_ms);
    put_be64(key + 8, job);
    memcpy(key + 16, return_path.p, return_path.n);
    key[16 + return_path.n] = (uint8_t)kind;
    return 16 + return_path.n + (kind != DSN_FAILED);
}

/* What follows the first `head` bytes of such keys: the path up to the kind's byte, and the kind. Where the
 * key has no such byte, all of the rest is the path, and it is DSN_FAILED. */
static inline struct str key_dsn_path(struct str key, size_t head, enum dsn_kind *kind)
{
    size_t end = head;
    while (end < key.n && (uint8_t)key.p[end] >= DSN_KINDS)
        end++;
    *kind = end < key.n ? (enum dsn_kind)key.p[end] : DSN_FAILED;
    return str_make(key.p + head, end - head);
}

#endif
