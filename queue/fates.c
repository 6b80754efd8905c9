/* fates.c - see fates.h.
 *
 * A row: version, then for each recipient its slot (as the difference from the one before, less one), a byte
 * saying what it has in common with that one, and the rest. A string is 0 and itself, or the number of one
 * that stands before it. */
#include "queue/fates.h"

#define FATES_VERSION 2  /* 1 is that of a single fate */
#define STRINGS_MAX   64 /* that later ones may refer to */

enum { SAME_LANE = 1, SAME_ATTEMPTS = 2, SAME_STATUS = 4, SAME_STRINGS = 8, SAME_SPAN = 16 };

struct strings {
    unsigned n;
    struct str list[STRINGS_MAX];
};

static const struct fate nothing;

/* Differences may be negative. */
static bool add_difference(struct buf *out, int64_t v)
{
    return buf_add_varint(out, ((uint64_t)v << 1) ^ (v < 0 ? UINT64_MAX : 0));
}

static int64_t read_difference(struct reader *r)
{
    uint64_t v = read_varint(r);
    return (int64_t)((v >> 1) ^ ((v & 1) != 0 ? UINT64_MAX : 0));
}

static int64_t minus(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a - (uint64_t)b);
}

static int64_t plus(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

static bool add_string(struct buf *out, struct strings *strings, struct str s)
{
    for (unsigned n = 0; n < strings->n; n++)
        if (str_eq(strings->list[n], s))
            return buf_add_varint(out, n + 1);
    if (strings->n < STRINGS_MAX)
        strings->list[strings->n++] = s;
    return buf_add_varint(out, 0) && buf_add_field(out, s);
}

static struct str read_string(struct reader *r, struct strings *strings)
{
    uint64_t number = read_varint(r);
    if (number > strings->n) {
        r->bad = true;
        return (struct str){"", 0};
    }
    if (number > 0)
        return strings->list[number - 1];
    struct str s = read_field(r);
    if (strings->n < STRINGS_MAX)
        strings->list[strings->n++] = s;
    return s;
}

static bool same_strings(const struct fate *a, const struct fate *b)
{
    return str_eq(a->reply, b->reply) && str_eq(a->mx, b->mx) && str_eq(a->source, b->source) &&
           str_eq(a->site, b->site);
}

static bool same_status(const struct fate *a, const struct fate *b)
{
    return a->code == b->code && status_number(a->status) == status_number(b->status);
}

static unsigned in_common(const struct fate *fate, const struct fate *last, bool first)
{
    bool span = minus(fate->last_ms, fate->first_ms) == minus(last->last_ms, last->first_ms) &&
                minus(fate->next_ms, fate->last_ms) == minus(last->next_ms, last->last_ms);
    return (fate->lane == last->lane ? SAME_LANE : 0U) |
           (fate->attempts == last->attempts ? SAME_ATTEMPTS : 0U) |
           (same_status(fate, last) ? SAME_STATUS : 0U) |
           (!first && same_strings(fate, last) ? SAME_STRINGS : 0U) | (span ? SAME_SPAN : 0U);
}

static bool encode_one(const struct fate *fate, const struct fate *last, bool first, struct strings *strings,
                       struct buf *out)
{
    unsigned same = in_common(fate, last, first);
    buf_add_char(out, (char)same);
    if (!(same & SAME_LANE))
        add_difference(out, (int64_t)fate->lane - (int64_t)last->lane);
    if (!(same & SAME_ATTEMPTS))
        buf_add_varint(out, fate->attempts);
    add_difference(out, minus(fate->first_ms, last->first_ms));
    if (!(same & SAME_SPAN)) {
        add_difference(out, minus(fate->last_ms, fate->first_ms));
        add_difference(out, minus(fate->next_ms, fate->last_ms));
    }
    if (!(same & SAME_STATUS)) {
        buf_add_varint(out, fate->code);
        buf_add_varint(out, status_number(fate->status));
    }
    if (!(same & SAME_STRINGS)) {
        add_string(out, strings, fate->reply);
        add_string(out, strings, fate->mx);
        add_string(out, strings, fate->source);
        add_string(out, strings, fate->site);
    }
    return !out->failed;
}

unsigned fates_encode(const struct fates *fates, unsigned from, struct buf *out)
{
    struct strings strings = {0};
    const struct fate *last = &nothing;
    unsigned n = from;
    int slot = -1;
    buf_clear(out);
    buf_add_char(out, FATES_VERSION);
    for (; n < fates->n; n++) {
        size_t before = out->len;
        buf_add_varint(out, (uint64_t)(fates->slot[n] - slot - 1));
        encode_one(&fates->fate[n], last, n == from, &strings, out);
        if (n > from && out->len > FATES_ROW_MAX) {
            out->len = before;
            break;
        }
        slot = fates->slot[n];
        last = &fates->fate[n];
    }
    return n - from;
}

static void decode_one(struct reader *r, const struct fate *last, struct strings *strings, struct fate *fate)
{
    uint8_t same = read_u8(r);
    *fate = *last;
    if (!(same & SAME_LANE))
        fate->lane = (uint32_t)plus(last->lane, read_difference(r));
    if (!(same & SAME_ATTEMPTS))
        fate->attempts = (uint32_t)read_varint(r);
    fate->first_ms = plus(last->first_ms, read_difference(r));
    int64_t took_ms = minus(last->last_ms, last->first_ms), wait_ms = minus(last->next_ms, last->last_ms);
    if (!(same & SAME_SPAN)) {
        took_ms = read_difference(r);
        wait_ms = read_difference(r);
    }
    fate->last_ms = plus(fate->first_ms, took_ms);
    fate->next_ms = plus(fate->last_ms, wait_ms);
    if (!(same & SAME_STATUS)) {
        fate->code = (uint16_t)read_varint(r);
        fate->status = status_of_number((uint32_t)read_varint(r));
    }
    if (!(same & SAME_STRINGS)) {
        fate->reply = read_string(r, strings);
        fate->mx = read_string(r, strings);
        fate->source = read_string(r, strings);
        fate->site = read_string(r, strings);
    }
}

bool fates_decode(struct str row, uint16_t top, struct fates *fates)
{
    struct strings strings = {0};
    const struct fate *last = &nothing;
    struct reader r = reader_of(row.p, row.n);
    uint64_t slot = 0;
    fates->n = 0;
    if (row.n > 0 && (uint8_t)row.p[0] == ROW_VERSION) {
        fates->n = 1;
        fates->slot[0] = top;
        return fate_decode(row, &fates->fate[0]);
    }
    if (read_u8(&r) != FATES_VERSION)
        return false;
    while (r.at < r.end && !r.bad) {
        slot += read_varint(&r);
        if (slot > top || slot >= BATCH_SLOTS_MAX || fates->n == FATES_MAX)
            return false;
        struct fate *fate = &fates->fate[fates->n];
        decode_one(&r, last, &strings, fate);
        fates->slot[fates->n++] = (uint16_t)slot++;
        last = fate;
    }
    return !r.bad;
}

bool fates_find(const struct fates *fates, uint16_t slot, unsigned *at)
{
    unsigned low = 0, high = fates->n;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (fates->slot[middle] < slot)
            low = middle + 1;
        else
            high = middle;
    }
    *at = low;
    return low < fates->n && fates->slot[low] == slot;
}

