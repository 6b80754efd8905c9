/* admit.h - an upload from inside: what the caller's thread packs (pack.c) and the writer writes (admit.c).
 *
 * The caller owns an admit; from a post until its `done` the writer does. */
#ifndef POSTRIDER_QUEUE_ADMIT_H
#define POSTRIDER_QUEUE_ADMIT_H

#include "queue/store_internal.h"

#define SMALL_ADMIT_ROWS 64 /* admits up to this size pass bigger ones, and may have a message of their own */
#define RCPT_RECORD_MAX  RCPT_LINE_MAX /* bytes of one stored recipient */

struct window_domain {
    struct str name;      /* in window.bytes, by offset until packed */
    uint32_t number;      /* in order of appearance */
    uint32_t count, next; /* recipients; while packing: where the next one's place is */
    uint32_t lane;        /* the writer's */
    UT_hash_handle hh;
};
struct window_rcpt {
    uint32_t domain, offset, size; /* of its record in window.bytes */
    bool suppressed;
};
struct packed_batch {
    uint32_t batch;
    uint16_t slots, groups, parts;
    size_t offset, size; /* in window.packed */
    size_t first_domain; /* its groups' domains are window.order[first_domain ..] */
    uint16_t suppressed_n;
    struct slot_set suppressed; /* those that begin as such */
};
struct window {
    struct arena names;
    struct window_domain *domains; /* hash table */
    struct window_domain **list;   /* by number */
    size_t domain_n, domain_cap;
    struct buf bytes; /* records as they came */
    struct window_rcpt *rcpts;
    size_t rcpt_n, rcpt_cap, checked; /* so many were looked up among the suppressions */
    /* After packing: */
    struct buf packed;
    struct packed_batch *batches;
    size_t batch_n, batch_cap;
    uint32_t *order; /* domain number of each group of each batch, in order */
    size_t order_n, order_cap;
};

/* How far the writer is; a change that is undone goes back to what was committed. */
struct admit_progress {
    bool begun;        /* the job row is there */
    bool content_done; /* and its content complete */
    bool listed;       /* in T_UPLOADS */
    uint32_t content_part;
    size_t batch; /* of the window */
};

struct sweep_msg { /* WRITER_SWEEP, made with the admit so that giving up cannot fail */
    struct inbox_node node;
    uint64_t job;
};

struct admit {
    struct inbox_node node;  /* WRITER_ADMIT */
    struct admit *next;      /* in the writer's queue, or the fresh writer's */
    bool in_change, written; /* the writer's: it has a part in this change; that part is the last */
    struct store *store;
    uint64_t job;
    struct job_row row; /* strings and content are copies */
    struct arena strings;
    void *content;
    bool alone; /* nothing is known by which its message could be shared */
    int64_t lifetime_ms;
    uint64_t count;      /* recipients in all windows */
    uint64_t suppressed; /* of them, as far as they are looked up */
    bool unchecked;      /* some could not be looked up: nothing of it is accepted */
    struct window window;
    struct sweep_msg *sweep;
    bool posted; /* the window's content is on disk: the next recipient begins another one */
    bool final, committed;
    struct admit_key key; /* answer is a copy */
    struct admit_consumes consumes;
    struct admit_progress at, trying;
    enum admit_result result;
    admit_done *done;
    void *user;
    atomic_uint references; /* its caller's, and the store's own while it is fresh */
    bool key_held;          /* in the table of keys under way */
    UT_hash_handle key_hh;
    struct fresh_job fresh;
};

/* Calls `done`, which may free it. On the thread that committed or refused it. */
void admit_complete(struct admit *admit, enum admit_result result);
void admit_unref(struct admit *admit);

/* How many of the slots first .. first+count-1 are open as the batch begins. */
static inline unsigned packed_open(const struct packed_batch *packed, unsigned first, unsigned count)
{
    unsigned n = count;
    for (unsigned slot = first; packed->suppressed_n > 0 && slot < first + count; slot++)
        n -= slot_set_has(&packed->suppressed, slot);
    return n;
}

/* pack.c: sorts the window by domain and packs it into batches. False: no memory. */
bool window_pack(struct admit *admit);
void window_clear(struct window *window);
void window_free(struct window *window);

/* admit.c, writer: goes on with the post until it is written or the change is spent. True when it is written.
 */
bool admit_write(struct admit *admit, struct change *c);
/* The same for a small job that has ended before it was written: `settled` is what became of each recipient.
 * */
void admit_write_ended(struct admit *admit, struct change *c, const struct taken *settled);
/* When its key is forgotten: a job that landed counts from its beginning, whenever it is written. */
static inline int64_t admit_key_expires_ms(const struct admit *admit, struct now now)
{
    return (admit->fresh.landed ? admit->row.created_ms : now.wall_ms) + admit->key.ttl_ms;
}
/* About how many rows it will take: small ones pass big ones. */
size_t admit_rows(const struct admit *admit);

#endif
