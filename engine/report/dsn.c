/* dsn.c - see dsn.h. Three parts: words for people, fields for machines, and what was sent. */
#include "engine/report/dsn.h"

#include "engine/message/encode.h"
#include "engine/report/registry.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#define FOLD_AT      76
#define DATE_MAX     40
#define BOUNDARY_MAX 100

/* ---- pieces ---- */

/* RFC 5322 3.3. */
static const char *date_text(int64_t wall_ms, char text[DATE_MAX])
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    strftime(text, DATE_MAX, "%a, %d %b %Y %H:%M:%S +0000", &tm);
    return text;
}

static bool is_ascii(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] & '\x80')
            return false;
    }
    return true;
}

static char printable(char c)
{
    return c == '\t' || c == '\r' || c == '\n' ? ' ' : ((unsigned char)c < ' ' || c == 0x7f) ? '?' : c;
}

/* "Name: value", folded at blanks; what is not printable ASCII becomes a question mark. */
static void add_field(struct buf *out, const char *name, const char *prefix, struct str value)
{
    size_t column = strlen(name) + 2 + strlen(prefix);
    buf_printf(out, "%s: %s", name, prefix);
    while (value.n > 0) {
        size_t blanks = 0, n;
        while (blanks < value.n && printable(value.p[blanks]) == ' ')
            blanks++;
        for (n = blanks; n < value.n && printable(value.p[n]) != ' ';)
            n++;
        if (n == blanks)
            break; /* only blanks are left */
        if (blanks > 0) {
            bool fold = column + 1 + (n - blanks) > FOLD_AT;
            buf_add_z(out, fold ? "\r\n " : " ");
            column = fold ? 1 : column + 1;
        }
        for (size_t i = blanks; i < n; i++)
            buf_add_char(out, value.p[i] & '\x80' ? '?' : printable(value.p[i]));
        column += n - blanks;
        value = str_make(value.p + n, value.n - n);
    }
    buf_add_z(out, "\r\n");
}

/* The code point of the UTF-8 character at p; malformed bytes stand for themselves. */
static unsigned code_point(const char *p, size_t n, size_t *length)
{
    const unsigned char *u = (const unsigned char *)p;
    size_t want = u[0] >= 0xf0 ? 4 : u[0] >= 0xe0 ? 3 : u[0] >= 0xc2 ? 2 : 1;
    unsigned value = want == 1 ? u[0] : u[0] & (0x7fu >> want);
    if (want > n)
        want = 1;
    for (size_t i = 1; i < want; i++)
        value = value << 6 | (u[i] & 0x3f);
    *length = want;
    return want == 1 ? u[0] : value;
}

/* An address for machines; one that is not ASCII as RFC 6533 3 writes it in 7 bits. */
static void add_address(struct buf *out, const char *name, struct str address)
{
    struct buf text;
    if (is_ascii(address)) {
        add_field(out, name, "rfc822; ", address);
        return;
    }
    buf_init(&text, ADDRESS_MAX * 12);
    for (size_t i = 0; i < address.n;) {
        size_t length;
        unsigned c = code_point(address.p + i, address.n - i, &length);
        if (c < 0x80 && c != '\\' && c != '+' && c != '=')
            buf_add_char(&text, address.p[i]);
        else
            buf_printf(&text, "\\x{%X}", c);
        i += length;
    }
    add_field(out, name, "utf-8; ", buf_str(&text));
    buf_free(&text);
}

/* ---- words for people ---- */

static void add_reply_words(struct buf *out, const struct dsn_rcpt *rcpt)
{
    if (rcpt->code != 0 && rcpt->mx.n > 0)
        buf_printf(out, "    The receiving server %.*s answered:\n", STR_ARG(rcpt->mx));
    else if (rcpt->code != 0)
        buf_add_z(out, "    The receiving server answered:\n");
    else if (rcpt->mx.n > 0)
        buf_printf(out, "    This went wrong with the server %.*s:\n", STR_ARG(rcpt->mx));
    else
        buf_add_z(out, "    This went wrong:\n");
    buf_add_z(out, "        ");
    if (rcpt->code != 0)
        buf_printf(out, "%u ", rcpt->code);
    for (size_t i = 0; i < rcpt->reply.n; i++)
        buf_add_char(out, printable(rcpt->reply.p[i]));
    buf_add_char(out, '\n');
}

