/* notice_fields.c - the parts of a notice that are written for machines: delivery status (RFC 3464, 6533) and
 * feedback (RFC 5965), and the words of a reply in them. */
#include "engine/inbound/notice_parts.h"

#include "engine/smtp/verdict.h"

#include <stdlib.h>

#define GROUPS_MAX (2 * NOTICE_RCPTS_MAX)

/* ---- replies ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_word(char c)
{
    return is_digit(c) || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z') || c == '.' || c == '-';
}

/* "4.7.1" or "5.1.1" where it is neither a part of an address of a host nor of a date. */
static bool find_status(struct str text, struct status *status)
{
    size_t used;
    for (size_t i = 0; i + 5 <= text.n; i++) {
        if ((text.p[i] != '4' && text.p[i] != '5') || text.p[i + 1] != '.' ||
            (i > 0 && is_word(text.p[i - 1])))
            continue;
        struct str at = str_make(text.p + i, text.n - i);
        if (!status_parse(at, status, &used))
            continue;
        bool goes_on = used < at.n && (is_digit(at.p[used]) ||
                                       (at.p[used] == '.' && used + 1 < at.n && is_digit(at.p[used + 1])));
        if (!goes_on)
            return true;
    }
    *status = STATUS(0, 0, 0);
    return false;
}

/* A reply code stands at the beginning or behind a colon and the like, or has an enhanced status behind it:
 * other numbers of three digits are ports, seconds, rooms. Returns 0, or the code, and what follows it. */
static unsigned find_code(struct str text, struct str *rest)
{
    for (size_t i = 0; i + 3 <= text.n; i++) {
        const char *p = text.p + i;
        if ((p[0] != '4' && p[0] != '5') || !is_digit(p[1]) || !is_digit(p[2]) || (i > 0 && is_word(p[-1])))
            continue;
        struct str behind = str_make(p + 3, text.n - i - 3);
        if (behind.n > 0 && behind.p[0] != ' ' && behind.p[0] != '-')
            continue;
        size_t before = i, used;
        struct status status;
        while (before > 0 && text.p[before - 1] == ' ')
            before--;
        *rest = behind.n > 0 ? str_trim(str_make(behind.p + 1, behind.n - 1)) : behind;
        if (before == 0 || strchr(":>('\"", text.p[before - 1]) != NULL ||
            status_parse(*rest, &status, &used))
            return (unsigned)(p[0] - '0') * 100 + (unsigned)(p[1] - '0') * 10 + (unsigned)(p[2] - '0');
    }
    *rest = text;
    return 0;
}

static struct str one_line(struct reading *reading, struct str words)
{
    char line[STORED_REPLY_MAX];
    size_t n = 0;
    words = str_trim(words);
    for (size_t i = 0; i < words.n && n < sizeof line; i++) {
        char c = words.p[i];
        bool blank = c == ' ' || c == '\t' || c == '\r' || c == '\n';
        if (!blank)
            line[n++] = (c >= 0 && c < ' ') || c == 0x7f ? '?' : c;
        else if (n > 0 && line[n - 1] != ' ')
            line[n++] = ' ';
    }
    return reading_keep(reading, str_make(line, n));
}

static bool is_vague(struct status status)
{
    return status.class_ == 0 || (status.subject == 0 && status.detail == 0);
}

void reading_set_reply(struct reading *reading, struct notice_rcpt *rcpt, struct str words)
{
    struct verdict verdict;
    struct str rest;
    rcpt->reply = one_line(reading, words);
    unsigned code = find_code(rcpt->reply, &rest);
    rcpt->code = (uint16_t)code;
    if (!is_vague(rcpt->status))
        return;
    struct status given = rcpt->status, found;
    if (!find_status(rcpt->reply, &found) || is_vague(found)) {
        /* 554 at the end is what says least by itself. */
        verdict_of_reply(&verdict, code != 0 ? STEP_RCPT : STEP_END, code != 0 ? code : 554, rest);
        found = verdict.status;
        found.class_ = given.class_ != 0 ? given.class_ : code >= 400 && code < 500 ? 4 : 5;
    }
    rcpt->status = found;
}

