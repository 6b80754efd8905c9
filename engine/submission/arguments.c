/* arguments.c - see arguments.h. */
#include "engine/submission/arguments.h"

#include "engine/base/units.h"
#include "engine/message/envelope.h"
#include "engine/submission/answer.h"
#include "engine/submission/xtext.h"
#include "queue/rid.h"

#include <stdio.h>

struct argument {
    struct str name, value;
    bool has_value;
};

struct argument_context {
    struct parcel *parcel;      /* MAIL's */
    struct argument_rcpt *rcpt; /* RCPT's */
    const struct argument_rules *rules;
    struct buf *out;
};

typedef bool read_argument_fn(struct argument_context *context, const struct argument *argument);

static bool malformed(struct argument_context *context, const struct argument *argument, const char *expected)
{
    return answer_with(context->out, "501 5.5.4 %.*s: expected %s", STR_ARG(argument->name), expected);
}

/* ---- MAIL's ---- */

static bool read_size(struct argument_context *context, const struct argument *argument)
{
    if (!str_u64(argument->value, UINT64_MAX, &context->parcel->size))
        return malformed(context, argument, "the size of the message in octets");
    if (context->parcel->size > context->rules->size_max)
        return answer_with(context->out, "552 5.3.4 a message may have %llu octets at most",
                           (unsigned long long)context->rules->size_max);
    return true;
}

static bool read_body(struct argument_context *context, const struct argument *argument)
{
    static const struct str names[] = {
        [PARCEL_7BIT] = {"7BIT", 4}, [PARCEL_8BIT] = {"8BITMIME", 8}, [PARCEL_BINARY] = {"BINARYMIME", 10}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_eq_nocase(argument->value, names[i])) {
            context->parcel->body = (enum parcel_body)i;
            return true;
        }
    return malformed(context, argument, "7BIT, 8BITMIME or BINARYMIME");
}

static bool read_utf8(struct argument_context *context, const struct argument *argument)
{
    context->parcel->utf8 = true;
    return !argument->has_value || malformed(context, argument, "no value");
}

static bool read_ret(struct argument_context *context, const struct argument *argument)
{
    bool full = str_eq_nocase(argument->value, STR("FULL"));
    context->parcel->ret = full ? RET_FULL : RET_HDRS;
    return full || str_eq_nocase(argument->value, STR("HDRS")) ||
           malformed(context, argument, "FULL or HDRS");
}

static bool read_envid(struct argument_context *context, const struct argument *argument)
{
    return xtext_decode(argument->value, context->parcel->envid, ENVID_MAX) ||
           malformed(context, argument, "an identifier of at most 100 characters in xtext (RFC 3461 4)");
}

/* Who sent it first, by an earlier server's word: nothing follows from it (RFC 4954 5). */
static bool read_auth(struct argument_context *context, const struct argument *argument)
{
    char mailbox[ADDRESS_MAX + 1];
    return xtext_decode(argument->value, mailbox, ADDRESS_MAX) ||
           malformed(context, argument, "a mailbox in xtext, or <>");
}

static bool hold_until(struct argument_context *context, const struct argument *argument, int64_t at_ms)
{
    int64_t now_ms = context->rules->now.wall_ms;
    if (context->parcel->not_before_ms != 0)
        return answer(context->out, "501 5.5.4 HOLDFOR and HOLDUNTIL exclude each other");
    if (at_ms < now_ms || at_ms > now_ms + HOLD_MAX_S * MS_PER_S)
        return malformed(context, argument, "a time within the next 365 days");
    context->parcel->not_before_ms = at_ms;
    return true;
}

static bool read_hold_for(struct argument_context *context, const struct argument *argument)
{
    uint64_t seconds;
    if (!str_u64(argument->value, HOLD_MAX_S, &seconds))
        return malformed(context, argument, "seconds, at most 365 days");
    return hold_until(context, argument, context->rules->now.wall_ms + (int64_t)seconds * MS_PER_S);
}

