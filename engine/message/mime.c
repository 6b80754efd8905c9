/* mime.c - see mime.h. */
#include "engine/message/mime.h"

#include <errno.h>
#include <stdlib.h>

bool mime_is_field_name(struct str name)
{
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] <= ' ' || name.p[i] == 0x7f || name.p[i] == ':') /* 8-bit ones are negative */
            return false;
    return name.n > 0 && name.n <= MIME_NAME_MAX;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* "Name:" at the beginning of a line; white space before the colon is obsolete but legal. */
static size_t find_colon(struct str line, struct str *name)
{
    size_t colon = str_find(line, ':', 0);
    if (colon == SIZE_MAX || line.n == 0 || is_blank(line.p[0]))
        return SIZE_MAX;
    *name = str_trim(str_make(line.p, colon));
    return mime_is_field_name(*name) ? colon : SIZE_MAX;
}

static bool add_field(struct mime_fields *fields, struct mime_field field, struct err *err)
{
    if (fields->count == MIME_FIELDS_MAX)
        return err_set(err, 0, "a header has more than %d fields", MIME_FIELDS_MAX);
    if (fields->count == fields->capacity) {
        size_t capacity = fields->capacity ? 2 * fields->capacity : 32;
        struct mime_field *at = realloc(fields->at, capacity * sizeof *at);
        if (at == NULL)
            return err_set(err, ENOMEM, "out of memory while a message was read");
        fields->at = at;
        fields->capacity = capacity;
    }
    fields->at[fields->count++] = field;
    return true;
}

bool mime_read_header(struct str entity, struct mime_fields *fields, struct str *body, struct err *err)
{
    struct lines lines = lines_of(entity);
    struct str line, name;
    bool ended;
    *body = entity;
    while (lines_next(&lines, &line, &ended)) {
        if (line.n == 0) {
            *body = lines_rest(&lines);
            return true;
        }
        size_t colon = find_colon(line, &name);
        if (colon != SIZE_MAX) {
            struct str value = str_make(line.p + colon + 1, line.n - colon - 1);
            if (!add_field(fields, (struct mime_field){name, value}, err))
                return false;
        } else if (is_blank(line.p[0]) && fields->count > 0) {
            struct mime_field *last = &fields->at[fields->count - 1];
            last->value.n = (size_t)(line.p + line.n - last->value.p);
        } else {
            return true; /* the blank line is missing */
        }
        *body = lines_rest(&lines);
    }
    return true;
}

bool mime_unfold(struct str value, struct buf *out)
{
    char *to = buf_room(out, value.n + 1);
    if (to == NULL)
        return false;
    for (size_t i = 0; i < value.n; i++) {
        char c = value.p[i];
        if (c == '\r' || c == '\n' || c == '\0')
            continue;
        *to++ = (c > 0 && c < ' ') || c == 0x7f ? ' ' : c;
    }
    out->len = (size_t)(to - out->data);
    return true;
}

/* Structured values. */

static size_t skip_space(struct str s, size_t i)
{
    size_t depth = 0;
    for (; i < s.n; i++) {
        if (s.p[i] == '(')
            depth++;
        else if (depth > 0 && s.p[i] == ')')
            depth--;
        else if (depth > 0 && s.p[i] == '\\')
            i++;
        else if (depth == 0 && !is_blank(s.p[i]))
            return i;
    }
    return s.n;
}

static struct str read_token(struct str s, size_t *i)
{
    size_t start = *i;
    while (*i < s.n && s.p[*i] > ' ' && strchr("()<>@,;:\\\"/[]?=", s.p[*i]) == NULL)
        ++*i;
    return str_make(s.p + start, *i - start);
}

struct str mime_token(struct str value)
{
    if (value.n == 0)
        return STR("");
    size_t i = skip_space(value, 0);
    return read_token(value, &i);
}

