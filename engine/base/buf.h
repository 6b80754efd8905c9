/* buf.h - bytes that grow up to a stated maximum.
 *
 * The owner calls buf_init with the maximum and buf_free at the end. An append that would pass the maximum,
 * or for which memory is out, leaves the content as it was, sets `failed` and returns false; `failed` stays
 * set until buf_clear, so a writer may append many times and check once. `data` is valid until the next
 * append. Not for sharing between threads. */
#ifndef POSTRIDER_BASE_BUF_H
#define POSTRIDER_BASE_BUF_H

#include "engine/base/str.h"

#include <stdarg.h>

struct buf {
    char *data;
    size_t len, cap, max;
    bool failed;
};

void buf_init(struct buf *buf, size_t max);
void buf_free(struct buf *buf);
/* Empties it but keeps the memory for the next use. */
void buf_clear(struct buf *buf);
/* Room for n more bytes at data + len, or NULL. The caller then adds to len what it wrote. */
char *buf_room(struct buf *buf, size_t n);
bool buf_add(struct buf *buf, const void *p, size_t n);
bool buf_add_str(struct buf *buf, struct str s);
bool buf_add_z(struct buf *buf, const char *z);
bool buf_add_char(struct buf *buf, char c);
bool buf_add_u64(struct buf *buf, uint64_t n); /* in decimal */
bool buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool buf_vprintf(struct buf *buf, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
/* Whether memory was out for any buf of this thread since it asked last: whoever refuses what was too large
 * asks, for then it was not the sender's fault. */
bool buf_lacked(void);
/* Removes n bytes at the front. */
void buf_shift(struct buf *buf, size_t n);

static inline struct str buf_str(const struct buf *buf)
{
    return str_make(buf->data, buf->len);
}

#endif
