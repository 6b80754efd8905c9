/* utf8_addr.c - see utf8_addr.h. */
#include "engine/base/utf8_addr.h"

#include "engine/base/utf8.h"

/* Of the well-formed character of n bytes at p, or of the one byte there. */
static unsigned code_point(const char *p, size_t n)
{
    const uint8_t *u = (const uint8_t *)p;
    unsigned value = n < 2 ? u[0] : u[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++)
        value = value << 6 | (u[i] & 0x3f);
    return value;
}

bool buf_add_utf8_addr(struct buf *out, struct str address, bool eight_bit)
{
    for (size_t i = 0, n; i < address.n; i += n) {
        n = utf8_length(address.p + i, address.n - i);
        n += n == 0;
        unsigned c = code_point(address.p + i, n);
        if (c == '\\' || (!eight_bit && (c <= ' ' || c >= 0x7f || c == '+' || c == '=')))
            buf_printf(out, "\\x{%X}", c);
        else
            buf_add(out, address.p + i, n);
    }
    return !out->failed;
}