/* A token or a quoted string, in *value without the quotes but with its backslashes. */
static void read_value(struct str s, size_t *i, struct str *value)
{
    if (*i < s.n && s.p[*i] == '"') {
        size_t start = ++*i;
        while (*i < s.n && s.p[*i] != '"')
            *i += s.p[*i] == '\\' && *i + 1 < s.n ? 2 : 1;
        *value = str_make(s.p + start, *i - start);
        *i += *i < s.n;
        return;
    }
    size_t start = *i; /* more than a token: boundaries are often not quoted that should be */
    while (*i < s.n && s.p[*i] > ' ' && s.p[*i] != ';')
        ++*i;
    *value = str_make(s.p + start, *i - start);
}

static void set_boundary(struct mime_type *type, struct str value)
{
    type->boundary_n = 0;
    if (value.n > MIME_BOUNDARY_MAX)
        return;
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] == '\\' && i + 1 < value.n)
            i++;
        type->boundary[type->boundary_n++] = value.p[i];
    }
}

void mime_parse_type(struct str s, struct mime_type *type)
{
    *type = (struct mime_type){.boundary_n = 0};
    if (s.n == 0)
        return;
    size_t i = skip_space(s, 0);
    struct str first = read_token(s, &i);
    i = skip_space(s, i);
    if (i == s.n || s.p[i] != '/')
        return;
    i = skip_space(s, i + 1);
    type->type = first;
    type->subtype = read_token(s, &i);
    for (;;) {
        size_t semicolon = str_find(s, ';', i);
        if (semicolon == SIZE_MAX)
            return;
        size_t start = i = skip_space(s, semicolon + 1);
        struct str name = read_token(s, &i), value;
        i = skip_space(s, i);
        if (i == s.n || s.p[i] != '=')
            continue;
        i = skip_space(s, i + 1);
        read_value(s, &i, &value);
        if (str_eq_nocase(name, STR("boundary")) && type->boundary_n == 0)
            set_boundary(type, value);
        if (str_eq_nocase(name, STR("charset")) && type->charset_whole.n == 0) {
            type->charset = value;
            type->charset_whole = str_make(s.p + start, i - start);
        }
    }
}

/* Multiparts. */

enum delimiter { NOT_ONE, OPENS, CLOSES };

static enum delimiter delimiter_of(struct str line, struct str boundary)
{
    if (line.n < boundary.n + 2 || line.p[0] != '-' || line.p[1] != '-' ||
        memcmp(line.p + 2, boundary.p, boundary.n) != 0)
        return NOT_ONE;
    struct str rest = str_make(line.p + 2 + boundary.n, line.n - 2 - boundary.n);
    bool closes = str_starts(rest, STR("--"));
    if (closes)
        rest = str_make(rest.p + 2, rest.n - 2);
    return str_trim(rest).n > 0 ? NOT_ONE : closes ? CLOSES : OPENS;
}

/* Up to the next delimiter, without the line end before it, which is the delimiter's. */
static enum delimiter next_delimiter(struct mime_parts *parts, struct str *before)
{
    struct str line;
    const char *start = parts->lines.at, *end = start;
    bool ended;
    while (lines_next(&parts->lines, &line, &ended)) {
        enum delimiter is = delimiter_of(line, parts->boundary);
        if (is != NOT_ONE) {
            *before = str_make(start, (size_t)(end - start));
            parts->closed = is == CLOSES;
            return is;
        }
        end = line.p + line.n;
    }
    *before = str_make(start, (size_t)(end - start));
    parts->closed = true; /* the last delimiter is missing */
    return NOT_ONE;
}

bool mime_parts_begin(struct mime_parts *parts, struct str body, struct str boundary, struct str *preamble)
{
    *parts = (struct mime_parts){lines_of(body), boundary, false};
    return next_delimiter(parts, preamble) != NOT_ONE;
}

bool mime_parts_next(struct mime_parts *parts, struct str *part)
{
    if (parts->closed)
        return false;
    enum delimiter is = next_delimiter(parts, part);
    return is != NOT_ONE || part->n > 0;
}
