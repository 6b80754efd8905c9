/* scan.c - see scan.h. */
#include "engine/message/scan.h"

#include "engine/base/utf8.h"
#include "engine/message/address.h"

static const struct {
    struct str name;
    struct field_type type;
} field_types[] = {
    {{"Date", 4}, {FIELD_RAW, ID_DATE}},
    {{"From", 4}, {FIELD_ADDRESSES, ID_FROM}},
    {{"Sender", 6}, {FIELD_ADDRESSES, ID_SENDER}},
    {{"To", 2}, {FIELD_ADDRESSES, ID_TO}},
    {{"Cc", 2}, {FIELD_ADDRESSES, ID_CC}},
    {{"Reply-To", 8}, {FIELD_ADDRESSES, ID_REPLY_TO}},
    {{"Message-ID", 10}, {FIELD_IDS, ID_MESSAGE_ID}},
    {{"In-Reply-To", 11}, {FIELD_IDS, ID_IN_REPLY_TO}},
    {{"References", 10}, {FIELD_IDS, ID_REFERENCES}},
    {{"Subject", 7}, {FIELD_TEXT, ID_SUBJECT}},
    {{"MIME-Version", 12}, {FIELD_FIXED, ID_MIME_VERSION}},
    {{"Content-Type", 12}, {FIELD_FIXED, ID_CONTENT_TYPE}},
    {{"Content-Transfer-Encoding", 25}, {FIELD_FIXED, ID_ENCODING}},
    {{"Content-Disposition", 19}, {FIELD_RAW, ID_DISPOSITION}},
    {{"Content-Description", 19}, {FIELD_TEXT, ID_OTHER}},
    {{"Bcc", 3}, {FIELD_ADDRESSES, ID_BCC}},
    {{"Resent-Bcc", 10}, {FIELD_ADDRESSES, ID_BCC}},
    {{"Return-Path", 11}, {FIELD_RAW, ID_RETURN_PATH}},
    {{"Received", 8}, {FIELD_RAW, ID_RECEIVED}},
    {{"Resent-From", 11}, {FIELD_ADDRESSES, ID_OTHER}},
    {{"Resent-Sender", 13}, {FIELD_ADDRESSES, ID_OTHER}},
    {{"Resent-To", 9}, {FIELD_ADDRESSES, ID_OTHER}},
    {{"Resent-Cc", 9}, {FIELD_ADDRESSES, ID_OTHER}},
    {{"Resent-Date", 11}, {FIELD_RAW, ID_OTHER}},
    {{"Resent-Message-ID", 17}, {FIELD_IDS, ID_OTHER}},
    {{"Disposition-Notification-To", 27}, {FIELD_ADDRESSES, ID_OTHER}},
    {{"Return-Receipt-To", 17}, {FIELD_ADDRESSES, ID_OTHER}},
    {{"Errors-To", 9}, {FIELD_ADDRESSES, ID_OTHER}},
    {{"Auto-Submitted", 14}, {FIELD_RAW, ID_OTHER}},
    {{"Precedence", 10}, {FIELD_RAW, ID_OTHER}},
    {{"Feedback-ID", 11}, {FIELD_RAW, ID_FEEDBACK_ID}},
    {{"TLS-Required", 12}, {FIELD_RAW, ID_TLS_REQUIRED}},
    {{"DKIM-Signature", 14}, {FIELD_RAW, ID_DKIM_SIGNATURE}},
    {{"Authentication-Results", 22}, {FIELD_RAW, ID_OTHER}},
};

struct field_type field_type_of(struct str name)
{
    for (size_t i = 0; i < sizeof field_types / sizeof field_types[0]; i++)
        if (str_eq_nocase(name, field_types[i].name))
            return field_types[i].type;
    if (str_eq_nocase(name, STR("List-Id")))
        return (struct field_type){FIELD_LIST_ID, ID_OTHER};
    if (str_eq_nocase(name, STR("List-Unsubscribe-Post")))
        return (struct field_type){FIELD_RAW, ID_OTHER};
    if (str_starts_nocase(name, STR("List-")))
        return (struct field_type){FIELD_URIS, ID_OTHER};
    if (str_starts_nocase(name, STR("Content-")) || str_starts_nocase(name, STR("ARC-")))
        return (struct field_type){FIELD_RAW, ID_OTHER};
    return (struct field_type){FIELD_TEXT, ID_OTHER};
}

struct scan {
    struct scan_sink *sink;
    struct err *err;
    bool strict;
    size_t mailboxes;
};

static void give(struct scan *scan, enum record_kind kind, unsigned flags, struct str text)
{
    scan->sink->piece(scan->sink, kind, flags, text);
}

