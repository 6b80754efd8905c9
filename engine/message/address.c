/* address.c - see address.h. */
#include "engine/message/address.h"

#include "engine/base/utf8.h"

#include <errno.h>
#include <idn2.h>

enum { LABEL_MAX = 63, DOMAIN_TEXT_MAX = 253 };

enum { ATEXT = 1, LDH = 2 };

/* clang-format off */
/* What an ASCII byte may be: atext of a local part (RFC 5321 4.1.2), letter, digit or hyphen of a domain. */
static const uint8_t class_of[128] = {
    ['!'] = ATEXT, ['#'] = ATEXT, ['$'] = ATEXT, ['%'] = ATEXT, ['&'] = ATEXT, ['\''] = ATEXT, ['*'] = ATEXT,
    ['+'] = ATEXT, ['/'] = ATEXT, ['='] = ATEXT, ['?'] = ATEXT, ['^'] = ATEXT, ['_'] = ATEXT, ['`'] = ATEXT,
    ['{'] = ATEXT, ['|'] = ATEXT, ['}'] = ATEXT, ['~'] = ATEXT, ['-'] = ATEXT | LDH,
#define BOTH(c) [c] = ATEXT | LDH
    BOTH('0'), BOTH('1'), BOTH('2'), BOTH('3'), BOTH('4'), BOTH('5'), BOTH('6'), BOTH('7'), BOTH('8'), BOTH('9'),
    BOTH('A'), BOTH('B'), BOTH('C'), BOTH('D'), BOTH('E'), BOTH('F'), BOTH('G'), BOTH('H'), BOTH('I'), BOTH('J'),
    BOTH('K'), BOTH('L'), BOTH('M'), BOTH('N'), BOTH('O'), BOTH('P'), BOTH('Q'), BOTH('R'), BOTH('S'), BOTH('T'),
    BOTH('U'), BOTH('V'), BOTH('W'), BOTH('X'), BOTH('Y'), BOTH('Z'),
    BOTH('a'), BOTH('b'), BOTH('c'), BOTH('d'), BOTH('e'), BOTH('f'), BOTH('g'), BOTH('h'), BOTH('i'), BOTH('j'),
    BOTH('k'), BOTH('l'), BOTH('m'), BOTH('n'), BOTH('o'), BOTH('p'), BOTH('q'), BOTH('r'), BOTH('s'), BOTH('t'),
    BOTH('u'), BOTH('v'), BOTH('w'), BOTH('x'), BOTH('y'), BOTH('z'),
#undef BOTH
};
/* clang-format on */

static bool is(char c, uint8_t class)
{
    return !(c & 0x80) && (class_of[(uint8_t)c] & class);
}

/* Lower-cases and checks a domain in ASCII. */
static bool ascii_domain(struct str domain, char out[DOMAIN_MAX + 1], size_t *out_n, struct err *err)
{
    size_t label = 0;
    bool digits = true; /* of the label */
    if (domain.n == 0)
        return err_set(err, 0, "the domain is missing");
    if (domain.n > DOMAIN_TEXT_MAX)
        return err_set(err, 0, "the domain is longer than %d octets", DOMAIN_TEXT_MAX);
    for (size_t i = 0; i < domain.n; i++) {
        char c = domain.p[i];
        if (c == '.') {
            if (i == label || i + 1 == domain.n)
                return err_set(err, 0, "the domain has an empty label (a dot too many)");
            if (domain.p[i - 1] == '-')
                return err_set(err, 0, "a label of the domain ends in a hyphen");
            label = i + 1;
            digits = true;
        } else if (!is(c, LDH)) {
            return err_set(err, 0, "the domain holds a character that no domain may hold");
        } else if (c == '-' && i == label) {
            return err_set(err, 0, "a label of the domain begins with a hyphen");
        } else if (i - label == LABEL_MAX) {
            return err_set(err, 0, "a label of the domain is longer than %d octets", LABEL_MAX);
        }
        digits = digits && ((c >= '0' && c <= '9') || c == '.');
        out[i] = ascii_lower(c);
    }
    if (domain.p[domain.n - 1] == '-')
        return err_set(err, 0, "a label of the domain ends in a hyphen");
    if (digits)
        return err_set(err, 0, "the domain ends in a number, as an IP address does");
    out[domain.n] = '\0';
    *out_n = domain.n;
    return true;
}

