/* dsn.c - see dsn.h. Three parts: words for people, fields for machines, and what was sent. */
#include "engine/report/dsn.h"

#include "engine/base/utf8_addr.h"
#include "engine/message/encode.h"
#include "engine/report/dsn_words.h"

#include <errno.h>
#include <stdio.h>

#define FOLD_AT      76
#define BOUNDARY_MAX 100

/* Where it is written, and how. */
struct page {
    struct buf *out;
    bool global;
};

/* ---- pieces ---- */

/* "Name: value", folded at blanks; what is not printable becomes a question mark, and what is not ASCII too,
 * where only that will do. */
static void add_field(const struct page *page, const char *name, const char *prefix, struct str value)
{
    struct buf *out = page->out;
    size_t column = strlen(name) + 2 + strlen(prefix);
    buf_printf(out, "%s: %s", name, prefix);
    while (value.n > 0) {
        size_t blanks = 0, n;
        while (blanks < value.n && dsn_printable(value.p[blanks]) == ' ')
            blanks++;
        for (n = blanks; n < value.n && dsn_printable(value.p[n]) != ' ';)
            n++;
        if (n == blanks)
            break; /* only blanks are left */
        if (blanks > 0) {
            bool fold = column + 1 + (n - blanks) > FOLD_AT;
            buf_add_z(out, fold ? "\r\n " : " ");
            column = fold ? 1 : column + 1;
        }
        for (size_t i = blanks; i < n; i++)
            buf_add_char(out, (value.p[i] & '\x80') && !page->global ? '?' : dsn_printable(value.p[i]));
        column += n - blanks;
        value = str_make(value.p + n, value.n - n);
    }
    buf_add_z(out, "\r\n");
}

/* An address for machines; one that is not ASCII as RFC 6533 3 has it, in 7 bits unless there are 8. */
static void add_address(const struct page *page, const char *name, const char *prefix, struct str address)
{
    struct buf text;
    if (str_is_ascii(address)) {
        add_field(page, name, prefix, address);
        return;
    }
    buf_init(&text, ADDRESS_MAX * 12);
    buf_add_utf8_addr(&text, address, page->global);
    add_field(page, name, "utf-8; ", buf_str(&text));
    buf_free(&text);
}

/* As the client gave it: "rfc822;ada@example.com". */
static void add_orcpt(const struct page *page, struct str orcpt)
{
    size_t semicolon = str_find(orcpt, ';', 0);
    if (str_is_ascii(orcpt) || semicolon == SIZE_MAX)
        add_field(page, "Original-Recipient", "", orcpt);
    else
        add_address(page, "Original-Recipient", "",
                    str_trim(str_make(orcpt.p + semicolon + 1, orcpt.n - semicolon - 1)));
}

/* ---- fields for machines ---- */

/* Where nothing was said of it, or something that does not fit the action, what RFC 3464 2.3.4 asks for. */
static struct status status_of(const struct dsn_rcpt *rcpt, enum dsn_kind kind)
{
    if (kind == DSN_RELAYED)
        return rcpt->status.class_ == 2 ? rcpt->status : STATUS(2, 0, 0);
    if (kind == DSN_DELAYED)
        return rcpt->status.class_ == 4 ? rcpt->status : STATUS(4, 0, 0);
    return rcpt->status.class_ != 0 ? rcpt->status : rcpt->expired ? STATUS(4, 4, 7) : STATUS(5, 0, 0);
}

static void add_rcpt_fields(const struct page *page, const struct dsn_report *report,
                            const struct dsn_rcpt *rcpt)
{
    static const struct str actions[DSN_KINDS] = {
        [DSN_FAILED] = {"failed", 6}, [DSN_DELAYED] = {"delayed", 7}, [DSN_RELAYED] = {"relayed", 7}};
    char text[STATUS_TEXT_MAX], date[DSN_DATE_MAX], code[16];
    buf_add_z(page->out, "\r\n");
    if (rcpt->orcpt.n > 0)
        add_orcpt(page, rcpt->orcpt);
    add_address(page, "Final-Recipient", "rfc822; ", rcpt->to);
    add_field(page, "Action", "", actions[report->kind]);
    status_format(status_of(rcpt, report->kind), text);
    add_field(page, "Status", "", str_of(text));
    if (rcpt->mx.n > 0)
        add_field(page, "Remote-MTA", "dns; ", rcpt->mx);
    if (rcpt->reply.n > 0) {
        if (rcpt->code != 0)
            snprintf(code, sizeof code, "smtp; %u ", rcpt->code);
        else
            snprintf(code, sizeof code, "X-Postrider; ");
        add_field(page, "Diagnostic-Code", code, rcpt->reply);
    }
    if (rcpt->last_ms != 0)
        add_field(page, "Last-Attempt-Date", "", str_of(dsn_date(rcpt->last_ms, date)));
    if (report->kind == DSN_DELAYED)
        add_field(page, "Will-Retry-Until", "", str_of(dsn_date(report->until_ms, date)));
}

static void add_fields(const struct page *page, const struct dsn_report *report)
{
    char date[DSN_DATE_MAX];
    add_field(page, "Reporting-MTA", "dns; ", report->hostname);
    if (report->envid.n > 0)
        add_field(page, "Original-Envelope-Id", "", report->envid);
    add_field(page, "Arrival-Date", "", str_of(dsn_date(report->arrival_ms, date)));
    add_field(page, "X-Postrider-Job", "", report->job);
    for (size_t i = 0; i < report->count; i++)
        add_rcpt_fields(page, report, &report->rcpts[i]);
}

