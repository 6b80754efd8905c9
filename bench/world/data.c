/* data.c - see data.h.
 *
 * scan.c turns the bytes into masks; from these a few words of arithmetic a block tell where lines end, which
 * CRs and LFs stand alone and how long lines are. Only what needs a decision stops the scan: a dot at the
 * start of a line and, in the header, a CR there, which may be the blank line. What is digested are the runs
 * between such stops, a piece of at most PIECE bytes at a time, so that they still lie in the first cache. */
#include "bench/world/data.h"

#include "bench/world/scan.h"

#include <stdlib.h>
#include <string.h>
#ifdef __x86_64__
#include <xxh_x86dispatch.h> /* the widest vectors this processor has */
#else
#include <xxhash.h>
#endif

#define PIECE  ((size_t)16 * 1024)
#define WINDOW ((size_t)1024) /* scanned at once; what lies behind a stop in it is scanned twice */

enum data_state {
    IN_TEXT,
    HEAD_CR,     /* a CR at the start of a header's line, not yet digested */
    AFTER_DOT,   /* a dot at the start of a line, taken out */
    AFTER_DOT_CR /* and a CR, not yet digested */
};

static const char lone_cr[1] = {'\r'};

struct data {
    XXH3_state_t *whole, *head, *body;
    unsigned digests;
    uint64_t dots; /* a mask: dots count */
    struct data_facts facts;
    enum data_state state;
    bool in_body;
    uint64_t after_cr, at_start; /* 0 or 1: of the next byte: follows a CR, begins a line */
    uint64_t line;               /* octets of this line so far */
};

struct data *data_create(void)
{
    struct data *data = calloc(1, sizeof *data);
    if (data == NULL)
        return NULL;
    data->whole = XXH3_createState();
    data->head = XXH3_createState();
    data->body = XXH3_createState();
    if (data->whole && data->head && data->body)
        return data;
    data_free(data);
    return NULL;
}

void data_free(struct data *data)
{
    if (data == NULL)
        return;
    XXH3_freeState(data->whole);
    XXH3_freeState(data->head);
    XXH3_freeState(data->body);
    free(data);
}

void data_begin(struct data *data, unsigned digests)
{
    data->facts = (struct data_facts){0};
    data->digests = digests;
    data->dots = digests & DATA_PLAIN ? 0 : UINT64_MAX;
    data->state = IN_TEXT;
    data->in_body = false;
    data->after_cr = 0;
    data->at_start = 1;
    data->line = 0;
    if (digests & DATA_WHOLE)
        XXH3_128bits_reset(data->whole);
    if (digests & DATA_PARTS) {
        XXH3_64bits_reset(data->head);
        XXH3_64bits_reset(data->body);
    }
}

static void digest(struct data *data, const char *p, size_t n)
{
    if (n == 0)
        return;
    data->facts.size += n;
    if (data->digests & DATA_PARTS)
        XXH3_64bits_update(data->in_body ? data->body : data->head, p, n);
    if (data->digests & DATA_WHOLE)
        XXH3_128bits_update(data->whole, p, n);
}

/* n bytes of a block, 1 to 64, whose other bits are 0; how many come before the byte that needs a decision.
 */
static unsigned take_block(struct data *data, const struct scan_masks *masks, unsigned n)
{
    uint64_t after_cr = masks->cr << 1 | data->after_cr;
    uint64_t ends = masks->lf & after_cr;
    uint64_t stops =
        (ends << 1 | data->at_start) & ((masks->dot & data->dots) | (data->in_body ? 0 : masks->cr));
    uint64_t taken = n == SCAN_BLOCK ? UINT64_MAX : (UINT64_C(1) << n) - 1;
    if (stops & taken) {
        n = (unsigned)__builtin_ctzll(stops);
        if (n == 0)
            return 0;
        taken = (UINT64_C(1) << n) - 1;
        ends &= taken;
    }
    data->facts.bare_lf |= (masks->lf & ~after_cr & taken) != 0;
    data->facts.bare_cr |= (after_cr & ~masks->lf & taken) != 0;
    data->facts.eight_bit |= (masks->high & taken) != 0;
    if (ends) {
        uint64_t line = data->line + (unsigned)__builtin_ctzll(ends) + 1;
        data->facts.long_line |= line > DATA_LINE_MAX;
        data->line = n - 64 + (unsigned)__builtin_clzll(ends);
    } else {
        data->line += n;
    }
    data->after_cr = masks->cr >> (n - 1) & 1;
    data->at_start = ends >> (n - 1) & 1;
    return n;
}

/* The lengths of lines over whole blocks, whose ends of lines are in ends[]; `with` has a bit a block with
 * any. A line too long needs 14 blocks without an end, so where three of a window have one only the first
 * can close such a line, and the others need no look. */
static void take_lines(struct data *data, const uint64_t *ends, size_t blocks, uint64_t with)
{
    uint64_t but_first = with & (with - 1);
    bool dense = (but_first & (but_first - 1)) != 0; /* three or more */
    size_t line = data->line, before = 0; /* before: octets of these blocks that `line` accounts for */
    while (with) {
        size_t i = (size_t)__builtin_ctzll(with);
        size_t end = i * SCAN_BLOCK + (size_t)__builtin_ctzll(ends[i]) + 1;
        data->facts.long_line |= line + end - before > DATA_LINE_MAX;
        if (dense)
            i = 63 - (size_t)__builtin_clzll(with);
        line = 0;
        before = i * SCAN_BLOCK + 64 - (size_t)__builtin_clzll(ends[i]);
        with &= dense ? 0 : with - 1;
    }
    data->line = line + blocks * SCAN_BLOCK - before;
}