static bool read_hold_until(struct argument_context *context, const struct argument *argument)
{
    int64_t at_ms;
    uint64_t number;
    if (str_u64(argument->value, UINT64_MAX, &number) || !time_parse(argument->value, &at_ms))
        return malformed(context, argument, "a time such as 2030-01-31T08:00:00Z");
    return hold_until(context, argument, at_ms);
}

/* Seconds, perhaps negative, of at most nine digits. */
static bool read_seconds(struct str text, int64_t *seconds)
{
    bool minus = str_starts(text, STR("-"));
    uint64_t number;
    size_t sign = minus || str_starts(text, STR("+"));
    if (!str_u64(str_make(text.p + sign, text.n - sign), 999999999, &number))
        return false;
    *seconds = minus ? -(int64_t)number : (int64_t)number;
    return true;
}

/* "3600;R": return it after that time; "3600;N": tell that it is late; a T behind asks for a trace. */
static bool read_by(struct argument_context *context, const struct argument *argument)
{
    struct str value = argument->value;
    size_t semicolon = str_find(value, ';', 0);
    size_t mode = semicolon == SIZE_MAX ? value.n : semicolon + 1;
    bool trace = value.n == mode + 2 && ascii_lower(value.p[mode + 1]) == 't';
    int64_t seconds;
    if (value.n != mode + 1 + trace || strchr("rn", ascii_lower(value.p[mode])) == NULL ||
        !read_seconds(str_make(value.p, semicolon), &seconds))
        return malformed(context, argument, "seconds and a mode, such as 3600;R or 3600;N");
    if (ascii_lower(value.p[mode]) == 'n') { /* a time that is over was told of by who sent it here */
        context->parcel->delay_warning_ms = seconds > 0 ? seconds * MS_PER_S : 0;
        return true;
    }
    if (seconds <= 0 || seconds * MS_PER_S > JOB_LIFETIME_MAX_MS)
        return malformed(context, argument, "for the mode R a time from one second to 366 days");
    context->parcel->lifetime_ms = seconds * MS_PER_S;
    return true;
}

static bool read_priority(struct argument_context *context, const struct argument *argument)
{
    bool minus = str_starts(argument->value, STR("-"));
    struct str digit = str_make(argument->value.p + minus, argument->value.n - minus);
    if (digit.n != 1 || digit.p[0] < '0' + minus || digit.p[0] > '9')
        return malformed(context, argument, "a number from -9 to 9");
    context->parcel->priority = minus ? '0' - digit.p[0] : digit.p[0] - '0';
    return true;
}

/* ---- RCPT's ---- */

static bool read_notify(struct argument_context *context, const struct argument *argument)
{
    static const struct {
        struct str name;
        uint8_t bit;
    } names[] = {{{"NEVER", 5}, NOTIFY_NEVER},
                 {{"SUCCESS", 7}, NOTIFY_SUCCESS},
                 {{"FAILURE", 7}, NOTIFY_FAILURE},
                 {{"DELAY", 5}, NOTIFY_DELAY}};
    struct str rest = argument->value;
    uint8_t bits = 0;
    for (bool more = true; more;) {
        size_t comma = str_find(rest, ',', 0), i = 0;
        struct str word = str_make(rest.p, comma == SIZE_MAX ? rest.n : comma);
        while (i < sizeof names / sizeof *names && !str_eq_nocase(word, names[i].name))
            i++;
        if (i == sizeof names / sizeof *names)
            return malformed(context, argument, "NEVER, or of SUCCESS, FAILURE and DELAY a list");
        bits |= names[i].bit;
        more = comma != SIZE_MAX;
        rest = more ? str_make(rest.p + comma + 1, rest.n - comma - 1) : rest;
    }
    if ((bits & NOTIFY_NEVER) && bits != NOTIFY_NEVER)
        return malformed(context, argument, "NEVER alone");
    context->rcpt->spec.notify = bits;
    return true;
}

