/* parcel.c - see parcel.h. A recipient is kept as: notify, to, domain, orcpt. */
#include "engine/submission/parcel.h"

#include "engine/base/codec.h"

#define RCPT_BYTES_MAX (ADDRESS_MAX + DOMAIN_MAX + ORCPT_MAX + 3 * VARINT_MAX + 1)

void parcel_init(struct parcel *parcel, uint64_t message_max)
{
    buf_init(&parcel->rcpts, (size_t)SUBMISSION_RCPTS_MAX * RCPT_BYTES_MAX);
    buf_init(&parcel->message, (size_t)message_max);
}

void parcel_reset(struct parcel *parcel)
{
    size_t message_max = parcel->message.max;
    buf_free(&parcel->rcpts);
    buf_free(&parcel->message);
    *parcel = (struct parcel){0};
    parcel_init(parcel, message_max);
}

bool parcel_add_rcpt(struct parcel *parcel, const struct rcpt_spec *rcpt)
{
    struct buf *rcpts = &parcel->rcpts;
    size_t before = rcpts->len;
    if (buf_add_char(rcpts, (char)rcpt->notify) && buf_add_field(rcpts, rcpt->to) &&
        buf_add_field(rcpts, rcpt->domain) && buf_add_field(rcpts, rcpt->orcpt)) {
        parcel->rcpt_count++;
        return true;
    }
    rcpts->len = before;
    rcpts->failed = false;
    return false;
}

bool parcel_next_rcpt(const struct parcel *parcel, size_t *at, struct rcpt_spec *rcpt)
{
    if (*at >= parcel->rcpts.len)
        return false;
    struct reader reader = reader_of(parcel->rcpts.data + *at, parcel->rcpts.len - *at);
    *rcpt = (struct rcpt_spec){.notify = read_u8(&reader)};
    rcpt->to = read_field(&reader);
    rcpt->domain = read_field(&reader);
    rcpt->orcpt = read_field(&reader);
    *at = parcel->rcpts.len - (size_t)(reader.end - reader.at);
    return !reader.bad;
}
