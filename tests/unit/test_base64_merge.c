/* Text with variables in base64: whatever stands beside whatever, strictly decoded, and nothing copied that
 * was known. Other readers look at such messages in test_compose.py. */
#include "tests/unit/message_help.h"

#include "engine/base/prng.h"
#include "engine/message/base64_merge.h"
#include "engine/message/record.h"

#define INK "\xe5\xa2\xa8" /* of three bytes: text of these is shorter in base64 */

static struct made *m;
static struct buf text, want, got;

static int setup(void **state)
{
    (void)state;
    m = made_new();
    buf_init(&text, CONTENT_MAX);
    buf_init(&want, CONTENT_MAX);
    buf_init(&got, CONTENT_MAX);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    made_free(m);
    buf_free(&text);
    buf_free(&want);
    buf_free(&got);
    return 0;
}

static unsigned digit_of(char c)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c != '\0' ? strchr(alphabet, c) : NULL;
    assert_non_null(at);
    return (unsigned)(at - alphabet);
}

/* Strict: lines of whole groups, at most 76 characters, padding in the last group alone. */
static void decode(struct str in)
{
    size_t col = 0;
    buf_clear(&got);
    for (size_t i = 0; i < in.n; i += 4) {
        if (in.p[i] == '\r') {
            assert_true(in.p[i + 1] == '\n' && col > 0);
            i += 2;
            col = 0;
        }
        if (i == in.n)
            break;
        assert_true(in.n - i >= 4 && (col += 4) <= 76);
        size_t n = in.p[i + 3] != '=' ? 3 : in.p[i + 2] != '=' ? 2 : 1;
        assert_true(n == 3 || i + 6 == in.n);
        uint32_t bits = digit_of(in.p[i]) << 18 | digit_of(in.p[i + 1]) << 12;
        bits |= n > 1 ? digit_of(in.p[i + 2]) << 6 : 0;
        bits |= n > 2 ? digit_of(in.p[i + 3]) : 0;
        for (size_t k = 0; k < n; k++)
            buf_add_char(&got, (char)(bits >> (16 - 8 * k)));
    }
}

static void compile_text(void)
{
    if (!made_compile(m, (struct message_spec){.from = STR("n@x.example"), .text = buf_str(&text)}))
        fail_msg("%s", m->err.text);
}

static void render_and_compare(void)
{
    if (!made_render(m))
        fail_msg("%s", m->err.text);
    made_check(m);
    made_expect_field(m, "Content-Transfer-Encoding", "base64");
    decode(made_body(m));
    if (!str_eq(buf_str(&got), buf_str(&want)))
        fail_msg("%.*s instead of %.*s", STR_ARG(buf_str(&got)), STR_ARG(buf_str(&want)));
}

static void add_letters(struct buf *to, size_t n)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz";
    for (size_t i = 0; i < n; i++)
        buf_add_char(to, letters[i % 26]);
}

/* A text's pieces of any length, with variables of any length between them, beside one another too. */
static void expect_lengths(size_t before, size_t first, size_t between, size_t second, size_t after)
{
    struct buf value;
    buf_init(&value, 1000);
    buf_clear(&text);
    buf_clear(&want);
    vars_builder_clear(&m->vars);
    for (size_t i = 0; i < 20; i++)
        buf_add_z(&text, INK);
    add_letters(&text, before);
    buf_add_str(&want, buf_str(&text));
    buf_add_z(&text, "{{a}}");
    add_letters(&value, first);
    made_set(m, "a", buf_str(&value));
    add_letters(&want, first);
    add_letters(&text, between);
    add_letters(&want, between);
    buf_add_z(&text, "{{b}}");
    buf_clear(&value);
    add_letters(&value, second);
    made_set(m, "b", buf_str(&value));
    add_letters(&want, second);
    add_letters(&text, after);
    add_letters(&want, after);
    compile_text();
    render_and_compare();
    buf_free(&value);
}

