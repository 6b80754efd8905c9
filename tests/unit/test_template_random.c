/* test_template_random.c - what must hold of every message, over random ones: the wire form (message_help.h),
 * and that what comes out decodes to what was meant. The decoders here are the test's own. */
#include "tests/unit/message_help.h"

#include "engine/base/prng.h"
#include "engine/message/decode.h"

#define ROUNDS 10000

static struct prng prng = {42};

static const char *const words[] = {
    "a",
    "Hello",
    "the",
    "=?",
    "\xc3\xa9",
    "\xe6\x97\xa5\xe6\x9c\xac",
    "Gr\xc3\xbc\xc3\x9f",
    ".",
    "..",
    "--",
    "From ",
    "=",
    "  ",
    "\t",
    "<b>",
    "&",
    "\"q\"",
    "'",
    ",",
    ";",
    "(",
    ")",
    "\\",
    "?=",
    "_",
    "=3D",
    "\xf0\x9f\x98\x80",
    "}}",
    "{ ",
    "@",
    "0123456789012345678901234567890123456789012345678901234567890123456789012345",
    "\n",
    "\r\n",
    "\r",
    ":",
};

static bool chance(unsigned percent)
{
    return prng_below(&prng, 100) < percent;
}

static void add_words(struct buf *buf, size_t most, bool lines)
{
    for (size_t n = prng_below(&prng, most + 1); n > 0; n--) {
        const char *word = words[prng_below(&prng, sizeof words / sizeof words[0])];
        if (!lines && strpbrk(word, "\r\n") != NULL)
            continue;
        buf_add_z(buf, word);
        if (chance(60))
            buf_add_char(buf, ' ');
    }
    if (chance(3))
        for (int i = 0; i < 1100; i++)
            buf_add_char(buf, 'w');
}

/* Variables and their values in this round. */
static const char *const names[] = {"a", "b", "c1"};
static struct buf values[3];

static void make_values(struct made *m)
{
    vars_builder_clear(&m->vars);
    for (size_t i = 0; i < 3; i++) {
        buf_clear(&values[i]);
        add_words(&values[i], 6, true);
        if (chance(20))
            buf_add_z(&values[i], "\r\nEvil: x\r\n\r\n.\r\nQUIT\r\n");
        if (chance(10))
            buf_add(&values[i], "\0\x01\x7f", 3);
        made_set(m, names[i], buf_str(&values[i]));
    }
}

