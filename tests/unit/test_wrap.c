/* Text in lines for --help. */
#include "engine/base/wrap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void expect_lines(size_t at, size_t indent, const char *text, const char *want)
{
    char *got = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&got, &n);
    assert_non_null(out);
    wrap_print(out, at, indent, text);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(got, want);
    free(got);
}

#define TEN "123456789 "

static void test_lines(void **state)
{
    (void)state;
    expect_lines(0, 4, "", "\n");
    expect_lines(0, 4, "a  b", "a  b\n");
    expect_lines(0, 4, TEN TEN TEN TEN TEN TEN TEN "1234567890", TEN TEN TEN TEN TEN TEN TEN "1234567890\n");
    expect_lines(1, 4, TEN TEN TEN TEN TEN TEN TEN "1234567890",
                 "123456789 " TEN TEN TEN TEN TEN "123456789\n    1234567890\n");
    expect_lines(
        60, 60, "123456789 123456789 123456789",
        "123456789 123456789\n                                                            123456789\n");
    char word[101] = {0}, want[110];
    memset(word, 'x', 100);
    snprintf(want, sizeof want, "a\n  %s\n", word);
    char text[110];
    snprintf(text, sizeof text, "a %s", word);
    expect_lines(0, 2, text, want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lines)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
