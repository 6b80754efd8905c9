/* test_record.c - rows, rids and statuses: what is written is read, and what was never written is refused. */
#include "engine/base/prng.h"
#include "queue/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* after those */
#include <cmocka.h>
#include <stdlib.h>

static void rids(void **state)
{
    static const char *const bad[] = {
        "",       "1",     "1-2",    "1-2-",   "-1-2-3",    "1-2-3-4",        "1--3",
        "01-2-3", "1-2-x", "1-2-3 ", "+1-2-3", "1-2-65536", "1-4294967296-3", "18446744073709551616-1-1"};
    struct rid rid = {UINT64_MAX, UINT32_MAX, UINT16_MAX}, back;
    char text[RID_TEXT_MAX];
    uint8_t key[RID_KEY_SIZE], next[RID_KEY_SIZE];
    (void)state;
    assert_true(rid_parse(str_make(text, rid_format(rid, text)), &back) && rid_eq(rid, back));
    rid = (struct rid){17, 0, 42};
    assert_string_equal((rid_format(rid, text), text), "17-0-42");
    for (size_t n = 0; n < sizeof bad / sizeof bad[0]; n++)
        assert_false(rid_parse(str_of(bad[n]), &back));
    rid_to_key(rid, key);
    assert_true(rid_eq(rid_from_key(key), rid));
    rid_to_key((struct rid){17, 1, 0}, next);
    assert_true(memcmp(key, next, sizeof key) < 0);
}

static void statuses(void **state)
{
    struct status status;
    struct status_pattern pattern;
    size_t used;
    char text[STATUS_TEXT_MAX];
    (void)state;
    assert_true(status_parse(STR("4.7.28 rate"), &status, &used));
    assert_int_equal(used, 6);
    assert_string_equal((status_format(status, text), text), "4.7.28");
    assert_true(status_parse(STR("5.1.1"), &status, &used));
    assert_true(status_parse(STR("5.1.1. No"), &status, &used));
    static const char *const bad[] = {"",         "3.1.1",    "4",      "4.7",     "4.7.",
                                      "4.1234.1", "4.1.1234", "44.1.1", "4.1.1.9", "x"};
    for (size_t n = 0; n < sizeof bad / sizeof bad[0]; n++)
        assert_false(status_parse(str_of(bad[n]), &status, &used));
    assert_int_equal(status.class_, 0);
    status = STATUS(4, 7, 28);
    assert_int_equal(status_number(status_of_number(status_number(status))), status_number(status));
    static const char *const match[] = {"4.7.28", "4.7.*", "4.7", "4", "4.*.*", "*", "*.7.28", "4.*"};
    for (size_t n = 0; n < sizeof match / sizeof match[0]; n++)
        assert_true(status_pattern_parse(str_of(match[n]), &pattern) && status_matches(pattern, status));
    static const char *const miss[] = {"4.7.2", "4.2", "5", "*.1.*", "5.7.28"};
    for (size_t n = 0; n < sizeof miss / sizeof miss[0]; n++)
        assert_true(status_pattern_parse(str_of(miss[n]), &pattern) && !status_matches(pattern, status));
    static const char *const wrong[] = {"", "4.", "3.1", "4.7.1.1", "4.x", "4.7.1 ", "**"};
    for (size_t n = 0; n < sizeof wrong / sizeof wrong[0]; n++)
        assert_false(status_pattern_parse(str_of(wrong[n]), &pattern));
}

/* Every row that can be decoded, as one function, for the tests of damage. */
typedef bool decode_row(struct str row);