static bool read_orcpt(struct argument_context *context, const struct argument *argument)
{
    struct argument_rcpt *rcpt = context->rcpt;
    rcpt->spec.orcpt.p = rcpt->orcpt;
    return orcpt_decode(argument->value, rcpt->orcpt, &rcpt->spec.orcpt.n) ||
           malformed(context, argument, "a type and an address in xtext, such as rfc822;ada@example.com");
}

/* ---- both ---- */

static const struct known {
    struct str name;
    bool of_rcpt;
    read_argument_fn *read;
} known[] = {
    {{"SIZE", 4}, false, read_size},
    {{"BODY", 4}, false, read_body},
    {{"SMTPUTF8", 8}, false, read_utf8},
    {{"RET", 3}, false, read_ret},
    {{"ENVID", 5}, false, read_envid},
    {{"AUTH", 4}, false, read_auth},
    {{"HOLDFOR", 7}, false, read_hold_for},
    {{"HOLDUNTIL", 9}, false, read_hold_until},
    {{"BY", 2}, false, read_by},
    {{"MT-PRIORITY", 11}, false, read_priority},
    {{"NOTIFY", 6}, true, read_notify},
    {{"ORCPT", 5}, true, read_orcpt},
};
#define KNOWN (sizeof known / sizeof *known)

/* The next word of *rest, which is blank or begins with a space. */
static bool next_argument(struct str *rest, struct argument *argument)
{
    struct str text = str_trim(*rest);
    size_t end = str_find(text, ' ', 0);
    struct str word = str_make(text.p, end == SIZE_MAX ? text.n : end);
    size_t equals = str_find(word, '=', 0);
    argument->has_value = equals != SIZE_MAX;
    argument->name = str_make(word.p, argument->has_value ? equals : word.n);
    argument->value = argument->has_value ? str_make(word.p + equals + 1, word.n - equals - 1) : STR("");
    *rest = str_make(text.p + word.n, text.n - word.n);
    return word.n > 0;
}

static bool read_arguments(struct argument_context *context, struct str rest)
{
    struct argument argument;
    unsigned seen = 0;
    while (next_argument(&rest, &argument)) {
        size_t i = 0;
        if (argument.name.n == 0)
            return answer(context->out, "501 5.5.4 a parameter has a name before its =");
        while (i < KNOWN &&
               (known[i].of_rcpt != (context->rcpt != NULL) || !str_eq_nocase(argument.name, known[i].name)))
            i++;
        if (i == KNOWN || !context->rules->extended)
            return answer_with(context->out, "555 5.5.4 the parameter %.*s is not known%s",
                               STR_ARG(argument.name),
                               context->rules->extended ? " here" : " after HELO: say EHLO");
        if (seen & 1U << i)
            return answer_with(context->out, "501 5.5.4 the parameter %.*s is given twice",
                               STR_ARG(argument.name));
        seen |= 1U << i;
        if (!known[i].read(context, &argument))
            return false;
    }
    return true;
}

/* Where the path that begins behind `<` ends; SIZE_MAX: nowhere. A quoted local part may hold a `>`. */
static size_t path_end(struct str text, size_t at)
{
    bool quoted = false;
    for (; at < text.n; at++) {
        if (quoted && text.p[at] == '\\')
            at++;
        else if (text.p[at] == '"')
            quoted = !quoted;
        else if (!quoted && text.p[at] == '>')
            return at;
    }
    return SIZE_MAX;
}

/* "FROM:<path> rest"; a source route is left out, as RFC 5321 (appendix C) asks. */
static bool read_path(struct str word, struct str *text, struct str *path)
{
    struct str rest = *text;
    if (!str_starts_nocase(rest, word))
        return false;
    rest = str_make(rest.p + word.n, rest.n - word.n);
    while (rest.n > 0 && rest.p[0] == ' ') /* not as it should be, and common */
        rest = str_make(rest.p + 1, rest.n - 1);
    size_t end = rest.n > 0 && rest.p[0] == '<' ? path_end(rest, 1) : SIZE_MAX;
    if (end == SIZE_MAX || (end + 1 < rest.n && rest.p[end + 1] != ' '))
        return false;
    *path = str_make(rest.p + 1, end - 1);
    *text = str_make(rest.p + end + 1, rest.n - end - 1);
    size_t colon = path->n > 0 && path->p[0] == '@' ? str_find(*path, ':', 0) : SIZE_MAX;
    if (colon != SIZE_MAX)
        *path = str_make(path->p + colon + 1, path->n - colon - 1);
    return true;
}

