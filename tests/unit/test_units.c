/* Durations, sizes, rates and times: what people write, to numbers and back. */
#include "engine/base/prng.h"
#include "engine/base/units.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

static void duration_is(const char *text, int64_t want, const char *shown)
{
    int64_t ms = -1;
    char back[UNITS_TEXT_MAX];
    assert_true(duration_parse(str_of(text), &ms));
    assert_int_equal(ms, want);
    assert_int_equal(duration_format(ms, back), strlen(shown));
    assert_string_equal(back, shown);
}

static void test_duration(void **state)
{
    (void)state;
    duration_is("30s", 30 * SECOND, "30s");
    duration_is("5m", 5 * MINUTE, "5m");
    duration_is("4h", 4 * HOUR, "4h");
    duration_is("4d12h", 4 * DAY + 12 * HOUR, "4d12h");
    duration_is("1500ms", 1500, "1s500ms");
    duration_is("1m30s", 90 * SECOND, "1m30s");
    duration_is(" 90s ", 90 * SECOND, "1m30s");
    duration_is("2w", 14 * DAY, "14d");
    duration_is("0", 0, "0");
    duration_is("0s", 0, "0");
    static const char *const bad[] = {"",      " ",
                                      "5",     "m",
                                      "5x",    "-5m",
                                      "5m4h",  "5m5m",
                                      "1.5h",  "5 m x",
                                      "5M",    "s5",
                                      "10",    "99999999999999999999s",
                                      "1ms1s", "9223372036854775807w"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t ms = 7;
        assert_false(duration_parse(str_of(bad[i]), &ms));
        assert_int_equal(ms, 7);
    }
}

static void size_is(const char *text, uint64_t want, const char *shown)
{
    uint64_t bytes = 1;
    char back[UNITS_TEXT_MAX];
    assert_true(size_parse(str_of(text), &bytes));
    assert_true(bytes == want);
    assert_int_equal(size_format(bytes, back), strlen(shown));
    assert_string_equal(back, shown);
}

static void test_size(void **state)
{
    (void)state;
    size_is("512", 512, "512");
    size_is("64k", 65536, "64k");
    size_is("64K", 65536, "64k");
    size_is("10M", 10 << 20, "10M");
    size_is("100G", UINT64_C(100) << 30, "100G");
    size_is("1T", UINT64_C(1) << 40, "1T");
    size_is("4KiB", 4096, "4k");
    size_is("4kB", 4096, "4k");
    size_is("1500B", 1500, "1500");
    size_is("1536", 1536, "1536");
    size_is("0", 0, "0");
    size_is("15E", UINT64_C(15) << 60, "15E");
    static const char *const bad[] = {
        "", "k", "64kk", "-1", "1.5G", "16E", "10 MB x", "18446744073709551616", "0x10"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint64_t bytes = 7;
        assert_false(size_parse(str_of(bad[i]), &bytes));
        assert_true(bytes == 7);
    }
}

static void rate_is(const char *text, uint32_t count, uint32_t per_ms, const char *shown)
{
    struct rate rate = {1, 1};
    char back[UNITS_TEXT_MAX];
    assert_true(rate_parse(str_of(text), &rate));
    assert_int_equal(rate.count, count);
    assert_int_equal(rate.per_ms, per_ms);
    assert_int_equal(rate_format(rate, back), strlen(shown));
    assert_string_equal(back, shown);
}

static void test_rate(void **state)
{
    (void)state;
    rate_is("100/min", 100, 60000, "100/min");
    rate_is("1000/h", 1000, 3600000, "1000/h");
    rate_is("5/s", 5, 1000, "5/s");
    rate_is("50000/h", 50000, 3600000, "50000/h");
    rate_is("20 / hour", 20, 3600000, "20/h");
    rate_is("7/day", 7, 86400000, "7/d");
    rate_is("3/10s", 3, 10000, "3/10s");
    rate_is("3/m", 3, 60000, "3/min");
    rate_is("none", 0, 0, "none");
    rate_is("0", 0, 0, "none");
    static const char *const bad[] = {"",     "5",           "/s",    "5/",           "0/s",  "5/0s",
                                      "-5/s", "5/fortnight", "5/60d", "4294967296/s", "5/s/s"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct rate rate = {9, 9};
        assert_false(rate_parse(str_of(bad[i]), &rate));
        assert_int_equal(rate.count, 9);
    }
}

