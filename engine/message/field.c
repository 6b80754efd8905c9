/* field.c - see field.h.
 *
 * Folding is lazy: the last white space that may be folded is remembered, and when a line has grown past
 * FIELD_FOLD, a CRLF is put there. So pieces may come in any size, a word in several. */
#include "engine/message/field.h"

#include "engine/base/utf8.h"
#include "engine/limits.h"
#include "engine/message/address.h"
#include "engine/message/encode.h"

enum {
    WORD_MAX = 75,      /* of an encoded word, RFC 2047 2 */
    WORD_FRAME = 12,    /* of it =?utf-8?Q? and ?= */
    WORD_ROOM_MIN = 16, /* less is not worth beginning one on this line */
    RAW_WORD_MAX = 900, /* what is longer without white space must be encoded to be folded */
    BLANKS_MAX = 60,    /* of a run, the rest is dropped */
    CHUNK = 200,        /* of a long word looked at together */
};

static bool is_blank(char c)
{
    uint8_t u = (uint8_t)c;
    return u <= ' ' || u == 0x7f; /* controls become spaces */
}

static size_t line_length(const struct field_writer *w)
{
    return w->before + (w->out->len - w->line_at);
}

void field_begin(struct field_writer *w, struct buf *out, struct buf *text, size_t columns)
{
    *w = (struct field_writer){.out = out, .text = text, .before = columns};
    w->begin = w->line_at = out->len;
    w->fold_at = SIZE_MAX;
    buf_clear(text);
    buf_add_char(out, ' ');
}

/* Puts a line end, and `more` after it, before what stands at `at`. */
static void insert_break(struct field_writer *w, size_t at, struct str more)
{
    if (buf_room(w->out, 2 + more.n) == NULL)
        return;
    char *p = w->out->data + at;
    memmove(p + 2 + more.n, p, w->out->len - at);
    memcpy(p, "\r\n", 2);
    if (more.n)
        memcpy(p + 2, more.p, more.n);
    w->out->len += 2 + more.n;
    w->line_at = at + 2;
    w->before = 0;
    w->fold_at = SIZE_MAX;
}

/* Cuts a line without white space before it passes TEXT_LINE_MAX, not inside a character. */
static void cut(struct field_writer *w)
{
    size_t at = w->line_at + (TEXT_LINE_MAX - w->before);
    for (int i = 0; i < 3 && (w->out->data[at] & 0xc0) == 0x80; i++)
        at--;
    insert_break(w, at, STR(" "));
}

static void put_blanks(struct field_writer *w, struct str s)
{
    size_t len = w->out->len;
    if (len == w->begin + 1)
        return; /* the one after the colon is there */
    char previous = len > 0 ? w->out->data[len - 1] : ' ';
    if (!is_blank(previous))
        w->fold_at = len;
    size_t have = w->fold_at == SIZE_MAX ? 0 : len - w->fold_at;
    for (size_t i = 0; i < s.n && have + i < BLANKS_MAX; i++)
        buf_add_char(w->out, s.p[i] == '\t' ? '\t' : ' ');
}

static void put_word(struct field_writer *w, struct str s)
{
    while (s.n > 0 && !w->out->failed) {
        size_t n = s.n < CHUNK ? s.n : CHUNK;
        buf_add(w->out, s.p, n);
        s = str_make(s.p + n, s.n - n);
        if (line_length(w) > FIELD_FOLD && w->fold_at != SIZE_MAX)
            insert_break(w, w->fold_at, STR(""));
        if (line_length(w) > TEXT_LINE_MAX && !w->out->failed)
            cut(w);
    }
}

void field_put(struct field_writer *w, struct str s)
{
    for (size_t i = 0; i < s.n;) {
        size_t start = i;
        uint8_t bits = 0;
        while (i < s.n && !is_blank(s.p[i]))
            bits |= (uint8_t)s.p[i++];
        if (i > start)
            put_word(w, str_make(s.p + start, i - start));
        w->has_8bit |= (bits & 0x80) != 0;
        start = i;
        while (i < s.n && is_blank(s.p[i]))
            i++;
        if (i > start)
            put_blanks(w, str_make(s.p + start, i - start));
    }
}

