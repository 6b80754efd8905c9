/* data.c - see data.h. Lines are found with memchr; what is digested are the runs between removed dots, so
 * that an ordinary message costs one digest call a read. Bare CRs are found by counting: every CR belongs to
 * a CRLF unless there are more of them. */
#include "bench/world/data.h"

#include <stdlib.h>
#include <string.h>
#ifdef __x86_64__
#include <xxh_x86dispatch.h> /* the widest vectors this processor has */
#else
#include <xxhash.h>
#endif

enum data_state {
    AT_LINE_START,
    AFTER_DOT,    /* a dot at the start of a line, taken out */
    AFTER_DOT_CR, /* and a CR, not yet digested */
    IN_LINE,
    AFTER_CR /* in a line, at the end of what was fed */
};

static const char lone_cr[1] = {'\r'};

struct data {
    XXH3_state_t *digest;
    struct data_facts facts;
    enum data_state state;
    size_t line;       /* octets of this line so far */
    uint64_t cr, crlf; /* seen */
};

struct data *data_create(void)
{
    struct data *data = calloc(1, sizeof *data);
    if (data && (data->digest = XXH3_createState()) != NULL)
        return data;
    free(data);
    return NULL;
}

void data_free(struct data *data)
{
    if (data)
        XXH3_freeState(data->digest);
    free(data);
}

void data_begin(struct data *data)
{
    data->facts = (struct data_facts){0};
    data->state = AT_LINE_START;
    data->line = 0;
    data->cr = data->crlf = 0;
    XXH3_128bits_reset(data->digest);
}

/* In blocks of fixed size, which the compiler turns into vector code. */
static void count_bytes(struct data *data, const unsigned char *p, size_t n)
{
    uint64_t cr = 0;
    uint8_t high = 0;
    for (; n >= 64; p += 64, n -= 64) {
        uint8_t block_cr = 0, block_high = 0;
        for (int i = 0; i < 64; i++) {
            block_cr = (uint8_t)(block_cr + (p[i] == '\r'));
            block_high |= p[i];
        }
        cr += block_cr;
        high |= block_high;
    }
    for (size_t i = 0; i < n; i++) {
        cr += p[i] == '\r';
        high |= p[i];
    }
    data->cr += cr;
    data->facts.eight_bit = data->facts.eight_bit || (high & 0x80);
}

static void digest(struct data *data, const char *from, const char *to)
{
    if (to > from) {
        XXH3_128bits_update(data->digest, from, (size_t)(to - from));
        data->facts.size += (uint64_t)(to - from);
    }
}

static void end_line(struct data *data)
{
    data->crlf++;
    if (data->line > DATA_LINE_MAX)
        data->facts.long_line = true;
    data->line = 0;
    data->state = AT_LINE_START;
}

/* Inside a line: to its end or the end of what is there. */
static const char *take_line(struct data *data, const char *p, const char *end)
{
    bool after_cr = data->state == AFTER_CR;
    const char *lf = memchr(p, '\n', (size_t)(end - p));
    data->state = IN_LINE;
    if (lf == NULL) {
        data->line += (size_t)(end - p);
        if (end[-1] == '\r')
            data->state = AFTER_CR;
        return end;
    }
    data->line += (size_t)(lf + 1 - p);
    if (lf > p ? lf[-1] == '\r' : after_cr)
        end_line(data);
    else
        data->facts.bare_lf = true;
    return lf + 1;
}

size_t data_feed(struct data *data, const char *bytes, size_t n, bool *done)
{
    const char *p = bytes, *end = bytes + n, *run = bytes;
    *done = false;
    while (p < end && !*done) {
        switch (data->state) {
        case AT_LINE_START:
            if (*p != '.') {
                data->state = IN_LINE;
                break;
            }
            digest(data, run, p);
            run = ++p;
            data->state = AFTER_DOT;
            break;
        case AFTER_DOT:
            if (*p == '\r') {
                run = ++p;
                data->state = AFTER_DOT_CR;
                break;
            }
            if (*p != '.')
                data->facts.undoubled_dot = true;
            data->state = IN_LINE;
            break;
        case AFTER_DOT_CR:
            if (*p == '\n') {
                data->crlf++;
                run = ++p;
                *done = true;
                break;
            }
            digest(data, lone_cr, lone_cr + 1);
            data->facts.undoubled_dot = true;
            data->line = 1;
            data->state = IN_LINE;
            break;
        case IN_LINE:
        case AFTER_CR:
            p = take_line(data, p, end);
            break;
        }
    }
    digest(data, run, p);
    count_bytes(data, (const unsigned char *)bytes, (size_t)(p - bytes));
    return (size_t)(p - bytes);
}

struct data_facts data_facts(const struct data *data)
{
    struct data_facts facts = data->facts;
    facts.bare_cr = data->cr != data->crlf;
    return facts;
}

void data_digest(const struct data *data, char hex[static DATA_DIGEST_MAX])
{
    static const char digits[] = "0123456789abcdef";
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(data->digest));
    for (size_t i = 0; i < sizeof canonical.digest; i++) {
        hex[2 * i] = digits[canonical.digest[i] >> 4];
        hex[2 * i + 1] = digits[canonical.digest[i] & 15];
    }
    hex[DATA_DIGEST_MAX - 1] = '\0';
}
