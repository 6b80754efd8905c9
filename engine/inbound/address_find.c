/* address_find.c - addresses and phrases in text of any kind. See notice_parts.h. */
#include "engine/inbound/notice_parts.h"

static bool is_domain(char c)
{
    char low = ascii_lower(c);
    return (low >= 'a' && low <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || (c & '\x80');
}

static bool is_local(char c)
{
    return is_domain(c) || (c != '\0' && strchr("!#$%&'*+/=?^_`{|}~", c) != NULL);
}

/* Its parts around the @ that stands at `mark`. */
static bool address_around(struct str text, size_t mark, size_t from, struct str *address)
{
    size_t start = mark, end = mark + 1;
    while (start > from && mark - start < LOCAL_PART_MAX && is_local(text.p[start - 1]))
        start--;
    while (end < text.n && end - mark <= DOMAIN_MAX && is_domain(text.p[end]))
        end++;
    while (start < mark && strchr("'.-*=", text.p[start]) != NULL)
        start++;
    while (end > mark + 1 && (text.p[end - 1] == '.' || text.p[end - 1] == '-'))
        end--;
    *address = str_make(text.p + start, end - start);
    return start < mark && str_find(str_make(text.p + mark + 1, end - mark - 1), '.', 1) != SIZE_MAX;
}

bool address_find(struct str text, size_t *at, struct str *address)
{
    for (size_t from = *at;;) {
        size_t mark = str_find(text, '@', from);
        if (mark == SIZE_MAX)
            return false;
        if (address_around(text, mark, from, address)) {
            *at = (size_t)(address->p - text.p) + address->n;
            return true;
        }
        from = mark + 1;
    }
}

bool text_has(struct str text, const char *phrase)
{
    struct str wanted = str_of(phrase);
    for (size_t i = 0; i + wanted.n <= text.n; i++)
        if (ascii_lower(text.p[i]) == phrase[0] && str_eq_nocase(str_make(text.p + i, wanted.n), wanted))
            return true;
    return false;
}
