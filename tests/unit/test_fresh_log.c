/* test_fresh_log.c - the log of small jobs as a file: whatever was committed and not applied is read again at
 * the next start, in order, however the ring lies; a torn last frame is nothing, a damaged one in the middle
 * is said, and garbage is never taken for a row. */
#include "queue/fresh_log.h"

#include "engine/base/prng.h"
#include "engine/limits.h"
#include "tests/unit/temporary.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <fcntl.h>

#define BLOCK 4096

static struct prng prng = {3};
static char directory[TEMPORARY_PATH], path[TEMPORARY_PATH + 20];
static struct fresh_log writing;

static int set_up(void **state)
{
    struct err err = {0};
    (void)state;
    assert_true(temporary_directory(directory));
    snprintf(path, sizeof path, "%s/fresh.log", directory);
    assert_true(fresh_log_open(&writing, directory, &err));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fresh_log_close(&writing);
    unlink(path);
    return rmdir(directory);
}

/* A row says which one it is, and how long. */
static void add_row(uint64_t seq, size_t n)
{
    char *row = malloc(n);
    assert_non_null(row);
    memset(row, (int)('a' + seq % 26), n);
    memcpy(row, &seq, sizeof seq);
    fresh_log_add(&writing, str_make(row, n));
    free(row);
}

static bool try_commit(uint64_t first, unsigned rows, size_t n, uint64_t applied)
{
    fresh_log_begin(&writing, first);
    for (unsigned i = 0; i < rows; i++)
        add_row(first + i, n);
    return fresh_log_commit(&writing, applied);
}

static void commit(uint64_t first, unsigned rows, size_t n, uint64_t applied)
{
    assert_true(try_commit(first, rows, n, applied));
}

static void visit(uint64_t seq, struct str row, void *user)
{
    uint64_t *expected = user, is;
    assert_int_equal(seq, (*expected)++);
    assert_true(row.n >= sizeof is);
    memcpy(&is, row.p, sizeof is);
    assert_int_equal(is, seq);
    for (size_t n = sizeof is; n < row.n; n++)
        assert_int_equal(row.p[n], 'a' + (int)(seq % 26));
}

/* What a start finds above `after`: rows from there on in order, which end with the returned one. */
static uint64_t read_again(uint64_t after, uint64_t *at, bool *lost)
{
    struct fresh_log reading;
    struct err err = {0};
    uint64_t expected = after + 1;
    assert_true(fresh_log_open(&reading, directory, &err));
    uint64_t last = fresh_log_read(&reading, after, visit, &expected, lost);
    assert_int_equal(expected, last + 1);
    if (at != NULL)
        *at = reading.at;
    fresh_log_close(&reading);
    return last;
}

static void change_file(uint64_t at, const void *bytes, size_t n)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0 && pwrite(fd, bytes, n, (off_t)at) == (ssize_t)n);
    close(fd);
}

static void flip(uint64_t at)
{
    uint8_t byte = 0;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0 && pread(fd, &byte, 1, (off_t)at) == 1);
    byte ^= (uint8_t)(1u << prng_below(&prng, 8));
    assert_true(pwrite(fd, &byte, 1, (off_t)at) == 1);
    close(fd);
}

/* Round and round, frames of one block and of many, with a tail that is applied late. */
static void goes_round(void **state)
{
    uint64_t last = 0, applied = 0;
    unsigned front = 0, full = 0;
    bool lost;
    (void)state;
    for (unsigned n = 0; n < 400; n++) {
        uint64_t before = writing.at;
        unsigned rows = 1 + (unsigned)prng_below(&prng, 6);
        size_t size = prng_below(&prng, 10) == 0 ? 300000 : 16 + prng_below(&prng, 9000);
        while (rows * size > FRESH_ROW_MAX) /* a frame holds that much, whatever a commit's share is */
            rows--;
        if (!try_commit(last + 1, rows, size, applied)) { /* it stands before older ones: nothing happened */
            full++;
            assert_int_equal(read_again(applied, NULL, &lost), last);
            applied = last;
            commit(last + 1, rows, size, applied);
        }
        last += rows;
        if (prng_below(&prng, 3) == 0)
            applied += prng_below(&prng, last - applied + 1);
        front += writing.at < before;
        if (n % 8 == 0) {
            uint64_t at;
            assert_int_equal(read_again(applied, &at, &lost), last);
            assert_false(lost);
            if (applied < last) /* the next start goes on where this one was */
                assert_int_equal(at, writing.at);
        }
    }
    assert_true(front > 5 && front < 400);
    assert_true(full > 0 || FRESH_ROW_MAX < 6 * 300000); /* it takes frames of several large rows */
    assert_true(writing.size < FRESH_FILE_MAX / 4 || FRESH_FILE_MAX < 8 * FRESH_ROW_MAX);
}

