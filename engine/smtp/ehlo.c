/* ehlo.c - see ehlo.h. */
#include "engine/smtp/ehlo.h"

#include <stddef.h>

static const struct {
    struct str keyword;
    size_t offset;
} keywords[] = {
    {{"PIPELINING", 10}, offsetof(struct session_offers, pipelining)},
    {{"SIZE", 4}, offsetof(struct session_offers, size)},
    {{"8BITMIME", 8}, offsetof(struct session_offers, eight_bit)},
    {{"STARTTLS", 8}, offsetof(struct session_offers, starttls)},
    {{"SMTPUTF8", 8}, offsetof(struct session_offers, smtputf8)},
    {{"DSN", 3}, offsetof(struct session_offers, dsn)},
    {{"ENHANCEDSTATUSCODES", 19}, offsetof(struct session_offers, enhanced)},
    {{"REQUIRETLS", 10}, offsetof(struct session_offers, requiretls)},
    {{"CHUNKING", 8}, offsetof(struct session_offers, chunking)},
    {{"BINARYMIME", 10}, offsetof(struct session_offers, binary)},
};

/* RFC 9422 4: one to six digits, the first no zero. What is neither known nor well-formed is passed over. */
static void limits_read(struct session_offers *offers, struct str rest)
{
    static const struct {
        struct str name;
        size_t offset;
    } limits[] = {
        {{"MAILMAX", 7}, offsetof(struct session_offers, mail_max)},
        {{"RCPTMAX", 7}, offsetof(struct session_offers, rcpt_max)},
        {{"RCPTDOMAINMAX", 13}, offsetof(struct session_offers, rcpt_domain_max)},
    };
    while (rest.n > 0) {
        size_t end = str_find(rest, ' ', 0), equals = str_find(rest, '=', 0);
        if (end == SIZE_MAX)
            end = rest.n;
        uint64_t value;
        if (equals < end && end - equals <= 7 && rest.p[equals + 1] != '0' &&
            str_u64(str_make(rest.p + equals + 1, end - equals - 1), 999999, &value))
            for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
                if (str_eq_nocase(str_make(rest.p, equals), limits[i].name))
                    *(uint32_t *)(void *)((char *)offers + limits[i].offset) = (uint32_t)value;
        rest = str_trim(str_make(rest.p + end, rest.n - end));
    }
}

void ehlo_line(struct session_offers *offers, struct str line)
{
    line = str_trim(line);
    size_t end = 0;
    while (end < line.n && line.p[end] != ' ' && line.p[end] != '\t' && line.p[end] != '=')
        end++;
    struct str word = str_make(line.p, end);
    struct str rest = str_make("", 0);
    if (end < line.n)
        rest = str_trim(str_make(line.p + end + 1, line.n - end - 1));
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++) {
        if (str_eq_nocase(word, keywords[i].keyword))
            *(bool *)((char *)offers + keywords[i].offset) = true;
    }
    uint64_t size;
    if (str_eq_nocase(word, STR("SIZE")) && str_u64(rest, UINT64_MAX, &size))
        offers->size_max = size;
    if (str_eq_nocase(word, STR("LIMITS")))
        limits_read(offers, rest);
}
