/* fuzz_rows.c - rows of the queue that a dying disk has changed: no decoder reads past its row, and what it
 * does take it writes again as it was. */
#include "queue/fates.h"
#include "queue/record.h"
#include "tests/fuzz/fuzz.h"

static struct buf out;

/* What was decoded is encoded and decoded once more: twice the same bytes. */
#define AGAIN(type, decode, encode)                                                                          \
    do {                                                                                                     \
        struct type first, second;                                                                           \
        if (decode(row, &first)) {                                                                           \
            buf_clear(&out);                                                                                 \
            CLAIM(encode(&first, &out));                                                                     \
            char *bytes = fuzz_copy(buf_str(&out));                                                          \
            size_t n = out.len;                                                                              \
            CLAIM(decode(str_make(bytes, n), &second));                                                      \
            buf_clear(&out);                                                                                 \
            CLAIM(encode(&second, &out) && out.len == n && memcmp(out.data, bytes, n) == 0);                 \
            free(bytes);                                                                                     \
        }                                                                                                    \
    } while (0)

static void batch_check(struct str row)
{
    struct batch batch;
    struct rcpt_record record;
    batch_parts(row);
    if (!batch_decode(row, &batch))
        return;
    struct str at = batch.records;
    unsigned n = 0;
    while (batch_next(&at, &record))
        n++;
    CLAIM(n <= batch.slots);
    for (unsigned slot = 0; slot < batch.slots && slot < BATCH_SLOTS_MAX; slot++) {
        struct batch_group group;
        CLAIM(batch_group_of(&batch, (uint16_t)slot, &group));
        batch_find(&batch, (uint16_t)slot, &record);
    }
}

static void events_check(struct str row)
{
    struct event_strings strings;
    struct event_item item;
    struct reader r;
    if (!event_value_begin(row, &strings, &r))
        return;
    for (unsigned n = 0; event_item_next(&r, &strings, &item); n++) {
        CLAIM(n <= row.n && item.type < EVENT_TYPES && strings.count <= EVENT_STRINGS_MAX);
        CLAIM(event_type_name(item.type) != NULL);
        event_item_span(&item);
    }
}

static void fates_check(struct str row)
{
    static struct fates fates;
    struct slot_set set;
    if (fates_decode(row, FATES_TOP, &fates)) {
        CLAIM(fates.n <= FATES_MAX);
        for (unsigned i = 1; i < fates.n; i++)
            CLAIM(fates.slot[i - 1] < fates.slot[i]);
    }
    slot_set_decode(row, &set);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest = fuzz_rest(data, size);
    uint8_t which = fuzz_byte(&rest);
    char *copy = fuzz_copy(rest);
    struct str row = str_make(copy, rest.n);
    buf_init(&out, 1 << 20);
    switch (which % 9) {
    case 0:
        AGAIN(job_row, job_row_decode, job_row_encode);
        break;
    case 1:
        AGAIN(lane_row, lane_row_decode, lane_row_encode);
        break;
    case 2:
        AGAIN(fate, fate_decode, fate_encode);
        break;
    case 3:
        AGAIN(op_row, op_row_decode, op_row_encode);
        break;
    case 4:
        AGAIN(key_row, key_row_decode, key_row_encode);
        break;
    case 5:
        batch_check(row);
        break;
    case 6:
        events_check(row);
        break;
    case 7:
        fates_check(row);
        break;
    default:
        AGAIN(dsn_row, dsn_row_decode, dsn_row_encode);
        break;
    }
    buf_free(&out);
    free(copy);
    return 0;
}
