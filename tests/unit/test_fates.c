/* Rows of many fates, and sets of slots. */
#include "engine/base/prng.h"
#include "queue/fates.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static struct prng prng = {41};

static const char *const words[] = {"", "a", "mx1.example.com", "451 4.7.1 Greylisted, try again in 300 s",
                                    "452 4.2.2 Mailbox full"};

static struct fate fate_any(bool wild)
{
    uint64_t pick = wild ? 5 : 2;
    struct fate fate = {.lane = wild ? (uint32_t)prng_next(&prng) : 7,
                        .attempts = (uint32_t)prng_below(&prng, 3),
                        .first_ms = wild ? (int64_t)prng_next(&prng) : 1700000000000,
                        .code = (uint16_t)(450 + prng_below(&prng, pick)),
                        .status = STATUS(4, (uint16_t)prng_below(&prng, pick), 1),
                        .reply = str_of(words[prng_below(&prng, pick)]),
                        .mx = str_of(words[prng_below(&prng, pick)]),
                        .source = str_of(words[prng_below(&prng, pick)]),
                        .site = str_of(words[prng_below(&prng, pick)])};
    fate.last_ms = wild ? (int64_t)prng_next(&prng) : fate.first_ms + 5;
    fate.next_ms = wild ? (int64_t)prng_next(&prng) : fate.last_ms + 600000;
    return fate;
}

static void fate_check(const struct fate *a, const struct fate *b)
{
    assert_true(a->lane == b->lane && a->attempts == b->attempts && a->first_ms == b->first_ms &&
                a->last_ms == b->last_ms && a->next_ms == b->next_ms && a->code == b->code);
    assert_int_equal(status_number(a->status), status_number(b->status));
    assert_true(str_eq(a->reply, b->reply) && str_eq(a->mx, b->mx) && str_eq(a->source, b->source) &&
                str_eq(a->site, b->site));
}

static void fill(struct fates *fates, unsigned n, bool wild)
{
    unsigned slot = (unsigned)prng_below(&prng, 4);
    for (fates->n = 0; fates->n < n && slot < BATCH_SLOTS_MAX; fates->n++) {
        fates->slot[fates->n] = (uint16_t)slot;
        fates->fate[fates->n] = fate_any(wild);
        slot += 1 + (unsigned)prng_below(&prng, 3);
    }
}

/* Whatever was put in comes out, in as many rows as it takes; no row is too large. */
static void round_trip(void **state)
{
    struct fates in, out;
    struct buf row;
    (void)state;
    buf_init(&row, VALUE_MAX);
    for (int i = 0; i < 2000; i++) {
        fill(&in, 1 + (unsigned)prng_below(&prng, FATES_MAX), i % 2 == 0);
        for (unsigned from = 0; from < in.n;) {
            unsigned n = fates_encode(&in, from, &row);
            assert_in_range(n, 1, in.n - from);
            assert_in_range(row.len, 2, FATES_ROW_MAX);
            assert_true(fates_decode(buf_str(&row), in.slot[from + n - 1], &out));
            assert_int_equal(out.n, n);
            for (unsigned k = 0; k < n; k++) {
                assert_int_equal(out.slot[k], in.slot[from + k]);
                fate_check(&out.fate[k], &in.fate[from + k]);
            }
            from += n;
        }
    }
    buf_free(&row);
}

/* Neighbours cost little: the point of it all. */
static void small(void **state)
{
    struct fates in;
    struct buf row;
    (void)state;
    buf_init(&row, VALUE_MAX);
    struct fate fate = fate_any(false);
    for (in.n = 0; in.n < FATES_MAX; in.n++) {
        in.slot[in.n] = (uint16_t)in.n;
        in.fate[in.n] = fate;
    }
    assert_int_equal(fates_encode(&in, 0, &row), FATES_MAX);
    assert_in_range(row.len, FATES_MAX * 3, FATES_MAX * 3 + 150);
    buf_free(&row);
}

