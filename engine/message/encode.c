/* encode.c - see encode.h. */
#include "engine/message/encode.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

static const char hex[] = "0123456789ABCDEF";

enum { ENCODE, SAFE, SPACE, BREAK, DROP, MARKUP };

/* clang-format off */
#define E8 ENCODE, ENCODE, ENCODE, ENCODE, ENCODE, ENCODE, ENCODE, ENCODE
#define S8 SAFE, SAFE, SAFE, SAFE, SAFE, SAFE, SAFE, SAFE

/* What a byte is to quoted-printable: all printable ASCII but `=` is safe. Bytes over 127 are 0, ENCODE. */
static const uint8_t class_of[256] = {
    DROP, ENCODE, ENCODE, ENCODE, ENCODE, ENCODE, ENCODE, ENCODE,
    ENCODE, SPACE, BREAK, ENCODE, ENCODE, BREAK, ENCODE, ENCODE,
    E8, E8,
    SPACE, SAFE, MARKUP /* " */, SAFE, SAFE, SAFE, MARKUP /* & */, MARKUP /* ' */, S8,
    S8, SAFE, SAFE, SAFE, SAFE, MARKUP /* < */, ENCODE /* = */, MARKUP /* > */, SAFE,
    S8, S8, S8, S8, S8, S8, S8,
    SAFE, SAFE, SAFE, SAFE, SAFE, SAFE, SAFE, ENCODE,
};
/* clang-format on */

static struct str entity(char c)
{
    switch (c) {
    case '&':
        return STR("&amp;");
    case '<':
        return STR("&lt;");
    case '>':
        return STR("&gt;");
    case '"':
        return STR("&quot;");
    default:
        return STR("&#39;");
    }
}

static char *put_soft_break(char *out, unsigned *col)
{
    memcpy(out, "=\r\n", 3);
    *col = 0;
    return out + 3;
}

static char *put_hex(char *out, char c, unsigned *col)
{
    if (*col + 3 > QP_LINE_MAX - 1)
        out = put_soft_break(out, col);
    *out++ = '=';
    *out++ = hex[(uint8_t)c >> 4];
    *out++ = hex[(uint8_t)c & 15];
    *col += 3;
    return out;
}

static bool needs_guard(struct str text, size_t i)
{
    return text.p[i] == '.' || text.p[i] == '-' ||
           (text.p[i] == 'F' && str_starts(str_make(text.p + i, text.n - i), STR("From ")));
}

/* Printable text; broken where the line ends. */
static char *put_plain(char *out, struct str s, unsigned *col)
{
    while (s.n > 0) {
        size_t room = QP_LINE_MAX - 1 - *col;
        if (room == 0) {
            out = put_soft_break(out, col);
            if (needs_guard(s, 0)) {
                out = put_hex(out, s.p[0], col);
                s = str_make(s.p + 1, s.n - 1);
            }
            continue;
        }
        size_t n = s.n < room ? s.n : room;
        memcpy(out, s.p, n);
        out += n;
        *col += (unsigned)n;
        s = str_make(s.p + n, s.n - n);
    }
    return out;
}

/* Whether the byte at i would end a line, or the text. */
static bool at_end(struct str text, size_t i)
{
    return i + 1 == text.n || text.p[i + 1] == '\r' || text.p[i + 1] == '\n' || text.p[i + 1] == '\0';
}

#ifdef __SSE2__
/* Which of sixteen bytes are over 127, controls or `=`, as 255. */
static __m128i find_encoded(const char *p)
{
    __m128i at = _mm_loadu_si128((const void *)p); /* signed: over 127 is less than 0 */
    return _mm_or_si128(_mm_cmplt_epi8(at, _mm_set1_epi8(' ')), _mm_cmpeq_epi8(at, _mm_set1_epi8('=')));
}
#endif

/* Past printable text that stays as it is, outside of HTML; may stop short of it. */
static size_t skip_printable(struct str text, size_t i)
{
#ifdef __SSE2__ /* a byte at a time took a third of all that is compiled */
    size_t start = i;
    unsigned stop = 0;
    while (stop == 0 && text.n - i > 16) {
        __m128i del = _mm_cmpeq_epi8(_mm_loadu_si128((const void *)(text.p + i)), _mm_set1_epi8(0x7f));
        stop = (unsigned)_mm_movemask_epi8(_mm_or_si128(del, find_encoded(text.p + i)));
        i += stop == 0 ? 16 : (size_t)__builtin_ctz(stop);
    }
    i -= i > start && text.p[i - 1] == ' '; /* a line may end behind it */
#else
    (void)text;
#endif
    return i;
}

char *qp_encode(char *out, struct str text, bool html, bool guard, unsigned *col)
{
    for (size_t i = 0; i < text.n;) {
        if ((*col == 0 || guard) && needs_guard(text, i)) {
            out = put_hex(out, text.p[i++], col);
            guard = false;
            continue;
        }
        size_t start = i;
        uint8_t class;
        if (!html)
            i = skip_printable(text, i);
        while ((class = class_of[(uint8_t)text.p[i]]) == SAFE || (class == MARKUP && !html) ||
               (class == SPACE && !at_end(text, i)))
            if (++i == text.n)
                break;
        if (i > start) {
            out = put_plain(out, str_make(text.p + start, i - start), col);
            guard = false;
            continue;
        }
        char c = text.p[i++];
        if (class == BREAK) {
            i += c == '\r' && i < text.n && text.p[i] == '\n';
            memcpy(out, "\r\n", 2);
            out += 2;
            *col = 0;
        } else if (class == MARKUP) {
            out = put_plain(out, entity(c), col);
        } else if (class != DROP) {
            out = put_hex(out, c, col);
        }
        guard = guard && class == DROP;
    }
    return out;
}

