/* codec.h - numbers and strings to bytes and back, for rows and keys.
 *
 * Keys use fixed big-endian integers, so that LMDB's byte order is their order. Values use LEB128 varints and
 * length-prefixed strings. A reader never passes its end: a short or malformed value sets `bad`, after which
 * every read gives 0 or an empty string, so that a row is decoded whole and checked once. Any thread. */
#ifndef POSTRIDER_BASE_CODEC_H
#define POSTRIDER_BASE_CODEC_H

#include "engine/base/buf.h"
#include "engine/base/str.h"

struct reader {
    const uint8_t *at, *end;
    bool bad;
};

static inline void put_be16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static inline void put_be32(uint8_t *p, uint32_t v)
{
    put_be16(p, (uint16_t)(v >> 16));
    put_be16(p + 2, (uint16_t)v);
}

static inline void put_be64(uint8_t *p, uint64_t v)
{
    put_be32(p, (uint32_t)(v >> 32));
    put_be32(p + 4, (uint32_t)v);
}

static inline uint16_t get_be16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t get_be32(const uint8_t *p)
{
    return (uint32_t)get_be16(p) << 16 | get_be16(p + 2);
}

static inline uint64_t get_be64(const uint8_t *p)
{
    return (uint64_t)get_be32(p) << 32 | get_be32(p + 4);
}

#define VARINT_MAX 10

/* Writes at most VARINT_MAX bytes; returns how many. */
static inline size_t put_varint(uint8_t *p, uint64_t v)
{
    size_t n = 0;
    while (v >= 0x80) {
        p[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    p[n++] = (uint8_t)v;
    return n;
}

static inline bool buf_add_varint(struct buf *buf, uint64_t v)
{
    uint8_t bytes[VARINT_MAX];
    return buf_add(buf, bytes, put_varint(bytes, v));
}

/* The length as a varint, then the bytes. */
static inline bool buf_add_field(struct buf *buf, struct str s)
{
    return buf_add_varint(buf, s.n) && buf_add_str(buf, s);
}

static inline struct reader reader_of(const void *p, size_t n)
{
    const uint8_t *at = p;
    return (struct reader){at, at != NULL ? at + n : NULL, false}; /* NULL + 0 is undefined */
}

static inline uint64_t read_varint(struct reader *r)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64 && r->at < r->end; shift += 7) {
        uint8_t byte = *r->at++;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return v;
    }
    r->bad = true;
    r->at = r->end;
    return 0;
}

static inline uint8_t read_u8(struct reader *r)
{
    if (r->at == r->end) {
        r->bad = true;
        return 0;
    }
    return *r->at++;
}

/* n bytes where they lie; valid as long as the row is. */
static inline struct str read_bytes(struct reader *r, uint64_t n)
{
    if (n > (size_t)(r->end - r->at)) {
        r->bad = true;
        r->at = r->end;
        return (struct str){"", 0};
    }
    struct str s = str_make((const char *)r->at, (size_t)n);
    r->at += n;
    return s;
}

static inline struct str read_field(struct reader *r)
{
    return read_bytes(r, read_varint(r));
}

#endif
