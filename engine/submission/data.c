/* data.c - see data.h. The common case, a stretch within a line, is looked through with memchr. */
#include "engine/submission/data.h"

struct taking {
    struct data_reader *reader;
    struct buf *out;
    uint64_t max;
};

static void put(const struct taking *taking, const char *p, size_t n)
{
    taking->reader->size += n;
    if (taking->reader->size <= taking->max)
        buf_add(taking->out, p, n);
}

static void note_bare(struct data_reader *reader)
{
    if (!reader->bare)
        reader->bare_line = reader->lines + 1;
    reader->bare = true;
}

/* Within a line, from p on; returns where it stopped. */
static const char *take_stretch(const struct taking *taking, const char *p, const char *end)
{
    struct data_reader *reader = taking->reader;
    const char *lf = memchr(p, '\n', (size_t)(end - p));
    const char *stop = lf != NULL ? lf : end;
    const char *cr = memchr(p, '\r', (size_t)(stop - p));
    if (cr != NULL && cr + 1 < stop) { /* followed by something else */
        note_bare(reader);
        put(taking, p, (size_t)(cr + 1 - p));
        return cr + 1;
    }
    if (cr != NULL && lf != NULL) {
        put(taking, p, (size_t)(lf + 1 - p));
        reader->lines++;
        reader->at = DATA_LINE_START;
        return lf + 1;
    }
    if (cr != NULL) { /* the last byte there is */
        put(taking, p, (size_t)(cr - p));
        reader->at = DATA_CR;
        return end;
    }
    if (lf != NULL) {
        note_bare(reader);
        stop = lf + 1;
    }
    put(taking, p, (size_t)(stop - p));
    return stop;
}

/* The byte after a CR that is not written yet. */
static const char *take_after_cr(const struct taking *taking, const char *p)
{
    struct data_reader *reader = taking->reader;
    put(taking, "\r", 1);
    reader->at = DATA_IN_LINE;
    if (*p != '\n') {
        note_bare(reader);
        return p;
    }
    put(taking, "\n", 1);
    reader->lines++;
    reader->at = DATA_LINE_START;
    return p + 1;
}

/* The byte after a line's first dot and perhaps a CR. True: it is the end. */
static bool take_after_dot(const struct taking *taking, const char **p)
{
    struct data_reader *reader = taking->reader;
    if (reader->at == DATA_DOT && **p == '\r') {
        reader->at = DATA_DOT_CR;
        ++*p;
        return false;
    }
    if (reader->at == DATA_DOT_CR && **p == '\n') {
        ++*p;
        return true;
    }
    if (reader->at == DATA_DOT_CR) { /* ".\rx": the dot goes as on every line, its CR stands alone */
        reader->at = DATA_CR;
        return false;
    }
    reader->at = DATA_IN_LINE; /* the dot that the client added is gone */
    return false;
}

bool data_read(struct data_reader *reader, struct str *in, struct buf *out, uint64_t max)
{
    const struct taking taking = {reader, out, max};
    const char *p = in->p, *end = in->p + in->n;
    bool over = false;
    while (p < end && !over) {
        switch (reader->at) {
        case DATA_LINE_START:
            reader->at = *p == '.' ? DATA_DOT : DATA_IN_LINE;
            p += *p == '.';
            break;
        case DATA_DOT:
        case DATA_DOT_CR:
            over = take_after_dot(&taking, &p);
            break;
        case DATA_CR:
            p = take_after_cr(&taking, p);
            break;
        case DATA_IN_LINE:
            p = take_stretch(&taking, p, end);
            break;
        }
    }
    reader->nul |= in->n > 0 && memchr(in->p, '\0', (size_t)(p - in->p)) != NULL;
    *in = str_make(p, (size_t)(end - p));
    return over;
}

void data_check(struct data_reader *reader, struct str message)
{
    if (message.n == 0)
        return;
    const char *p = message.p, *end = message.p + message.n;
    reader->nul = memchr(message.p, '\0', message.n) != NULL;
    while (p < end) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        const char *stop = lf != NULL ? lf : end;
        const char *cr = memchr(p, '\r', (size_t)(stop - p));
        if ((lf != NULL && cr != lf - 1) || (lf == NULL && cr != NULL)) {
            note_bare(reader);
            return;
        }
        reader->lines += lf != NULL;
        p = lf != NULL ? lf + 1 : end;
    }
}
