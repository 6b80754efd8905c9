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

/* What data.c says, told a byte at a time. */
struct slow {
    struct data_facts facts;
    size_t used, n, head;
    char message[8192];
};

static void slow_add(struct slow *slow, char c)
{
    slow->message[slow->n++] = c;
    slow->facts.eight_bit |= (c & 0x80) != 0;
}

static void slow_line(struct slow *slow, const char *p, size_t n)
{
    bool dot = n > 0 && p[0] == '.';
    slow->facts.undoubled_dot |= dot && !(n > 1 && p[1] == '.');
    slow->facts.long_line |= n - dot > DATA_LINE_MAX;
    if (slow->head == SIZE_MAX && n == 2)
        slow->head = slow->n;
    for (size_t i = dot; i < n; i++)
        slow_add(slow, p[i]);
    for (size_t i = 0; i + 2 < n; i++) {
        slow->facts.bare_lf |= p[i] == '\n';
        slow->facts.bare_cr |= p[i] == '\r';
    }
}

static void slow_read(struct slow *slow, const char *wire)
{
    *slow = (struct slow){.head = SIZE_MAX};
    for (size_t start = 0, i = 2;; i++) {
        if (wire[i - 2] != '\r' || wire[i - 1] != '\n' || i < start + 2)
            continue;
        slow->used = i;
        if (i - start == 3 && wire[start] == '.')
            break;
        slow_line(slow, wire + start, i - start);
        start = i;
    }
    if (slow->head == SIZE_MAX)
        slow->head = slow->n;
    slow->facts.size = slow->n;
}

static uint64_t draw(uint64_t *seed, uint64_t below)
{
    *seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (*seed >> 33) % below;
}

/* Lines of all lengths out of few characters, so that what is odd often meets. */
static size_t make_wire(char *wire, uint64_t *seed, size_t room)
{
    static const char odd[] = {'\r', '\n', '.', '\xe9', '.', '\r', '\n', '-'};
    size_t n = 0, oddity = 1 + draw(seed, 60);
    while (n + 1100 < room && draw(seed, 60) > 0) {
        size_t line = draw(seed, 20) ? draw(seed, 90) : 985 + draw(seed, 30);
        for (size_t i = 0; i < line; i++)
            wire[n++] = draw(seed, 64) < 64 - oddity ? 'x' : odd[draw(seed, sizeof odd)];
        memcpy(wire + n, "\r\n", 2);
        n += 2;
        if (draw(seed, 6) == 0)
            wire[n++] = '.';
    }
    memcpy(wire + n, "\r\n.\r\nQUIT\r\n", 11);
    return n + 11;
}

static void test_random_messages(void **state)
{
    (void)state;
    static char wire[8192];
    static struct slow slow;
    uint64_t seed = 7;
    for (int round = 0; round < 4000; round++) {
        size_t total = make_wire(wire, &seed, sizeof wire);
        slow_read(&slow, wire);
        size_t first = draw(&seed, total), second = first + draw(&seed, total - first);
        struct outcome outcome = feed(wire, total, first, second);
        assert_int_equal(outcome.used, slow.used);
        assert_true(outcome.parts.head == XXH3_64bits(slow.message, slow.head));
        assert_true(outcome.parts.body == XXH3_64bits(slow.message + slow.head, slow.n - slow.head));
        assert_int_equal(outcome.facts.size, slow.facts.size);
        assert_int_equal(outcome.facts.bare_cr, slow.facts.bare_cr);
        assert_int_equal(outcome.facts.bare_lf, slow.facts.bare_lf);
        assert_int_equal(outcome.facts.long_line, slow.facts.long_line);
        assert_int_equal(outcome.facts.undoubled_dot, slow.facts.undoubled_dot);
        assert_int_equal(outcome.facts.eight_bit, slow.facts.eight_bit);
    }
}

/* By BDAT every byte is the message's, and no dot ends it. */
static void test_plain(void **state)
{
    (void)state;
    static const char *const messages[] = {"a: b\r\n\r\n.\r\n..\r\n.x\r\nMAIL FROM:<>\r\n.\r\n",
                                           "\r\n",
                                           "a: b\r\n",
                                           "a: b\r\n\r",
                                           ".\r\n.\r\n",
                                           "x"};
    for (size_t i = 0; i < sizeof messages / sizeof *messages; i++) {
        size_t n = strlen(messages[i]), head = head_size(messages[i]);
        char wanted[DATA_DIGEST_MAX], digest[DATA_DIGEST_MAX];
        digest_of(messages[i], n, wanted);
        for (size_t split = 0; split <= n; split++) {
            struct data *data = data_create();
            bool done;
            assert_non_null(data);
            data_begin(data, DATA_WHOLE | DATA_PARTS | DATA_PLAIN);
            assert_int_equal(data_feed(data, messages[i], split, &done), split);
            assert_int_equal(data_feed(data, messages[i] + split, n - split, &done), n - split);
            assert_false(done);
            data_end(data);
            data_digest(data, digest);
            assert_string_equal(digest, wanted);
            assert_int_equal(data_facts(data).size, n);
            assert_false(data_facts(data).undoubled_dot);
            assert_true(data_parts(data).head == XXH3_64bits(messages[i], head));
            data_free(data);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sound_messages),  cmocka_unit_test(test_faults_are_told_and_end_nothing),
        cmocka_unit_test(test_line_lengths),    cmocka_unit_test(test_plain),
        cmocka_unit_test(test_random_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
