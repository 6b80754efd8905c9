/* lines.h - text line by line, whatever its line ends: CRLF, LF or CR. For message/ and inbound/. */
#ifndef POSTRIDER_MESSAGE_LINES_H
#define POSTRIDER_MESSAGE_LINES_H

#include "engine/base/str.h"

struct lines {
    const char *at, *end;
    const char *cr, *lf; /* the next ones at or after `at`, or end: each byte is searched once */
};

static inline const char *lines_seek(const char *from, const char *end, char c)
{
    const char *hit = from < end ? memchr(from, c, (size_t)(end - from)) : NULL;
    return hit ? hit : end;
}

static inline struct lines lines_of(struct str text)
{
    struct lines l = {.at = text.p, .end = text.n > 0 ? text.p + text.n : text.p};
    l.cr = lines_seek(l.at, l.end, '\r');
    l.lf = lines_seek(l.at, l.end, '\n');
    return l;
}

/* The next line without its end; *ended tells whether it had one. False after the last. A text that ends with
 * a line end has no further, empty line. */
static inline bool lines_next(struct lines *l, struct str *line, bool *ended)
{
    if (l->at == l->end)
        return false;
    const char *stop = l->cr < l->lf ? l->cr : l->lf;
    *line = str_make(l->at, (size_t)(stop - l->at));
    *ended = stop < l->end;
    l->at = stop;
    if (*ended)
        l->at += *stop == '\r' && stop + 1 < l->end && stop[1] == '\n' ? 2 : 1;
    if (l->cr < l->at)
        l->cr = lines_seek(l->at, l->end, '\r');
    if (l->lf < l->at)
        l->lf = lines_seek(l->at, l->end, '\n');
    return true;
}

/* What is left, from the beginning of the next line on. */
static inline struct str lines_rest(const struct lines *l)
{
    return str_make(l->at, (size_t)(l->end - l->at));
}

/* The field of a header, its folded lines with it, that begins at *at, which moves behind it; false: the
 * header is over. */
static inline bool lines_field(struct str header, size_t *at, struct str *field)
{
    size_t end = *at;
    if (end >= header.n)
        return false;
    do {
        size_t lf = str_find(header, '\n', end);
        end = lf == SIZE_MAX ? header.n : lf + 1;
    } while (end < header.n && (header.p[end] == ' ' || header.p[end] == '\t'));
    *field = str_make(header.p + *at, end - *at);
    *at = end;
    return true;
}

#endif
