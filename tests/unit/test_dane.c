/* test_dane.c - TLSA records: which of them count, and what that means for a host. */
#include "engine/tls/dane.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct tlsa_set *set_of(uint8_t usage, uint8_t selector, uint8_t matching, size_t size)
{
    static uint8_t record[3 + TLSA_BYTES_MAX];
    struct tlsa_set *set = tlsa_set_create();
    assert_non_null(set);
    record[0] = usage;
    record[1] = selector;
    record[2] = matching;
    memset(record + 3, 0xA7, size);
    assert_true(tlsa_set_add(set, record, 3 + size));
    return set;
}

static void test_usable(void **state)
{
    (void)state;
    static const struct {
        uint8_t usage, selector, matching;
        size_t size;
        bool usable;
    } rows[] = {{3, 1, 1, 32, true},  {3, 0, 2, 64, true},  {2, 0, 1, 32, true},  {2, 1, 0, 91, true},
                {0, 1, 1, 32, false}, {1, 1, 1, 32, false}, {4, 1, 1, 32, false}, {3, 2, 1, 32, false},
                {3, 1, 3, 32, false}, {3, 1, 1, 31, false}, {3, 1, 2, 32, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct tlsa_set *set = set_of(rows[i].usage, rows[i].selector, rows[i].matching, rows[i].size);
        assert_int_equal(tlsa_is_usable(set, 0), rows[i].usable);
        assert_int_equal(dane_verdict(TLSA_FOUND, set), rows[i].usable ? DANE_REQUIRED : DANE_UNUSABLE);
        tlsa_set_unref(set);
    }
}

static void test_verdicts(void **state)
{
    (void)state;
    struct tlsa_set *set = set_of(0, 0, 1, 32);
    static const uint8_t good[3 + 32] = {3, 1, 1};
    assert_int_equal(dane_verdict(TLSA_FAILED, NULL), DANE_BOGUS);
    assert_int_equal(dane_verdict(TLSA_NONE, NULL), DANE_ABSENT);
    assert_int_equal(dane_verdict(TLSA_NOT_ASKED, NULL), DANE_ABSENT);
    assert_int_equal(dane_verdict(TLSA_FOUND, set), DANE_UNUSABLE);
    assert_true(tlsa_set_add(set, good, sizeof good)); /* one that counts is enough */
    assert_int_equal(dane_verdict(TLSA_FOUND, set), DANE_REQUIRED);
    assert_string_equal(dane_verdict_name(DANE_REQUIRED), "required");
    assert_string_equal(dane_verdict_name(DANE_BOGUS), "bogus");
    tlsa_set_unref(set);
}

static void test_bounds(void **state)
{
    (void)state;
    struct tlsa_set *set = set_of(3, 1, 1, 32);
    static uint8_t record[3 + TLSA_BYTES_MAX] = {3, 1, 0};
    char text[TLSA_TEXT_MAX];
    assert_int_equal(tlsa_text(set, 0, text), 6 + 64);
    assert_memory_equal(text, "3 1 1 A7A7", 10);
    assert_false(tlsa_set_add(set, record, 3)); /* no data */
    assert_false(tlsa_set_add(set, record, 0));
    assert_true(tlsa_set_add(set, record, sizeof record)); /* no room: left out */
    assert_int_equal(set->count, 1);
    for (int i = 0; i < 2 * TLSA_RECORDS_MAX; i++)
        assert_true(tlsa_set_add(set, record, 4));
    assert_int_equal(set->count, TLSA_RECORDS_MAX);
    struct tlsa_set *other = tlsa_set_ref(set);
    tlsa_set_unref(set);
    assert_int_equal(tlsa_text(other, 1, text), 8);
    tlsa_set_unref(other);
    tlsa_set_unref(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_usable),
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
