/* decode.c - see decode.h. */
#include "engine/message/decode.h"

#include <stdlib.h>

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    char low = ascii_lower(c);
    return low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
}

/* The byte of "=XX" at p, or -1. */
static int hex_pair(const char *p, size_t n)
{
    if (n < 3 || p[0] != '=')
        return -1;
    int high = hex_value(p[1]), low = hex_value(p[2]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

static size_t skip_line_end(struct str s, size_t at)
{
    if (at < s.n && s.p[at] == '\r')
        at++;
    if (at < s.n && s.p[at] == '\n')
        at++;
    return at;
}

static bool is_line_end(struct str s, size_t at)
{
    return at == s.n || s.p[at] == '\r' || s.p[at] == '\n';
}

static size_t skip_blanks(struct str s, size_t at)
{
    while (at < s.n && (s.p[at] == ' ' || s.p[at] == '\t'))
        at++;
    return at;
}

bool qp_decode(struct str in, struct buf *out)
{
    char *to = buf_room(out, in.n + 1);
    if (to == NULL)
        return false;
    for (size_t i = 0; i < in.n;) {
        char c = in.p[i];
        if (c == '=') {
            size_t after = skip_blanks(in, i + 1);
            int byte = hex_pair(in.p + i, in.n - i);
            if (byte >= 0) {
                *to++ = (char)byte;
                i += 3;
            } else if (is_line_end(in, after)) {
                i = skip_line_end(in, after);
            } else {
                *to++ = c;
                i++;
            }
        } else if (c == ' ' || c == '\t') {
            size_t after = skip_blanks(in, i);
            if (!is_line_end(in, after)) {
                memcpy(to, in.p + i, after - i);
                to += after - i;
            }
            i = after;
        } else {
            *to++ = c;
            i++;
        }
    }
    out->len = (size_t)(to - out->data);
    return true;
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool base64_decode(struct str in, struct buf *out)
{
    char *to = buf_room(out, in.n / 4 * 3 + 3);
    if (to == NULL)
        return false;
    uint32_t bits = 0;
    unsigned have = 0;
    for (size_t i = 0; i < in.n && in.p[i] != '='; i++) {
        int v = base64_value(in.p[i]);
        if (v < 0)
            continue;
        bits = bits << 6 | (uint32_t)v;
        have += 6;
        if (have >= 8) {
            have -= 8;
            *to++ = (char)(bits >> have);
        }
    }
    out->len = (size_t)(to - out->data);
    return true;
}

enum charset { CHARSET_UTF8, CHARSET_LATIN1, CHARSET_FOREIGN };

static enum charset charset_of(struct str name)
{
    size_t star = str_find(name, '*', 0); /* RFC 2231: a language follows */
    if (star != SIZE_MAX)
        name.n = star;
    if (str_eq_nocase(name, STR("utf-8")) || str_eq_nocase(name, STR("utf8")) ||
        str_eq_nocase(name, STR("us-ascii")))
        return CHARSET_UTF8;
    return str_eq_nocase(name, STR("iso-8859-1")) ? CHARSET_LATIN1 : CHARSET_FOREIGN;
}

struct word {
    struct str charset, text;
    char encoding;
    size_t n; /* of the whole */
};

/* Whether an encoded word begins at `at`. */
static bool find_word(struct str s, size_t at, struct word *word)
{
    if (!str_starts(str_make(s.p + at, s.n - at), STR("=?")))
        return false;
    size_t charset_end = str_find(s, '?', at + 2);
    if (charset_end == SIZE_MAX || charset_end == at + 2 || charset_end + 3 >= s.n ||
        s.p[charset_end + 2] != '?')
        return false;
    size_t text = charset_end + 3, end = str_find(s, '?', text);
    if (end == SIZE_MAX || end + 1 >= s.n || s.p[end + 1] != '=')
        return false;
    word->charset = str_make(s.p + at + 2, charset_end - at - 2);
    word->encoding = ascii_lower(s.p[charset_end + 1]);
    word->text = str_make(s.p + text, end - text);
    word->n = end + 2 - at;
    return word->encoding == 'q' || word->encoding == 'b';
}

static bool add_q(struct str text, struct buf *out)
{
    for (size_t i = 0; i < text.n; i++) {
        int byte = hex_pair(text.p + i, text.n - i);
        char c = text.p[i] == '_' ? ' ' : text.p[i];
        if (byte >= 0) {
            c = (char)byte;
            i += 2;
        }
        if (!buf_add_char(out, c))
            return false;
    }
    return true;
}

/* Appends to out from `from` on again, as UTF-8 and, with quote, escaped. */
static bool finish_word(struct buf *out, size_t from, bool latin1, bool quote)
{
    char *copy = str_dup(str_make(out->data + from, out->len - from));
    size_t n = out->len - from;
    bool ok = copy != NULL;
    out->len = from;
    for (size_t i = 0; ok && i < n; i++) {
        uint8_t c = (uint8_t)copy[i];
        if (quote && (c == '"' || c == '\\'))
            buf_add_char(out, '\\');
        if (latin1 && c >= 0x80) {
            buf_add_char(out, (char)(0xc0 | c >> 6));
            c = 0x80 | (c & 0x3f);
        }
        ok = buf_add_char(out, (char)c);
    }
    free(copy);
    return ok;
}

static bool add_word(const struct word *word, bool quote, struct buf *out)
{
    size_t from = out->len;
    bool latin1 = charset_of(word->charset) == CHARSET_LATIN1;
    bool ok = word->encoding == 'q' ? add_q(word->text, out) : base64_decode(word->text, out);
    return ok && (!(latin1 || quote) || finish_word(out, from, latin1, quote));
}

bool words_decode(struct str in, bool quote, struct buf *out, bool *foreign)
{
    *foreign = false;
    bool in_run = false;
    for (size_t i = 0; i < in.n;) {
        struct word word;
        size_t blanks = skip_blanks(in, i);
        bool found = (blanks == i || in_run) && find_word(in, blanks, &word);
        if (found && charset_of(word.charset) == CHARSET_FOREIGN) {
            *foreign = true;
            found = false;
        }
        if (found) {
            if (quote && !in_run)
                buf_add_char(out, '"');
            in_run = true;
            if (!add_word(&word, quote, out))
                return false;
            i = blanks + word.n;
            continue;
        }
        if (in_run && quote)
            buf_add_char(out, '"');
        in_run = false;
        size_t next = str_find(in, '=', i + 1);
        size_t n = (next == SIZE_MAX ? in.n : next) - i;
        if (!buf_add(out, in.p + i, n))
            return false;
        i += n;
    }
    if (in_run && quote)
        buf_add_char(out, '"');
    return !out->failed;
}