static void add_rcpt_words(struct buf *out, const struct dsn_rcpt *rcpt)
{
    char status[STATUS_TEXT_MAX], date[DATE_MAX];
    const char *phrase = registry_phrase(rcpt->status);
    buf_printf(out, "\n<%.*s>\n", STR_ARG(rcpt->to));
    if (rcpt->expired && rcpt->attempts == 0)
        buf_add_z(out, "    It could not be delivered in the time the message had; no attempt was made.\n");
    else if (rcpt->expired)
        buf_printf(
            out,
            "    It could not be delivered in the time the message had. Attempts: %u,\n    the last on %s.\n",
            rcpt->attempts, date_text(rcpt->last_ms, date));
    if (rcpt->reply.n > 0)
        add_reply_words(out, rcpt);
    if (rcpt->status.class_ != 0 && phrase[0] != '\0') {
        status_format(rcpt->status, status);
        buf_printf(out, "    Status %s stands for: %s.\n", status, phrase);
    }
}

static void add_words(struct buf *out, const struct dsn_report *report)
{
    char date[DATE_MAX];
    buf_printf(out, "This is the mail system at %.*s.\n\n", STR_ARG(report->hostname));
    if (report->count == 1)
        buf_add_z(out, "Your message could not be delivered to the recipient below");
    else
        buf_printf(out, "Your message could not be delivered to the %zu recipients below", report->count);
    buf_add_z(out, ". This is\nfinal: no further attempt will be made.\n\n");
    buf_printf(out, "It was accepted here on %s as job %.*s.\n", date_text(report->arrival_ms, date),
               STR_ARG(report->job));
    for (size_t i = 0; i < report->count; i++)
        add_rcpt_words(out, &report->rcpts[i]);
}

/* ---- fields for machines ---- */

static void add_rcpt_fields(struct buf *out, const struct dsn_rcpt *rcpt)
{
    char text[STATUS_TEXT_MAX], date[DATE_MAX], code[16];
    struct status status = rcpt->status;
    if (status.class_ == 0)
        status = rcpt->expired ? STATUS(4, 4, 7) : STATUS(5, 0, 0);
    buf_add_z(out, "\r\n");
    if (rcpt->orcpt.n > 0)
        add_field(out, "Original-Recipient", "", rcpt->orcpt);
    add_address(out, "Final-Recipient", rcpt->to);
    add_field(out, "Action", "", STR("failed"));
    status_format(status, text);
    add_field(out, "Status", "", str_of(text));
    if (rcpt->mx.n > 0)
        add_field(out, "Remote-MTA", "dns; ", rcpt->mx);
    if (rcpt->reply.n > 0) {
        if (rcpt->code != 0)
            snprintf(code, sizeof code, "smtp; %u ", rcpt->code);
        else
            snprintf(code, sizeof code, "X-Postrider; ");
        add_field(out, "Diagnostic-Code", code, rcpt->reply);
    }
    if (rcpt->last_ms != 0)
        add_field(out, "Last-Attempt-Date", "", str_of(date_text(rcpt->last_ms, date)));
}

static void add_fields(struct buf *out, const struct dsn_report *report)
{
    char date[DATE_MAX];
    add_field(out, "Reporting-MTA", "dns; ", report->hostname);
    if (report->envid.n > 0)
        add_field(out, "Original-Envelope-Id", "", report->envid);
    add_field(out, "Arrival-Date", "", str_of(date_text(report->arrival_ms, date)));
    add_field(out, "X-Postrider-Job", "", report->job);
    for (size_t i = 0; i < report->count; i++)
        add_rcpt_fields(out, &report->rcpts[i]);
}

/* ---- the parts together ---- */

/* Can it stand in a 7-bit message as it is? */
static bool is_plain(struct str text)
{
    size_t line = 0;
    for (size_t i = 0; i < text.n; i++) {
        line = text.p[i] == '\n' ? 0 : line + 1;
        if ((text.p[i] & '\x80') || text.p[i] == '\0' || line > TEXT_LINE_MAX + 1)
            return false;
    }
    return true;
}

/* Up to the blank line, the last field's line end included. */
static struct str header_of(struct str message)
{
    const char *end = memmem(message.p, message.n, "\r\n\r\n", 4);
    return end != NULL ? str_make(message.p, (size_t)(end - message.p) + 2) : message;
}

