/* dsn_words.c - see dsn_words.h. */
#include "engine/report/dsn_words.h"

#include "engine/report/category.h"
#include "engine/report/registry.h"

#include <stdio.h>
#include <time.h>

#define WRAP_AT 76

const char *dsn_date(int64_t wall_ms, char text[DSN_DATE_MAX])
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    strftime(text, DSN_DATE_MAX, "%a, %d %b %Y %H:%M:%S +0000", &tm);
    return text;
}

char dsn_printable(char c)
{
    return c == '\t' || c == '\r' || c == '\n' ? ' ' : ((unsigned char)c < ' ' || c == 0x7f) ? '?' : c;
}

/* A paragraph, its lines indented and broken at blanks. */
static void add_prose(struct buf *out, unsigned indent, const char *text)
{
    size_t column = 0;
    while (*text) {
        size_t n = strcspn(text, " ");
        bool fits = column > 0 && column + 1 + n <= WRAP_AT;
        if (!fits)
            buf_printf(out, "%s%*s", column > 0 ? "\n" : "", (int)indent, "");
        else
            buf_add_char(out, ' ');
        buf_add(out, text, n);
        column = fits ? column + 1 + n : indent + n;
        text += n + strspn(text + n, " ");
    }
    buf_add_char(out, '\n');
}

/* Text of others, kept within its line. */
static void add_words(struct buf *out, struct str words)
{
    for (size_t i = 0; i < words.n; i++)
        buf_add_char(out, dsn_printable(words.p[i]));
}

static void add_reply(struct buf *out, const struct dsn_rcpt *rcpt)
{
    buf_add_z(out, rcpt->code != 0 ? "    The receiving server" : "    This went wrong");
    if (rcpt->mx.n > 0)
        buf_add_z(out, rcpt->code != 0 ? " " : " with the server ");
    add_words(out, rcpt->mx);
    buf_add_z(out, rcpt->code != 0 ? " answered:\n        " : ":\n        ");
    if (rcpt->code != 0)
        buf_printf(out, "%u ", rcpt->code);
    add_words(out, rcpt->reply);
    buf_add_char(out, '\n');
}

static void add_attempts(struct buf *out, const struct dsn_rcpt *rcpt, const char *what)
{
    char text[160], date[DSN_DATE_MAX];
    if (rcpt->attempts == 0)
        snprintf(text, sizeof text, "%s%sNo attempt was made%s.", what, what[0] ? " " : "",
                 rcpt->expired ? "" : " yet");
    else
        snprintf(text, sizeof text, "%s%sAttempts: %u, the last on %s.", what, what[0] ? " " : "",
                 rcpt->attempts, dsn_date(rcpt->last_ms, date));
    add_prose(out, 4, text);
}

/* What it comes to, and what to do about it. An expired one is told by what stood in its way. */
static void add_meaning(struct buf *out, const struct dsn_rcpt *rcpt)
{
    struct bounce bounce = {rcpt->status, rcpt->code, rcpt->reply, false, false};
    enum bounce_category category = bounce_category(&bounce);
    if (rcpt->expired)
        add_attempts(out, rcpt, "It could not be delivered in the time the message had.");
    if (category != BOUNCE_OTHER && category != BOUNCE_MESSAGE_EXPIRED)
        add_prose(out, 4, bounce_category_advice(category));
}

static void add_rcpt(struct buf *out, const struct dsn_rcpt *rcpt, enum dsn_kind kind)
{
    char status[STATUS_TEXT_MAX];
    const char *phrase = registry_phrase(rcpt->status);
    buf_add_z(out, "\n<");
    add_words(out, rcpt->to);
    buf_add_z(out, ">\n");
    if (kind == DSN_FAILED)
        add_meaning(out, rcpt);
    else if (kind == DSN_DELAYED)
        add_attempts(out, rcpt, "");
    if (rcpt->reply.n > 0)
        add_reply(out, rcpt);
    if (kind != DSN_RELAYED && rcpt->status.class_ != 0 && phrase[0] != '\0') {
        status_format(rcpt->status, status);
        buf_printf(out, "    Status %s stands for: %s.\n", status, phrase);
    }
}

/* "the recipient below", "the 3 recipients below". */
static const char *whom(const struct dsn_report *report, char text[48])
{
    if (report->count == 1)
        return "the recipient below";
    snprintf(text, 48, "the %zu recipients below", report->count);
    return text;
}

void dsn_words(const struct dsn_report *report, struct buf *out)
{
    char text[400], date[DSN_DATE_MAX], who[48];
    buf_printf(out, "This is the mail system at %.*s.\n\n", STR_ARG(report->hostname));
    switch (report->kind) {
    case DSN_DELAYED:
        snprintf(text, sizeof text,
                 "Your message has not reached %s yet. You need to do nothing, and should not send it again: "
                 "it is kept here and tried until %s.",
                 whom(report, who), dsn_date(report->until_ms, date));
        break;
    case DSN_RELAYED:
        snprintf(text, sizeof text,
                 "Your message was handed over to the mail server of %s. You asked to be told of delivery; "
                 "that server does not say more, so that this is the last that is known here.",
                 whom(report, who));
        break;
    default:
        snprintf(text, sizeof text,
                 "Your message could not be delivered to %s. This is final: no further attempt will be made.",
                 whom(report, who));
    }
    add_prose(out, 0, text);
    buf_printf(out, "\nIt was accepted here on %s as job %.*s.\n", dsn_date(report->arrival_ms, date),
               STR_ARG(report->job));
    for (size_t i = 0; i < report->count; i++)
        add_rcpt(out, &report->rcpts[i], report->kind);
}
