/* The world's reading of message data: every split of the bytes gives the same digest, end and judgement. */
#include "bench/world/data.c"
#include "bench/world/scan.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

struct outcome {
    size_t used;
    struct data_facts facts;
    char digest[DATA_DIGEST_MAX];
    struct data_parts parts;
};

static struct outcome feed(const char *wire, size_t n, size_t first, size_t second)
{
    struct data *data = data_create();
    struct outcome outcome = {0};
    bool done = false;
    size_t ends[3] = {first, second, n};
    assert_non_null(data);
    data_begin(data, DATA_WHOLE | DATA_PARTS);
    for (int i = 0; i < 3 && !done; i++) {
        while (outcome.used < ends[i] && !done)
            outcome.used += data_feed(data, wire + outcome.used, ends[i] - outcome.used, &done);
    }
    assert_true(done);
    outcome.facts = data_facts(data);
    data_digest(data, outcome.digest);
    outcome.parts = data_parts(data);
    data_free(data);
    return outcome;
}

static void digest_of(const char *message, size_t n, char hex[static DATA_DIGEST_MAX])
{
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(message, n));
    for (size_t i = 0; i < sizeof canonical.digest; i++) {
        hex[2 * i] = "0123456789abcdef"[canonical.digest[i] >> 4];
        hex[2 * i + 1] = "0123456789abcdef"[canonical.digest[i] & 15];
    }
    hex[DATA_DIGEST_MAX - 1] = '\0';
}

/* Where the blank line begins, or all there is. */
static size_t head_size(const char *message)
{
    if (message[0] == '\r' && message[1] == '\n')
        return 0;
    const char *blank = strstr(message, "\r\n\r\n");
    return blank ? (size_t)(blank + 2 - message) : strlen(message);
}

/* All ways to cut the wire in three, with what follows the end as a trap. */
static void check(const char *wire, const char *message, struct data_facts facts)
{
    static const char next[] = "MAIL FROM:<>\r\n.\r\n";
    char bytes[512], digest_wanted[DATA_DIGEST_MAX];
    size_t n = strlen(wire), total = n + sizeof next - 1;
    assert_true(total < sizeof bytes);
    memcpy(bytes, wire, n);
    memcpy(bytes + n, next, sizeof next - 1);
    digest_of(message, strlen(message), digest_wanted);
    size_t head = head_size(message);
    for (size_t first = 0; first <= n; first++) {
        for (size_t second = first; second <= n; second++) {
            struct outcome outcome = feed(bytes, total, first, second);
            assert_int_equal(outcome.used, n);
            assert_string_equal(outcome.digest, digest_wanted);
            assert_true(outcome.parts.head == XXH3_64bits(message, head));
            assert_true(outcome.parts.body == XXH3_64bits(message + head, strlen(message + head)));
            assert_int_equal(outcome.facts.size, strlen(message));
            assert_int_equal(outcome.facts.bare_cr, facts.bare_cr);
            assert_int_equal(outcome.facts.bare_lf, facts.bare_lf);
            assert_int_equal(outcome.facts.long_line, facts.long_line);
            assert_int_equal(outcome.facts.undoubled_dot, facts.undoubled_dot);
            assert_int_equal(outcome.facts.eight_bit, facts.eight_bit);
        }
    }
}

static void test_sound_messages(void **state)
{
    (void)state;
    check(".\r\n", "", (struct data_facts){0});
    check("\r\n.\r\n", "\r\n", (struct data_facts){0});
    check("Subject: x\r\n\r\nbody\r\n.\r\n", "Subject: x\r\n\r\nbody\r\n", (struct data_facts){0});
    check("a: b\r\n.\r\n", "a: b\r\n", (struct data_facts){0});
    check("a: b\r\n c\r\n\r\n\r\n\r\nd\r\n\r\n.\r\n", "a: b\r\n c\r\n\r\n\r\n\r\nd\r\n\r\n",
          (struct data_facts){0});
    check("..\r\n...\r\n..x\r\nx.\r\n.\r\n", ".\r\n..\r\n.x\r\nx.\r\n", (struct data_facts){0});
}

static void test_faults_are_told_and_end_nothing(void **state)
{
    (void)state;
    check("a\n.\nb\r\n.\r\n", "a\n.\nb\r\n", (struct data_facts){.bare_lf = true});
    check("a\r.\rb\r\n.\r\n", "a\r.\rb\r\n", (struct data_facts){.bare_cr = true});
    check("a\r\n\rb\r\n\r\r\n\r\n\rc\r\n.\r\n", "a\r\n\rb\r\n\r\r\n\r\n\rc\r\n",
          (struct data_facts){.bare_cr = true});
    check("a\r\n.\r\r\n.\r\n", "a\r\n\r\r\n", (struct data_facts){.bare_cr = true, .undoubled_dot = true});
    check("a\r\r\n.\r\n", "a\r\r\n", (struct data_facts){.bare_cr = true});
    check("a\r\n.\rb\r\n.\r\n", "a\r\n\rb\r\n", (struct data_facts){.bare_cr = true, .undoubled_dot = true});
    check("a\r\n.\nb\r\n.\r\n", "a\r\n\nb\r\n", (struct data_facts){.bare_lf = true, .undoubled_dot = true});
    check(".x\r\n.\r\n", "x\r\n", (struct data_facts){.undoubled_dot = true});
    check("\xc3\xa9\r\n.\r\n", "\xc3\xa9\r\n", (struct data_facts){.eight_bit = true});
}

static void test_line_lengths(void **state)
{
    (void)state;
    static char wire[1100];
    for (size_t n = 997; n <= 1000; n++) {
        memset(wire, 'x', n);
        memcpy(wire + n, "\r\n.\r\n", 6);
        for (size_t split = 0; split <= n + 5; split += 7) {
            struct outcome outcome = feed(wire, n + 5, split, n + 1);
            assert_int_equal(outcome.facts.long_line, n > 998);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sound_messages),
        cmocka_unit_test(test_faults_are_told_and_end_nothing),
        cmocka_unit_test(test_line_lengths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