static void trim(struct field_writer *w)
{
    while (w->out->len > w->begin && is_blank(w->out->data[w->out->len - 1]) &&
           w->out->data[w->out->len - 1] != '\n')
        w->out->len--;
}

void field_break(struct field_writer *w)
{
    if (w->out->len == w->begin + 1)
        return; /* nothing stands on the first line: no need to break it */
    trim(w);
    if (w->out->failed || w->out->len <= w->line_at)
        return;
    insert_break(w, w->out->len, STR(""));
}

void field_end(struct field_writer *w)
{
    trim(w);
    while (w->out->len > w->begin + 2 &&
           w->out->data[w->out->len - 1] == '\n') { /* nothing but white space */
        w->out->len -= 2;
        trim(w);
    }
    buf_add(w->out, "\r\n", 2);
}

/* Encoded words. */

static bool is_q_safe(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '!' ||
           c == '*' || c == '+' || c == '-' || c == '/';
}

static size_t q_cost(struct str s)
{
    size_t cost = 0;
    for (size_t i = 0; i < s.n; i++)
        cost += is_q_safe(s.p[i]) || is_blank(s.p[i]) ? 1 : 3;
    return cost;
}

static char *q_encode(char *out, struct str s)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < s.n; i++) {
        if (is_blank(s.p[i])) {
            *out++ = '_';
        } else if (is_q_safe(s.p[i])) {
            *out++ = s.p[i];
        } else {
            *out++ = '=';
            *out++ = hex[(uint8_t)s.p[i] >> 4];
            *out++ = hex[(uint8_t)s.p[i] & 15];
        }
    }
    return out;
}

/* The first character of s, as it will be sent, in *c. Returns how many bytes of s it takes. */
static size_t next_character(struct str s, struct str *c)
{
    size_t n = utf8_length(s.p, s.n);
    *c = n == 0 ? STR(UTF8_REPLACEMENT) : is_blank(s.p[0]) ? STR(" ") : str_make(s.p, n);
    return n == 0 ? 1 : n;
}

/* One encoded word of at most `room` characters of payload; returns the bytes of s that it took. A base64
 * word that another one follows is whole without padding: GMime decodes a run of them as one stream, which
 * would end there. Where no such piece begins, it is a word of the other kind. */
static size_t put_encoded_word(struct field_writer *w, struct str s, bool base64, size_t room)
{
    char bytes[WORD_MAX], word[WORD_MAX + 4];
    size_t n = 0, cost = 0, taken = 0, whole = 0, whole_taken = 0;
    while (taken < s.n) {
        struct str c;
        size_t step = next_character(str_make(s.p + taken, s.n - taken), &c);
        cost = base64 ? (n + c.n + 2) / 3 * 4 : cost + q_cost(c);
        if (cost > room)
            break;
        memcpy(bytes + n, c.p, c.n);
        n += c.n;
        taken += step;
        if (n % 3 == 0) {
            whole = n;
            whole_taken = taken;
        }
    }
    if (base64 && taken < s.n) {
        if (whole == 0)
            return put_encoded_word(w, s, false, room);
        n = whole;
        taken = whole_taken;
    }
    memcpy(word, base64 ? "=?utf-8?B?" : "=?utf-8?Q?", 10);
    char *end =
        base64 ? base64_encode(word + 10, str_make(bytes, n)) : q_encode(word + 10, str_make(bytes, n));
    memcpy(end, "?=", 2);
    field_put(w, str_make(word, (size_t)(end + 2 - word)));
    return taken;
}

static void put_encoded(struct field_writer *w, struct str s)
{
    bool base64 = q_cost(s) > (s.n + 2) / 3 * 4;
    size_t used = line_length(w) + WORD_FRAME;
    size_t room = used + WORD_ROOM_MIN > FIELD_FOLD ? WORD_MAX - WORD_FRAME : FIELD_FOLD - used;
    if (room > WORD_MAX - WORD_FRAME)
        room = WORD_MAX - WORD_FRAME;
    if (used + WORD_ROOM_MIN > FIELD_FOLD && w->out->len == w->begin + 1)
        w->fold_at = w->begin; /* after a very long name */
    while (s.n > 0 && !w->out->failed) {
        size_t taken = put_encoded_word(w, s, base64, room);
        s = str_make(s.p + taken, s.n - taken);
        room = WORD_MAX - WORD_FRAME;
        if (s.n > 0)
            put_blanks(w, STR(" "));
    }
}