static bool decode_meta(struct str row)
{
    struct meta meta;
    return meta_decode(row, &meta);
}
static bool decode_job(struct str row)
{
    struct job_row job;
    return job_row_decode(row, &job);
}
static bool decode_lane(struct str row)
{
    struct lane_row lane;
    return lane_row_decode(row, &lane);
}
static bool decode_fate(struct str row)
{
    struct fate fate;
    return fate_decode(row, &fate);
}
static bool decode_op(struct str row)
{
    struct op_row op;
    return op_row_decode(row, &op);
}
static bool decode_key(struct str row)
{
    struct key_row key;
    return key_row_decode(row, &key);
}
static bool decode_dsn(struct str row)
{
    struct dsn_row dsn;
    return dsn_row_decode(row, &dsn);
}
static bool decode_content(struct str row)
{
    struct content_row content;
    return content_row_decode(row, &content);
}
static bool decode_batch(struct str row)
{
    struct batch batch;
    struct rcpt_record record;
    if (!batch_decode(row, &batch))
        return false;
    for (uint16_t slot = 0; slot < batch.slots; slot++)
        if (!batch_find(&batch, slot, &record))
            return false;
    return true;
}
static bool decode_events(struct str row)
{
    struct event_strings strings;
    struct event_item item;
    struct reader r;
    unsigned n = 0;
    if (!event_value_begin(row, &strings, &r))
        return false;
    while (event_item_next(&r, &strings, &item))
        n += event_item_span(&item) > 0;
    return !r.bad && n > 0;
}

/* Cut short anywhere it must be refused; with any byte changed it may be read, but never beyond its end
 * (which AddressSanitizer sees, for each try has its exact allocation). */
static void damage(decode_row *decode, struct str row)
{
    struct prng prng = {row.n};
    assert_true(decode(row) && row.n > 0);
    for (size_t n = 0; n < row.n; n++) {
        char *copy = malloc(n ? n : 1);
        memcpy(copy, row.p, n);
        if (decode != decode_events) /* those end wherever an item does */
            assert_false(decode(str_make(copy, n)));
        else
            decode(str_make(copy, n));
        free(copy);
    }
    for (unsigned n = 0; n < 3000; n++) {
        char *copy = malloc(row.n);
        memcpy(copy, row.p, row.n);
        for (unsigned i = 0; i <= n % 4; i++)
            copy[prng_below(&prng, row.n)] = (char)prng_next(&prng);
        decode(str_make(copy, row.n));
        free(copy);
    }
}

static void finish(decode_row *decode, struct buf *row)
{
    assert_false(row->failed);
    assert_true(row->len <= VALUE_MAX);
    damage(decode, buf_str(row));
    buf_clear(row);
}