/* ---- the parts together ---- */

/* Can it stand in a message of 7 bits, or of 8, as it is? */
static bool is_plain(struct str text, bool eight_bit)
{
    size_t line = 0;
    for (size_t i = 0; i < text.n; i++) {
        line = text.p[i] == '\n' ? 0 : line + 1;
        if (((text.p[i] & '\x80') && !eight_bit) || text.p[i] == '\0' || line > TEXT_LINE_MAX + 1)
            return false;
    }
    return true;
}

/* Up to the blank line, the last field's line end included; of a very long one whole lines from its front. */
static struct str header_of(struct str message)
{
    const char *end = memmem(message.p, message.n, "\r\n\r\n", 4);
    struct str header = end != NULL ? str_make(message.p, (size_t)(end - message.p) + 2) : message;
    if (header.n <= DSN_HEADER_MAX)
        return header;
    end = memrchr(header.p, '\n', DSN_HEADER_MAX);
    return str_make(header.p, end != NULL ? (size_t)(end - header.p) + 1 : 0);
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
        buf_printf(out, "Content-Transfer-Encoding: %s\r\n\r\n", str_is_ascii(text) ? "7bit" : "8bit");
        buf_add_str(out, text);
    } else {
        buf_add_z(out, "Content-Transfer-Encoding: quoted-printable\r\n\r\n");
        buf_add_qp(out, text, false, &column);
    }
}

static void add_words_part(const struct page *page, const struct dsn_report *report, const char *boundary)
{
    struct buf words, crlf, *out = page->out;
    buf_init(&words, out->max);
    buf_init(&crlf, out->max);
    dsn_words(report, &words);
    for (size_t i = 0; i < words.len; i++) {
        if (words.data[i] == '\n')
            buf_add_char(&crlf, '\r');
        buf_add_char(&crlf, words.data[i]);
    }
    begin_part(out, boundary, "Notification",
               str_is_ascii(buf_str(&crlf)) ? "text/plain; charset=us-ascii" : "text/plain; charset=utf-8");
    add_text(out, buf_str(&crlf), is_plain(buf_str(&crlf), page->global));
    out->failed |= words.failed || crlf.failed;
    buf_free(&words);
    buf_free(&crlf);
}

/* message/rfc822 may not be encoded (RFC 2046 5.2.1): a message that would have to be comes as its header. */
static void add_original_part(const struct page *page, const struct dsn_report *report, const char *boundary)
{
    struct str header = header_of(report->original);
    if (report->full && report->kind == DSN_FAILED && report->original.n <= DSN_ORIGINAL_MAX &&
        is_plain(report->original, page->global)) {
        begin_part(page->out, boundary, "Undelivered message",
                   page->global ? "message/global" : "message/rfc822");
        add_text(page->out, report->original, true);
    } else {
        begin_part(page->out, boundary, "Header of the message",
                   page->global ? "message/global-headers" : "text/rfc822-headers");
        add_text(page->out, header, is_plain(header, page->global));
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

static void add_header(const struct page *page, const struct dsn_report *report, const char *boundary)
{
    static const char *const subjects[DSN_KINDS] = {[DSN_FAILED] = "Undelivered mail: ",
                                                    [DSN_DELAYED] = "Delayed mail: ",
                                                    [DSN_RELAYED] = "Relayed mail: "};
    char date[DSN_DATE_MAX], subject[64];
    struct buf *out = page->out;
    struct str first = report->rcpts[0].to;
    buf_printf(out, "From: Mail Delivery System <MAILER-DAEMON@%.*s>\r\n", STR_ARG(report->hostname));
    add_field(page, "To", "", report->return_path);
    snprintf(subject, sizeof subject, "%zu recipient%s", report->count, report->count > 1 ? "s" : "");
    add_field(page, "Subject", subjects[report->kind],
              report->count > 1 || (!str_is_ascii(first) && !page->global) ? str_of(subject) : first);
    buf_printf(out, "Date: %s\r\nMessage-ID: <%.*s@%.*s>\r\n", dsn_date(report->now_ms, date),
               STR_ARG(report->unique), STR_ARG(report->hostname));
    buf_printf(out,
               "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
               "Content-Type: multipart/report; report-type=%s;\r\n boundary=\"%s\"\r\n",
               page->global ? "global-delivery-status" : "delivery-status", boundary);
    buf_printf(out, "Content-Transfer-Encoding: %s\r\n\r\nThis is a MIME-encapsulated message.\r\n",
               page->global ? "8bit" : "7bit");
}

bool dsn_is_global(struct str return_path)
{
    return !str_is_ascii(return_path);
}

bool dsn_compose(const struct dsn_report *report, struct buf *out, struct err *err)
{
    char boundary[BOUNDARY_MAX];
    struct page page = {out, dsn_is_global(report->return_path)};
    choose_boundary(report, boundary);
    add_header(&page, report, boundary);
    add_words_part(&page, report, boundary);
    begin_part(out, boundary, "Delivery report",
               page.global ? "message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit"
                           : "message/delivery-status");
    buf_add_z(out, "\r\n");
    add_fields(&page, report);
    if (report->original.n > 0)
        add_original_part(&page, report, boundary);
    buf_printf(out, "\r\n--%s--\r\n", boundary);
    return !out->failed || err_set(err, ENOMEM, "the delivery report is larger than %zu bytes", out->max);
}
