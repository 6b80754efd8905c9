/* test_vars.c - variables of a recipient as a blob. */
#include "engine/message/vars.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct vars_builder builder;

static int setup(void **state)
{
    (void)state;
    vars_builder_init(&builder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    vars_builder_free(&builder);
    return 0;
}

static void test_round_trip(void **state)
{
    (void)state;
    struct err err;
    struct str name, value;
    assert_true(vars_add(&builder, STR("name"), STR("Zo\xc3\xab"), &err));
    assert_true(vars_add(&builder, STR("empty"), STR(""), &err));
    assert_true(vars_add(&builder, STR("First name"), STR("a\0b"), &err));
    struct str blob = vars_blob(&builder);
    assert_true(vars_valid(blob));
    assert_true(vars_find(blob, STR("First name"), &value) && str_eq(value, STR("a\0b")));
    assert_true(vars_find(blob, STR("empty"), &value) && value.n == 0);
    assert_false(vars_find(blob, STR("nam"), &value));
    struct reader r = vars_reader(blob);
    size_t count = 0;
    while (vars_next(&r, &name, &value))
        count++;
    assert_int_equal(count, 3);
    assert_false(r.bad);
    assert_true(vars_valid(STR("")));
}

static void test_bounds(void **state)
{
    (void)state;
    struct err err;
    char name[VAR_NAME_MAX + 1];
    memset(name, 'n', sizeof name);
    assert_false(vars_add(&builder, STR(""), STR("x"), &err));
    assert_false(vars_add(&builder, str_make(name, sizeof name), STR("x"), &err));
    assert_true(vars_add(&builder, str_make(name, VAR_NAME_MAX), STR("x"), &err));
    assert_false(vars_add(&builder, str_make(name, VAR_NAME_MAX), STR("y"), &err));
    assert_non_null(strstr(err.text, "given twice"));

    char *big = calloc(1, VARS_MAX);
    size_t before = vars_blob(&builder).n;
    assert_false(vars_add(&builder, STR("big"), str_make(big, VARS_MAX), &err));
    assert_int_equal(vars_blob(&builder).n, before);
    assert_true(
        vars_add(&builder, STR("big"), str_make(big, VARS_MAX / 2), &err)); /* usable after a refusal */
    free(big);

    vars_builder_clear(&builder);
    for (int i = 0; i < VARS_COUNT_MAX; i++) {
        char text[16];
        snprintf(text, sizeof text, "v%d", i);
        assert_true(vars_add(&builder, str_of(text), STR("1"), &err));
    }
    assert_false(vars_add(&builder, STR("more"), STR("1"), &err));
}

/* Every truncation and many corruptions: reading ends, inside the bytes. */
static void test_malformed(void **state)
{
    (void)state;
    struct err err;
    struct str value;
    assert_true(vars_add(&builder, STR("name"), STR("Ada"), &err));
    assert_true(vars_add(&builder, STR("city"), STR("London"), &err));
    struct str blob = vars_blob(&builder);
    for (size_t n = 1; n < blob.n; n++) {
        char *copy = malloc(n); /* exact, so that the sanitizer sees a step too far */
        memcpy(copy, blob.p, n);
        assert_int_equal(vars_valid(str_make(copy, n)), n == 9);
        vars_find(str_make(copy, n), STR("city"), &value);
        free(copy);
    }
    for (size_t i = 0; i < blob.n; i++)
        for (int byte = 0; byte < 256; byte += 5) {
            char *copy = malloc(blob.n);
            memcpy(copy, blob.p, blob.n);
            copy[i] = (char)byte;
            if (vars_find(str_make(copy, blob.n), STR("city"), &value))
                assert_true(value.p >= copy && value.p + value.n <= copy + blob.n);
            free(copy);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bounds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_malformed, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