/* Text and marks in turn. */
static void give_marked(struct scan *scan, enum record_kind kind, enum record_kind value, unsigned flags,
                        struct str s)
{
    size_t start = 0;
    while (start < s.n) {
        size_t mark = str_find(s, SCAN_MARK, start);
        size_t end = mark == SIZE_MAX ? s.n : mark;
        if (end > start)
            give(scan, kind, flags, str_make(s.p + start, end - start));
        if (mark != SIZE_MAX)
            give(scan, value, flags, STR(""));
        start = end + 1;
    }
}

static void give_raw(struct scan *scan, unsigned flags, struct str s)
{
    give_marked(scan, RECORD_RAW, RECORD_RAW_VALUE, flags, s);
}

/* From an opening quote to behind the closing one. */
static size_t skip_quoted(struct str s, size_t i)
{
    for (i++; i < s.n && s.p[i] != '"'; i++)
        i += s.p[i] == '\\' && i + 1 < s.n;
    return i < s.n ? i + 1 : s.n;
}

static size_t skip_comment(struct str s, size_t i)
{
    size_t depth = 0;
    for (; i < s.n; i++) {
        if (s.p[i] == '\\')
            i++;
        else if (s.p[i] == '(')
            depth++;
        else if (s.p[i] == ')' && --depth == 0)
            return i + 1;
    }
    return s.n;
}

static size_t skip_to(struct str s, size_t i, char stop)
{
    while (i < s.n && s.p[i] != stop)
        i = s.p[i] == '"' ? skip_quoted(s, i) : i + 1;
    return i < s.n ? i + 1 : s.n;
}

/* The first of `stops` outside quotes, comments and brackets; '<' is a bracket unless it is a stop. */
static size_t find_outside(struct str s, size_t i, const char *stops)
{
    while (i < s.n) {
        char c = s.p[i];
        if (c != '\0' && strchr(stops, c) != NULL)
            return i;
        if (c == '"')
            i = skip_quoted(s, i);
        else if (c == '(')
            i = skip_comment(s, i);
        else if (c == '[')
            i = skip_to(s, i, ']');
        else if (c == '<')
            i = skip_to(s, i, '>');
        else
            i += c == '\\' && i + 1 < s.n ? 2 : 1;
    }
    return s.n;
}

/* A display name: quotes taken off, white space made one space. */
static void give_phrase(struct scan *scan, struct str s)
{
    bool quoted = false;
    size_t start = 0;
    for (size_t i = 0; i <= s.n; i++) {
        bool blank = i < s.n && !quoted && (s.p[i] == ' ' || s.p[i] == '\t');
        bool extra = blank && i > 0 && (s.p[i - 1] == ' ' || s.p[i - 1] == '\t');
        bool escape = i + 1 < s.n && s.p[i] == '\\';
        if (i < s.n && s.p[i] != '"' && !escape && !extra)
            continue;
        give_marked(scan, RECORD_TEXT, RECORD_TEXT_VALUE, 0, str_make(s.p + start, i - start));
        if (i < s.n && s.p[i] == '"')
            quoted = !quoted;
        start = i + 1;
        i += escape; /* what follows the backslash is text */
    }
    give(scan, RECORD_PHRASE_END, 0, STR(""));
}

/* addr-spec, or in a List-Id what stands in its place. */
static bool give_address(struct scan *scan, struct str s, bool bare)
{
    struct address address;
    struct err why;
    s = str_trim(s);
    scan->mailboxes++;
    if (str_find(s, SCAN_MARK, 0) != SIZE_MAX) {
        give_raw(scan, bare && s.n == 1 ? OP_MAILBOX : OP_ADDRESS, s);
        return true;
    }
    bool ascii = utf8_is_ascii(s);
    if ((scan->strict || !ascii) && address_parse(s, &address, &why)) {
        if (address.idn) {
            give(scan, RECORD_RAW, OP_ADDRESS, address.local);
            give(scan, RECORD_RAW, 0, STR("@"));
            give(scan, RECORD_RAW, 0, address_domain(&address));
            return true;
        }
    } else if (scan->strict) {
        return err_set(scan->err, 0, "\"%.*s\" is no mail address: %s", s.n > 100 ? 100 : (int)s.n, s.p,
                       why.text);
    }
    give(scan, RECORD_RAW, OP_ADDRESS, s);
    return true;
}

static bool give_mailbox(struct scan *scan, struct str s)
{
    size_t open = find_outside(s, 0, "<");
    if (open == s.n)
        return give_address(scan, s, true);
    struct str phrase = str_trim(str_make(s.p, open));
    size_t after = skip_to(s, open, '>');
    bool closed = s.p[after - 1] == '>' && after > open + 1;
    if (phrase.n > 0)
        give_phrase(scan, phrase);
    give(scan, RECORD_RAW, 0, phrase.n > 0 ? STR(" <") : STR("<"));
    if (!give_address(scan, str_make(s.p + open + 1, after - open - 1 - closed), false))
        return false;
    give(scan, RECORD_RAW, 0, STR(">"));
    struct str rest = str_trim(str_make(s.p + after, s.n - after));
    if (rest.n > 0) {
        give(scan, RECORD_RAW, 0, STR(" "));
        give_raw(scan, 0, rest);
    }
    return true;
}