/* Nobody was told of the last frame when it is not whole; those before it are there. */
static void torn(void **state)
{
    bool lost;
    (void)state;
    commit(1, 3, 1000, 0);
    commit(4, 2, 50000, 0);
    uint64_t from = writing.at;
    commit(6, 4, 30000, 0);
    for (unsigned n = 0; n < 60; n++) {
        uint64_t at = from + prng_below(&prng, 4 * 30004 + 40);
        flip(at);
        assert_int_equal(read_again(0, NULL, &lost), 5);
        assert_false(lost);
        writing.at = from; /* as a start finds it */
        writing.end--;
        commit(6, 4, 30000, 0);
        assert_int_equal(read_again(0, NULL, &lost), 9);
        assert_false(lost);
    }
    flip(from + 100);
    assert_int_equal(truncate(path, (off_t)(from + 5000)), 0);
    assert_int_equal(read_again(0, NULL, &lost), 5);
    assert_int_equal(truncate(path, BLOCK + 100), 0);
    assert_int_equal(read_again(0, NULL, &lost), 0);
    assert_false(lost);
}

/* One in the middle is missed, and the others are not. */
static void damaged(void **state)
{
    bool lost;
    struct fresh_log reading;
    struct err err = {0};
    (void)state;
    commit(1, 2, 5000, 0);
    uint64_t middle = writing.at;
    commit(3, 2, 5000, 0);
    commit(5, 2, 5000, 0);
    flip(middle + 6000);
    assert_true(fresh_log_open(&reading, directory, &err));
    uint64_t rows = 5, last;
    last = fresh_log_read(&reading, 4, visit, &rows, &lost); /* it is not needed */
    assert_int_equal(last, 6);
    assert_false(lost);
    fresh_log_close(&reading);
    commit(7, 1, 100, 4);
    assert_true(fresh_log_open(&reading, directory, &err));
    rows = 5;
    assert_int_equal(fresh_log_read(&reading, 2, visit, &rows, &lost), 7);
    assert_true(lost);
    fresh_log_close(&reading);
}

/* Heads of frames with sizes that no frame has, at every block, and random bytes. */
static void garbage(void **state)
{
    static const uint64_t sizes[] = {0,
                                     1,
                                     39,
                                     40,
                                     4096,
                                     UINT32_MAX,
                                     UINT64_MAX,
                                     UINT64_MAX - 4095,
                                     1u << 22,
                                     1u << 31,
                                     UINT64_C(1) << 63,
                                     UINT64_MAX / 2};
    uint8_t block[BLOCK];
    bool lost;
    (void)state;
    commit(1, 3, 70000, 0);
    uint64_t from = writing.at;
    for (uint64_t at = from; at < writing.size; at += BLOCK) {
        for (size_t n = 0; n < BLOCK; n++)
            block[n] = (uint8_t)prng_below(&prng, 256);
        memcpy(block, "PostrFF1", 8);
        uint64_t size = sizes[prng_below(&prng, sizeof sizes / sizeof *sizes)];
        for (unsigned n = 0; n < 8; n++)
            block[24 + n] = (uint8_t)(size >> 8 * (7 - n));
        if (prng_below(&prng, 4) == 0)
            memset(block + 8, prng_below(&prng, 2) ? 0xff : 0, 16);
        change_file(at, block, sizeof block);
    }
    assert_int_equal(read_again(0, NULL, &lost), 3);
    assert_false(lost);
    /* Another file's frame, though whole, is none of this one's. */
    uint8_t seed[8] = {1, 2, 3};
    change_file(12, seed, sizeof seed);
    assert_int_equal(read_again(0, NULL, &lost), 0);
    struct fresh_log reading;
    struct err err = {0};
    change_file(0, seed, 1);
    assert_false(fresh_log_open(&reading, directory, &err));
    assert_non_null(strstr(err.text, "damaged"));
    fresh_log_close(&reading);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(goes_round, set_up, tear_down),
        cmocka_unit_test_setup_teardown(torn, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damaged, set_up, tear_down),
        cmocka_unit_test_setup_teardown(garbage, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