static void time_is(const char *text, int64_t want, const char *shown)
{
    int64_t ms = -1;
    char back[UNITS_TEXT_MAX];
    assert_true(time_parse(str_of(text), &ms));
    assert_int_equal(ms, want);
    assert_int_equal(time_format(ms, back), strlen(shown));
    assert_string_equal(back, shown);
}

static void test_time(void **state)
{
    (void)state;
    time_is("1970-01-01T00:00:00Z", 0, "1970-01-01T00:00:00.000Z");
    time_is("2000-02-29T23:59:59.5Z", INT64_C(951868799500), "2000-02-29T23:59:59.500Z");
    time_is("2024-05-06T07:08:09.123456Z", INT64_C(1714979289123), "2024-05-06T07:08:09.123Z");
    time_is("2024-05-06t09:08:09+02:00", INT64_C(1714979289000), "2024-05-06T07:08:09.000Z");
    time_is("2024-05-05 23:38:09-07:30", INT64_C(1714979289000), "2024-05-06T07:08:09.000Z");
    time_is("2016-12-31T23:59:60Z", INT64_C(1483228800000), "2017-01-01T00:00:00.000Z");
    time_is("9999-12-31T23:59:59.999Z", INT64_C(253402300799999), "9999-12-31T23:59:59.999Z");
    time_is("1714979289", INT64_C(1714979289000), "2024-05-06T07:08:09.000Z");
    time_is("1714979289.25", INT64_C(1714979289250), "2024-05-06T07:08:09.250Z");
    static const char *const bad[] = {"",
                                      "now",
                                      "2024-05-06",
                                      "2024-05-06T07:08Z",
                                      "2024-05-06T07:08:09",
                                      "2024-02-30T00:00:00Z",
                                      "2023-02-29T00:00:00Z",
                                      "2100-02-29T00:00:00Z",
                                      "2024-13-01T00:00:00Z",
                                      "2024-00-01T00:00:00Z",
                                      "2024-05-06T24:00:00Z",
                                      "2024-05-06T07:60:00Z",
                                      "2024-05-06T07:08:61Z",
                                      "2024-05-06T07:08:09.Z",
                                      "2024-05-06T07:08:09+2",
                                      "2024-05-06T07:08:09Zx",
                                      "1969-12-31T23:59:59Z",
                                      "1970-01-01T00:00:00+01:00",
                                      "-5",
                                      "5.",
                                      "999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t ms = 7;
        if (time_parse(str_of(bad[i]), &ms))
            fail_msg("%s was taken as a time", bad[i]);
        assert_int_equal(ms, 7);
    }
}

/* What is formatted parses to the same value, over the whole range. */
static void test_round_trips(void **state)
{
    (void)state;
    struct prng prng = {42};
    for (int i = 0; i < 20000; i++) {
        char text[UNITS_TEXT_MAX];
        unsigned shift = (unsigned)prng_below(&prng, 63);
        int64_t ms = (int64_t)(prng_next(&prng) >> 1 >> shift), back_ms;
        size_t n = duration_format(ms, text);
        assert_int_equal(n, strlen(text));
        assert_true(duration_parse(str_of(text), &back_ms));
        assert_int_equal(back_ms, ms);
        uint64_t bytes = prng_next(&prng) >> shift << prng_below(&prng, 40), back_bytes;
        size_format(bytes, text);
        assert_true(size_parse(str_of(text), &back_bytes));
        assert_true(back_bytes == bytes);
        struct rate rate = {(uint32_t)prng_next(&prng) | 1, (uint32_t)prng_next(&prng) | 1}, back_rate;
        rate_format(rate, text);
        assert_true(rate_parse(str_of(text), &back_rate));
        assert_int_equal(back_rate.count, rate.count);
        assert_int_equal(back_rate.per_ms, rate.per_ms);
        int64_t wall_ms = (int64_t)prng_below(&prng, UINT64_C(253402300800000)), back_wall;
        time_format(wall_ms, text);
        assert_true(time_parse(str_of(text), &back_wall));
        assert_int_equal(back_wall, wall_ms);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_duration), cmocka_unit_test(test_size),        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_time),     cmocka_unit_test(test_round_trips),
    };
    return cmocka_run_group_tests_name("units", tests, NULL, NULL);
}
