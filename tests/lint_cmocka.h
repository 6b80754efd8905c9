/* lint_cmocka.h - cmocka's assertions as the analyzer needs them; tests/lint.py includes it before each test.
 *
 * The real ones end a test by longjmp inside the library, which the analyzer can't see: it would go on with
 * what was just found to be wrong. */
#ifndef POSTRIDER_LINT_CMOCKA_H
#define POSTRIDER_LINT_CMOCKA_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#undef assert_true
#undef assert_false
#undef assert_null
#undef assert_non_null
#undef assert_int_equal
#undef assert_int_not_equal
#undef assert_ptr_equal
#undef assert_ptr_not_equal
#undef assert_string_equal
#undef assert_string_not_equal
#undef assert_memory_equal
#undef assert_in_range
#undef fail_msg

#define assert_true(c)                ((c) ? (void)0 : abort())
#define assert_false(c)               assert_true(!(c))
#define assert_null(p)                assert_true((p) == NULL)
#define assert_non_null(p)            assert_true((p) != NULL)
#define assert_int_equal(a, b)        assert_true((a) == (b))
#define assert_int_not_equal(a, b)    assert_true((a) != (b))
#define assert_ptr_equal(a, b)        assert_true((a) == (b))
#define assert_ptr_not_equal(a, b)    assert_true((a) != (b))
#define assert_string_equal(a, b)     assert_true(strcmp(a, b) == 0)
#define assert_string_not_equal(a, b) assert_true(strcmp(a, b) != 0)
#define assert_memory_equal(a, b, n)  assert_true(memcmp(a, b, n) == 0)
#define assert_in_range(v, low, high) assert_true((v) >= (low) && (v) <= (high))
#define fail_msg(...)                 ((void)printf(__VA_ARGS__), abort())

#endif
