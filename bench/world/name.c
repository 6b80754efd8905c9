/* name.c - see name.h. */
#include "bench/world/name.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static char *dup_lower(struct str s)
{
    char *copy = str_dup(s);
    for (char *p = copy; p && *p; p++)
        *p = ascii_lower(*p);
    return copy;
}

static bool finish(struct name *name, struct str prefix, struct str suffix, struct err *err)
{
    if (prefix.n + suffix.n + 10 > WORLD_DNS_NAME_MAX)
        return err_set(err, EINVAL, "the name '%.*s' is longer than DNS allows", STR_ARG(prefix));
    name->prefix = dup_lower(prefix);
    name->suffix = dup_lower(suffix);
    if (name->prefix && name->suffix)
        return true;
    name_free(name);
    return err_set(err, ENOMEM, "out of memory");
}

static bool parse_numbers(struct name *name, struct str text, size_t open, struct err *err)
{
    size_t close = str_find(text, '}', open);
    size_t dots = str_find(text, '.', open);
    uint64_t first, last;
    if (close == SIZE_MAX || dots == SIZE_MAX || dots + 2 > close || text.p[dots + 1] != '.')
        return err_set(err, EINVAL, "'%.*s' holds '{' but no {first..last}", STR_ARG(text));
    struct str low = str_make(text.p + open + 1, dots - open - 1);
    struct str high = str_make(text.p + dots + 2, close - dots - 2);
    if (!str_u64(low, UINT32_MAX - 1, &first) || !str_u64(high, UINT32_MAX - 1, &last) || last < first ||
        last - first >= WORLD_NUMBERS_MAX)
        return err_set(err, EINVAL, "'%.*s' wants {first..last} with at most %d numbers", STR_ARG(text),
                       WORLD_NUMBERS_MAX);
    struct str rest = str_make(text.p + close + 1, text.n - close - 1);
    if (str_find(rest, '{', 0) != SIZE_MAX)
        return err_set(err, EINVAL, "'%.*s' has more than one {first..last}", STR_ARG(text));
    *name = (struct name){.kind = NAME_NUMBERED, .first = (uint32_t)first, .last = (uint32_t)last};
    if (low.n > 1 && low.p[0] == '0')
        name->width = (uint32_t)(low.n < 10 ? low.n : 10);
    return finish(name, str_make(text.p, open), rest, err);
}

bool name_parse(struct name *name, struct str text, struct err *err)
{
    *name = (struct name){.kind = NAME_EXACT};
    if (text.n > 0 && text.p[text.n - 1] == '.')
        text.n--;
    if (text.n == 0)
        return err_set(err, EINVAL, "an empty name");
    size_t open = str_find(text, '{', 0);
    if (open != SIZE_MAX)
        return parse_numbers(name, text, open, err);
    if (str_starts(text, STR("*."))) {
        name->kind = NAME_WILDCARD;
        return finish(name, STR(""), str_make(text.p + 1, text.n - 1), err);
    }
    return finish(name, text, STR(""), err);
}

bool name_derive(struct name *derived, const struct name *from, const char *prefix, const char *suffix)
{
    struct err ignored;
    *derived = *from;
    return finish(derived, str_of(prefix), str_of(suffix), &ignored);
}

void name_free(struct name *name)
{
    free(name->prefix);
    free(name->suffix);
    name->prefix = name->suffix = NULL;
}

uint32_t name_count(const struct name *name)
{
    return name->kind == NAME_NUMBERED ? name->last - name->first + 1 : 1;
}

static bool match_number(const struct name *name, struct str middle, uint32_t *index)
{
    uint64_t value;
    if (!str_u64(middle, name->last, &value) || value < name->first)
        return false;
    if (name->width ? middle.n < name->width : middle.n > 1 && middle.p[0] == '0')
        return false;
    if (middle.n > name->width && middle.n > 1 && middle.p[0] == '0')
        return false;
    *index = (uint32_t)value - name->first;
    return true;
}

bool name_match(const struct name *name, struct str s, uint32_t *index, struct str *middle)
{
    struct str prefix = str_of(name->prefix), suffix = str_of(name->suffix);
    *index = 0;
    if (name->kind == NAME_EXACT) {
        *middle = STR("");
        return str_eq(s, prefix);
    }
    if (s.n <= prefix.n + suffix.n || !str_starts(s, prefix) ||
        !str_eq(str_make(s.p + s.n - suffix.n, suffix.n), suffix))
        return false;
    *middle = str_make(s.p + prefix.n, s.n - prefix.n - suffix.n);
    return name->kind == NAME_WILDCARD || match_number(name, *middle, index);
}

void name_join(const char *prefix, struct str middle, const char *suffix, struct name_text *out)
{
    int n = snprintf(out->text, sizeof out->text, "%s%.*s%s", prefix, STR_ARG(middle), suffix);
    out->n = n < 0 ? 0 : (size_t)n < sizeof out->text ? (size_t)n : sizeof out->text - 1;
}

void name_write(const struct name *name, uint32_t index, struct name_text *out)
{
    char number[16] = "";
    if (name->kind == NAME_NUMBERED)
        snprintf(number, sizeof number, "%0*u", (int)name->width, name->first + index);
    name_join(name->prefix, str_of(number), name->suffix, out);
}