static void rows(void **state)
{
    struct buf row;
    (void)state;
    buf_init(&row, VALUE_MAX);

    struct meta meta = {.schema = SCHEMA_VERSION,
                        .next_lane = 3,
                        .next_job = 4,
                        .last_seq = UINT64_MAX,
                        .ended = {0, 7}},
                meta2;
    assert_true(meta_encode(&meta, &row) && meta_decode(buf_str(&row), &meta2));
    assert_memory_equal(&meta, &meta2, sizeof meta);
    finish(decode_meta, &row);

    struct job_row job = {.state = JOB_PAUSED,
                          .expired = true,
                          .class_ = CLASS_TRANSACTIONAL,
                          .bounces = BOUNCES_NONE,
                          .ret = RET_FULL,
                          .notify = 5,
                          .is_dsn = true,
                          .own_content = true,
                          .begun = true,
                          .batches = 9,
                          .created_ms = 1,
                          .expires_ms = -1,
                          .total = 10,
                          .by_state = {1, 2, 3, 4, 5, 6, 7},
                          .content_hash = {1, 2},
                          .tenant = STR("t"),
                          .from = STR("a@b"),
                          .metadata = STR("{}")},
                   job2;
    assert_true(job_row_encode(&job, &row) && job_row_decode(buf_str(&row), &job2));
    assert_true(job2.state == JOB_PAUSED && job2.expired && !job2.uploaded && job2.is_dsn &&
                job2.own_content && job2.begun && job2.batches == 9 && job2.expires_ms == -1 &&
                job2.by_state[6] == 7 && str_eq(job2.from, job.from) && str_eq(job2.metadata, job.metadata));
    assert_int_equal(job_row_open(&job2), 1 + 7);
    assert_int_equal(job2.warned, 0);
    finish(decode_job, &row);
    job.warned = 8;
    assert_true(job_row_encode(&job, &row) && job_row_decode(buf_str(&row), &job2));
    assert_int_equal(job2.warned, 8);
    assert_int_equal(job2.delay_warning_ms, 0);
    finish(decode_job, &row);
    job.delay_warning_ms = 60000;
    assert_true(job_row_encode(&job, &row) && job_row_decode(buf_str(&row), &job2));
    assert_true(job2.warned == 8 && job2.delay_warning_ms == 60000);
    buf_clear(&row);

    struct lane_row lane = {.wake_ms = 5,
                            .by_state = {1},
                            .class_ = CLASS_BULK,
                            .tenant = STR("t"),
                            .pool = STR("p"),
                            .domain = STR("d.example")},
                    lane2;
    assert_true(lane_row_encode(&lane, &row) && lane_row_decode(buf_str(&row), &lane2));
    assert_true(lane2.wake_ms == 5 && str_eq(lane2.domain, lane.domain));
    finish(decode_lane, &row);

    struct fate fate = {.lane = 1,
                        .attempts = 2,
                        .first_ms = 3,
                        .last_ms = 4,
                        .next_ms = 5,
                        .code = 451,
                        .status = {4, 7, 1},
                        .reply = STR("later"),
                        .mx = STR("mx"),
                        .source = STR("s"),
                        .site = STR("site")},
                fate2;
    assert_true(fate_encode(&fate, &row) && fate_decode(buf_str(&row), &fate2));
    assert_true(fate2.attempts == 2 && fate2.next_ms == 5 &&
                status_number(fate2.status) == status_number(fate.status) && str_eq(fate2.site, fate.site));
    finish(decode_fate, &row);

    struct op_row op = {.kind = OP_RETRY,
                        .filter = {.has_status = true, .status = {4, -1, 9}, .tenant = STR("t")},
                        .cursor = STR("key"),
                        .domains_size = 12},
                  op2;
    assert_true(op_row_encode(&op, &row) && op_row_decode(buf_str(&row), &op2));
    assert_true(op2.filter.status.subject == -1 && op2.filter.status.detail == 9 &&
                op2.filter.accepted_before_ms == 0 && str_eq(op2.cursor, op.cursor));
    finish(decode_op, &row);
    op.filter.accepted_before_ms = 77;
    assert_true(op_row_encode(&op, &row) && op_row_decode(buf_str(&row), &op2));
    assert_true(op2.filter.has_status && op2.filter.accepted_before_ms == 77 &&
                op2.filter.accepted_after_ms == 0 && str_eq(op2.cursor, op.cursor));
    finish(decode_op, &row);

    struct key_row key = {.job = 8,
                          .expires_ms = 9,
                          .digest = {1},
                          .answer_size = 100,
                          .answer = STR("answer")},
                   key2;
    assert_true(key_row_encode(&key, &row) && key_row_decode(buf_str(&row), &key2));
    assert_true(key2.job == 8 && key2.answer_size == 100 && str_eq(key2.answer, key.answer));
    finish(decode_key, &row);

    struct dsn_row dsn = {1, 2, 3, 4}, dsn2;
    assert_true(dsn_row_encode(&dsn, &row) && dsn_row_decode(buf_str(&row), &dsn2));
    assert_true(dsn2.count == 1 && dsn2.due_ms == 4);
    finish(decode_dsn, &row);

    struct content_row content = {3, 4, true}, content2;
    assert_true(content_row_encode(&content, &row) && content_row_decode(buf_str(&row), &content2));
    assert_true(content2.references == 3 && content2.complete);
    finish(decode_content, &row);
    buf_free(&row);
}

