/* xtext.c - see xtext.h. */
#include "engine/submission/xtext.h"

#include "engine/base/utf8.h"

/* -1: no hexadecimal digit. */
static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool xtext_decode(struct str text, char *out, size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++, n++) {
        int c = (unsigned char)text.p[i];
        if (c == '+') {
            int high = i + 1 < text.n ? hex_value(text.p[i + 1]) : -1;
            int low = i + 2 < text.n ? hex_value(text.p[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            c = high * 16 + low;
            i += 2;
        } else if (c == '=') {
            return false;
        }
        if (c < ' ' || c > '~' || n == max)
            return false;
        out[n] = (char)c;
    }
    out[n] = '\0';
    return n > 0;
}

static size_t put_utf8(char out[4], unsigned long c)
{
    static const unsigned char lead[] = {0, 0xc0, 0xe0, 0xf0};
    size_t more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    for (size_t i = more; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(lead[more] | c);
    return more + 1;
}

/* "x{F6}" behind a backslash; how much of the text it takes, 0: it is something else. */
static size_t code_point(struct str text, unsigned long *c)
{
    size_t at = 2;
    *c = 0;
    if (text.n < 4 || ascii_lower(text.p[0]) != 'x' || text.p[1] != '{')
        return 0;
    for (; at < text.n && hex_value(text.p[at]) >= 0 && *c < 0x110000; at++)
        *c = *c * 16 + (unsigned long)hex_value(text.p[at]);
    bool scalar = *c > ' ' && *c != 0x7f && *c < 0x110000 && (*c < 0xd800 || *c > 0xdfff);
    return scalar && at < text.n && text.p[at] == '}' ? at + 1 : 0;
}

/* utf-8-addr-xtext, or the address as it is. */
static bool utf8_addr_decode(struct str text, char *out, size_t max, size_t *n)
{
    *n = 0;
    for (size_t i = 0; i < text.n; i++) {
        char bytes[4] = {text.p[i]};
        size_t size = 1;
        if ((bytes[0] >= 0 && bytes[0] <= ' ') || strchr("+=\x7f", bytes[0]) != NULL)
            return false;
        if (bytes[0] == '\\') {
            unsigned long c;
            size_t taken = code_point(str_make(text.p + i + 1, text.n - i - 1), &c);
            if (taken == 0)
                return false;
            size = put_utf8(bytes, c);
            i += taken;
        }
        if (size > max - *n)
            return false;
        memcpy(out + *n, bytes, size);
        *n += size;
    }
    out[*n] = '\0';
    return *n > 0 && utf8_valid(str_make(out, *n));
}

bool orcpt_decode(struct str text, char out[ORCPT_MAX + 1], size_t *n)
{
    size_t type = str_find(text, ';', 0), address_n;
    if (type == SIZE_MAX || type == 0 || type >= ORCPT_MAX)
        return false;
    for (size_t i = 0; i < type; i++) {
        char c = ascii_lower(text.p[i]);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    memcpy(out, text.p, type + 1);
    struct str rest = str_make(text.p + type + 1, text.n - type - 1);
    char *address = out + type + 1;
    size_t max = ORCPT_MAX - type - 1;
    if (str_eq_nocase(str_make(text.p, type), STR("utf-8"))) {
        if (!utf8_addr_decode(rest, address, max, &address_n))
            return false;
    } else if (xtext_decode(rest, address, max)) {
        address_n = strlen(address);
    } else {
        return false;
    }
    *n = type + 1 + address_n;
    return true;
}
