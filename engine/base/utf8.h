/* utf8.h - steps through UTF-8, and eight bytes at a time through what is ASCII. Any thread. */
#ifndef POSTRIDER_BASE_UTF8_H
#define POSTRIDER_BASE_UTF8_H

#include "engine/base/str.h"

/* Length of the character at p (n > 0 bytes there), or 0 if it is malformed (RFC 3629: overlong forms,
 * surrogates and what lies beyond U+10FFFF included). */
static inline size_t utf8_length(const char *p, size_t n)
{
    const uint8_t *u = (const uint8_t *)p;
    if (u[0] < 0x80)
        return 1;
    size_t want = u[0] >= 0xf0 ? 4 : u[0] >= 0xe0 ? 3 : 2;
    if (u[0] < 0xc2 || u[0] > 0xf4 || n < want)
        return 0;
    for (size_t i = 1; i < want; i++)
        if ((u[i] & 0xc0) != 0x80)
            return 0;
    if ((u[0] == 0xe0 && u[1] < 0xa0) || (u[0] == 0xed && u[1] > 0x9f) || (u[0] == 0xf0 && u[1] < 0x90) ||
        (u[0] == 0xf4 && u[1] > 0x8f))
        return 0;
    return want;
}

/* How many bytes from the front are ASCII. */
static inline size_t utf8_ascii_span(struct str s)
{
    size_t i = 0;
    for (uint64_t word; s.n - i >= sizeof word; i += sizeof word) {
        memcpy(&word, s.p + i, sizeof word);
        if (word & UINT64_C(0x8080808080808080))
            break;
    }
    while (i < s.n && !(s.p[i] & '\x80'))
        i++;
    return i;
}

static inline bool utf8_valid(struct str s)
{
    for (size_t i = utf8_ascii_span(s); i < s.n; i += utf8_ascii_span(str_make(s.p + i, s.n - i))) {
        size_t n = utf8_length(s.p + i, s.n - i);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

static inline bool utf8_is_ascii(struct str s)
{
    return utf8_ascii_span(s) == s.n;
}

#define UTF8_REPLACEMENT "\xef\xbf\xbd"

#endif