static void test_any_alignment(void **state)
{
    (void)state;
    static const size_t lengths[] = {0, 1, 2, 3, 4, 5, 6, 7};
    enum { LENGTHS = sizeof lengths / sizeof lengths[0] };
    for (size_t i = 0; i < LENGTHS * LENGTHS * LENGTHS * LENGTHS; i++)
        expect_lengths(lengths[i % 3], lengths[i % LENGTHS], lengths[i / LENGTHS % LENGTHS],
                       lengths[i / LENGTHS / LENGTHS % LENGTHS], lengths[i / LENGTHS / LENGTHS / LENGTHS]);
}

/* About the length of a line, and of two. */
static void test_line_lengths(void **state)
{
    (void)state;
    for (size_t n = 48; n < 64; n++)
        for (size_t value = 0; value < 5; value++) {
            expect_lengths(n % 19, value, n, 3, 0);
            expect_lengths(n, value, 2 * n, 60 - value, n);
            expect_lengths(0, n, 1, n + value, 2);
        }
}

static void test_values(void **state)
{
    (void)state;
    made_set(m, "x", STR("a&b\r\n<\0\xc3\xbc>\r"));
    made_set(m, "empty", STR(""));
    struct message_spec spec = {.from = STR("n@x.example"), .text = STR("")};
    spec.html = STR(INK INK INK INK INK INK INK INK INK INK INK INK
                    "{{x}}{{{x}}}{{x|url}}{{empty}}{{empty|\xc3\xa9\r&}}\n{{gone|url|a b}}\r");
    assert_true(made_compile(m, spec) && made_render(m));
    made_check(m);
    made_expect_field(m, "Content-Transfer-Encoding", "base64");
    decode(made_body(m));
    buf_clear(&want);
    for (int i = 0; i < 12; i++)
        buf_add_z(&want, INK);
    buf_add_z(&want, "a&amp;b\r\n&lt;\xc3\xbc&gt;\r\na&b\r\n<\xc3\xbc>\r\na%26b%0D%0A%3C%00%C3%BC%3E%0D"
                     "\xc3\xa9\r\n&amp;\r\na%20b\r\n");
    assert_true(str_eq(buf_str(&got), buf_str(&want)));
}

static void test_of_nothing(void **state)
{
    (void)state;
    made_set(m, "x", STR(""));
    buf_add_z(&text, "{{x}}{{x|" INK INK INK INK "}}");
    buf_add_z(&want, INK INK INK INK);
    compile_text();
    render_and_compare();
    vars_builder_clear(&m->vars);
    made_set(m, "x", STR(INK));
    buf_clear(&want);
    buf_add_z(&want, INK INK);
    render_and_compare();
}

/* What is not in the record is little: values, some bytes at each seam, the header. */
static void test_referenced(void **state)
{
    (void)state;
    enum { VARIABLES = 10, VALUE = 40 };
    for (int i = 0; i < VARIABLES; i++) {
        for (int k = 0; k < 1000; k++)
            buf_add_z(&text, INK);
        buf_add_z(&text, "{{x}}");
    }
    struct buf value;
    buf_init(&value, VALUE);
    add_letters(&value, VALUE);
    made_set(m, "x", buf_str(&value));
    compile_text();
    assert_true(made_render_one(m, &m->plain, false));
    size_t own = 0;
    for (size_t i = 0; i < m->r.count; i++) {
        const char *at = m->r.parts[i].iov_base;
        own += at < m->record.data || at >= m->record.data + m->record.len ? m->r.parts[i].iov_len : 0;
    }
    assert_true(own < 200 + VARIABLES * (VALUE / 3 * 4 + 20));
    assert_true(m->r.size > 30000 / 3 * 4);
    buf_free(&value);
}

