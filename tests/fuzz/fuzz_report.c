/* fuzz_report.c - what a receiver says, on its way into reports: the category it falls into, the delivery
 * report to the sender, the bounce report as text and as a page. Whatever it is, it stays within its field,
 * its line and its cell. */
#include "engine/report/bounces_html.h"
#include "engine/report/bounces_text.h"
#include "engine/report/category.h"
#include "engine/report/dsn.h"
#include "engine/report/tally.h"
#include "tests/fuzz/fuzz.h"

static const struct str host = {"mta.example", 11}, job = {"17", 2}, unique = {"17.1", 4};
static const struct str plain = {"a@b.example", 11}, global = {"\xc3\xbc@b.example", 12};

struct said {
    struct str to, orcpt, mx, reply, original;
    struct status status;
    uint16_t code;
};

static struct str field(struct str *rest, size_t max)
{
    return fuzz_piece(rest, fuzz_byte(rest) % (max + 1));
}

static void count_field_starts(struct str text, const char *name, unsigned want)
{
    unsigned n = 0;
    size_t length = strlen(name);
    for (size_t i = 0; i + length <= text.n; i++)
        n += (i == 0 || text.p[i - 1] == '\n') && memcmp(text.p + i, name, length) == 0;
    CLAIM(n == want);
}

static void check_dsn(const struct said *said, enum dsn_kind kind, bool utf8, bool full)
{
    struct dsn_rcpt rcpt = {.to = said->to,
                            .orcpt = said->orcpt,
                            .status = said->status,
                            .code = said->code,
                            .reply = said->reply,
                            .mx = said->mx,
                            .last_ms = 1,
                            .attempts = 1,
                            .expired = said->code == 452};
    struct dsn_report report = {.kind = kind,
                                .hostname = host,
                                .return_path = utf8 ? global : plain,
                                .job = job,
                                .unique = unique,
                                .full = full,
                                .original = said->original,
                                .rcpts = &rcpt,
                                .count = 1};
    struct buf out;
    struct err err;
    size_t line = 0;
    buf_init(&out, DSN_MESSAGE_MAX);
    CLAIM(dsn_compose(&report, &out, &err));
    CLAIM(utf8 || str_is_ascii(buf_str(&out)));
    for (size_t i = 0; i < out.len; i++) {
        CLAIM(out.data[i] != '\0' && (out.data[i] != '\n' || out.data[i - 1] == '\r'));
        line = out.data[i] == '\n' ? 0 : line + 1;
        CLAIM(line <= TEXT_LINE_MAX + 1);
    }
    if (said->original.n == 0) {
        const char *fields = memmem(out.data, out.len, "\r\nReporting-MTA: ", 17);
        CLAIM(fields != NULL);
        struct str part = str_make(fields, out.len - (size_t)(fields - out.data));
        count_field_starts(part, "Action: ", 1);
        count_field_starts(part, "Final-Recipient: ", 1);
        count_field_starts(buf_str(&out), "--=_17.1.", 3);
    }
    buf_free(&out);
}

static void check_report(const struct said *said)
{
    struct rcpt_info info = {.state = said->code == 452 ? RCPT_EXPIRED : RCPT_BOUNCED,
                             .status = said->status,
                             .code = said->code,
                             .to = said->to,
                             .domain = said->mx,
                             .site = said->orcpt,
                             .reply = said->reply};
    struct tally *tally = tally_create();
    json_t *root = json_object();
    struct buf page, text;
    CLAIM(tally != NULL && root != NULL);
    tally_add(tally, &info);
    CLAIM(tally_report(tally, root) && js_get_int(root, "failed") == 1);
    js_set(root, "tenant", js_text(said->mx));
    buf_init(&page, 1 << 20);
    buf_init(&text, 1 << 20);
    bounces_html(root, &page);
    bounces_text(root, &text);
    CLAIM(!page.failed && !text.failed);
    for (size_t i = 0; i < text.len; i++)
        CLAIM(text.data[i] == '\n' || ((unsigned char)text.data[i] >= ' ' && text.data[i] != 0x7f));
    size_t open = 0;
    for (size_t i = 0; i < page.len; i++) {
        CLAIM(page.data[i] != '<' || !open); /* none within a tag, nor a quote left over in a cell */
        open = page.data[i] == '<' ? 1 : page.data[i] == '>' ? 0 : open;
    }
    CLAIM(!open);
    buf_free(&page);
    buf_free(&text);
    json_decref(root);
    tally_free(tally);
}

/* As what was sent always is: lines that end with CRLF, and no other CR or LF. */
static void add_lines(struct buf *out, struct str text)
{
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '\n')
            buf_add_char(out, '\r');
        if (text.p[i] != '\r')
            buf_add_char(out, text.p[i]);
    }
    buf_add_z(out, "\r\n");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint16_t codes[] = {0, 421, 450, 452, 550, 552, 554, 250};
    struct str rest = fuzz_rest(data, size);
    struct said said = {0};
    uint8_t how = fuzz_byte(&rest);
    said.code = codes[how % 8];
    said.status = (struct status){said.code / 100 == 4 ? 4 : 5, fuzz_byte(&rest) % 10, fuzz_byte(&rest)};
    said.to = field(&rest, ADDRESS_MAX);
    said.orcpt = field(&rest, 100);
    said.mx = field(&rest, 100);
    said.reply = field(&rest, 255);
    struct bounce bounce = {said.status, said.code, said.reply, false, how & 64};
    CLAIM(bounce_category(&bounce) < BOUNCE_CATEGORIES);
    check_report(&said);
    check_dsn(&said, (enum dsn_kind)(how / 8 % DSN_KINDS), how & 32, false);
    struct buf original;
    buf_init(&original, 2 * size + 2);
    add_lines(&original, rest);
    said.original = buf_str(&original);
    check_dsn(&said, (enum dsn_kind)(how / 8 % DSN_KINDS), how & 32, true);
    buf_free(&original);
    return 0;
}