/* ---- delivery status ---- */

/* "rfc822; ada@example.com" without what stands in front, "utf-8; a\x{E9}@…" (RFC 6533 3) in UTF-8. */
static struct str typed_value(struct reading *reading, const struct mime_fields *fields, const char *name)
{
    struct str value = reading_field(reading, fields, name);
    size_t semicolon = str_find(value, ';', 0);
    if (semicolon != SIZE_MAX && str_find(str_make(value.p, semicolon), ' ', 0) == SIZE_MAX)
        value = str_trim(str_make(value.p + semicolon + 1, value.n - semicolon - 1));
    return value;
}

static int hex_value(char c)
{
    char low = ascii_lower(c);
    return is_digit(c) ? c - '0' : low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
}

static void put_utf8(struct buf *out, uint32_t c)
{
    if (c < 0x80) {
        buf_add_char(out, (char)c);
    } else if (c < 0x800) {
        buf_add_char(out, (char)(0xc0 | c >> 6));
        buf_add_char(out, (char)(0x80 | (c & 0x3f)));
    } else if (c < 0x10000) {
        buf_add_char(out, (char)(0xe0 | c >> 12));
        buf_add_char(out, (char)(0x80 | (c >> 6 & 0x3f)));
        buf_add_char(out, (char)(0x80 | (c & 0x3f)));
    } else {
        buf_add_char(out, (char)(0xf0 | c >> 18));
        buf_add_char(out, (char)(0x80 | (c >> 12 & 0x3f)));
        buf_add_char(out, (char)(0x80 | (c >> 6 & 0x3f)));
        buf_add_char(out, (char)(0x80 | (c & 0x3f)));
    }
}

/* Length of "\x{E9}" at p, 0 where it is none; *c is the character. */
static size_t embedded_char(struct str at, uint32_t *c)
{
    *c = 0;
    if (!str_starts(at, STR("\\x{")))
        return 0;
    for (size_t i = 3; i < at.n && i < 10; i++) {
        int digit = hex_value(at.p[i]);
        if (at.p[i] == '}')
            return i > 3 && *c <= 0x10ffff ? i + 1 : 0;
        if (digit < 0)
            return 0;
        *c = *c << 4 | (uint32_t)digit;
    }
    return 0;
}

/* The address of a field, without angle brackets; empty where it is none, or made unreadable. */
static struct str address_value(struct reading *reading, const struct mime_fields *fields, const char *name)
{
    struct str value = typed_value(reading, fields, name), address;
    struct buf text;
    size_t at = 0;
    buf_init(&text, NOTICE_FIELD_MAX);
    for (size_t i = 0; i < value.n;) {
        uint32_t c;
        size_t n = embedded_char(str_make(value.p + i, value.n - i), &c);
        if (n > 0)
            put_utf8(&text, c);
        else
            buf_add_char(&text, value.p[i]);
        i += n > 0 ? n : 1;
    }
    struct str kept = reading_keep(reading, buf_str(&text));
    buf_free(&text);
    return address_find(kept, &at, &address) && !text_has(address, "redacted") ? address : STR("");
}

static enum notice_kind kind_of_action(struct str action, struct status status)
{
    static const struct {
        struct str word;
        enum notice_kind kind;
    } actions[] = {
        {{"failed", 6}, NOTICE_BOUNCE},   {{"failure", 7}, NOTICE_BOUNCE},
        {{"delayed", 7}, NOTICE_DELAY},   {{"delivered", 9}, NOTICE_SUCCESS},
        {{"relayed", 7}, NOTICE_SUCCESS}, {{"expanded", 8}, NOTICE_SUCCESS},
    };
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++)
        if (str_eq_nocase(action, actions[i].word))
            return actions[i].kind;
    return status.class_ == 5 ? NOTICE_BOUNCE : status.class_ == 2 ? NOTICE_SUCCESS : NOTICE_DELAY;
}

