/* base64_merge.c - see base64_merge.h.
 *
 * The forms of a text: its first and its last two bytes (all of it, if there are no more), then the middles
 * of the three forms. How long these are follows from the length of the text. */
#include "engine/message/base64_merge.h"

#include "engine/message/encode.h"

enum { EDGE = 2, FORMS = 3 };

/* Bytes of a whole number of threes, in lines. */
static char *put_threes(char *out, struct str bytes, unsigned *col)
{
    while (bytes.n > 0) {
        if (*col + 4 > BASE64_LINE_MAX) {
            memcpy(out, "\r\n", 2);
            out += 2;
            *col = 0;
        }
        size_t room = (BASE64_LINE_MAX - *col) / 4 * 3, n = bytes.n < room ? bytes.n : room;
        out = base64_encode(out, str_make(bytes.p, n));
        *col += (unsigned)n / 3 * 4;
        bytes = str_make(bytes.p + n, bytes.n - n);
    }
    return out;
}

static void keep(struct base64_rest *rest, struct str bytes)
{
    for (size_t i = 0; i < bytes.n; i++)
        rest->bytes[rest->n++] = bytes.p[i];
}

char *base64_put(char *out, struct str bytes, struct base64_rest *rest, unsigned *col)
{
    if (rest->n + bytes.n < 3) {
        keep(rest, bytes);
        return out;
    }
    if (rest->n > 0) {
        char three[3];
        size_t more = 3U - rest->n;
        memcpy(three, rest->bytes, rest->n);
        memcpy(three + rest->n, bytes.p, more);
        rest->n = 0;
        out = put_threes(out, str_make(three, 3), col);
        bytes = str_make(bytes.p + more, bytes.n - more);
    }
    size_t whole = bytes.n - bytes.n % 3;
    out = put_threes(out, str_make(bytes.p, whole), col);
    keep(rest, str_make(bytes.p + whole, bytes.n - whole));
    return out;
}

char *base64_finish(char *out, struct base64_rest *rest, unsigned *col)
{
    if (rest->n == 0)
        return out;
    if (*col + 4 > BASE64_LINE_MAX) {
        memcpy(out, "\r\n", 2);
        out += 2;
        *col = 0;
    }
    out = base64_encode(out, str_make(rest->bytes, rest->n));
    *col += 4;
    rest->n = 0;
    return out;
}

/* Characters of the middle of a form that leaves out so many bytes at the beginning. */
static uint64_t middle_characters(uint64_t n, unsigned head)
{
    return n > head ? (n - head) / 3 * 4 : 0;
}

static uint64_t line_breaks(uint64_t characters)
{
    return characters > 0 ? (characters - 1) / BASE64_LINE_MAX : 0;
}

static uint64_t middle_size(uint64_t n, unsigned head)
{
    uint64_t characters = middle_characters(n, head);
    return characters + 2 * line_breaks(characters);
}

uint64_t base64_forms_size(uint64_t n)
{
    uint64_t size = n > EDGE ? 2 * EDGE : n;
    for (unsigned head = 0; head < FORMS; head++)
        size += middle_size(n, head);
    return size;
}

bool buf_add_base64_forms(struct buf *buf, struct str text)
{
    if (text.n <= EDGE)
        return buf_add_str(buf, text);
    buf_add(buf, text.p, EDGE);
    buf_add(buf, text.p + text.n - EDGE, EDGE);
    for (unsigned head = 0; head < FORMS; head++) {
        size_t n = (text.n - head) / 3 * 3;
        if (n > 0 && buf_add_base64(buf, str_make(text.p + head, n)))
            buf->len -= 2; /* its last line goes on */
    }
    return !buf->failed;
}

struct base64_form base64_form(const char *forms, size_t n, unsigned waiting)
{
    unsigned head = waiting > 0 ? FORMS - waiting : 0;
    if (n <= EDGE) {
        size_t taken = n < head ? n : head;
        return (struct base64_form){.head = str_make(forms, taken),
                                    .tail = str_make(forms + taken, n - taken)};
    }
    size_t tail = (n - head) % 3, characters = middle_characters(n, head);
    struct base64_form form = {.head = str_make(forms, head),
                               .tail = str_make(forms + 2 * EDGE - tail, tail),
                               .first =
                                   characters < BASE64_LINE_MAX ? (unsigned)characters : BASE64_LINE_MAX};
    const char *middle = forms + 2 * EDGE;
    for (unsigned i = 0; i < head; i++)
        middle += middle_size(n, i);
    form.middle = str_make(middle, middle_size(n, head));
    form.last = (unsigned)(characters - BASE64_LINE_MAX * line_breaks(characters));
    return form;
}