/* In a message that came whole, with its own encoding. */
static void test_raw(void **state)
{
    (void)state;
    made_set(m, "x", STR("Ada"));
    struct message_spec spec = {
        .raw = STR("From: n@x.example\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
                   "--b\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\n"
                   "5aKo5aKo5aKo5aKo5aKo5aKoe3t4fX3lojxiPqg=\n" /* not UTF-8 */
                   "--b--\n")};
    assert_false(made_compile(m, spec));
    assert_non_null(strstr(m->err.text, "not in UTF-8"));
    spec.raw =
        STR("From: n@x.example\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
            "--b\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\n"
            "5aKo5aKo5aKo5aKo5aKo\n5aKoe3t4fX0=\n"
            "--b\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n"
            "=E5=A2=A8=E5=A2=A8=E5=A2=A8=E5=A2=A8{{x}}\n.\n"
            "--b--\n");
    if (!made_compile(m, spec) || !made_render(m))
        fail_msg("%s", m->err.text);
    made_check(m);
    made_expect_body(
        m, "--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
           "5aKo5aKo5aKo5aKo5aKo5aKoQWRh\r\n"
           "--b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
           "5aKo5aKo5aKo5aKoQWRhDQou\r\n"
           "--b--\r\n");
}

/* Any bytes in any pieces, against the encoder of a whole. */
static void test_any_pieces(void **state)
{
    (void)state;
    struct prng prng = {.state = 11};
    for (int round = 0; round < 3000; round++) {
        struct base64_rest rest = {0};
        unsigned col = 0;
        buf_clear(&text);
        buf_clear(&want);
        for (uint64_t n = prng_below(&prng, 12); n > 0; n--) {
            struct buf forms;
            char bytes[300];
            buf_init(&forms, 4096);
            size_t length = prng_below(&prng, prng_below(&prng, 4) > 0 ? 6 : sizeof bytes);
            for (size_t i = 0; i < length; i++)
                bytes[i] = (char)prng_next(&prng);
            buf_add(&want, bytes, length);
            struct str piece = str_make(bytes, length);
            if (length > 0 && prng_below(&prng, 2) > 0) {
                assert_true(buf_add_base64_forms(&forms, piece));
                assert_int_equal(forms.len, base64_forms_size(length));
                struct base64_form form = base64_form(forms.data, length, rest.n);
                char *room = buf_room(&text, BASE64_ROOM(2));
                text.len += (size_t)(base64_put(room, form.head, &rest, &col) - room);
                if (form.middle.n > 0) {
                    buf_add_z(&text, col > 0 ? "\r\n" : "");
                    buf_add_str(&text, form.middle);
                    col = form.last;
                }
                piece = form.tail;
            }
            char *room = buf_room(&text, BASE64_ROOM(piece.n));
            text.len += (size_t)(base64_put(room, piece, &rest, &col) - room);
            buf_free(&forms);
        }
        char *room = buf_room(&text, BASE64_ROOM(0));
        text.len += (size_t)(base64_finish(room, &rest, &col) - room);
        buf_add_z(&text, "\r\n");
        if (want.len > 0) {
            decode(buf_str(&text));
            assert_true(str_eq(buf_str(&got), buf_str(&want)));
        }
    }
}

/* Records of the version before are read; one of a later program is not. */
static void test_versions(void **state)
{
    (void)state;
    buf_add_z(&text, "Dear {{x}}");
    compile_text();
    struct record *record = (void *)m->record.data;
    record->version = 1;
    assert_true(template_open(m->record.data, m->record.len, &m->t, &m->err));
    record->version = RECORD_VERSION + 1;
    assert_false(template_open(m->record.data, m->record.len, &m->t, &m->err));
    assert_non_null(strstr(m->err.text, "version"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        TEST(test_any_alignment), TEST(test_line_lengths), TEST(test_values),     TEST(test_of_nothing),
        TEST(test_referenced),    TEST(test_raw),          TEST(test_any_pieces), TEST(test_versions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