bool fates_row_read(struct fates_row *row, struct rid rid, struct str key, struct str value)
{
    row->job = 0;
    if (key.n != RID_KEY_SIZE)
        return false;
    struct rid found = rid_from_key((const uint8_t *)key.p);
    if (found.job != rid.job || found.batch != rid.batch || !fates_decode(value, found.slot, &row->fates))
        return false;
    row->job = rid.job;
    row->batch = rid.batch;
    row->from = rid.slot;
    row->top = found.slot;
    return true;
}

/* ---- sets of slots: the first byte that is not 0, and on to the last one ---- */

bool slot_set_next(const struct slot_set *set, unsigned *slot)
{
    for (unsigned n = *slot; n < BATCH_SLOTS_MAX; n++) {
        if (set->bits[n / 8] >> (n % 8) == 0) {
            n |= 7;
        } else if (slot_set_has(set, n)) {
            *slot = n;
            return true;
        }
    }
    return false;
}

size_t slot_set_encode(const struct slot_set *set, uint8_t row[SLOT_SET_ROW_MAX])
{
    unsigned first = 0, end = sizeof set->bits;
    while (first < end && set->bits[first] == 0)
        first++;
    while (end > first && set->bits[end - 1] == 0)
        end--;
    if (first == end)
        return 0;
    row[0] = (uint8_t)first;
    memcpy(row + 1, set->bits + first, end - first);
    return 1 + end - first;
}

bool slot_set_decode(struct str row, struct slot_set *set)
{
    *set = (struct slot_set){0};
    if (row.n < 2 || (uint8_t)row.p[0] + row.n - 1 > sizeof set->bits)
        return false;
    memcpy(set->bits + (uint8_t)row.p[0], row.p + 1, row.n - 1);
    return true;
}
