/* merge.c - see merge.h. */
#include "engine/message/merge.h"

#include "engine/limits.h"

static bool is_name_start(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
}

static bool is_name_char(char c)
{
    return is_name_start(c) || (c >= '0' && c <= '9') || c == '.' || c == '-';
}

static size_t skip_space(struct str s, size_t at)
{
    while (at < s.n && (s.p[at] == ' ' || s.p[at] == '\t' || s.p[at] == '\r' || s.p[at] == '\n'))
        at++;
    return at;
}

static size_t find_pair(struct str s, const char pair[2], size_t from)
{
    /* Not memmem: glibc's takes 8 instructions a byte for a needle of two. */
    while (from + 1 < s.n) {
        const char *hit = memchr(s.p + from, pair[0], s.n - 1 - from);
        if (hit == NULL)
            break;
        if (hit[1] == pair[1])
            return (size_t)(hit - s.p);
        from = (size_t)(hit - s.p) + 1;
    }
    return SIZE_MAX;
}

bool merge_has_any(struct str text)
{
    return find_pair(text, "{{", 0) != SIZE_MAX;
}

/* After the name: the default, if any, and the braces that end it. */
static enum merge_found parse_end(struct str text, size_t at, struct merge_variable *v, const char **why)
{
    size_t braces = v->unescaped ? 3 : 2;
    size_t close = find_pair(text, "}}", at);
    *why = v->unescaped ? "{{{ without }}}" : "{{ without }}";
    if (close == SIZE_MAX)
        return MERGE_MALFORMED;
    v->fallback = (struct str){NULL, 0};
    if (text.p[at] == '|') {
        struct str fallback = str_make(text.p + at + 1, close - at - 1);
        if (merge_has_any(fallback))
            return MERGE_MALFORMED;
        v->fallback = str_trim(fallback);
    } else if (close != at) {
        *why = "a variable's name is of letters, digits, _ . - and begins with a letter or _";
        return MERGE_MALFORMED;
    }
    if (v->unescaped && (close + 2 >= text.n || text.p[close + 2] != '}'))
        return MERGE_MALFORMED;
    v->end = close + braces;
    return MERGE_VARIABLE;
}

enum merge_found merge_next(struct str text, size_t from, struct merge_variable *v, const char **why)
{
    size_t start = find_pair(text, "{{", from);
    if (start == SIZE_MAX)
        return MERGE_NONE;
    v->start = start;
    v->unescaped = start + 2 < text.n && text.p[start + 2] == '{';
    size_t at = skip_space(text, start + (v->unescaped ? 3 : 2));
    size_t name = at;
    while (at < text.n && is_name_char(text.p[at]))
        at++;
    v->name = str_make(text.p + name, at - name);
    if (at == text.n) {
        *why = "{{ without }}";
        return MERGE_MALFORMED;
    }
    if (v->name.n == 0 || !is_name_start(v->name.p[0])) {
        *why = "a variable's name is of letters, digits, _ . - and begins with a letter or _";
        return MERGE_MALFORMED;
    }
    if (v->name.n > VAR_NAME_MAX) {
        *why = "the variable's name is too long";
        return MERGE_MALFORMED;
    }
    at = skip_space(text, at);
    if (at == text.n) {
        *why = "{{ without }}";
        return MERGE_MALFORMED;
    }
    return parse_end(text, at, v, why);
}
