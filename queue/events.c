/* events.c - the items of an event value, to bytes and back; see record.h.
 *
 * item: type u8, form u8, time varint, then by form
 *   one    job, batch, slot, lane, code, status, attempt, delay, next (varints), site, source, mx, tls, reply
 *   job    job, total
 *   range  job, batch, code, status, length of bits (field)
 * A string is 0 (empty), 1 and a field (new: it gets the next number), or 2 + its number. Replies are mostly
 * unique and written as fields. */
#include "queue/record.h"

static bool add_string(struct buf *out, struct event_strings *strings, struct str s)
{
    if (s.n == 0)
        return buf_add_varint(out, 0);
    for (unsigned n = 0; n < strings->count; n++) {
        /* Workers intern their strings, so the pointer mostly decides. */
        if (strings->list[n].n == s.n && (strings->list[n].p == s.p || str_eq(strings->list[n], s)))
            return buf_add_varint(out, 2 + n);
    }
    if (strings->count == EVENT_STRINGS_MAX)
        return false; /* the value is finished; the next one begins with an empty list */
    strings->list[strings->count++] = s;
    return buf_add_varint(out, 1) && buf_add_field(out, s);
}

static struct str read_string(struct reader *r, struct event_strings *strings)
{
    uint64_t n = read_varint(r);
    if (n == 0)
        return (struct str){"", 0};
    if (n == 1) {
        struct str s = read_field(r);
        if (strings->count == EVENT_STRINGS_MAX)
            r->bad = true;
        else
            strings->list[strings->count++] = s;
        return s;
    }
    if (n - 2 >= strings->count) {
        r->bad = true;
        return (struct str){"", 0};
    }
    return strings->list[n - 2];
}

/* Zigzag, for the delay, which a stepping clock may make negative. */
static uint64_t zigzag(int32_t v)
{
    return (uint64_t)(((uint32_t)v << 1) ^ (uint32_t)(v < 0 ? -1 : 0));
}

static int32_t unzigzag(uint64_t v)
{
    uint32_t half = (uint32_t)v >> 1;
    return (int32_t)(v & 1 ? ~half : half);
}

static bool add_one(const struct event_item *item, struct event_strings *strings, struct buf *out)
{
    buf_add_varint(out, item->rid.batch);
    buf_add_varint(out, item->rid.slot);
    buf_add_varint(out, item->lane);
    buf_add_varint(out, item->code);
    buf_add_varint(out, status_number(item->status));
    buf_add_varint(out, item->attempt);
    buf_add_varint(out, zigzag(item->delay_ms));
    buf_add_varint(out, (uint64_t)item->next_ms);
    return add_string(out, strings, item->site) && add_string(out, strings, item->source) &&
           add_string(out, strings, item->mx) && add_string(out, strings, item->tls) &&
           buf_add_field(out, item->reply);
}

static bool add_range(const struct event_item *item, struct buf *out)
{
    size_t used = sizeof item->bits;
    while (used > 0 && item->bits[used - 1] == 0)
        used--;
    buf_add_varint(out, item->rid.batch);
    buf_add_varint(out, item->code);
    buf_add_varint(out, status_number(item->status));
    return buf_add_field(out, str_make((const char *)item->bits, used));
}

bool event_item_encode(const struct event_item *item, struct event_strings *strings, struct buf *out)
{
    size_t before = out->len;
    if (before == 0)
        buf_add_char(out, ROW_VERSION);
    buf_add_char(out, (char)item->type);
    buf_add_char(out, (char)item->form);
    buf_add_varint(out, (uint64_t)item->time_ms);
    buf_add_varint(out, item->rid.job);
    bool ok = item->form == ITEM_ONE   ? add_one(item, strings, out)
              : item->form == ITEM_JOB ? buf_add_varint(out, item->total)
                                       : add_range(item, out);
    if (ok && !out->failed)
        return true;
    out->len = before;
    out->failed = false;
    return false;
}

bool event_value_begin(struct str row, struct event_strings *strings, struct reader *r)
{
    strings->count = 0;
    *r = reader_of(row.p, row.n);
    if (read_u8(r) != ROW_VERSION)
        r->bad = true;
    return !r->bad;
}

static uint64_t read_below(struct reader *r, uint64_t max)
{
    uint64_t v = read_varint(r);
    if (v > max)
        r->bad = true;
    return v;
}

static void read_one(struct reader *r, struct event_strings *strings, struct event_item *item)
{
    item->rid.batch = (uint32_t)read_below(r, UINT32_MAX);
    item->rid.slot = (uint16_t)read_below(r, UINT16_MAX);
    item->lane = (uint32_t)read_below(r, UINT32_MAX);
    item->code = (uint16_t)read_below(r, UINT16_MAX);
    item->status = status_of_number((uint32_t)read_below(r, UINT32_MAX));
    item->attempt = (uint32_t)read_below(r, UINT32_MAX);
    item->delay_ms = unzigzag(read_below(r, UINT32_MAX));
    item->next_ms = (int64_t)read_varint(r);
    item->site = read_string(r, strings);
    item->source = read_string(r, strings);
    item->mx = read_string(r, strings);
    item->tls = read_string(r, strings);
    item->reply = read_field(r);
}

static void read_range(struct reader *r, struct event_item *item)
{
    item->rid.batch = (uint32_t)read_below(r, UINT32_MAX);
    item->code = (uint16_t)read_below(r, UINT16_MAX);
    item->status = status_of_number((uint32_t)read_below(r, UINT32_MAX));
    struct str bits = read_field(r);
    if (bits.n > sizeof item->bits)
        r->bad = true;
    else
        memcpy(item->bits, bits.p, bits.n);
}

bool event_item_next(struct reader *r, struct event_strings *strings, struct event_item *item)
{
    if (r->bad || r->at == r->end)
        return false;
    uint8_t type = read_u8(r), form = read_u8(r);
    *item = (struct event_item){.time_ms = (int64_t)read_varint(r)};
    item->rid.job = read_varint(r);
    if (type >= EVENT_TYPES || form > ITEM_RANGE) {
        r->bad = true;
        return false;
    }
    item->type = (enum event_type)type;
    item->form = form == ITEM_ONE ? ITEM_ONE : form == ITEM_JOB ? ITEM_JOB : ITEM_RANGE;
    if (item->form == ITEM_ONE)
        read_one(r, strings, item);
    else if (item->form == ITEM_JOB)
        item->total = read_varint(r);
    else
        read_range(r, item);
    return !r->bad;
}

uint64_t event_item_span(const struct event_item *item)
{
    if (item->form == ITEM_ONE)
        return 1;
    if (item->form == ITEM_JOB)
        return item->total;
    uint64_t span = 0;
    for (size_t n = 0; n < sizeof item->bits; n++)
        span += (unsigned)__builtin_popcount(item->bits[n]);
    return span;
}
