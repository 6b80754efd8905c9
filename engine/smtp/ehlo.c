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
};

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
}