/* With its domain in A-labels, as addresses are kept everywhere. */
static bool in_a_labels(struct str path, const struct address *address, char out[ADDRESS_MAX + 1])
{
    struct str domain = address_domain(address);
    int n = address->idn
                ? snprintf(out, ADDRESS_MAX + 1, "%.*s@%.*s", STR_ARG(address->local), STR_ARG(domain))
                : snprintf(out, ADDRESS_MAX + 1, "%.*s", STR_ARG(path));
    return n >= 0 && n <= ADDRESS_MAX;
}

static bool needs_utf8(struct buf *out)
{
    return answer(out, "550 5.6.7 an address that is not ASCII needs SMTPUTF8 in MAIL (RFC 6531)");
}

/* The sender may hold {{rid}}, which no plain address does but for chance. */
static bool read_from(struct parcel *parcel, struct str path, struct buf *out)
{
    struct address address;
    struct err err;
    bool per_recipient, utf8;
    if (path.n == 0)
        return true;
    bool plain = address_parse(path, &address, &err);
    if (plain && !in_a_labels(path, &address, parcel->from))
        return answer(out, "501 5.1.7 the sender's address is too long");
    if (!plain) /* perhaps with {{rid}} in its domain */
        snprintf(parcel->from, sizeof parcel->from, "%.*s", STR_ARG(path));
    struct str from = plain || path.n > ADDRESS_MAX ? str_of(parcel->from) : path;
    if (path.n > ADDRESS_MAX || !envelope_check(from, RID_TEXT_MAX - 1, &per_recipient, &utf8, &err))
        return answer_with(out, "501 5.1.7 %s",
                           path.n > ADDRESS_MAX ? "the sender's address is too long" : err.text);
    return str_is_ascii(path) || parcel->utf8 || needs_utf8(out);
}

bool arguments_mail(struct parcel *parcel, struct str text, const struct argument_rules *rules,
                    struct buf *out)
{
    struct argument_context context = {.parcel = parcel, .rules = rules, .out = out};
    struct str path;
    if (!read_path(STR("FROM:"), &text, &path))
        return answer(out, "501 5.5.4 expected MAIL FROM:<address>");
    return read_arguments(&context, text) && read_from(parcel, path, out);
}

bool arguments_rcpt(const struct parcel *parcel, struct argument_rcpt *rcpt, struct str text,
                    const struct argument_rules *rules, struct buf *out)
{
    struct argument_context context = {.rcpt = rcpt, .rules = rules, .out = out};
    char postmaster[ADDRESS_MAX + 1];
    struct str path;
    struct err err;
    rcpt->spec = (struct rcpt_spec){0};
    if (!read_path(STR("TO:"), &text, &path))
        return answer(out, "501 5.5.4 expected RCPT TO:<address>");
    if (str_eq_nocase(path, STR("Postmaster"))) { /* RFC 5321 4.5.1 */
        int n = snprintf(postmaster, sizeof postmaster, "postmaster@%s", rules->hostname);
        path = str_make(postmaster, n < 0 || n > ADDRESS_MAX ? 0 : (size_t)n);
    }
    if (!address_parse(path, &rcpt->address, &err))
        return answer_with(out, "501 5.1.3 %s", path.n > 0 ? err.text : "the recipient is missing");
    if (!str_is_ascii(path) && !parcel->utf8)
        return needs_utf8(out);
    if (!in_a_labels(path, &rcpt->address, rcpt->to))
        return answer(out, "501 5.1.3 the address is too long");
    rcpt->spec.to = str_of(rcpt->to);
    rcpt->spec.domain = address_domain(&rcpt->address);
    return read_arguments(&context, text);
}