bool domain_to_ascii(struct str domain, char out[DOMAIN_MAX + 1], size_t *out_n, struct err *err)
{
    if (utf8_is_ascii(domain))
        return ascii_domain(domain, out, out_n, err);
    char text[4 * DOMAIN_MAX + 1]; /* in UTF-8 it may be longer than in A-labels */
    if (domain.n >= sizeof text || memchr(domain.p, '\0', domain.n) != NULL || !utf8_valid(domain))
        return err_set(err, 0, "the domain is too long or not UTF-8");
    memcpy(text, domain.p, domain.n);
    text[domain.n] = '\0';
    uint8_t *ascii = NULL;
    int rc = idn2_lookup_u8((const uint8_t *)text, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
    if (rc != IDN2_OK)
        return err_set(err, rc == IDN2_MALLOC ? ENOMEM : 0, "the domain is no internationalized domain: %s",
                       idn2_strerror(rc));
    bool ok = ascii_domain(str_of((const char *)ascii), out, out_n, err);
    idn2_free(ascii);
    return ok;
}

/* "quoted": RFC 5321 Quoted-string. Sets *end behind it. */
static bool quoted_local(struct str text, size_t *end, bool *utf8, struct err *err)
{
    for (size_t i = 1; i < text.n; i++) {
        uint8_t c = (uint8_t)text.p[i];
        if (c == '"') {
            *end = i + 1;
            return i > 1 || err_set(err, 0, "the part before the @ is empty");
        }
        if (c == '\\' && i + 1 < text.n)
            c = (uint8_t)text.p[++i];
        if (c <= ' ' || c == 0x7f)
            return err_set(err, 0, "a space or control character stands before the @");
        *utf8 |= c >= 0x80;
    }
    return err_set(err, 0, "a quote is not closed");
}

static bool dotted_local(struct str text, size_t *end, bool *utf8, struct err *err)
{
    size_t i = 0;
    for (; i < text.n && text.p[i] != '@'; i++) {
        char c = text.p[i];
        if (is(c, ATEXT))
            continue;
        if (c & 0x80) {
            *utf8 = true;
        } else if (c != '.') {
            return err_set(err, 0, "%s stands before the @",
                           (uint8_t)c <= ' ' || c == 0x7f ? "a space or control character"
                                                          : "a character that must be quoted");
        } else if (i == 0 || i + 1 == text.n || text.p[i + 1] == '@' || text.p[i - 1] == '.') {
            return err_set(err, 0, "the part before the @ begins or ends with a dot, or has two together");
        }
    }
    *end = i;
    return i > 0 || err_set(err, 0, "the part before the @ is empty");
}

bool address_parse(struct str text, struct address *out, struct err *err)
{
    size_t end = 0, n = 0;
    bool utf8 = false;
    if (text.n == 0)
        return err_set(err, 0, "the address is empty");
    bool ok = text.p[0] == '"' ? quoted_local(text, &end, &utf8, err) : dotted_local(text, &end, &utf8, err);
    if (!ok)
        return false;
    if (end == text.n || text.p[end] != '@')
        return err_set(err, 0, "there is no @domain");
    if (end > LOCAL_PART_MAX)
        return err_set(err, 0, "the part before the @ is longer than %d octets", LOCAL_PART_MAX);
    struct str local = str_make(text.p, end), domain = str_make(text.p + end + 1, text.n - end - 1);
    if (utf8 && !utf8_valid(local))
        return err_set(err, 0, "the part before the @ is not UTF-8");
    if (domain.n > 0 && domain.p[0] == '[')
        return err_set(err, 0, "the domain is an address literal, which is not taken");
    if (!domain_to_ascii(domain, out->domain, &n, err))
        return false;
    out->local = local;
    out->utf8_local = utf8;
    out->idn = !utf8_is_ascii(domain);
    out->domain_n = (uint8_t)n;
    return true;
}