bool buf_add_qp(struct buf *buf, struct str text, bool guard, unsigned *col)
{
    while (text.n > 0) { /* in pieces, so that room for the worst is not asked for all at once */
        size_t n = text.n;
        if (n > 65536) {
            n = 65536;
            while (n > 32768 && text.p[n - 1] != '\n')
                n--;
            if (text.p[n - 1] != '\n')
                n = text.p[65535] == '\r' ? 65535 : 65536;
        }
        char *out = buf_room(buf, QP_ROOM(n));
        if (out == NULL)
            return false;
        buf->len = (size_t)(qp_encode(out, str_make(text.p, n), false, guard, col) - buf->data);
        guard = false;
        text = str_make(text.p + n, text.n - n);
    }
    return true;
}

bool buf_add_text(struct buf *buf, struct str text, bool html)
{
    size_t start = 0;
    for (size_t i = 0; i < text.n; i++) {
        uint8_t class = class_of[(uint8_t)text.p[i]];
        if (class != BREAK && class != DROP && !(class == MARKUP && html))
            continue;
        buf_add(buf, text.p + start, i - start);
        if (class == BREAK)
            buf_add(buf, "\r\n", 2);
        else if (class == MARKUP)
            buf_add_str(buf, entity(text.p[i]));
        i += text.p[i] == '\r' && i + 1 < text.n && text.p[i + 1] == '\n';
        start = i + 1;
    }
    return buf_add(buf, text.p + start, text.n - start);
}

char *percent_encode(char *out, struct str text)
{
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                     c == '.' || c == '_' || c == '~';
        if (!plain) {
            *out++ = '%';
            *out++ = hex[(uint8_t)c >> 4];
            c = hex[(uint8_t)c & 15];
        }
        *out++ = c;
    }
    return out;
}

/* Bytes over 127, controls (line ends too) and `=`: quoted-printable encodes no others but DEL. */
static size_t count_encoded(struct str text)
{
    size_t n = 0, i = 0;
#ifdef __SSE2__ /* a byte at a time took as long as a fifth of all that is compiled */
    const __m128i none = _mm_setzero_si128();
    while (text.n - i >= 16) {
        __m128i counts = none; /* of each column, up to 255 */
        for (int k = 0; k < 255 && text.n - i >= 16; k++, i += 16)
            counts = _mm_sub_epi8(counts, find_encoded(text.p + i));
        __m128i sums = _mm_sad_epu8(counts, none);
        n += (size_t)_mm_cvtsi128_si32(sums) + (size_t)_mm_extract_epi16(sums, 4);
    }
#endif
    for (; i < text.n; i++)
        n += (signed char)text.p[i] < ' ' || text.p[i] == '=';
    return n;
}

bool base64_is_shorter(struct str text)
{
    if (count_encoded(text) < text.n / 8) /* a seventh would be too few: most text is done with here */
        return false;
    size_t qp = 0, bytes = 0, col = 0;
    for (size_t i = 0; i < text.n; i++) {
        uint8_t class = class_of[(uint8_t)text.p[i]];
        if (class == DROP || (text.p[i] == '\n' && i > 0 && text.p[i - 1] == '\r'))
            continue;
        size_t n = class == BREAK ? 2 : class == ENCODE ? 3 : 1;
        if (class != BREAK && col + n > QP_LINE_MAX - 1) {
            qp += 3;
            col = 0;
        }
        col = class == BREAK ? 0 : col + n;
        qp += n;
        bytes += class == BREAK ? 2 : 1;
    }
    bool ended = col == 0; /* by a line end that base64 has in it, and then another */
    return (bytes + 2) / 3 * 4 + bytes / 57 * 2 + (ended ? 2 : 0) < qp;
}

static const char base64_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_encode(char *out, struct str bytes)
{
    const uint8_t *p = (const uint8_t *)bytes.p;
    size_t n = bytes.n;
    for (; n >= 3; n -= 3, p += 3) {
        *out++ = base64_alphabet[p[0] >> 2];
        *out++ = base64_alphabet[(p[0] & 3) << 4 | p[1] >> 4];
        *out++ = base64_alphabet[(p[1] & 15) << 2 | p[2] >> 6];
        *out++ = base64_alphabet[p[2] & 63];
    }
    if (n > 0) {
        unsigned second = n == 2 ? p[1] : 0;
        *out++ = base64_alphabet[p[0] >> 2];
        *out++ = base64_alphabet[(p[0] & 3U) << 4 | second >> 4];
        *out++ = n == 2 ? base64_alphabet[(second & 15) << 2] : '=';
        *out++ = '=';
    }
    return out;
}

bool buf_add_base64(struct buf *buf, struct str bytes)
{
    enum { LINE_BYTES = 57 }; /* become 76 characters */
    for (size_t at = 0; at < bytes.n; at += LINE_BYTES) {
        size_t n = bytes.n - at < LINE_BYTES ? bytes.n - at : LINE_BYTES;
        char *out = buf_room(buf, 78);
        if (out == NULL)
            return false;
        char *end = base64_encode(out, str_make(bytes.p + at, n));
        memcpy(end, "\r\n", 2);
        buf->len += (size_t)(end + 2 - out);
    }
    return true;
}