static void begin_part(struct buf *out, const char *boundary, const char *description, const char *type)
{
    buf_printf(out, "\r\n--%s\r\nContent-Description: %s\r\nContent-Type: %s\r\n", boundary, description,
               type);
}

/* Text of any kind, encoded if it must be. */
static void add_text(struct buf *out, struct str text, bool plain)
{
    unsigned column = 0;
    if (plain) {
        buf_add_z(out, "Content-Transfer-Encoding: 7bit\r\n\r\n");
        buf_add_str(out, text);
    } else {
        buf_add_z(out, "Content-Transfer-Encoding: quoted-printable\r\n\r\n");
        buf_add_qp(out, text, false, &column);
    }
}

static void add_words_part(struct buf *out, const struct dsn_report *report, const char *boundary)
{
    struct buf words, crlf;
    buf_init(&words, out->max);
    buf_init(&crlf, out->max);
    add_words(&words, report);
    for (size_t i = 0; i < words.len; i++) {
        if (words.data[i] == '\n')
            buf_add_char(&crlf, '\r');
        buf_add_char(&crlf, words.data[i]);
    }
    bool plain = is_plain(buf_str(&crlf));
    begin_part(out, boundary, "Notification",
               plain ? "text/plain; charset=us-ascii" : "text/plain; charset=utf-8");
    add_text(out, buf_str(&crlf), plain);
    out->failed |= words.failed || crlf.failed;
    buf_free(&words);
    buf_free(&crlf);
}

/* message/rfc822 may not be encoded (RFC 2046 5.2.1): a message that would have to be comes as its header. */
static void add_original_part(struct buf *out, const struct dsn_report *report, const char *boundary)
{
    struct str header = header_of(report->original);
    if (report->full && report->original.n <= DSN_ORIGINAL_MAX && is_plain(report->original)) {
        begin_part(out, boundary, "Undelivered message", "message/rfc822");
        add_text(out, report->original, true);
    } else {
        begin_part(out, boundary, "Header of the undelivered message", "text/rfc822-headers");
        add_text(out, header, is_plain(header));
    }
}

/* One that does not occur in what stands between. */
static void choose_boundary(const struct dsn_report *report, char boundary[BOUNDARY_MAX])
{
    for (unsigned i = 0; i < 1000; i++) {
        int n = snprintf(boundary, BOUNDARY_MAX, "=_%.*s.%u",
                         (int)(report->unique.n < 60 ? report->unique.n : 60), report->unique.p, i);
        if (report->original.n == 0 ||
            memmem(report->original.p, report->original.n, boundary, (size_t)n) == NULL)
            return;
    }
}

static void add_header(struct buf *out, const struct dsn_report *report, const char *boundary)
{
    char date[DATE_MAX], subject[64];
    struct str first = report->rcpts[0].to;
    buf_printf(out, "From: Mail Delivery System <MAILER-DAEMON@%.*s>\r\n", STR_ARG(report->hostname));
    if (is_ascii(report->return_path))
        add_field(out, "To", "", report->return_path);
    else
        buf_add_z(out, "To: undisclosed-recipients:;\r\n");
    snprintf(subject, sizeof subject, "%zu recipients", report->count);
    add_field(out, "Subject", "Undelivered mail: ",
              report->count > 1 ? str_of(subject)
              : is_ascii(first) ? first
                                : STR("1 recipient"));
    buf_printf(out, "Date: %s\r\nMessage-ID: <%.*s@%.*s>\r\n", date_text(report->now_ms, date),
               STR_ARG(report->unique), STR_ARG(report->hostname));
    buf_printf(out,
               "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
               "Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=\"%s\"\r\n",
               boundary);
    buf_add_z(out, "Content-Transfer-Encoding: 7bit\r\n\r\nThis is a MIME-encapsulated message.\r\n");
}

bool dsn_compose(const struct dsn_report *report, struct buf *out, struct err *err)
{
    char boundary[BOUNDARY_MAX];
    choose_boundary(report, boundary);
    add_header(out, report, boundary);
    add_words_part(out, report, boundary);
    begin_part(out, boundary, "Delivery report", "message/delivery-status");
    buf_add_z(out, "\r\n");
    add_fields(out, report);
    if (report->original.n > 0)
        add_original_part(out, report, boundary);
    buf_printf(out, "\r\n--%s--\r\n", boundary);
    return !out->failed || err_set(err, ENOMEM, "the delivery report is larger than %zu bytes", out->max);
}