/* Reads a group of fields if it is about a recipient. */
static void read_rcpt(struct reading *reading, const struct mime_fields *fields, struct str reporting)
{
    struct str final = address_value(reading, fields, "Final-Recipient");
    struct str original = address_value(reading, fields, "Original-Recipient");
    struct str action = mime_token(reading_field(reading, fields, "Action"));
    struct str text = reading_field(reading, fields, "Status");
    struct status status;
    size_t used;
    status_parse(text, &status, &used);
    if (final.n == 0 && original.n == 0 && action.n == 0 && status.class_ == 0)
        return;
    struct notice_rcpt *rcpt = reading_add_rcpt(reading, kind_of_action(action, status));
    if (rcpt == NULL)
        return;
    rcpt->address = final;
    rcpt->original = original;
    rcpt->status = status;
    rcpt->mx = typed_value(reading, fields, "Remote-MTA");
    if (rcpt->mx.n == 0)
        rcpt->mx = reporting;
    reading_set_reply(reading, rcpt, typed_value(reading, fields, "Diagnostic-Code"));
    if (rcpt->reply.n == 0) /* what stands in parentheses behind the status */
        rcpt->reply = one_line(reading, str_make(text.p + used, text.n - used));
}

void read_delivery_status(struct reading *reading)
{
    struct str rest = reading->status, reporting = STR("");
    struct notice *notice = reading->notice;
    for (unsigned groups = 0; groups < GROUPS_MAX && rest.n > 0; groups++) {
        struct mime_fields fields = {0};
        struct str body;
        struct err err;
        rest = str_trim(rest);
        mime_read_header(rest, &fields, &body, &err);
        if (reporting.n == 0)
            reporting = typed_value(reading, &fields, "Reporting-MTA");
        if (notice->envid.n == 0)
            notice->envid = reading_field(reading, &fields, "Original-Envelope-Id");
        read_rcpt(reading, &fields, reporting);
        free(fields.at);
        if (body.n == rest.n) { /* a line that is no field */
            size_t end = str_find(rest, '\n', 0);
            body = end == SIZE_MAX ? STR("") : str_make(rest.p + end, rest.n - end);
        }
        rest = body;
    }
}

/* ---- feedback ---- */

void read_feedback(struct reading *reading)
{
    static const char *const named[] = {"Original-Rcpt-To", "Removal-Recipient", "Original-Recipient"};
    struct notice *notice = reading->notice;
    struct mime_fields fields = {0};
    struct str body, address = STR("");
    struct err err;
    mime_read_header(str_trim(reading->feedback), &fields, &body, &err);
    notice->feedback = mime_token(reading_field(reading, &fields, "Feedback-Type"));
    notice->envid = reading_field(reading, &fields, "Original-Envelope-Id");
    bool other = str_eq_nocase(notice->feedback, STR("not-spam")) ||
                 str_eq_nocase(notice->feedback, STR("auth-failure"));
    for (size_t i = 0; i < sizeof named / sizeof *named && address.n == 0; i++)
        address = address_value(reading, &fields, named[i]);
    struct notice_rcpt *rcpt = reading_add_rcpt(reading, other ? NOTICE_FEEDBACK : NOTICE_COMPLAINT);
    rcpt->address = address;
    rcpt->mx = typed_value(reading, &fields, "Reporting-MTA");
    if (rcpt->mx.n == 0)
        rcpt->mx = reading_field(reading, &fields, "User-Agent");
    rcpt->reply = notice->feedback;
    struct str sender = reading_field(reading, &fields, "Original-Mail-From");
    if (sender.n > 0 && notice->trace_count < NOTICE_TRACES_MAX)
        notice->traces[notice->trace_count++] = sender;
    free(fields.at);
}
