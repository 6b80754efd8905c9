/* path.c - see path.h. */
#include "bench/world/path.h"

#include "bench/world/limits.h"

/* Where the '>' is that ends the path, past quoted strings; SIZE_MAX if it is missing or not allowed there.
 */
static size_t path_end(struct str s)
{
    bool quoted = false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (quoted && c == '\\')
            i++;
        else if (c == '"')
            quoted = !quoted;
        else if (!quoted && c == '>')
            return i;
        else if (!quoted && (c == ' ' || c == '<'))
            return SIZE_MAX;
    }
    return SIZE_MAX;
}

static bool sound_domain(struct str domain)
{
    if (domain.n == 0 || domain.n > 255)
        return false;
    if (domain.p[0] == '[')
        return domain.n > 2 && domain.p[domain.n - 1] == ']';
    char before = '.';
    for (size_t i = 0; i < domain.n; i++) {
        char c = ascii_lower(domain.p[i]);
        bool known = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
        if (!known || (c == '.' && before == '.'))
            return false;
        before = c;
    }
    return before != '.';
}

/* RFC 5321 4.1.2: what an unquoted local part may not hold. */
static bool is_special(char c)
{
    switch (c) {
    case '(':
    case ')':
    case '<':
    case '>':
    case '[':
    case ']':
    case ':':
    case ';':
    case '@':
    case '\\':
    case ',':
    case '"':
        return true;
    default:
        return false;
    }
}

static bool sound_local(struct str local)
{
    if (local.n == 0 || local.n > 64)
        return false;
    if (local.p[0] == '"')
        return local.n >= 2 && local.p[local.n - 1] == '"';
    if (local.p[0] == '.' || local.p[local.n - 1] == '.')
        return false;
    for (size_t i = 0; i < local.n; i++) {
        if (is_special(local.p[i]) || (i && local.p[i] == '.' && local.p[i - 1] == '.'))
            return false;
    }
    return true;
}

static bool sound_address(struct str address)
{
    size_t at = address.n;
    if (str_eq_nocase(address, STR("postmaster")))
        return true;
    while (at > 0 && address.p[at - 1] != '@')
        at--;
    return at > 0 && sound_local(str_make(address.p, at - 1)) &&
           sound_domain(str_make(address.p + at, address.n - at));
}

struct charset {
    uint64_t low, high; /* bit c of the two: is c in it */
};

#define LETTERS (UINT64_C(0x07fffffe) << 32 | UINT64_C(0x07fffffe)) /* of the high word: both cases */
#define DIGITS  (UINT64_C(0x3ff) << 48)
#define LOW(c)  (UINT64_C(1) << (c))
#define HIGH(c) (UINT64_C(1) << ((c)-64))

/* What an unquoted local part and a domain name are made of. */
static const struct charset local_chars = {
    DIGITS | LOW('.') | LOW('-') | LOW('+') | LOW('=') | LOW('#') | LOW('/') | LOW('!'), LETTERS | HIGH('_')};
static const struct charset domain_chars = {DIGITS | LOW('.') | LOW('-'), LETTERS | HIGH('_')};

static bool is_in(const struct charset *set, char c)
{
    unsigned char u = (unsigned char)c;
    return u < 128 && ((u < 64 ? set->low : set->high) >> (u & 63) & 1);
}

/* Characters of the set with single dots between them. */
static size_t dotted(const struct charset *set, struct str s)
{
    char before = '.';
    size_t i = 0;
    for (; i < s.n && is_in(set, s.p[i]); before = s.p[i++])
        if (s.p[i] == '.' && before == '.')
            return 0;
    return before == '.' ? 0 : i;
}

/* Nearly every address passes here, in one look at each byte: where the '>' of local@domain> is. SIZE_MAX
 * says nothing; it is then looked at with care. */
static size_t plain_end(struct str s)
{
    size_t local = dotted(&local_chars, s);
    if (local == 0 || local > 64 || local == s.n || s.p[local] != '@')
        return SIZE_MAX;
    size_t domain = dotted(&domain_chars, str_make(s.p + local + 1, s.n - local - 1));
    size_t end = local + 1 + domain;
    return domain == 0 || domain > 255 || end == s.n || s.p[end] != '>' ? SIZE_MAX : end;
}

bool path_take(struct str *args, struct str keyword, bool may_be_empty, struct str *address)
{
    if (!str_starts_nocase(*args, keyword) || args->n <= keyword.n || args->p[keyword.n] != '<')
        return false;
    struct str rest = str_make(args->p + keyword.n + 1, args->n - keyword.n - 1);
    size_t plain = plain_end(rest), end = plain == SIZE_MAX ? path_end(rest) : plain;
    if (end == SIZE_MAX || end > WORLD_ADDRESS_MAX)
        return false;
    *address = str_make(rest.p, end);
    *args = str_make(rest.p + end + 1, rest.n - end - 1);
    if (args->n > 0 && args->p[0] != ' ')
        return false;
    return plain != SIZE_MAX || (end == 0 ? may_be_empty : sound_address(*address));
}

bool path_parameter(struct str *args, struct str *name, struct str *value)
{
    while (args->n > 0 && args->p[0] == ' ')
        *args = str_make(args->p + 1, args->n - 1);
    if (args->n == 0)
        return false;
    size_t end = str_find(*args, ' ', 0);
    struct str parameter = str_make(args->p, end == SIZE_MAX ? args->n : end);
    *args = str_make(args->p + parameter.n, args->n - parameter.n);
    size_t equals = str_find(parameter, '=', 0);
    *name = str_make(parameter.p, equals == SIZE_MAX ? parameter.n : equals);
    *value = equals == SIZE_MAX ? STR("") : str_make(parameter.p + equals + 1, parameter.n - equals - 1);
    return true;
}
