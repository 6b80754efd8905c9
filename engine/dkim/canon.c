/* canon.c - see canon.h. */
#include "engine/dkim/canon.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Words with one blank between, and lines of them that are not empty: sixteen bytes at a time, since a byte
 * at a time took twice as long as the digest. Stops before anything else, or short of the end. */
static const char *skip_words(const char *p, const char *end)
{
#ifdef __SSE2__
    const __m128i blank = _mm_set1_epi8(' '), cr = _mm_set1_epi8('\r'), lf = _mm_set1_epi8('\n');
    const char *begin = p;
    unsigned stop = 0;
    while (stop == 0 && end - p > 16) {
        __m128i at = _mm_loadu_si128((const void *)p), next = _mm_loadu_si128((const void *)(p + 1));
        /* Unsigned, c <= ' ' where c is min(c, ' '). */
        __m128i dull = _mm_cmpeq_epi8(_mm_min_epu8(at, blank), at);
        __m128i then = _mm_cmpeq_epi8(_mm_min_epu8(next, blank), next);
        __m128i is_cr = _mm_cmpeq_epi8(at, cr); /* and then comes a line feed */
        __m128i known = _mm_or_si128(is_cr, _mm_or_si128(_mm_cmpeq_epi8(at, lf), _mm_cmpeq_epi8(at, blank)));
        __m128i two = _mm_andnot_si128(is_cr, then);
        __m128i stops = _mm_and_si128(dull, _mm_or_si128(two, _mm_andnot_si128(known, dull)));
        stop = (unsigned)_mm_movemask_epi8(stops);
        p += stop == 0 ? 16 : __builtin_ctz(stop);
    }
    if (p > begin && *p == '\n' && p[-1] == '\r')
        p--; /* what follows the line end is not known yet, or no word */
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

bool canon_field(struct buf *out, struct str field)
{
    size_t colon = str_find(field, ':', 0);
    char *to = buf_room(out, field.n + 1);
    if (to == NULL || colon == SIZE_MAX)
        return false;
    struct str name = str_trim(str_make(field.p, colon));
    str_lower(name, to);
    to += name.n;
    *to++ = ':';
    bool blank = false, begun = false;
    const char *end = field.p + field.n;
    for (const char *p = field.p + colon + 1; p < end;) {
        const char *start = p;
        p = (uint8_t)*p > ' ' ? skip_canonical(p, end) : p + 1;
        if (*start == '\r' || *start == '\n')
            continue;
        if (is_blank(*start)) {
            blank = begun;
            continue;
        }
        if (blank)
            *to++ = ' ';
        memcpy(to, start, (size_t)(p - start));
        to += p - start;
        blank = false;
        begun = true;
    }
    out->len = (size_t)(to - out->data);
    return true;
}

static void put(struct canon_body *b, const char *p, size_t n)
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

static void put_waiting(struct canon_body *b)
{
    for (; b->line_ends > 0; b->line_ends--)
        put(b, "\r\n", 2);
    if (b->blank)
        put(b, " ", 1);
    b->blank = false;
    b->any = true;
}

static void add(struct canon_body *b, const char *p, size_t n)
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

bool canon_body_begin(struct canon_body *b)
{
    b->blank = b->any = false;
    b->line_ends = b->n = 0;
    return (b->digest = digest_begin()) != NULL;
}

bool canon_body_copy(struct canon_body *b, const struct canon_body *from)
{
    b->blank = from->blank;
    b->any = from->any;
    b->line_ends = from->line_ends;
    b->n = from->n;
    memcpy(b->bytes, from->bytes, from->n);
    return (b->digest = digest_copy(from->digest)) != NULL;
}

void canon_body_add(struct canon_body *b, const struct iovec *parts, size_t count, size_t from, size_t to)
{
    for (size_t i = 0; i < count && to > 0; i++) {
        size_t n = parts[i].iov_len, begin = from < n ? from : n, end = to < n ? to : n;
        add(b, (const char *)parts[i].iov_base + begin, end - begin);
        from -= begin;
        to -= end;
    }
}

void canon_body_end(struct canon_body *b, uint8_t out[DIGEST_SIZE])
{
    if (b->any)
        put(b, "\r\n", 2);
    digest_add(b->digest, b->bytes, b->n);
    digest_end(b->digest, out);
}
