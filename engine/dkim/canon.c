/* canon.c - see canon.h. */
#include "engine/dkim/canon.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

bool canon_field(struct buf *out, struct str field)
{
    size_t colon = str_find(field, ':', 0);
    char *to = buf_room(out, field.n + 1);
    if (to == NULL || colon == SIZE_MAX)
        return false;
    struct str name = str_trim(str_make(field.p, colon));
    for (size_t i = 0; i < name.n; i++)
        *to++ = ascii_lower(name.p[i]);
    *to++ = ':';
    bool blank = false, begun = false;
    for (size_t i = colon + 1; i < field.n; i++) {
        char c = field.p[i];
        if (c == '\r' || c == '\n')
            continue;
        if (is_blank(c)) {
            blank = begun;
            continue;
        }
        if (blank)
            *to++ = ' ';
        *to++ = c;
        blank = false;
        begun = true;
    }
    out->len = (size_t)(to - out->data);
    return true;
}

/* A body on its way into the digest. White space and line ends wait until something follows. */
struct body {
    struct digest *digest;
    bool blank, any;
    size_t line_ends;
    size_t n;
    char bytes[4096];
};

static void put(struct body *b, const char *p, size_t n)
{
    if (b->n + n > sizeof b->bytes) {
        digest_add(b->digest, b->bytes, b->n);
        b->n = 0;
    }
    if (n >= sizeof b->bytes) {
        digest_add(b->digest, p, n);
        return;
    }
    memcpy(b->bytes + b->n, p, n);
    b->n += n;
}

static void put_waiting(struct body *b)
{
    for (; b->line_ends > 0; b->line_ends--)
        put(b, "\r\n", 2);
    if (b->blank)
        put(b, " ", 1);
    b->blank = false;
    b->any = true;
}

/* Words with one blank between: sixteen bytes at a time, since a byte at a time took twice as long as the
 * digest. Stops, at the latest, before a blank that another follows and before anything else below a blank;
 * may stop earlier. */
static const char *skip_words(const char *p, const char *end)
{
#ifdef __SSE2__
    const __m128i blank = _mm_set1_epi8(' ');
    while (end - p > 16) {
        __m128i at = _mm_loadu_si128((const void *)p), next = _mm_loadu_si128((const void *)(p + 1));
        /* c == max(c, ' ') unsigned: c >= ' '. */
        int low = ~_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_max_epu8(at, blank), at)) & 0xffff;
        int here = _mm_movemask_epi8(_mm_cmpeq_epi8(at, blank));
        int then = _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(next, blank), next)); /* next <= ' ' */
        int stop = low | (here & then);
        if (stop != 0)
            return p + __builtin_ctz((unsigned)stop);
        p += 16;
    }
#else
    (void)end;
#endif
    return p;
}

/* How far text is canonical as it stands: a blank or a line end is, if what follows is neither. Most of a
 * body is one such run, which goes to the digest without being copied. */
static const char *skip_canonical(const char *p, const char *end)
{
    while (p < end) {
        p = skip_words(p, end);
        if ((uint8_t)*p > ' ')
            p++;
        else if (end - p > 1 && *p == ' ' && (uint8_t)p[1] > ' ')
            p += 2;
        else if (end - p > 2 && p[0] == '\r' && p[1] == '\n' && (uint8_t)p[2] > ' ')
            p += 3;
        else
            break;
    }
    return p;
}

static void add(struct body *b, const char *p, size_t n)
{
    for (const char *end = p + n; p < end;) {
        const char *start = p;
        if ((uint8_t)*p > ' ')
            p = skip_canonical(p, end);
        if (p > start) {
            put_waiting(b);
            put(b, start, (size_t)(p - start));
            continue;
        }
        if (is_blank(*p)) {
            b->blank = true;
        } else if (*p == '\n') {
            b->blank = false;
            b->line_ends++;
        } else if (*p != '\r') { /* another control */
            put_waiting(b);
            put(b, p, 1);
        }
        p++;
    }
}

bool canon_body_hash(const struct iovec *parts, size_t count, size_t skip, uint8_t out[DIGEST_SIZE])
{
    struct body b;
    b.digest = digest_begin();
    b.blank = b.any = false;
    b.line_ends = b.n = 0;
    if (b.digest == NULL)
        return false;
    for (size_t i = 0; i < count; i++) {
        size_t left_out = skip < parts[i].iov_len ? skip : parts[i].iov_len;
        add(&b, (const char *)parts[i].iov_base + left_out, parts[i].iov_len - left_out);
        skip -= left_out;
    }
    if (b.any)
        put(&b, "\r\n", 2);
    digest_add(b.digest, b.bytes, b.n);
    digest_end(b.digest, out);
    return true;
}
