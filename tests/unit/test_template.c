/* test_template.c - messages compiled and rendered, case by case; test_template_random.c has the properties.
 */
#include "tests/unit/message_help.h"

#include "engine/message/encode.h"
#include "engine/message/field.h"
#include "engine/message/record.h"

static struct made *m;

static int setup(void **state)
{
    (void)state;
    m = made_new();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    made_free(m);
    return 0;
}

static void make(struct message_spec spec)
{
    if (!made_compile(m, spec) || !made_render(m))
        fail_msg("%s", m->err.text);
    made_check(m);
}

static void make_raw(struct str raw)
{
    make((struct message_spec){.raw = raw});
}

static void refuse(struct message_spec spec, const char *why)
{
    m->err.text[0] = '\0';
    assert_false(made_compile(m, spec));
    assert_int_equal(m->record.len, 0);
    if (strstr(m->err.text, why) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", m->err.text, why);
}

static void refuse_raw(struct str raw, const char *why)
{
    refuse((struct message_spec){.raw = raw}, why);
}

static void test_whole(void **state)
{
    (void)state;
    make((struct message_spec){.from = STR("News <n@acme.example>"),
                               .to = STR("list@acme.example"),
                               .subject = STR("Hi"),
                               .text = STR("One\n.two\r\n..\nlast")});
    static const char want[] = "From: News <n@acme.example>\r\n"
                               "To: list@acme.example\r\n"
                               "Subject: Hi\r\n"
                               "Content-Type: text/plain; charset=utf-8\r\n"
                               "Content-Transfer-Encoding: 7bit\r\n"
                               "Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
                               "MIME-Version: 1.0\r\n"
                               "Message-ID: <J1@mta.example>\r\n"
                               "\r\n"
                               "One\r\n.two\r\n..\r\nlast\r\n";
    assert_string_equal(buf_add_char(&m->plain, '\0') ? m->plain.data : "", want);
    assert_non_null(memmem(m->wire.data, m->wire.len, "One\r\n..two\r\n...\r\nlast\r\n", 23));
    assert_true(m->t.info.same_for_all);
    assert_int_equal(m->t.info.size, sizeof want - 1);
    size_t header = 0;
    for (size_t i = 0; i < m->r.header_count; i++)
        header += m->r.parts[i].iov_len;
    assert_int_equal(header, (size_t)(strstr(want, "\r\n\r\n") - want) + 2);
}

static void test_alternative(void **state)
{
    (void)state;
    made_set(m, "x", STR("<Zo\xc3\xab & \"'>"));
    make((struct message_spec){.from = STR("n@x.example"),
                               .text = STR("t {{x}}"),
                               .html = STR("<b>{{x}}</b> {{{ x }}} {{y|a&b}} {{{y|a&b}}}")});
    made_expect_field(m, "To", "ada@example.com");
    made_expect_field(m, "Message-ID", "<J1-2-3@mta.example>");
    assert_false(m->t.info.same_for_all);
    assert_false(m->r.has_8bit);
    char *text = str_dup(made_body(m));
    assert_non_null(strstr(text, "\r\n\r\nt=20<Zo=C3=AB & \"'>\r\n--=_"));
    assert_non_null(
        strstr(text, "<b>&lt;Zo=C3=AB &amp; &quot;&#39;&gt;</b>=20<Zo=C3=AB & \"'>=20a&amp;b=20a&b"));
    free(text);
}

static void test_line_ends(void **state)
{
    (void)state;
    make_raw(STR("From: a@x.example\rSubject: s\n\rone\rtwo\nthree\r\n\r\nlast"));
    made_expect_field(m, "Subject", "s");
    made_expect_body(m, "one\r\ntwo\r\nthree\r\n\r\nlast\r\n");
    make_raw(STR("From: a@x.example\r\nSubject: s\r\nno blank line\r\nbody"));
    made_expect_body(m, "no blank line\r\nbody\r\n");
    make_raw(STR("\xef\xbb\xbf"
                 "From me@x Mon Jan  1 00:00:00 2024\nFrom: a@x.example\nX: y\n\nb\n"));
    made_expect_field(m, "From", "a@x.example");
    made_expect_body(m, "b\r\n");
    make_raw(STR("From: a@x.example"));
    made_expect_body(m, "");
    assert_false(m->t.info.lacks_from);
    make_raw(STR(""));
    assert_true(m->t.info.lacks_from);
    make_raw(STR("From: a@x.example\nSubject: a\0b\n\nx\0y\n"));
    made_expect_field(m, "Content-Transfer-Encoding", "quoted-printable");
    made_expect_body(m, "xy\r\n");
}

static void test_long_lines(void **state)
{
    (void)state;
    struct buf raw;
    buf_init(&raw, 100000);
    buf_add_z(&raw, "From: a@x.example\nReferences:");
    for (int i = 0; i < 40; i++)
        buf_printf(&raw, " <%d.%d@x.example>", i, i);
    buf_add_z(&raw, "\nX-Long: ");
    for (int i = 0; i < 2500; i++)
        buf_add_char(&raw, 'h');
    buf_add_z(&raw, "\n\n");
    for (int i = 0; i < 999; i++)
        buf_add_char(&raw, 'b');
    make_raw(buf_str(&raw));
    made_expect_field(m, "Content-Transfer-Encoding", "quoted-printable");
    assert_true(m->t.info.recoded);
    char *references = made_field(m, "References", 0);
    assert_int_equal(strlen(references), 10 * 15 + 30 * 17 + 39);
    free(references);
    for (const char *p = strstr(m->plain.data, "References"); *p != 'X'; p = strstr(p, "\r\n") + 2)
        assert_true(strstr(p, "\r\n") - p <= 78);

    /* One line of base64, of UTF-16: byte by byte. */
    struct buf wide;
    buf_init(&wide, 100000);
    buf_add_z(&wide, "From: a@x.example\nContent-Type: text/plain; charset=utf-16le\n"
                     "Content-Transfer-Encoding: base64\n\n");
    size_t from = wide.len;
    for (int i = 0; i < 200; i++)
        buf_add_z(&wide, "YQAKAA0A"); /* a, a line feed, a carriage return */
    make_raw(buf_str(&wide));
    struct str body = made_body(m);
    for (size_t i = 0; i < body.n; i++)
        if (i % 78 < 76 && i < body.n - 2)
            assert_int_equal(body.p[i], wide.data[from + i - i / 78 * 2]);
    made_expect_field(m, "Content-Transfer-Encoding", "base64");
    buf_free(&wide);

    raw.len--; /* 998 are as they should be */
    make_raw(buf_str(&raw));
    made_expect_field(m, "Content-Transfer-Encoding", NULL);
    assert_false(m->t.info.recoded);

    for (int n = 980; n < 1010; n++) {
        buf_clear(&raw);
        buf_add_z(&raw, "From: a@x.example\nX-Id: ");
        for (int i = 0; i < n; i++)
            buf_add_char(&raw, 'i');
        make_raw(buf_str(&raw)); /* made_check looks at the lines */
        char *id = made_field(m, "X-Id", 0);
        assert_int_equal(strlen(id), n + (n + 6 > TEXT_LINE_MAX));
        free(id);
    }
    buf_free(&raw);
}

static void test_undeclared_8bit(void **state)
{
    (void)state;
    make_raw(STR("From: a@x.example\nSubject: \xc3\xbc\n\n\xc3\xbc\n"));
    made_expect_field(m, "Content-Type", "text/plain; charset=utf-8");
    made_expect_field(m, "Content-Transfer-Encoding", "quoted-printable");
    made_expect_field(m, "Subject", "\xc3\xbc"); /* as given */
    made_expect_body(m, "=C3=BC\r\n");
    assert_true(m->t.info.has_8bit && !m->t.info.needs_smtputf8);
    struct str declared = STR("From: a@x.example\nContent-Type: text/plain; charset=iso-8859-1\n"
                              "Content-Transfer-Encoding: 8bit\n\n\xfc\n");
    make_raw(declared);
    made_expect_body(m, "\xfc\r\n");
    assert_true(m->t.info.has_8bit && !m->t.info.recoded);
    make((struct message_spec){.raw = declared, .seven_bit = true});
    made_expect_field(m, "Content-Type", "text/plain; charset=iso-8859-1");
    made_expect_body(m, "=FC\r\n");
    assert_false(m->t.info.has_8bit);
    make_raw(STR("From: \xc3\xbc <a@x.example>\n\n"));
    assert_true(m->t.info.needs_smtputf8);
    make((struct message_spec){.raw = STR("From: \xc3\xbc <a@x.example>\n\n"), .seven_bit = true});
    made_expect_field(m, "From", "=?utf-8?B?w7w=?= <a@x.example>");
    assert_false(m->t.info.needs_smtputf8 || m->t.info.has_8bit);
}

static void test_parts(void **state)
{
    (void)state;
    made_set(m, "x", STR("--b"));
    make_raw(
        STR("From: a@x.example\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\npre {{amble\n"
            "--b\nContent-Type: text/plain\nContent-Transfer-Encoding: base64\n\n"
            "e3t4fX0gYnll\n" /* {{x}} bye */
            "--b\nContent-Type: text/csv\nContent-Disposition: attachment\n\n{{not a variable\n"
            "--b\nContent-Type: application/pdf\nContent-Transfer-Encoding: binary\n\n\n\x00\xff\n"
            "--b\nContent-Type: message/rfc822\n\nSubject: {{x}}\n\n{{x|d}}.\n"
            "--b--\nepilogue"));
    made_expect_body(
        m, "pre {{amble\r\n"
           "--b\r\nContent-Type: text/plain; charset=utf-8\r\n"
           "Content-Transfer-Encoding: quoted-printable\r\n\r\n=2D-b bye\r\n"
           "--b\r\nContent-Type: text/csv\r\nContent-Disposition: attachment\r\n\r\n{{not a variable\r\n"
           "--b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nCgD/\r\n"
           "--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: --b\r\n"
           "Content-Type: text/plain; charset=utf-8\r\n"
           "Content-Transfer-Encoding: quoted-printable\r\n\r\n=2D-b=2E\r\n"
           "--b--\r\nepilogue\r\n");
}

static void test_headers(void **state)
{
    (void)state;
    made_set(m, "n", STR("Zo\xc3\xab"));
    made_set(m, "a", STR("Ada"));
    made_set(m, "q", STR("Smith, \"J\" <x@y>"));
    made_set(m, "evil", STR("x\r\nBcc: victim@x.example\r\n\r\nbody\0"));
    make_raw(
        STR("From: {{a}} News <n@x.example>\n"
            "To: {{n}} van {{a}} <{{to}}>, \"{{q}}\" <a{{rid}}@x.example>, {{mail|b@y.example}}\n"
            "Cc: {{evil}} <{{evil}}>\n"
            "Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe_=7B=7Bn=7D=7D?=, {{evil}} =?x\n"
            "X-A: {{a}} and  {{a}}\n"
            "X-B: a   {{e|\xc3\xa9}}   b\n"
            "Message-ID: <{{rid}}.{{q}}@x.example>\n"
            "List-Unsubscribe: <https://x.example/u?m={{n}}&x={{q}}>, <{{url|https://y.example/?a=b&c}}>\n"
            "Content-Disposition: inline; filename=\"{{q}}.txt\"\n"
            "Bcc: z@x.example\nReturn-Path: <z@x.example>\nReceived: from x\n\n"));
    made_expect_field(m, "From", "Ada News <n@x.example>");
    made_expect_field(m, "To",
                      "=?utf-8?Q?Zo=C3=AB_van_Ada?= <ada@example.com>, "
                      "\"Smith, \\\"J\\\" <x@y>\" <aJ1-2-3@x.example>, b@y.example");
    made_expect_field(m, "Cc", "\"x  Bcc: victim@x.example    body\" <x__Bcc__victim@x.example____body_>");
    made_expect_field(m, "Subject",
                      "=?utf-8?B?R3LDvMOfZSBab8OrLCB4ICBCY2M6IHZpY3RpbUB4LmV4YW1wbGUg?= "
                      "=?utf-8?B?ICAgYm9keSAgPT94?=");
    made_expect_field(m, "X-A", "Ada and  Ada");
    made_expect_field(m, "X-B", "a =?utf-8?B?ICDDqSAg?= b"); /* spaces that decoders would lose are inside */
    made_expect_field(m, "Message-ID", "<J1-2-3.Smith___J___x@y_@x.example>");
    made_expect_field(m, "List-Unsubscribe",
                      "<https://x.example/u?m=Zo%C3%AB&x=Smith%2C%20%22J%22%20%3Cx@y%3E>, "
                      "<https://y.example/?a=b&c>");
    made_expect_field(m, "Content-Disposition", "inline; filename=\"Smith, \\\"J\\\" <x@y>.txt\"");
    made_expect_field(m, "Bcc", NULL);
    made_expect_field(m, "Return-Path", NULL);
    made_expect_field(m, "Received", NULL);
    assert_true(m->t.info.removed_bcc && m->t.info.removed_return_path && m->t.info.removed_received);
    assert_false(m->r.has_8bit || m->r.needs_smtputf8);
}

static void test_addresses(void **state)
{
    (void)state;
    made_set(m, "m",
             STR("\xc3\xbc@b\xc3\xbc"
                 "cher.example"));
    made_set(m, "l",
             STR("Zo\xc3\xab <z@x.example>, b@b\xc3\xbc"
                 "cher.example"));
    make((struct message_spec){.from = STR("\"Gr\xc3\xbc\xc3\x9f"
                                           "e, GmbH\" <n@b\xc3\xbc"
                                           "cher.example>"),
                               .to = STR("friends: a@x.example, \"B, C\" <b@x.example>;"),
                               .cc = STR("{{l}}"),
                               .reply_to = STR("{{m}}"),
                               .in_reply_to = STR("a@x, <b@y>"),
                               .text = STR("")});
    made_expect_field(m, "From", "=?utf-8?B?R3LDvMOfZSwgR21iSA==?= <n@xn--bcher-kva.example>");
    made_expect_field(m, "To", "friends: a@x.example, \"B, C\" <b@x.example>;");
    made_expect_field(m, "Cc", "=?utf-8?Q?Zo=C3=AB?= <z@x.example>, b@xn--bcher-kva.example");
    made_expect_field(m, "Reply-To", "\xc3\xbc@xn--bcher-kva.example");
    made_expect_field(m, "In-Reply-To", "<a@x> <b@y>");
    assert_true(m->r.needs_smtputf8 && m->r.has_8bit && !m->t.info.needs_smtputf8);
}

static void test_merge_modes(void **state)
{
    (void)state;
    struct str raw = STR("From: a@x.example\nSubject: {{x\n\n{{y}}");
    make((struct message_spec){.raw = raw, .merge = MESSAGE_MERGE_NO});
    made_expect_field(m, "Subject", "{{x");
    made_expect_body(m, "{{y}}\r\n");
    assert_true(m->t.info.same_for_all);
    make((struct message_spec){.raw = STR("From: a@x.example\n\nx"), .merge = MESSAGE_MERGE_YES});
    made_expect_field(m, "Message-ID", "<J1-2-3@mta.example>");
    make((struct message_spec){.from = STR("a@x.example"), .text = STR("{{x"), .merge = MESSAGE_MERGE_NO});
    made_expect_field(m, "To", "ada@example.com");
    made_expect_body(m, "{{x\r\n");
    make_raw(STR("From: a@x.example\nMessage-Id: <i@x>\nDate: d\nMime-Version: 1.0\n\n{{ to }} {{rid}} "
                 "{{id}} {{job}}"));
    made_expect_body(m, "ada@example.com=20J1-2-3=2042=20J1\r\n");
    assert_null(made_field(m, "Message-ID", 1));
    assert_null(made_field(m, "Date", 1));
    assert_null(made_field(m, "MIME-Version", 1));
}

/* {{x|url}}: percent-encoded, and then as its place asks. */
static void test_url(void **state)
{
    (void)state;
    made_set(m, "x", STR("a b&\xc3\xb6/\"~"));
    make((struct message_spec){
        .from = STR("a@x.example"),
        .subject = STR("{{x|url}}"),
        .html = STR("<a href=\"https://x.example/?q={{ x | url }}&{{none|url|b c}}\">{{x}}"),
        .text = STR(""),
        .unsubscribe_url = STR("https://x.example/{{x|url}}/{{x}}")});
    made_expect_field(m, "Subject", "a%20b%26%C3%B6%2F%22~");
    made_expect_field(m, "List-Unsubscribe", "<https://x.example/a%20b%26%C3%B6%2F%22~/a%20b%26%C3%B6/%22~>");
    made_expect_body(m, "<a href=3D\"https://x.example/?q=3Da%20b%26%C3%B6%2F%22~&b%20c\">a b&amp;=C3=\r\n"
                        "=B6/&quot;~\r\n");
    refuse_raw(STR("From: a@x.example\n\n{{none|url"), "{{ without }}");
}

/* As Mailgun writes them. */
static void test_percent_variables(void **state)
{
    (void)state;
    made_set(m, "name", STR("Ada <3"));
    make((struct message_spec){
        .from = STR("a@x.example"),
        .to = STR("%recipient.name% <%recipient%>"),
        .text = STR("%recipient.name%, 100% %recipient %recipient.% %recipient.1% {{name}}"),
        .html = STR("%recipient.name%")});
    made_expect_field(m, "To", "\"Ada <3\" <ada@example.com>");
    assert_true(buf_add_char(&m->plain, '\0'));
    assert_non_null(strstr(m->plain.data, "Ada <3, 100% %recipient %recipient.% %recipient.1%=20Ada <3\r\n"));
    assert_non_null(strstr(m->plain.data, "\r\n\r\nAda &lt;3\r\n"));
    make((struct message_spec){.raw = STR("From: a@x.example\n\n%recipient.name%"),
                               .merge = MESSAGE_MERGE_NO});
    made_expect_body(m, "%recipient.name%\r\n");
    assert_true(m->t.info.same_for_all);
}

#define BINARY_TOP                                                                                           \
    "From: a@x.example\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n"                \
    "Content-Transfer-Encoding: %s\r\n\r\n--b\r\n\r\ntext\r\n--b\r\nContent-Type: image/png\r\n"             \
    "Content-Transfer-Encoding: binary\r\n\r\n"

/* A message with a binary part, in a multipart of that encoding; its length. */
static size_t binary_message(char *to, const char *encoding, const char *part, size_t n)
{
    size_t at = (size_t)snprintf(to, 512, BINARY_TOP, encoding);
    memcpy(to + at, part, n);
    memcpy(to + at + n, "\r\n--b--\r\n", 10);
    return at + n + 9;
}

/* For hosts with BINARYMIME it stays as it came, to the byte; encoded again it says the same. */
static void test_binary(void **state)
{
    (void)state;
    static const struct {
        const char *part;
        size_t n;
    } parts[] = {
        {"\0\r\n.\r\n\n\r\xff\r\r\n", 11}, {".", 1}, {"", 0}, {"..\r\n.", 5}, {"x\r\n", 3}, {"\n", 1}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char raw[1024];
        struct buf encoded;
        struct message_spec spec = {.keep_binary = true, .merge = MESSAGE_MERGE_NO};
        spec.raw = str_make(raw, binary_message(raw, "binary", parts[i].part, parts[i].n));
        struct made *bin = made_new();
        assert_true(made_compile(bin, spec));
        assert_true(bin->t.info.has_binary && bin->t.info.has_8bit);
        assert_true(made_render_one(bin, &bin->plain, true));
        assert_non_null(memmem(bin->plain.data, bin->plain.len, strstr(raw, "--b\r\n"),
                               spec.raw.n - (size_t)(strstr(raw, "--b\r\n") - raw)));
        spec =
            (struct message_spec){.raw = buf_str(&bin->plain), .merge = MESSAGE_MERGE_NO, .seven_bit = true};
        struct made *seven = made_new();
        assert_true(made_compile(seven, spec));
        assert_false(seven->t.info.has_binary || seven->t.info.has_8bit);
        assert_true(made_render(seven));
        buf_init(&encoded, 256);
        buf_add_base64(&encoded, str_make(parts[i].part, parts[i].n));
        assert_true(buf_add_char(&seven->plain, '\0'));
        assert_non_null(strstr(seven->plain.data, "Content-Transfer-Encoding: base64\r\n\r\n"));
        if (parts[i].n > 0)
            assert_non_null(memmem(seven->plain.data, seven->plain.len, encoded.data, encoded.len));
        buf_free(&encoded);
        made_free(bin);
        made_free(seven);
    }
}

/* Not declared all the way up, or not asked for: encoded at once. */
static void test_binary_is_not_kept(void **state)
{
    (void)state;
    char raw[1024];
    for (unsigned i = 0; i < 3; i++) {
        struct message_spec spec = {.keep_binary = i != 1, .seven_bit = i == 2};
        spec.raw = str_make(raw, binary_message(raw, i == 0 ? "8bit" : "binary", "\0\xff", 2));
        make(spec);
        assert_false(m->t.info.has_binary);
        assert_true(buf_add_char(&m->plain, '\0'));
        assert_non_null(strstr(m->plain.data, "\r\nContent-Transfer-Encoding: base64\r\n\r\nAP8=\r\n--b--"));
    }
    make((struct message_spec){.keep_binary = true,
                               .raw = STR("From: a@x.example\r\nContent-Type: image/png\r\n"
                                          "Content-Transfer-Encoding: binary\r\n\r\nx")});
    assert_false(m->t.info.has_binary);
}

static void test_feedback_id(void **state)
{
    (void)state;
    struct message_spec spec = {.raw = STR("From: a@x.example\n\nx"),
                                .feedback_id = STR("c:{{recipient_hash}}:s")};
    make(spec);
    char *first = made_field(m, "Feedback-ID", 0);
    assert_int_equal(strlen(first), 16 + 4);
    spec.raw = STR("From: a@x.example\nfeedback-id: own\n\nx");
    make(spec);
    made_expect_field(m, "Feedback-ID", "own");
    make((struct message_spec){.from = STR("a@x.example"), .text = STR("{{recipient_hash}}")});
    assert_memory_equal(made_body(m).p, first + 2, 16); /* the same in every job */
    free(first);
}

static void test_missing(void **state)
{
    (void)state;
    struct str name;
    assert_true(made_compile(m, (struct message_spec){.from = STR("a@x.example"),
                                                      .subject = STR("{{b}} {{opt|x}} {{to}}"),
                                                      .text = STR("{{c.d-e_1}} {{b}} {{b|y}}")}));
    assert_true(template_missing(&m->t, vars_blob(&m->vars), &name) && str_eq(name, STR("b")));
    made_set(m, "zz", STR("1"));
    made_set(m, "b", STR("1"));
    assert_true(template_missing(&m->t, vars_blob(&m->vars), &name) && str_eq(name, STR("c.d-e_1")));
    assert_false(made_render(m));
    assert_int_equal(m->err.code, 2 /* ENOENT */);
    made_set(m, "c.d-e_1", STR(""));
    made_set(m, "opt", STR(""));
    assert_false(template_missing(&m->t, vars_blob(&m->vars), &name));
    assert_true(made_render(m));
    made_expect_field(m, "Subject", "1 x ada@example.com");
    made_expect_body(m, "=201=201\r\n");
}

static void test_refused(void **state)
{
    (void)state;
    refuse_raw(STR("From: a@x\n\none\r\n\r{{x"), "line 5: {{ without }}");
    refuse_raw(STR("From: a@x\nSubject: {{9x}}\n\n"), "line 2: a variable's name");
    refuse_raw(STR("From: a@x\n\n{{{x}} y"), "line 3: {{{ without }}}");
    refuse_raw(STR("From: a@x\n\n{{a|{{b}}}}"), "line 3: {{ without }}");
    refuse_raw(STR("From: a@x\n\n{{}}"), "line 3: a variable's name");
    refuse_raw(STR("From: a@x\n\n{{a b}}"), "line 3: a variable's name");
    refuse_raw(STR("From: a@x\nContent-Type: text/{{x}}\n\n"), "line 2: Content-Type may hold no variables");
    refuse_raw(STR("From: a@x\nContent-Type: text/plain; charset=koi8-r\n\n{{x}}"),
               "line 4: a part with variables");
    refuse_raw(STR("From: a@x\nContent-Transfer-Encoding: base64\n\neHgKCnt7eA=="),
               "line 4: in the encoded part");
    refuse_raw(STR("From: a@x\nContent-Transfer-Encoding: x-uu\n\n{{x}}"), "not known");
    refuse((struct message_spec){.raw = STR("x"), .text = STR("y")}, "either raw");
    refuse((struct message_spec){.from = STR("a@x")}, "neither");
    refuse((struct message_spec){.text = STR("x")}, "no \"from\"");
    refuse((struct message_spec){.from = STR("Ada"), .text = STR("x")}, "From: \"Ada\" is no mail address");
    refuse((struct message_spec){.from = STR(" "), .text = STR("x")}, "From: there is no mail address");
    refuse((struct message_spec){.from = STR("a@x"), .text = STR("a\n{{x")}, "text: line 2: {{ without }}");
    refuse((struct message_spec){.from = STR("a@x"), .subject = STR("{{x}"), .text = STR("")},
           "Subject: {{ without");
    refuse((struct message_spec){.from = STR("a@x"), .text = STR("\xff")}, "text is not UTF-8");
    struct message_header header = {STR("Content-Type"), STR("x")};
    struct message_spec spec = {.from = STR("a@x"), .text = STR(""), .headers = &header, .header_count = 1};
    refuse(spec, "set by the engine");
    header.name = STR("From");
    refuse(spec, "From is given twice");
    header.name = STR("X\r\nEvil");
    refuse(spec, "can't be the name");
    header = (struct message_header){STR("X-Evil"), STR("a\r\nBcc: b@x\n\nc")};
    make(spec);
    made_expect_field(m, "X-Evil", "a  Bcc: b@x  c");
}

static void test_nesting(void **state)
{
    (void)state;
    struct buf raw;
    buf_init(&raw, 1000000);
    buf_add_z(&raw, "From: a@x.example\n");
    for (int i = 0; i < MIME_DEPTH_MAX + 2; i++)
        buf_printf(&raw, "Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", i, i);
    refuse_raw(buf_str(&raw), "nested more than");
    buf_clear(&raw);
    buf_add_z(&raw, "From: a@x.example\nContent-Type: multipart/mixed; boundary=b\n\n");
    for (int i = 0; i < MIME_PARTS_MAX; i++)
        buf_add_z(&raw, "--b\n\nx\n");
    refuse_raw(buf_str(&raw), "parts");
    buf_clear(&raw);
    for (int i = 0; i < TEMPLATE_NAMES_MAX + 1; i++)
        buf_printf(&raw, "{{v%d}}", i);
    refuse((struct message_spec){.from = STR("a@x"), .text = buf_str(&raw)}, "different variables");
    buf_free(&raw);
}

/* Damaged records: refused, or, when even the checksum was made to fit, read without a step outside. */
static void test_damaged(void **state)
{
    (void)state;
    make((struct message_spec){.from = STR("n@x.example"),
                               .cc = STR("{{a|x}} <{{b|y@z}}>"),
                               .subject = STR("{{a|q}} \xc3\xbc"),
                               .text = STR("x {{a|q}} y\n.\n{{b|c}}"),
                               .html = STR("<{{a|q}}>")});
    size_t n = m->record.len, covered = offsetof(struct record, checksum) + 8, opened = 0;
    for (size_t i = 0; i < n; i++) {
        char *copy = malloc(n);
        struct template t;
        memcpy(copy, m->record.data, n);
        assert_false(template_open(copy, i, &t, &m->err));
        for (int bit = 0; bit < 8; bit++) {
            copy[i] = (char)(m->record.data[i] ^ 1 << bit);
            assert_false(template_open(copy, n, &t, &m->err));
            uint64_t checksum = str_hash(str_make(copy + covered, n - covered));
            memcpy(copy + offsetof(struct record, checksum), &checksum, sizeof checksum);
            if (template_open(copy, n, &t, &m->err)) {
                struct render_args args = {.rid = STR("r"), .unstuffed = bit & 1};
                opened += template_render(&t, &args, &m->r, &m->err);
            }
            memcpy(copy, m->record.data, covered);
        }
        free(copy);
    }
    assert_true(opened > n); /* most bits are those of text */
    assert_true(template_open(m->record.data, n, &m->t, &m->err));
}

/* A rendition is used for recipient after recipient, also of other templates. */
static void test_reuse(void **state)
{
    (void)state;
    char *big = malloc(100000);
    memset(big, 'x', 100000);
    struct message_spec spec = {
        .from = STR("n@x.example"), .subject = STR("{{x}}"), .text = STR("{{x}}\n.{{x}}.")};
    for (size_t n = 1; n <= 100000; n = n * 7 + 1) {
        vars_builder_clear(&m->vars);
        made_set(m, "x", str_make(big, n > 60000 ? 60000 : n));
        make(spec);
    }
    free(big);
    make((struct message_spec){.from = STR("n@x.example"), .to = STR("a@x"), .text = STR("x")});
    made_expect_body(m, "x\r\n");
}

/* What came over SMTP: traces stay, ours on top, and what is for this engine goes. */
static void test_trace(void **state)
{
    (void)state;
    static const char trace[] = "Received: from me\r\n\tby you; now\r\n";
    make((struct message_spec){.raw =
                                   STR("Received: from x\r\nX-Postrider-Campaign: c\r\nFrom: a@x.example\r\n"
                                       "Bcc: z@x.example\r\n\r\n.\r\n"),
                               .trace = str_of(trace),
                               .merge = MESSAGE_MERGE_NO});
    assert_memory_equal(m->plain.data, trace, sizeof trace - 1);
    assert_non_null(memmem(m->plain.data, m->plain.len, "\r\nReceived: from x\r\n", 20));
    made_expect_field(m, "X-Postrider-Campaign", NULL);
    made_expect_field(m, "Bcc", NULL);
    assert_false(m->t.info.removed_received);
}

/* A header field whose words there was no room to put together fails; it is not written without them. */
static void test_field_without_room(void **state)
{
    struct buf out, text;
    struct field_writer w;
    (void)state;
    buf_init(&out, 1000);
    buf_init(&text, 8);
    field_begin(&w, &out, &text, 3);
    field_step(&w, RECORD_TEXT, 0, STR("longer than that"));
    field_step(&w, RECORD_TEXT_END, 0, STR(""));
    field_step(&w, RECORD_FIELD_END, 0, STR(""));
    assert_true(out.failed);
    buf_free(&out);
    buf_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_field_without_room),
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        TEST(test_whole),
        TEST(test_alternative),
        TEST(test_line_ends),
        TEST(test_long_lines),
        TEST(test_parts),
        TEST(test_headers),
        TEST(test_addresses),
        TEST(test_undeclared_8bit),
        TEST(test_url),
        TEST(test_percent_variables),
        TEST(test_binary),
        TEST(test_binary_is_not_kept),
        TEST(test_feedback_id),
        TEST(test_missing),
        TEST(test_merge_modes),
        TEST(test_refused),
        TEST(test_nesting),
        TEST(test_damaged),
        TEST(test_reuse),
        TEST(test_trace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