static bool needs_encoding(struct str word)
{
    if (word.n > RAW_WORD_MAX)
        return true;
    for (size_t i = 0; i < word.n; i++)
        if ((word.p[i] & 0x80) || (word.p[i] == '=' && i + 1 < word.n && word.p[i + 1] == '?'))
            return true;
    return false;
}

static struct str trim_blanks(struct str s)
{
    while (s.n > 0 && is_blank(s.p[0]))
        s = str_make(s.p + 1, s.n - 1);
    while (s.n > 0 && is_blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

/* Where the words that need encoding begin and end in s (trimmed); false if none does. */
static bool find_encoded(struct str s, size_t *first, size_t *last)
{
    bool found = false;
    for (size_t i = 0; i < s.n;) {
        size_t start = i;
        while (i < s.n && !is_blank(s.p[i]))
            i++;
        if (needs_encoding(str_make(s.p + start, i - start))) {
            if (!found)
                *first = start;
            *last = i;
            found = true;
        }
        while (i < s.n && is_blank(s.p[i]))
            i++;
    }
    return found;
}

/* Unstructured text: encoded words where needed. Malformed UTF-8 becomes U+FFFD. */
static void put_flat_text(struct field_writer *w, struct str s)
{
    size_t first, last;
    s = trim_blanks(s);
    if (!find_encoded(s, &first, &last)) {
        field_put(w, s);
        return;
    }
    /* One blank beside it stays outside and separates it; further ones belong to the text and go inside. */
    while (first >= 2 && is_blank(s.p[first - 2]))
        first--;
    while (last + 1 < s.n && is_blank(s.p[last + 1]))
        last++;
    field_put(w, str_make(s.p, first));
    put_encoded(w, str_make(s.p + first, last - first));
    field_put(w, str_make(s.p + last, s.n - last));
}

static bool is_atext(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

/* As words of a phrase, with one space between them. */
static bool is_atoms(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is_atext(s.p[i]) && !(s.p[i] == ' ' && s.p[i + 1] != ' ')) /* trimmed: a space is never last */
            return false;
    return true;
}

/* With a backslash before each of these characters. */
static void put_escaped(struct field_writer *w, struct str s, const char *which)
{
    size_t start = 0;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '\0' && strchr(which, s.p[i]) != NULL) {
            field_put(w, str_make(s.p + start, i - start));
            field_put(w, STR("\\"));
            start = i;
        }
    field_put(w, str_make(s.p + start, s.n - start));
}

/* A display name: atoms, a quoted string or encoded words. */
static void put_phrase(struct field_writer *w, struct str s)
{
    size_t first, last;
    s = trim_blanks(s);
    if (s.n == 0)
        return;
    if (find_encoded(s, &first, &last)) {
        put_encoded(w, s);
    } else if (is_atoms(s)) {
        field_put(w, s);
    } else {
        field_put(w, STR("\""));
        put_escaped(w, s, "\"\\");
        field_put(w, STR("\""));
    }
}

static void put_comment(struct field_writer *w, struct str s)
{
    size_t first, last;
    s = trim_blanks(s);
    field_put(w, STR("("));
    if (find_encoded(s, &first, &last))
        put_encoded(w, s);
    else
        put_escaped(w, s, "()\\");
    field_put(w, STR(")"));
}

/* Variables in structured fields. */

static bool is_special(char c)
{
    return is_blank(c) || strchr("<>()[]\\,;:\"", c) != NULL;
}

/* ASCII, and nothing special: a bit a character, as this runs once a message. */
static bool is_plain_address(struct str s)
{
    static const uint64_t plain[4] = {UINT64_C(0xa3ffecfa00000000), UINT64_C(0x7fffffffc7ffffff)};
    uint64_t all = 1;
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = (uint8_t)s.p[i];
        all &= plain[c >> 6] >> (c & 63);
    }
    return all & 1;
}

/* Inside <>: an address goes out as it is, with its domain in ASCII; of anything else no byte may end the
 * address or add another one. */
