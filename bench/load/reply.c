/* reply.c - see reply.h. */
#include "bench/load/reply.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

enum reply_state reply_next(struct str *in, struct reply *reply)
{
    const char *line = in->p, *end = in->p + in->n;
    while (line < end) {
        const char *lf = memchr(line, '\n', (size_t)(end - line));
        if (lf == NULL)
            return REPLY_MORE;
        if (lf - line < 3 || !is_digit(line[0]) || !is_digit(line[1]) || !is_digit(line[2]))
            return REPLY_BROKEN;
        if (line[3] != '-') {
            const char *stop = lf[-1] == '\r' ? lf - 1 : lf;
            reply->code = (line[0] - '0') * 100 + (line[1] - '0') * 10 + (line[2] - '0');
            reply->text = str_make(in->p, (size_t)(stop - in->p));
            *in = str_make(lf + 1, (size_t)(end - lf - 1));
            return REPLY_WHOLE;
        }
        line = lf + 1;
    }
    return REPLY_MORE;
}

bool reply_offers(struct str text, struct str keyword)
{
    for (size_t at = str_find(text, '\n', 0); at != SIZE_MAX; at = str_find(text, '\n', at + 1)) {
        struct str line = str_make(text.p + at + 1, text.n - at - 1);
        if (line.n < 4 + keyword.n)
            continue;
        struct str word = str_make(line.p + 4, keyword.n);
        char next = line.n > 4 + keyword.n ? line.p[4 + keyword.n] : '\n';
        if (str_eq_nocase(word, keyword) && (next == ' ' || next == '\r' || next == '\n'))
            return true;
    }
    return false;
}
