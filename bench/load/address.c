/* address.c - see address.h. */
#include "bench/load/address.h"

#include "bench/record.h"

#include <errno.h>

#define DOMAIN_SIZE 250

bool domains_parse(struct domains *domains, const char *pattern, struct err *err)
{
    struct str text = str_of(pattern);
    size_t open = str_find(text, '{', 0), close = str_find(text, '}', 0);
    uint64_t last;
    *domains = (struct domains){.before = text};
    if (text.n == 0 || text.n > DOMAIN_SIZE - ADDRESS_NUMBER_SIZE)
        return err_set(err, EINVAL, "a pattern of domains has 1 to %d characters",
                       DOMAIN_SIZE - ADDRESS_NUMBER_SIZE);
    if (open == SIZE_MAX && close == SIZE_MAX)
        return true;
    size_t dots = open == SIZE_MAX ? SIZE_MAX : str_find(text, '.', open);
    if (close == SIZE_MAX || dots == SIZE_MAX || dots + 2 > close || text.p[dots + 1] != '.' ||
        !str_u64(str_make(text.p + open + 1, dots - open - 1), ADDRESS_NUMBERS - 1, &domains->first) ||
        !str_u64(str_make(text.p + dots + 2, close - dots - 2), ADDRESS_NUMBERS - 1, &last) ||
        last < domains->first)
        return err_set(err, EINVAL, "'%s' is no pattern of domains: write d{0..999}.test, or one domain",
                       pattern);
    domains->before.n = open;
    domains->after = str_make(text.p + close + 1, text.n - close - 1);
    domains->count = last - domains->first + 1;
    return true;
}

size_t number_put(char *to, uint64_t number, size_t digits)
{
    char text[20];
    size_t at = sizeof text;
    do {
        text[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    while (sizeof text - at < digits)
        text[--at] = '0';
    memcpy(to, text + at, sizeof text - at);
    return sizeof text - at;
}

size_t address_put(const struct domains *domains, uint64_t number, char *to)
{
    char *p = to;
    *p++ = 'u';
    p += number_put(p, number, RECORD_DIGITS);
    *p++ = '@';
    memcpy(p, domains->before.p, domains->before.n);
    p += domains->before.n;
    if (domains->count == 0)
        return (size_t)(p - to);
    p += number_put(p, domains->first + number % domains->count, 1);
    if (domains->after.n)
        memcpy(p, domains->after.p, domains->after.n);
    return (size_t)(p - to) + domains->after.n;
}
