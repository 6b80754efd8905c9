/* test_compose.c - messages from their fields, case by case: lists, unsubscribing, attachments, the text made
 * of an html. test_compose.py has the properties, with readers of others. */
#include "tests/unit/message_help.h"

#include "engine/message/html_text.h"

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

static struct message_spec basic(void)
{
    return (struct message_spec){.from = STR("n@x.example"), .text = STR("x")};
}

static void make(struct message_spec spec)
{
    if (!made_compile(m, spec) || !made_render(m))
        fail_msg("%s", m->err.text);
    made_check(m);
    assert_true(buf_add_char(&m->plain, '\0'));
}

static void expect(const char *what)
{
    if (strstr(m->plain.data, what) == NULL)
        fail_msg("no \"%s\" in:\n%s", what, m->plain.data);
}

static void expect_not(const char *what)
{
    if (strstr(m->plain.data, what) != NULL)
        fail_msg("\"%s\" stands in:\n%s", what, m->plain.data);
}

static void refuse(struct message_spec spec, const char *why)
{
    m->err.text[0] = '\0';
    assert_false(made_compile(m, spec));
    if (strstr(m->err.text, why) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", m->err.text, why);
}

static void test_sender(void **state)
{
    (void)state;
    const struct message_header said = {STR("Sender"), STR("b@x.example")};
    struct message_spec spec = basic();
    spec.from = STR("\"A, the first\" <a@x.example>, b@x.example");
    refuse(spec, "\"from\" names several authors: say in \"sender\"");
    spec.sender = STR("a@x.example, b@x.example");
    refuse(spec, "\"sender\" names several mailboxes");
    spec.sender = STR("b@x.example");
    make(spec);
    expect("Sender: b@x.example\r\n");
    spec.sender = (struct str){0};
    spec.headers = &said;
    spec.header_count = 1;
    make(spec);
    expect("Sender: b@x.example\r\n");
    spec = basic();
    spec.from = STR("\"A, the first; of: us\" <a@x.example>");
    make(spec);
    expect_not("Sender:");
    spec.sender = spec.from;
    make(spec);
    expect_not("Sender:");
    spec.sender = STR("office@x.example");
    make(spec);
    expect("Sender: office@x.example\r\n");
}

static void test_list(void **state)
{
    (void)state;
    const struct message_list list[] = {
        {"List-Id", STR("weekly.x.example"), STR("The \"weekly\" news")},
        {"List-Help", STR("https://x.example/help"), STR("")},
        {"List-Subscribe", STR("join@x.example?subject=hi"), STR("by mail (a) or\\b")},
        {"List-Subscribe", STR("https://x.example/{{ id }}"), STR("")},
        {"List-Owner", STR("mailto:o@x.example"), STR("Besitzer: J\xc3\xb6rg")},
        {"List-Post", STR("NO"), STR("only the editors")},
        {"List-Archive", STR("{{archive}}"), STR("")},
    };
    struct message_spec spec = basic();
    spec.list = list;
    spec.list_count = sizeof list / sizeof list[0];
    made_set(m, "archive", STR("https://x.example/a b"));
    make(spec);
    expect("List-Id: \"The \\\"weekly\\\" news\" <weekly.x.example>\r\n");
    expect("List-Help: <https://x.example/help>\r\n");
    expect("List-Subscribe: <mailto:join@x.example?subject=hi> (by mail \\(a\\) or\\\\b),\r\n"
           " <https://x.example/42>\r\n");
    expect("List-Owner: <mailto:o@x.example> (=?utf-8?B?QmVzaXR6ZXI6IErDtnJn?=)\r\n");
    expect("List-Post: NO (only the editors)\r\n");
    expect("List-Archive: <https://x.example/a%20b>\r\n");
}

static void test_list_refused(void **state)
{
    (void)state;
    struct message_list list = {"List-Help", STR("nothing"), STR("")};
    struct message_spec spec = basic();
    spec.list = &list;
    spec.list_count = 1;
    refuse(spec, "List-Help: \"nothing\" is no URL");
    list.url = STR("https://x.example/a b");
    refuse(spec, "holds white space or one of < >");
    list.url = STR("https://x.example/>,<evil:");
    refuse(spec, "holds white space or one of < >");
    list.url = STR("");
    refuse(spec, "List-Help is empty");
    list.url = STR("https://x.example/");
    struct message_header header = {STR("list-help"), STR("<https://y.example/>")};
    spec.headers = &header;
    spec.header_count = 1;
    refuse(spec, "headers: list-help is given twice");
    list.name = "List-Unsubscribe";
    spec.header_count = 0;
    spec.unsubscribe_url = STR("https://x.example/");
    refuse(spec, "\"unsubscribe\" stands beside the message's own");
}

static void test_unsubscribe(void **state)
{
    (void)state;
    struct message_spec spec = basic();
    spec.unsubscribe_url = STR("https://x.example/u?id={{rid}}");
    spec.unsubscribe_mailto = STR("leave@x.example?subject={{rid}}");
    make(spec);
    expect(
        "List-Unsubscribe: <https://x.example/u?id=J1-2-3>,\r\n <mailto:leave@x.example?subject=J1-2-3>\r\n");
    expect("List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n");
    spec.one_click = MESSAGE_ONE_CLICK_NO;
    make(spec);
    expect_not("One-Click");
    spec.one_click = MESSAGE_ONE_CLICK_AUTO;
    spec.unsubscribe_url = STR("http://x.example/u");
    make(spec);
    expect_not("One-Click");
    spec.one_click = MESSAGE_ONE_CLICK_YES;
    refuse(spec, "\"one_click\" needs a \"url\" that begins with https://");
    spec.one_click = MESSAGE_ONE_CLICK_AUTO;
    spec.unsubscribe_mailto = STR("https://x.example/");
    refuse(spec, "\"mailto\" is a mail address");
    spec = basic();
    spec.unsubscribe_mailto = STR("leave@x.example");
    make(spec);
    expect("List-Unsubscribe: <mailto:leave@x.example>\r\n");
    struct message_header header = {STR("List-Unsubscribe-Post"), STR("x")};
    spec.headers = &header;
    spec.header_count = 1;
    refuse(spec, "headers: List-Unsubscribe-Post is given twice");
}

static void test_priority(void **state)
{
    (void)state;
    struct message_spec spec = basic();
    spec.priority = MESSAGE_PRIORITY_HIGH;
    make(spec);
    expect("Importance: high\r\nX-Priority: 1\r\n");
    spec.priority = MESSAGE_PRIORITY_LOW;
    make(spec);
    expect("Importance: low\r\nX-Priority: 5\r\n");
}

static void test_attachments(void **state)
{
    (void)state;
    struct message_attachment list[] = {
        {.filename = STR("a \"b\".txt"), .type = STR("text/plain; charset=utf-8"), .content = STR("{{x}}")},
        {.filename = STR("J\xc3\xb6rg.png"),
         .type = STR("image/png"),
         .content = STR("\0\1"),
         .cid = STR("c@x")},
        {.type = STR("message/rfc822"), .content = STR("Subject: {{in}}\n\nn\xc3\xb6 {{x}}\n")},
        {.type = STR("message/delivery-status"), .content = STR("A: b\n")},
        {.filename = STR("=?utf-8?q?x?=")},
    };
    struct message_spec spec = basic();
    spec.attachments = list;
    spec.attachment_count = 5;
    make(spec);
    expect("Content-Disposition: attachment;\r\n filename=\"a \\\"b\\\".txt\"\r\n\r\ne3t4fX0=\r\n--");
    expect("Content-ID: <c@x>\r\nContent-Disposition: attachment;\r\n filename*=utf-8''J%C3%B6rg.png\r\n");
    expect("\r\n\r\nSubject: {{in}}\r\n");
    expect("n=C3=B6 {{x}}\r\n");
    expect("Content-Transfer-Encoding: 7bit\r\nContent-Disposition: attachment\r\n\r\nA: b\r\n");
    expect(" filename*=utf-8''%3D%3Futf-8%3Fq%3Fx%3F%3D\r\n"); /* no encoded word */
    assert_false(m->t.info.has_8bit);
    spec.html = STR("<img src=cid:c@x>");
    make(spec);
    expect("Content-Type: multipart/related; type=\"text/html\";\r\n");
    expect("Content-Disposition: inline;\r\n filename*=utf-8''J%C3%B6rg.png\r\n");
    list[0].type = STR("multipart/mixed; boundary=x");
    refuse(spec, "attachments: number 1: a multipart can't be attached");
    list[0].type = STR("text");
    refuse(spec, "\"type\" must be a media type");
    list[0].type = STR("message/delivery-status");
    list[0].content = STR("\xc3\xb6");
    refuse(spec, "must be ASCII");
    list[0] = list[1];
    list[0].cid = STR("a b");
    refuse(spec, "\"cid\" is of ASCII letters");
    spec.attachment_count = 0;
    spec.html.p = NULL;
    spec.amp = STR("<html amp4email>");
    refuse(spec, "\"amp\" needs \"html\"");
}

static void test_alone_or_with_text(void **state)
{
    (void)state;
    struct message_spec spec = {.from = STR("n@x.example"),
                                .html = STR("<p>Dear {{{name}}},<p>bye {{x|now}}")};
    made_set(m, "name", STR("Ada"));
    make(spec);
    expect("Content-Type: multipart/alternative;");
    expect("Content-Type: text/plain; charset=utf-8\r\n");
    expect("\r\n\r\nDear=20Ada,\r\n\r\nbye=20now\r\n--");
    spec.text = STR("");
    make(spec);
    expect_not("multipart");
    expect_not("text/plain");
    spec.text.p = NULL;
    spec.html = STR("<img src=\"https://x.example/a.png\">");
    make(spec); /* nothing to be read */
    expect_not("multipart");
}

static void test_html_text(void **state)
{
    (void)state;
    static const struct {
        const char *html, *text;
    } cases[] = {
        {"", ""},
        {"  \n <p> </p>", ""},
        {"a  b\n\tc", "a b c"},
        {"<p>a</p><p>b</p>c<div>d</div>e<br>f", "a\n\nb\n\nc\nd\ne\nf"},
        {"<style>p{}</style><script>if (a<b) x()</script><title>t</title>a", "a"},
        {"<div style='display : none;x'>pre<b>view</b></div><p hidden>h</p>a", "a"},
        {"a <a href=\"https://x.example/?a=1&amp;b=2\">b</a>.", "a b <https://x.example/?a=1&b=2>."},
        {"<a href='https://x.example/'>https://x.example/</a> <a href='mailto:a@b'>a@b</a>",
         "https://x.example/ a@b"},
        {"<a href='#top'>up</a> <a href='https://x.example/'><img src=x></a>", "up <https://x.example/>"},
        {"<ul><li>a</li><li>b</ul>", "- a\n- b"},
        {"a<blockquote>b<p>c</p></blockquote>d", "a\n\n> b\n>\n> c\n\nd"},
        {"<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"},
        {"a<pre>  b\n   c\n</pre>d", "a\n\n  b\n   c\n\nd"},
        {"a<hr>b", "a\n\n----\nb"},
        {"&lt;b&gt; &amp; &eacute; &#x65e5;", "<b> & \xc3\xa9 \xe6\x97\xa5"},
        {"{{x}} {{{y}}} {{ z | d }}", "{{x}} {{{y}}} {{ z | d }}"},
        {"<p>a<b>b</p></i>c</b></table></div>", "ab\n\nc"},
        {"<meta charset=iso-8859-1>\xc3\xa9", "\xc3\xa9"},
        {"<!-- x -->a<!-- y", "a"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf out;
        buf_init(&out, CONTENT_MAX);
        assert_true(html_to_text(str_of(cases[i].html), &out));
        if (!str_eq(buf_str(&out), str_of(cases[i].text)))
            fail_msg("\"%s\" became \"%.*s\"", cases[i].html, STR_ARG(buf_str(&out)));
        buf_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_sender, setup, teardown),
        cmocka_unit_test_setup_teardown(test_list, setup, teardown),
        cmocka_unit_test_setup_teardown(test_list_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unsubscribe, setup, teardown),
        cmocka_unit_test_setup_teardown(test_priority, setup, teardown),
        cmocka_unit_test_setup_teardown(test_attachments, setup, teardown),
        cmocka_unit_test_setup_teardown(test_alone_or_with_text, setup, teardown),
        cmocka_unit_test(test_html_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