static void put_address(struct field_writer *w, struct str s)
{
    struct address address;
    struct err err;
    if (is_plain_address(s)) {
        field_put(w, s);
        return;
    }
    if (address_parse(s, &address, &err)) {
        w->needs_smtputf8 |= address.utf8_local;
        field_put(w, address.local);
        field_put(w, STR("@"));
        field_put(w, address_domain(&address));
        return;
    }
    for (size_t i = 0; i < s.n;) {
        size_t n = utf8_length(s.p + i, s.n - i);
        bool bad = n == 0 || is_special(s.p[i]);
        field_put(w, bad ? STR("_") : str_make(s.p + i, n));
        w->needs_smtputf8 |= n > 1;
        i += n ? n : 1;
    }
}

static void write_piece(struct scan_sink *sink, enum record_kind kind, unsigned flags, struct str text)
{
    field_step(((struct field_sink *)(void *)sink)->w, kind, flags, text);
}

struct field_sink field_sink_of(struct field_writer *w)
{
    return (struct field_sink){{write_piece}, w};
}

/* A value that is the whole mailbox may have a display name, or be a list. */
static void put_mailboxes(struct field_writer *w, struct str s)
{
    struct field_sink sink = field_sink_of(w);
    struct err err;
    bool controls = false;
    for (size_t i = 0; i < s.n; i++)
        controls |= is_blank(s.p[i]) && s.p[i] != ' ';
    if (controls || is_plain_address(s)) /* a control could be taken for a mark; nobody's address has one */
        field_put(w, s);
    else
        field_scan(FIELD_ADDRESSES, s, false, &sink.sink, &err);
}

static bool is_unreserved(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("-._~@:/", c) != NULL);
}

/* What may not stand in a URI is percent-encoded; `inside` of one also what would mean something else there.
 */
static void put_uri(struct field_writer *w, bool inside, struct str s)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t start = 0;
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = (uint8_t)s.p[i];
        bool legal = c > ' ' && c < 0x7f && strchr("<>\"\\^`{|}", (char)c) == NULL;
        if (inside ? is_unreserved((char)c) : legal)
            continue;
        char code[3] = {'%', hex[c >> 4], hex[c & 15]};
        field_put(w, str_make(s.p + start, i - start));
        field_put(w, str_make(code, 3));
        start = i + 1;
    }
    field_put(w, str_make(s.p + start, s.n - start));
}

static void put_raw(struct field_writer *w, unsigned flags, struct str s)
{
    if (flags & OP_URI) {
        put_uri(w, false, s);
        return;
    }
    if (flags & OP_ADDRESS && !utf8_is_ascii(s))
        w->needs_smtputf8 = true;
    field_put(w, s);
}

static void put_raw_value(struct field_writer *w, unsigned flags, struct str s)
{
    if (flags & OP_ADDRESS)
        put_address(w, s);
    else if (flags & OP_MAILBOX)
        put_mailboxes(w, s);
    else if (flags & OP_URI)
        put_uri(w, flags & OP_QUOTED, s);
    else if (flags & OP_QUOTED)
        put_escaped(w, s, "\"\\");
    else
        field_put(w, s);
}

/* What there was no room for must not be missing without a word: then the whole fails. */
static void text_over(struct field_writer *w)
{
    w->out->failed |= w->text->failed;
    buf_clear(w->text);
}

void field_step(struct field_writer *w, enum record_kind kind, unsigned flags, struct str text)
{
    switch (kind) {
    case RECORD_TEXT:
    case RECORD_TEXT_VALUE:
        buf_add_str(w->text, text);
        break;
    case RECORD_TEXT_END:
        if (flags & OP_COMMENT)
            put_comment(w, buf_str(w->text));
        else
            put_flat_text(w, buf_str(w->text));
        text_over(w);
        break;
    case RECORD_PHRASE_END:
        put_phrase(w, buf_str(w->text));
        text_over(w);
        break;
    case RECORD_RAW:
        put_raw(w, flags, text);
        break;
    case RECORD_RAW_VALUE:
        put_raw_value(w, flags, text);
        break;
    case RECORD_FIELD_END:
        field_end(w);
        break;
    default:
        break;
    }
}
