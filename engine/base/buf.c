/* buf.c - see buf.h. */
#include "engine/base/buf.h"

#include <stdio.h>
#include <stdlib.h>

static _Thread_local bool lacked;

bool buf_lacked(void)
{
    bool was = lacked;
    lacked = false;
    return was;
}

void buf_init(struct buf *buf, size_t max)
{
    *buf = (struct buf){.max = max};
}

void buf_free(struct buf *buf)
{
    free(buf->data);
    *buf = (struct buf){.max = buf->max};
}

void buf_clear(struct buf *buf)
{
    buf->len = 0;
    buf->failed = false;
}

char *buf_room(struct buf *buf, size_t n)
{
    if (buf->failed || n > buf->max - buf->len) {
        buf->failed = true;
        return NULL;
    }
    if (buf->len + n > buf->cap) {
        size_t cap = buf->cap ? buf->cap : 256;
        while (cap < buf->len + n)
            cap *= 2;
        if (cap > buf->max)
            cap = buf->max;
        char *data = realloc(buf->data, cap);
        if (data == NULL) {
            buf->failed = lacked = true;
            return NULL;
        }
        buf->data = data;
        buf->cap = cap;
    }
    return buf->data + buf->len;
}

bool buf_add(struct buf *buf, const void *p, size_t n)
{
    if (n == 0)
        return !buf->failed;
    char *room = buf_room(buf, n);
    if (room == NULL)
        return false;
    memcpy(room, p, n);
    buf->len += n;
    return true;
}

bool buf_add_str(struct buf *buf, struct str s)
{
    return buf_add(buf, s.p, s.n);
}

bool buf_add_z(struct buf *buf, const char *z)
{
    return buf_add(buf, z, strlen(z));
}

bool buf_add_char(struct buf *buf, char c)
{
    return buf_add(buf, &c, 1);
}

bool buf_add_u64(struct buf *buf, uint64_t n)
{
    char digits[STR_U64_MAX];
    return buf_add(buf, digits, str_put_u64(digits, n));
}

bool buf_vprintf(struct buf *buf, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, again);
    va_end(again);
    char *room = n < 0 ? NULL : buf_room(buf, (size_t)n + 1);
    if (room == NULL) {
        buf->failed = true;
        return false;
    }
    vsnprintf(room, (size_t)n + 1, format, args);
    buf->len += (size_t)n;
    return true;
}

bool buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    bool ok = buf_vprintf(buf, format, args);
    va_end(args);
    return ok;
}

void buf_shift(struct buf *buf, size_t n)
{
    if (n >= buf->len) {
        buf->len = 0;
        return;
    }
    memmove(buf->data, buf->data + n, buf->len - n);
    buf->len -= n;
}
