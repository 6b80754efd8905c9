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

/* Mailgun's variable that begins at `at`, if one does. */
static bool parse_mailgun(struct str text, size_t at, struct merge_variable *v)
{
    static const struct str begin = {"%recipient", 10};
    if (!str_starts(str_make(text.p + at, text.n - at), begin))
        return false;
    *v = (struct merge_variable){.name = STR("to"), .start = at};
    size_t i = at + begin.n;
    if (i < text.n && text.p[i] == '.') {
        size_t name = ++i;
        while (i < text.n && is_name_char(text.p[i]))
            i++;
        v->name = str_make(text.p + name, i - name);
    }
    v->end = i + 1;
    return i < text.n && text.p[i] == '%' && v->name.n > 0 && v->name.n <= VAR_NAME_MAX &&
           is_name_start(v->name.p[0]);
}

/* The first that begins in [from, end). */
static bool find_mailgun(struct str text, size_t from, size_t end, struct merge_variable *v)
{
    while (from < end) {
        const char *hit = memchr(text.p + from, '%', end - from);
        if (hit == NULL)
            return false;
        from = (size_t)(hit - text.p);
        if (parse_mailgun(text, from, v))
            return true;
        from++;
    }
    return false;
}

/* Where the first variable begins, or SIZE_MAX; *mailgun tells that it is of that kind, and then *v is it. In
 * windows, so that a text with thousands of one kind is not searched to its end for the other each time. */
static size_t find_start(struct str text, size_t from, struct merge_variable *v, bool *mailgun)
{
    enum { WINDOW = 4096 };
    *mailgun = false;
    for (size_t end; from < text.n; from = end) {
        end = text.n - from > WINDOW ? from + WINDOW : text.n;
        size_t braces = find_pair(str_make(text.p, end < text.n ? end + 1 : end), "{{", from);
        *mailgun = find_mailgun(text, from, braces == SIZE_MAX ? end : braces, v);
        if (*mailgun || braces != SIZE_MAX)
            return *mailgun ? v->start : braces;
    }
    return SIZE_MAX;
}

bool merge_has_any(struct str text)
{
    struct merge_variable v;
    bool mailgun;
    return find_start(text, 0, &v, &mailgun) != SIZE_MAX;
}

/* "url", alone or before a default, is none. */
static void parse_fallback(struct str text, struct merge_variable *v)
{
    v->fallback = str_trim(text);
    size_t bar = str_find(v->fallback, '|', 0);
    struct str first = str_make(v->fallback.p, bar == SIZE_MAX ? v->fallback.n : bar);
    if (!str_eq(str_trim(first), STR("url")))
        return;
    v->url = true;
    v->fallback = bar == SIZE_MAX ? (struct str){NULL, 0}
                                  : str_trim(str_make(v->fallback.p + bar + 1, v->fallback.n - bar - 1));
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
    v->url = false;
    if (text.p[at] == '|') {
        struct str fallback = str_make(text.p + at + 1, close - at - 1);
        if (merge_has_any(fallback))
            return MERGE_MALFORMED;
        parse_fallback(fallback, v);
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
    bool mailgun;
    size_t start = find_start(text, from, v, &mailgun);
    if (start == SIZE_MAX || mailgun)
        return mailgun ? MERGE_VARIABLE : MERGE_NONE;
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