static void batches(void **state)
{
    struct buf row;
    struct batch batch;
    struct rcpt_record record;
    struct batch_group group;
    (void)state;
    buf_init(&row, VALUE_MAX);
    uint8_t *head = (uint8_t *)buf_room(&row, BATCH_HEAD_SIZE + 2 * BATCH_GROUP_SIZE);
    batch_head_put(head, 1, 1000, 3, 2);
    batch_group_put(head + BATCH_HEAD_SIZE, (struct batch_group){7, 0, 2});
    batch_group_put(head + BATCH_HEAD_SIZE + BATCH_GROUP_SIZE, (struct batch_group){9, 2, 1});
    row.len += BATCH_HEAD_SIZE + 2 * BATCH_GROUP_SIZE;
    for (unsigned n = 0; n < 3; n++) {
        char to[] = "x@y";
        to[0] = (char)('a' + n);
        struct rcpt_record in = {.to = str_of(to), .vars = STR("v"), .notify = (uint8_t)n};
        size_t before = row.len;
        assert_true(rcpt_record_encode(&in, &row));
        assert_int_equal(row.len - before, rcpt_record_size(&in));
    }
    assert_true(batch_decode(buf_str(&row), &batch));
    assert_int_equal(batch.ordinal, 1000);
    assert_true(batch_find(&batch, 2, &record) && str_eq(record.to, STR("c@y")) && record.notify == 2);
    assert_false(batch_find(&batch, 3, &record));
    assert_true(batch_group_of(&batch, 1, &group) && group.lane == 7);
    assert_true(batch_group_of(&batch, 2, &group) && group.lane == 9);
    finish(decode_batch, &row);
    struct ready_row ready;
    assert_false(ready_row_decode(STR("\0\0\0\0"), &ready)); /* no slots */
    char last[] = {0, (char)(BATCH_SLOTS_MAX - 1), 0, 2};
    assert_false(ready_row_decode(str_make(last, sizeof last), &ready)); /* beyond a batch */
    last[1]--;
    assert_true(ready_row_decode(str_make(last, sizeof last), &ready));
    buf_free(&row);
}

static void events(void **state)
{
    struct buf row;
    struct event_strings strings = {0};
    struct event_item item;
    struct reader r;
    unsigned n = 0;
    (void)state;
    buf_init(&row, VALUE_MAX);
    struct event_item one = {.type = EVENT_DEFERRED,
                             .form = ITEM_ONE,
                             .time_ms = 99,
                             .rid = {1, 2, 3},
                             .lane = 4,
                             .code = 451,
                             .status = {4, 7, 1},
                             .attempt = 5,
                             .delay_ms = -6,
                             .next_ms = 7,
                             .site = STR("site"),
                             .source = STR("a"),
                             .mx = STR("site"),
                             .reply = STR("later")};
    struct event_item job = {.type = EVENT_ACCEPTED, .form = ITEM_JOB, .rid = {.job = 9}, .total = 1000000};
    struct event_item range = {.type = EVENT_CANCELLED, .form = ITEM_RANGE, .rid = {9, 8, 0}, .bits = {0x31}};
    range.bits[sizeof range.bits - 1] |= 1U << 2;
    assert_true(event_item_encode(&one, &strings, &row) && event_item_encode(&job, &strings, &row) &&
                event_item_encode(&range, &strings, &row));
    while (event_item_encode(&one, &strings, &row))
        n++;
    assert_true(n > 50 && row.len <= VALUE_MAX && !row.failed);
    assert_true(event_value_begin(buf_str(&row), &strings, &r));
    assert_true(event_item_next(&r, &strings, &item));
    assert_true(rid_eq(item.rid, one.rid) && item.delay_ms == -6 && item.next_ms == 7 &&
                str_eq(item.mx, one.mx) && item.tls.n == 0 && str_eq(item.reply, one.reply));
    assert_true(event_item_next(&r, &strings, &item));
    assert_int_equal(event_item_span(&item), 1000000);
    assert_true(event_item_next(&r, &strings, &item));
    assert_int_equal(event_item_span(&item), 4);
    assert_memory_equal(item.bits, range.bits, sizeof range.bits);
    for (unsigned left = n; left > 0; left--)
        assert_true(event_item_next(&r, &strings, &item) && str_eq(item.site, one.site));
    assert_false(event_item_next(&r, &strings, &item) || r.bad);
    damage(decode_events, buf_str(&row));
    buf_free(&row);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rids),    cmocka_unit_test(statuses), cmocka_unit_test(rows),
        cmocka_unit_test(batches), cmocka_unit_test(events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
