/* The registry of enhanced status codes. */
#include "engine/report/registry.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void phrase_is(struct status status, const char *want)
{
    assert_true(registry_has(status));
    assert_string_equal(registry_phrase(status), want);
}

static void test_phrases(void **state)
{
    (void)state;
    phrase_is(STATUS(5, 0, 0), "Other undefined Status");
    phrase_is(STATUS(5, 1, 1), "Bad destination mailbox address");
    phrase_is(STATUS(5, 1, 10), "Recipient address has null MX");
    phrase_is(STATUS(4, 2, 2), "Mailbox full");
    phrase_is(STATUS(5, 2, 2), "Mailbox full");
    phrase_is(STATUS(5, 2, 4), "Mailing list expansion problem");
    phrase_is(STATUS(5, 3, 4), "Message too big for system");
    phrase_is(STATUS(2, 3, 6), "Requested priority was changed");
    phrase_is(STATUS(4, 4, 1), "No answer from host");
    phrase_is(STATUS(4, 4, 7), "Delivery time expired");
    phrase_is(STATUS(4, 5, 3), "Too many recipients");
    phrase_is(STATUS(5, 5, 6), "Authentication Exchange line is too long");
    phrase_is(STATUS(5, 6, 7), "Non-ASCII addresses not permitted for that sender/recipient");
    phrase_is(STATUS(5, 7, 1), "Delivery not authorized, message refused");
    phrase_is(STATUS(5, 7, 23), "SPF validation failed");
    phrase_is(STATUS(4, 7, 28), "Mail flood detected");
    phrase_is(STATUS(5, 7, 30), "REQUIRETLS support required");
    assert_string_equal(registry_phrase(STATUS(5, 6, 10)), registry_phrase(STATUS(5, 6, 8)));
    /* How many details each subject has. */
    static const unsigned counts[] = {1, 11, 5, 7, 8, 7, 11, 31};
    for (uint16_t subject = 0; subject < 8; subject++) {
        for (uint16_t detail = 0; detail < counts[subject]; detail++) {
            assert_true(registry_has(STATUS(5, subject, detail)));
            assert_true(strlen(registry_phrase(STATUS(5, subject, detail))) > 0);
        }
        assert_false(registry_has(STATUS(5, subject, (uint16_t)counts[subject])));
    }
}

static void test_unknown(void **state)
{
    (void)state;
    /* Gmail's own details are not given somebody else's meaning. */
    assert_string_equal(registry_phrase(STATUS(5, 7, 40)), "Other or undefined security status");
    assert_false(registry_has(STATUS(5, 7, 31)));
    assert_string_equal(registry_phrase(STATUS(5, 8, 1)), "");
    assert_string_equal(registry_phrase(STATUS(0, 0, 0)), "");
    assert_string_equal(registry_phrase(STATUS(5, 2, 121)), "Other or undefined mailbox status");
    assert_string_equal(registry_subject(STATUS(5, 2, 121)), "Mailbox status");
    assert_string_equal(registry_subject(STATUS(4, 7, 0)), "Security or policy status");
    assert_string_equal(registry_subject(STATUS(4, 9, 0)), "");
    assert_string_equal(registry_subject(STATUS(0, 1, 0)), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_phrases),
        cmocka_unit_test(test_unknown),
    };
    return cmocka_run_group_tests_name("registry", tests, NULL, NULL);
}
