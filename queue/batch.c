/* batch.c - the batch and its recipients, to bytes and back; see record.h. */
#include "queue/record.h"

void batch_head_put(uint8_t head[BATCH_HEAD_SIZE], uint16_t parts, uint64_t ordinal, uint16_t slots,
                    uint16_t groups)
{
    head[0] = ROW_VERSION;
    put_be16(head + 1, parts);
    put_be64(head + 3, ordinal);
    put_be16(head + 11, slots);
    put_be16(head + 13, groups);
}

void batch_group_put(uint8_t at[BATCH_GROUP_SIZE], struct batch_group group)
{
    put_be32(at, group.lane);
    put_be16(at + 4, group.first);
    put_be16(at + 6, group.count);
}

struct batch_group batch_group_at(const struct batch *batch, unsigned n)
{
    const uint8_t *at = batch->group_bytes + (size_t)n * BATCH_GROUP_SIZE;
    return (struct batch_group){get_be32(at), get_be16(at + 4), get_be16(at + 6)};
}

uint16_t batch_parts(struct str part0)
{
    return part0.n < BATCH_HEAD_SIZE ? 0 : get_be16((const uint8_t *)part0.p + 1);
}

bool batch_decode_head(struct str row, struct batch *batch)
{
    const uint8_t *p = (const uint8_t *)row.p;
    if (row.n < BATCH_HEAD_SIZE || p[0] != ROW_VERSION)
        return false;
    *batch = (struct batch){.parts = get_be16(p + 1),
                            .ordinal = get_be64(p + 3),
                            .slots = get_be16(p + 11),
                            .groups = get_be16(p + 13),
                            .group_bytes = p + BATCH_HEAD_SIZE};
    size_t head = BATCH_HEAD_SIZE + (size_t)batch->groups * BATCH_GROUP_SIZE;
    if (batch->parts == 0 || batch->slots == 0 || batch->slots > BATCH_SLOTS_MAX ||
        batch->groups > batch->slots || head > row.n)
        return false;
    batch->records = str_make(row.p + head, row.n - head);
    unsigned slot = 0;
    for (unsigned n = 0; n < batch->groups; n++) {
        struct batch_group group = batch_group_at(batch, n);
        if (group.first != slot || group.count == 0)
            return false;
        slot += group.count;
    }
    return slot == batch->slots;
}

bool batch_decode(struct str row, struct batch *batch)
{
    if (!batch_decode_head(row, batch))
        return false;
    struct str at = batch->records;
    for (unsigned n = 0; n < batch->slots; n++) {
        struct reader r = reader_of(at.p, at.n);
        read_field(&r);
        if (r.bad)
            return false;
        at = str_make((const char *)r.at, (size_t)(r.end - r.at));
    }
    return at.n == 0;
}

bool batch_group_of(const struct batch *batch, uint16_t slot, struct batch_group *group)
{
    for (unsigned n = 0; n < batch->groups; n++) {
        *group = batch_group_at(batch, n);
        if (slot >= group->first && slot < group->first + group->count)
            return true;
    }
    return false;
}

bool batch_next(struct str *at, struct rcpt_record *record)
{
    struct reader r = reader_of(at->p, at->n);
    struct str body = read_field(&r);
    if (r.bad)
        return false;
    *at = str_make((const char *)r.at, (size_t)(r.end - r.at));
    struct reader field = reader_of(body.p, body.n);
    record->notify = read_u8(&field);
    record->to = read_field(&field);
    record->id = read_field(&field);
    record->orcpt = read_field(&field);
    record->metadata = read_field(&field);
    record->vars = read_field(&field);
    return !field.bad && field.at == field.end;
}

bool batch_find(const struct batch *batch, uint16_t slot, struct rcpt_record *record)
{
    struct reader r = reader_of(batch->records.p, batch->records.n);
    for (unsigned n = 0; n < slot; n++)
        read_field(&r); /* over its length only */
    struct str at = str_make((const char *)r.at, (size_t)(r.end - r.at));
    return !r.bad && slot < batch->slots && batch_next(&at, record);
}

static size_t varint_size(uint64_t v)
{
    uint8_t bytes[VARINT_MAX];
    return put_varint(bytes, v);
}

static size_t field_size(struct str s)
{
    return varint_size(s.n) + s.n;
}

static size_t body_size(const struct rcpt_record *record)
{
    return 1 + field_size(record->to) + field_size(record->id) + field_size(record->orcpt) +
           field_size(record->metadata) + field_size(record->vars);
}

size_t rcpt_record_size(const struct rcpt_record *record)
{
    size_t body = body_size(record);
    return varint_size(body) + body;
}

bool rcpt_record_encode(const struct rcpt_record *record, struct buf *out)
{
    buf_add_varint(out, body_size(record));
    buf_add_char(out, (char)record->notify);
    buf_add_field(out, record->to);
    buf_add_field(out, record->id);
    buf_add_field(out, record->orcpt);
    buf_add_field(out, record->metadata);
    return buf_add_field(out, record->vars);
}
