/* test_trace.c - lines from a worker to who watches (trace.h): what is left out is counted, and that is said
 * though nothing more comes. */
#include "engine/route/trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* cmocka asks for the three above */
#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

/* Few enough in a burst for its last to meet the reader, which one in some 30,000 does. */
#define BURSTS 20000
#define BURST  3

static struct trace *trace;
static atomic_uint told; /* lines that came, and those that were said to be left out */
static atomic_bool done;

static void count(struct str text)
{
    static const char dropped[] = "{\"what\":\"dropped\",\"lines\":";
    for (size_t at = 0, end; (end = str_find(text, '\n', at)) != SIZE_MAX; at = end + 1) {
        bool line = strncmp(text.p + at, dropped, sizeof dropped - 1) != 0;
        atomic_fetch_add(&told, line ? 1 : (unsigned)strtoul(text.p + at + sizeof dropped - 1, NULL, 10));
    }
}

static void *watch(void *user)
{
    struct buf lines;
    (void)user;
    buf_init(&lines, 2 * TRACE_BYTES_MAX);
    while (!atomic_load(&done)) {
        if (!trace_has_lines(trace))
            continue;
        trace_take(trace, &lines);
        count(buf_str(&lines));
        buf_clear(&lines);
    }
    buf_free(&lines);
    return NULL;
}

static void test_each_line_is_told_or_counted(void **state)
{
    static struct router router;
    static struct path path = {.router = &router};
    pthread_t reader;
    (void)state;
    trace = trace_create("a.test");
    assert_non_null(trace);
    const struct trace_seat seat = {.trace = trace, .number = 1};
    assert_int_equal(pthread_create(&reader, NULL, watch, NULL), 0);
    for (unsigned i = 0; i < BURSTS; i++) {
        for (unsigned n = 0; n < BURST; n++)
            assert_true(trace_tell(&seat, &path, "mx.a.test", "sent", STR("NOOP")));
        for (unsigned n = 0; n < 2000 && atomic_load(&told) < (i + 1) * BURST; n++)
            usleep(n < 1000 ? 0 : 10000);
        assert_int_equal(atomic_load(&told), (i + 1) * BURST);
    }
    atomic_store(&done, true);
    pthread_join(reader, NULL);
    trace_end(trace);
    assert_false(trace_tell(&seat, &path, "mx.a.test", "sent", STR("NOOP")));
    trace_unref(trace);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_line_is_told_or_counted)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