/* The largest one has a row for itself. */
static void largest(void **state)
{
    static char text[STORED_REPLY_MAX];
    struct fates in, out;
    struct buf row;
    (void)state;
    memset(text, 'x', sizeof text);
    buf_init(&row, VALUE_MAX);
    fill(&in, 3, true);
    for (unsigned n = 0; n < 3; n++) {
        in.fate[n].reply = str_make(text, sizeof text - n);
        in.fate[n].mx = str_make(text, 256 - n);
        in.fate[n].source = str_make(text, 253 - n);
        in.fate[n].site = str_make(text, 250 - n);
    }
    for (unsigned n = 0; n < 3; n++) {
        assert_int_equal(fates_encode(&in, n, &row), 1);
        assert_true(fates_decode(buf_str(&row), FATES_TOP, &out) && out.n == 1);
        fate_check(&out.fate[0], &in.fate[n]);
    }
    buf_free(&row);
}

/* As schema 2 wrote them. */
static void single(void **state)
{
    struct fates out;
    struct buf row;
    (void)state;
    buf_init(&row, VALUE_MAX);
    struct fate fate = fate_any(true);
    assert_true(fate_encode(&fate, &row) && fates_decode(buf_str(&row), 17, &out));
    assert_true(out.n == 1 && out.slot[0] == 17);
    fate_check(&out.fate[0], &fate);
    buf_free(&row);
}

/* Cut short or changed, a row is refused or read as something else, but nothing is read outside of it. */
static void malformed(void **state)
{
    struct fates in, out;
    struct buf row;
    (void)state;
    buf_init(&row, VALUE_MAX);
    fill(&in, 20, true);
    assert_true(fates_encode(&in, 0, &row) > 0);
    for (size_t n = 0; n < row.len; n++) {
        char *cut = malloc(n + 1); /* so that a sanitizer sees its end */
        assert_non_null(cut);
        memcpy(cut, row.data, n);
        fates_decode(str_make(cut, n), FATES_TOP, &out);
        if (n > 0) {
            cut[prng_below(&prng, n)] ^= (char)prng_next(&prng);
            fates_decode(str_make(cut, n), FATES_TOP, &out);
        }
        free(cut);
    }
    assert_false(fates_decode(STR(""), FATES_TOP, &out));
    assert_false(fates_decode(STR("\x07"), FATES_TOP, &out));
    assert_false(fates_decode(buf_str(&row), 3, &out)); /* a slot above its key */
    buf_free(&row);
}

static void sets(void **state)
{
    (void)state;
    struct slot_set set = {0}, got;
    uint8_t row[SLOT_SET_ROW_MAX];
    assert_int_equal(slot_set_encode(&set, row), 0);
    for (int i = 0; i < 5000; i++) {
        bool has[BATCH_SLOTS_MAX] = {false};
        unsigned low = (unsigned)prng_below(&prng, BATCH_SLOTS_MAX), seen = 0, count = 0;
        set = (struct slot_set){0};
        for (uint64_t n = 1 + prng_below(&prng, 40); n > 0; n--) {
            unsigned slot = low + (unsigned)prng_below(&prng, BATCH_SLOTS_MAX - low);
            slot_set_add(&set, slot);
            count += !has[slot];
            has[slot] = true;
        }
        size_t n = slot_set_encode(&set, row);
        assert_in_range(n, 2, SLOT_SET_ROW_MAX);
        assert_true(slot_set_decode(str_make((const char *)row, n), &got));
        for (unsigned slot = 0; slot_set_next(&got, &slot); slot++, seen++)
            assert_true(has[slot]);
        assert_int_equal(seen, count);
        for (unsigned slot = 0; slot < BATCH_SLOTS_MAX; slot++)
            if (has[slot])
                slot_set_remove(&got, slot);
        assert_int_equal(slot_set_encode(&got, row), 0);
    }
    assert_false(slot_set_decode(STR(""), &got));
    assert_false(slot_set_decode(STR("\x20\x01"), &got));
    assert_false(slot_set_has(&got, BATCH_SLOTS_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip), cmocka_unit_test(small),     cmocka_unit_test(largest),
        cmocka_unit_test(single),     cmocka_unit_test(malformed), cmocka_unit_test(sets),
    };
    return cmocka_run_group_tests_name("fates", tests, NULL, NULL);
}