static bool scan_addresses(struct scan *scan, struct str s)
{
    struct str separator = STR("");
    for (size_t i = 0; i < s.n;) {
        size_t end = find_outside(s, i, ",;:");
        struct str one = str_trim(str_make(s.p + i, end - i));
        char stop = end < s.n ? s.p[end] : ',';
        i = end + 1;
        if (one.n > 0 || stop == ':') {
            give(scan, RECORD_RAW, 0, separator);
            if (stop == ':')
                give_phrase(scan, one);
            else if (!give_mailbox(scan, one))
                return false;
            separator = STR(", ");
        }
        if (stop == ':') {
            give(scan, RECORD_RAW, 0, STR(":"));
            separator = STR(" ");
            scan->mailboxes++; /* a group may be empty */
        } else if (stop == ';') {
            give(scan, RECORD_RAW, 0, STR(";"));
            separator = STR(", ");
        }
    }
    if (scan->strict && scan->mailboxes == 0)
        return err_set(scan->err, 0, "there is no mail address");
    return true;
}

size_t field_mailboxes(struct str value)
{
    size_t n = 0;
    for (size_t i = 0; i < value.n;) {
        size_t end = find_outside(value, i, ",;:");
        bool name_of_group = end < value.n && value.p[end] == ':';
        n += !name_of_group && str_trim(str_make(value.p + i, end - i)).n > 0;
        i = end + 1;
    }
    return n;
}

/* A variable that begins a URI may be the whole of it; one further inside is a path segment or query value.
 */
static void give_uri(struct scan *scan, struct str s)
{
    size_t whole = s.n > 0 && s.p[0] == SCAN_MARK;
    give_raw(scan, OP_URI, str_make(s.p, whole));
    give_raw(scan, OP_URI | OP_QUOTED, str_make(s.p + whole, s.n - whole));
}

/* What stands between parentheses: its backslashes go. */
static void give_comment(struct scan *scan, struct str s)
{
    size_t start = 0;
    for (size_t i = 0; i + 1 < s.n; i++)
        if (s.p[i] == '\\') {
            give_marked(scan, RECORD_TEXT, RECORD_TEXT_VALUE, 0, str_make(s.p + start, i - start));
            start = ++i;
        }
    give_marked(scan, RECORD_TEXT, RECORD_TEXT_VALUE, 0, str_make(s.p + start, s.n - start));
    give(scan, RECORD_TEXT_END, OP_COMMENT, STR(""));
}

static void scan_uris(struct scan *scan, struct str s)
{
    size_t start = 0;
    bool inside = false;
    for (size_t i = 0; i <= s.n; i++) {
        bool comment = i < s.n && s.p[i] == '(' && !inside;
        if (i < s.n && s.p[i] != '<' && s.p[i] != '>' && !comment)
            continue;
        struct str piece = str_make(s.p + start, i - start);
        if (inside)
            give_uri(scan, piece);
        else
            give_raw(scan, 0, piece);
        size_t after = comment ? skip_comment(s, i) : i + 1;
        if (comment && s.p[after - 1] == ')')
            give_comment(scan, str_make(s.p + i + 1, after - i - 2));
        else if (i < s.n)
            give_raw(scan, 0, str_make(s.p + i, (after < s.n ? after : s.n) - i));
        inside = i < s.n && s.p[i] == '<';
        start = after;
        i = after - 1;
    }
}

static void scan_raw(struct scan *scan, struct str s)
{
    for (size_t i = 0; i < s.n;) {
        size_t quote = str_find(s, '"', i);
        size_t end = quote == SIZE_MAX ? s.n : quote;
        give_raw(scan, 0, str_make(s.p + i, end - i));
        i = end;
        if (quote != SIZE_MAX) {
            i = skip_quoted(s, quote);
            give_raw(scan, OP_QUOTED, str_make(s.p + quote, i - quote));
        }
    }
}

bool field_scan(enum field_kind kind, struct str value, bool strict, struct scan_sink *sink, struct err *err)
{
    struct scan scan = {sink, err, strict, 0};
    switch (kind) {
    case FIELD_ADDRESSES:
        return scan_addresses(&scan, value);
    case FIELD_LIST_ID:
        scan.strict = false;
        return give_mailbox(&scan, value);
    case FIELD_IDS:
        give_raw(&scan, OP_ADDRESS, value);
        return true;
    case FIELD_URIS:
        scan_uris(&scan, value);
        return true;
    case FIELD_TEXT:
        give_marked(&scan, RECORD_TEXT, RECORD_TEXT_VALUE, 0, value);
        give(&scan, RECORD_TEXT_END, 0, STR(""));
        return true;
    default:
        scan_raw(&scan, value);
        return true;
    }
}
