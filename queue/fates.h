/* fates.h - what was last heard of those who are deferred, many in one row; and sets of slots.
 *
 * A receiver that puts off one recipient of a batch mostly puts off its neighbours too, in the same words.
 * So a row of T_DEFERRED holds several recipients of a batch, strings that repeat once and numbers as
 * differences: some 15 bytes a recipient instead of 130, and a commit touches few pages. Its key names the
 * highest slot it may hold: the row of a slot is the first one at or behind it. T_DUE and T_BY_STATUS name
 * the recipients of a batch that share a key by a set of slots. A row of FATES_ROW_MAX bytes or less lies
 * within its leaf page.
 *
 * Rows of schema 2 held one recipient each (a fate behind the recipient's own key) and are read as such.
 * Any thread. */
#ifndef POSTRIDER_QUEUE_FATES_H
#define POSTRIDER_QUEUE_FATES_H

#include "queue/record.h"

#define FATES_MAX     64 /* in one row */
#define FATES_ROW_MAX 1900
#define FATES_TOP     UINT16_MAX /* the key of a batch's last row: whatever lies above the others */

struct fates { /* by slot */
    unsigned n;
    uint16_t slot[FATES_MAX];
    struct fate fate[FATES_MAX];
};
/* As many of them, from `from` on, as fit into a row; returns how many, at least one. Empties `out` first. */
unsigned fates_encode(const struct fates *fates, unsigned from, struct buf *out);
/* The strings are views into the row; `top` is the slot of its key. */
bool fates_decode(struct str row, uint16_t top, struct fates *fates);
/* Where the slot is, or would be: *at. */
bool fates_find(const struct fates *fates, uint16_t slot, unsigned *at);

/* One row as last read, for who looks up neighbours one after another. */
struct fates_row {
    uint64_t job; /* 0: none */
    uint32_t batch;
    uint16_t from, top; /* whoever is deferred of these slots is in it */
    struct fates fates;
};
static inline bool fates_row_has(const struct fates_row *row, struct rid rid)
{
    return row->job == rid.job && row->batch == rid.batch && row->from <= rid.slot && rid.slot <= row->top;
}
/* Reads what was found at or behind the key of `rid`; false when it is of another batch, or malformed. */
bool fates_row_read(struct fates_row *row, struct rid rid, struct str key, struct str value);

struct slot_set {
    uint8_t bits[BATCH_SLOTS_MAX / 8];
};
#define SLOT_SET_ROW_MAX (1 + BATCH_SLOTS_MAX / 8)
static inline bool slot_set_has(const struct slot_set *set, unsigned slot)
{
    return slot < BATCH_SLOTS_MAX && (set->bits[slot / 8] >> (slot % 8) & 1) != 0;
}
static inline void slot_set_add(struct slot_set *set, unsigned slot)
{
    set->bits[slot / 8] |= (uint8_t)(1U << (slot % 8));
}
static inline void slot_set_remove(struct slot_set *set, unsigned slot)
{
    set->bits[slot / 8] &= (uint8_t) ~(1U << (slot % 8));
}
/* The first slot at or above `slot`; false: none. */
bool slot_set_next(const struct slot_set *set, unsigned *slot);
/* How many bytes; 0 when it is empty. */
size_t slot_set_encode(const struct slot_set *set, uint8_t row[SLOT_SET_ROW_MAX]);
bool slot_set_decode(struct str row, struct slot_set *set);

#endif