/* Whole blocks, at most a window, up to one that holds a byte that needs a decision; how many. */
static size_t take_blocks(struct data *data, const struct scan_masks *masks, size_t blocks)
{
    uint64_t after_cr = data->after_cr, at_start = data->at_start, dots = data->dots;
    uint64_t head = data->in_body ? 0 : UINT64_MAX;
    uint64_t bare_cr = 0, bare_lf = 0, high = 0, with = 0;
    uint64_t ends[WINDOW / SCAN_BLOCK];
    size_t i = 0;
    for (; i < blocks; i++) {
        uint64_t cr_before = masks[i].cr << 1 | after_cr;
        ends[i] = masks[i].lf & cr_before;
        if ((ends[i] << 1 | at_start) & ((masks[i].dot & dots) | (masks[i].cr & head)))
            break;
        bare_lf |= masks[i].lf & ~cr_before;
        bare_cr |= cr_before & ~masks[i].lf;
        high |= masks[i].high;
        with |= (uint64_t)(ends[i] != 0) << i;
        after_cr = masks[i].cr >> 63;
        at_start = ends[i] >> 63;
    }
    take_lines(data, ends, i, with);
    data->after_cr = after_cr;
    data->at_start = at_start;
    data->facts.bare_cr |= bare_cr != 0;
    data->facts.bare_lf |= bare_lf != 0;
    data->facts.eight_bit |= high != 0;
    return i;
}

/* How many bytes come before the one that needs a decision; n if there is none. */
static size_t scan(struct data *data, const char *p, size_t n)
{
    struct scan_masks masks[WINDOW / SCAN_BLOCK];
    size_t at = 0;
    while (n - at >= SCAN_BLOCK) {
        size_t blocks = (n - at < WINDOW ? n - at : WINDOW) / SCAN_BLOCK;
        scan_blocks(p + at, blocks, masks);
        size_t whole = take_blocks(data, masks, blocks);
        at += whole * SCAN_BLOCK;
        if (whole < blocks)
            return at + take_block(data, &masks[whole], SCAN_BLOCK);
    }
    if (at < n) {
        char last[SCAN_BLOCK] = {0};
        memcpy(last, p + at, n - at);
        scan_blocks(last, 1, masks);
        at += take_block(data, &masks[0], (unsigned)(n - at));
    }
    return at;
}

/* Goes on in the text of a line, of which nothing or a CR has been taken. */
static void resume(struct data *data, bool after_cr)
{
    data->state = IN_TEXT;
    data->after_cr = data->line = after_cr;
    data->at_start = 0;
}

/* The byte after all that was scanned; whether it is dealt with. If not it is scanned with what follows. */
static bool decide(struct data *data, char c, bool *done)
{
    switch (data->state) {
    case IN_TEXT:
        data->state = c == '.' ? AFTER_DOT : HEAD_CR;
        return true;
    case HEAD_CR:
        data->in_body = c == '\n';
        break;
    case AFTER_DOT:
        if (c == '\r') {
            data->state = AFTER_DOT_CR;
            return true;
        }
        data->facts.undoubled_dot |= c != '.';
        resume(data, false);
        return false;
    case AFTER_DOT_CR:
        *done = c == '\n';
        if (*done)
            return true;
        data->facts.undoubled_dot = true;
        break;
    }
    digest(data, lone_cr, 1);
    resume(data, true);
    return false;
}

size_t data_feed(struct data *data, const char *p, size_t n, bool *done)
{
    size_t at = 0;
    *done = false;
    while (at < n && !*done) {
        if (data->state == IN_TEXT) {
            size_t piece = n - at < PIECE ? n - at : PIECE;
            size_t taken = scan(data, p + at, piece);
            digest(data, p + at, taken);
            at += taken;
            if (taken == piece)
                continue;
        }
        at += decide(data, p[at], done);
    }
    return at;
}

void data_end(struct data *data)
{
    if (data->state != HEAD_CR)
        return;
    digest(data, lone_cr, 1);
    resume(data, true);
}

struct data_facts data_facts(const struct data *data)
{
    return data->facts;
}

bool data_has(const struct data *data, unsigned digests)
{
    return (data->digests & digests) == digests;
}

struct data_parts data_parts(const struct data *data)
{
    return (struct data_parts){XXH3_64bits_digest(data->head), XXH3_64bits_digest(data->body)};
}

void data_digest(const struct data *data, char hex[static DATA_DIGEST_MAX])
{
    static const char digits[] = "0123456789abcdef";
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(data->whole));
    for (size_t i = 0; i < sizeof canonical.digest; i++) {
        hex[2 * i] = digits[canonical.digest[i] >> 4];
        hex[2 * i + 1] = digits[canonical.digest[i] & 15];
    }
    hex[DATA_DIGEST_MAX - 1] = '\0';
}
