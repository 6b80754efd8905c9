/* csv.c - see csv.h. */
#include "engine/base/csv.h"

/* Quoted where RFC 4180 asks: commas, quotes, line ends; blanks at the ends too, which readers drop. */
void csv_add(struct buf *out, struct str value, char end)
{
    bool quote = value.n > 0 && (value.p[0] == ' ' || value.p[value.n - 1] == ' ');
    for (size_t i = 0; i < value.n && !quote; i++)
        quote = value.p[i] == ',' || value.p[i] == '"' || value.p[i] == '\r' || value.p[i] == '\n';
    if (!quote) {
        buf_add_str(out, value);
    } else {
        buf_add_char(out, '"');
        for (size_t i = 0; i < value.n; i++) {
            if (value.p[i] == '"')
                buf_add_char(out, '"');
            buf_add_char(out, value.p[i]);
        }
        buf_add_char(out, '"');
    }
    buf_add_char(out, end);
}

/* A value in quotes, doubled ones undone; *at is behind its first quote, then behind its last. */
static bool unquote(struct str line, size_t *at, struct str *value, struct buf *scratch)
{
    size_t from = scratch->len;
    for (; *at < line.n; (*at)++) {
        if (line.p[*at] == '"') {
            (*at)++;
            if (*at == line.n || line.p[*at] != '"') {
                *value = str_make(scratch->data + from, scratch->len - from);
                return !scratch->failed;
            }
        }
        buf_add_char(scratch, line.p[*at]);
    }
    return false;
}

enum csv_result csv_split(struct str line, struct str *values, unsigned max, unsigned *n, struct buf *scratch)
{
    size_t at = 0;
    buf_clear(scratch);
    if (buf_room(scratch, line.n + 1) == NULL) /* so that views into it stay */
        return CSV_UNCLOSED;
    for (*n = 0;; (*n)++, at++) {
        if (*n == max)
            return CSV_MANY;
        while (at < line.n && (line.p[at] == ' ' || line.p[at] == '\t'))
            at++;
        bool quoted = at < line.n && line.p[at] == '"';
        if (quoted && (at++, !unquote(line, &at, &values[*n], scratch)))
            return CSV_UNCLOSED;
        size_t comma = str_find(line, ',', at), end = comma == SIZE_MAX ? line.n : comma;
        if (!quoted)
            values[*n] = str_trim(str_make(line.p + at, end - at));
        if (comma == SIZE_MAX)
            break;
        at = comma;
    }
    (*n)++;
    return CSV_GOOD;
}