/* Appends v as text that a reader should see: line ends as LF, NUL gone, and escaped for HTML. */
static void expect_text(struct buf *want, struct str v, bool html)
{
    static const char special[] = "&<>\"'", *const escaped[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
    for (size_t i = 0; i < v.n; i++) {
        const char *at = v.p[i] ? strchr(special, v.p[i]) : NULL;
        if (v.p[i] == '\r') {
            buf_add_char(want, '\n');
            i += i + 1 < v.n && v.p[i + 1] == '\n';
        } else if (html && at != NULL) {
            buf_add_z(want, escaped[at - special]);
        } else if (v.p[i] != '\0') {
            buf_add_char(want, v.p[i]);
        }
    }
}

/* A random template, and what it should become: in a header (where expect_header does the rest) or a body. */
static void make_template(struct buf *text, struct buf *want, bool header, bool html)
{
    bool lines = !header;
    buf_clear(text);
    buf_clear(want);
    for (size_t n = prng_below(&prng, 6); n > 0; n--) {
        size_t from = text->len;
        add_words(text, 12, lines);
        buf_add_char(text, ' '); /* no brace meets another */
        expect_text(want, str_make(text->data + from, text->len - from), false);
        if (chance(30))
            continue;
        size_t v = prng_below(&prng, 3), form = prng_below(&prng, 3);
        static const char *const forms[] = {"{{%s}}", "{{{ %s }}}", "{{ %s | d\xc3\xa9 f}}"};
        char variable[32];
        snprintf(variable, sizeof variable, forms[form], names[v]);
        buf_add_z(text, variable);
        if (form == 2 && values[v].len == 0)
            buf_add_z(want, "d\xc3\xa9 f");
        else if (header)
            buf_add_str(want, buf_str(&values[v]));
        else
            expect_text(want, buf_str(&values[v]), html && form != 1);
    }
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c - 'A' + 10;
}

/* Strict: anything that RFC 2045 6.7 does not allow fails. Line ends become LF. */
static void decode_qp(struct str in, struct buf *out)
{
    size_t line = 0;
    buf_clear(out);
    for (size_t i = 0; i < in.n; i++) {
        char c = in.p[i];
        if (c == '\r') {
            assert_true(i == line || (in.p[i - 1] != ' ' && in.p[i - 1] != '\t'));
            assert_true(in.p[i + 1] == '\n' && i - line <= 76);
            buf_add_char(out, '\n');
            line = ++i + 1;
        } else if (c == '=' && in.p[i + 1] == '\r') {
            assert_true(in.p[i + 2] == '\n' && i + 1 - line <= 76);
            i += 2;
            line = i + 1;
        } else if (c == '=') {
            assert_true(strchr("0123456789ABCDEF", in.p[i + 1]) && strchr("0123456789ABCDEF", in.p[i + 2]));
            buf_add_char(out, (char)(hex(in.p[i + 1]) << 4 | hex(in.p[i + 2])));
            i += 2;
        } else {
            assert_true(c == '\t' || (c >= ' ' && c <= '~'));
            buf_add_char(out, c);
        }
    }
}

/* Compares but for trailing line ends. */
static void same_text(struct str got, struct str want)
{
    while (got.n > 0 && got.p[got.n - 1] == '\n')
        got.n--;
    while (want.n > 0 && want.p[want.n - 1] == '\n')
        want.n--;
    if (!str_eq(got, want))
        fail_msg("got:\n%.*s\nwant:\n%.*s", STR_ARG(got), STR_ARG(want));
}

/* Lines that are kept in 7bit: CRLF to LF. */
static void decode_7bit(struct str in, struct buf *out)
{
    buf_clear(out);
    for (size_t i = 0; i < in.n; i++)
        if (in.p[i] != '\r')
            buf_add_char(out, in.p[i]);
}

static void decode_base64(struct str in, struct buf *out)
{
    struct buf bytes;
    buf_init(&bytes, CONTENT_MAX);
    assert_true(base64_decode(in, &bytes));
    decode_7bit(buf_str(&bytes), out);
    buf_free(&bytes);
}

/* The next part of a composed alternative, decoded. *rest moves on. */
static void next_part(struct str *rest, struct buf *out)
{
    const char *end = rest->p + rest->n;
    const char *delimiter = rest->p, *stop = memmem(rest->p, rest->n, "\r\n", 2);
    size_t n = (size_t)(stop - delimiter);
    const char *body = memmem(stop, (size_t)(end - stop), "\r\n\r\n", 4);
    const char *next = memmem(body, (size_t)(end - body), delimiter, n);
    assert_true(n == 21 && memcmp(delimiter, "--=_", 4) == 0 && body != NULL && next != NULL);
    struct str text = str_make(body + 4, (size_t)(next - body) - 6 > rest->n ? 0 : (size_t)(next - body) - 6);
    if (memmem(stop, (size_t)(body - stop), "quoted-printable", 16) != NULL)
        decode_qp(str_make(text.p, text.n + 2), out);
    else if (memmem(stop, (size_t)(body - stop), "base64", 6) != NULL)
        decode_base64(text, out);
    else
        decode_7bit(text, out);
    *rest = str_make(next, (size_t)(end - next));
}

/* A header value's encoded words (RFC 2047), which must be well-formed, short and apart. */
static void decode_words(const char *in, struct buf *out)
{
    bool word_before = false;
    buf_clear(out);
    for (const char *p = in; *p != '\0';) {
        const char *blanks = p;
        p += strspn(p, " \t");
        const char *end = strncmp(p, "=?utf-8?", 8) == 0 ? strstr(p + 10, "?=") : NULL;
        if (!(end != NULL && word_before))
            buf_add(out, blanks, (size_t)(p - blanks));
        word_before = end != NULL;
        if (end == NULL) {
            size_t n = strcspn(p, " \t");
            buf_add(out, p, n);
            p += n;
            continue;
        }
        assert_true(end + 2 - p <= 75 && strchr(" \t", end[2]) != NULL);
        size_t from = out->len;
        if (p[8] == 'Q') {
            for (p += 10; p < end; p++) {
                buf_add_char(out, (char)(*p == '_' ? ' ' : *p == '=' ? hex(p[1]) << 4 | hex(p[2]) : *p));
                p += *p == '=' ? 2 : 0;
            }
        } else {
            static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            unsigned bits = 0, have = 0;
            for (p += 10; p < end && *p != '='; p++) {
                assert_non_null(strchr(alphabet, *p));
                bits = bits << 6 | (unsigned)(strchr(alphabet, *p) - alphabet);
                have += 6;
                if (have >= 8)
                    buf_add_char(out, (char)(bits >> (have -= 8)));
            }
        }
        assert_true(out->len > from && (out->data[from] & 0xc0) != 0x80); /* whole characters */
        p = end + 2;
    }
}

/* What a header can show of a text: controls as spaces (tabs stay, but are as good), none at the ends. */
static struct str expect_header(struct buf *want)
{
    for (size_t i = 0; i < want->len; i++)
        if ((uint8_t)want->data[i] < ' ' || want->data[i] == 0x7f)
            want->data[i] = ' ';
    return str_trim(buf_str(want));
}

static void expect_names(const struct made *m, const char *const *expected, size_t n)
{
    const char *p = m->plain.data;
    size_t seen = 0;
    for (; *p != '\r'; p = strstr(p, "\r\n") + 2) {
        if (*p == ' ' || *p == '\t') {
            assert_true(p[strspn(p, " \t")] != '\r'); /* no line of white space alone */
            continue;
        }
        bool known = false;
        for (size_t i = 0; i < n; i++)
            known |= strncmp(p, expected[i], strlen(expected[i])) == 0;
        assert_true(known);
        seen++;
    }
    assert_int_equal(seen, n);
}

static struct buf subject, subject_want, text, text_want, html, html_want, got, name_value;
static struct buf *const all[] = {&subject, &subject_want, &text,      &text_want, &html,     &html_want,
                                  &got,     &name_value,   &values[0], &values[1], &values[2]};

static int setup(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        buf_init(all[i], 1 << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        buf_free(all[i]);
    return 0;
}

static void test_composed(void **state)
{
    (void)state;
    static const char *const fields[] = {
        "From: ", "To: ", "Subject:", "Content-Type: ", "Date: ", "MIME-Version: ", "Message-ID: "};
    struct made *m = made_new();
    for (int round = 0; round < ROUNDS; round++) {
        make_values(m);
        make_template(&subject, &subject_want, true, false);
        do /* an empty one would not be sent beside an html */
            make_template(&text, &text_want, false, false);
        while (text.len == 0);
        make_template(&html, &html_want, false, true);
        struct message_spec spec = {.from = STR("n@x.example"),
                                    .subject = str_make(subject.len ? subject.data : "", subject.len),
                                    .text = str_make(text.len ? text.data : "", text.len),
                                    .html = str_make(html.len ? html.data : "", html.len)};
        if (!made_compile(m, spec) || !made_render(m))
            fail_msg("%s", m->err.text);
        made_check(m);
        assert_false(m->r.has_8bit);
        buf_add_char(&m->plain, '\0');
        expect_names(m, fields, sizeof fields / sizeof fields[0]);
        m->plain.len--;
        struct str rest = made_body(m);
        next_part(&rest, &got);
        same_text(buf_str(&got), buf_str(&text_want));
        next_part(&rest, &got);
        same_text(buf_str(&got), buf_str(&html_want));
        assert_int_equal(rest.n, 25); /* the last delimiter */
        char *value = made_field(m, "Subject", 0);
        decode_words(value, &got);
        struct str want = expect_header(&subject_want);
        if (!str_eq(expect_header(&got), want))
            fail_msg("round %d: \"%.*s\" instead of \"%.*s\" from %s", round, STR_ARG(buf_str(&got)),
                     STR_ARG(want), value);
        free(value);
    }
    made_free(m);
}

/* A display name comes back whatever it is, and nothing gets out of its mailbox. */
static void test_phrases(void **state)
{
    (void)state;
    struct made *m = made_new();
    assert_true(made_compile(m, (struct message_spec){.from = STR("{{a}} <n@x.example>"), .text = STR("x")}));
    for (int round = 0; round < ROUNDS; round++) {
        make_values(m);
        assert_true(made_render(m));
        made_check(m);
        char *value = made_field(m, "From", 0), *end = value + strlen(value) - strlen("<n@x.example>");
        assert_string_equal(end, "<n@x.example>");
        *end = '\0';
        buf_clear(&name_value);
        if (value[0] == '"') {
            const char *p = value + 1;
            for (; *p != '"'; p++) {
                p += *p == '\\';
                assert_true(*p != '\0');
                buf_add_char(&name_value, *p);
            }
            assert_string_equal(p, "\" ");
        } else {
            while (end > value && end[-1] == ' ')
                *--end = '\0';
            decode_words(value, &name_value);
            assert_null(strpbrk(value, "<>(),;:\\\"@[]"));
        }
        buf_clear(&subject_want);
        buf_add_str(&subject_want, buf_str(&values[0]));
        struct str want = expect_header(&subject_want);
        if (!str_eq(expect_header(&name_value), want))
            fail_msg("\"%.*s\" instead of \"%.*s\"", STR_ARG(buf_str(&name_value)), STR_ARG(want));
        free(value);
    }
    made_free(m);
}

/* Anything at all as a raw message, and as one that was good once: refused, or sent in good form. */
static void test_garbage(void **state)
{
    (void)state;
    static const char *const bits[] = {
        "From: ",
        "To: {{a}} <{{to}}>",
        "\n",
        "\r\n",
        "\r",
        "\n\n",
        " ",
        "--b",
        "--b--",
        "{{a}}",
        "{{{b}}}",
        "{{c1|d}}",
        "{{",
        "}}",
        "Subject: ",
        "Content-Type: text/html",
        "\xff",
        "\xc3\xa9",
        "=?utf-8?q?{{a}}?=",
        ".",
        "Content-Type: multipart/mixed; boundary=b",
        "Content-Type: message/rfc822",
        "=\n",
        "Content-Transfer-Encoding: base64",
        "Content-Transfer-Encoding: quoted-printable",
        "Content-Transfer-Encoding: 8bit",
        "e3thfX0=",
        "=7B{a}}",
        "List-Unsubscribe: <{{a}}>",
        "<",
        "\"",
        "Content-Disposition: attachment",
        "X-Y: ",
        "; charset=utf-8",
        "Content-Transfer-Encoding: binary",
    };
    struct made *m = made_new();
    size_t sent = 0;
    for (int round = 0; round < 4 * ROUNDS; round++) {
        make_values(m);
        buf_clear(&text);
        buf_add_z(&text, chance(50) ? "From: n@x.example\n" : "");
        for (size_t n = prng_below(&prng, 30); n > 0; n--) {
            buf_add_z(&text, bits[prng_below(&prng, sizeof bits / sizeof bits[0])]);
            if (chance(40))
                buf_add_char(&text, '\n');
            if (chance(10))
                add_words(&text, 5, true);
            if (chance(2))
                buf_add_char(&text, (char)prng_below(&prng, 256));
        }
        struct message_spec spec = {.raw = str_make(text.len ? text.data : "", text.len),
                                    .seven_bit = chance(20),
                                    .merge = chance(20) ? MESSAGE_MERGE_NO : MESSAGE_MERGE_AUTO};
        if (!made_compile(m, spec)) {
            assert_true(m->err.text[0] != '\0');
            continue;
        }
        struct str missing;
        bool incomplete =
            template_missing(&m->t, vars_blob(&m->vars), &missing); /* {{ X-Y }} may have come about */
        assert_int_equal(made_render(m), !incomplete);
        if (incomplete)
            continue;
        made_check(m);
        assert_null(made_field(m, "Evil", 0));
        sent++;
    }
    assert_true(sent > ROUNDS);
    made_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_composed),
        cmocka_unit_test(test_phrases),
        cmocka_unit_test(test_garbage),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
