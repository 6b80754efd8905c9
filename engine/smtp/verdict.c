/* verdict.c - what replies mean. The whole table; the first row that fits decides. "given" is an enhanced
 * status at the start of the text (RFC 2034), its class set to that of the outcome: where they differ the
 * reply code decides. A status that is not given is derived from words, then from code and step (RFC 5248,
 * RFC 3463).
 *
 *   step              reply                              outcome    scope      also
 *   end of data       2xx                                delivered  recipient
 *   DATA              3xx                                none
 *   not DATA          2xx                                none
 *   DATA; others      2xx; 3xx                           deferred   session*   4.5.0: answers something else
 *   greeting to EHLO  4xx, 5xx with x.7.y                deferred   path       it has something against us
 *   greeting to AUTH  4xx, 5xx                           deferred   host       554: no service, RFC 5321 3.1
 *   RSET, QUIT        4xx, 5xx                           deferred   session
 *   RCPT, DATA        4xx, 552, "too many recipients"    deferred   recipient  4.5.3, again_now
 *                     or x.5.3
 *   any               4xx, greylisting by words          deferred   narrow     greylisted
 *   any               4xx, "messages per connection"     deferred   session    a new connection will do
 *   any               4xx with 4.7.y                     deferred   path       421 too
 *   any               421                                deferred   session    the connection is over
 *   any               other 4xx                          deferred   narrow
 *   any               552, mailbox full by words, x.2.2  deferred   narrow     4.2.2
 *   any               other 5xx                          failed     narrow
 *
 * narrow: recipient for RCPT, else transaction. session*: host before the session is ready. RFC 5321
 * 4.5.3.1.10 has 552 for too many recipients taken as 452. Any may name a time to wait. No reply at all,
 * time-outs and what is refused without asking: verdict_local, by the session. */
#include "engine/smtp/verdict.h"

#include "engine/smtp/words.h"

#include <stdarg.h>
#include <stdio.h>

_Static_assert(STORED_REPLY_MAX <= UINT16_MAX, "text_size");

/* ---- text ---- */

/* Length of the UTF-8 sequence at p, 0 where it is none or means a control character. */
static size_t utf8_length(const unsigned char *p, size_t n)
{
    if (p[0] < 0x80)
        return p[0] >= ' ' && p[0] != 0x7f;
    size_t length = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || length > n)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    /* Overlong forms, surrogates, beyond U+10FFFF, and the controls U+0080 to U+009F. */
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
        (p[0] == 0xf4 && p[1] > 0x8f) || (p[0] == 0xc2 && p[1] < 0xa0))
        return 0;
    return length;
}

static void text_set(struct verdict *verdict, struct str text)
{
    size_t n = 0;
    text = str_trim(text);
    for (size_t i = 0; i < text.n;) {
        const unsigned char *p = (const unsigned char *)text.p + i;
        size_t length = utf8_length(p, text.n - i);
        if (n + (length ? length : 1) > STORED_REPLY_MAX)
            break;
        if (length == 0)
            verdict->text[n++] = *p == '\t' ? ' ' : '?';
        else
            memcpy(verdict->text + n, p, length);
        n += length;
        i += length ? length : 1;
    }
    if (n == 0) {
        static const char nothing[] = "(no text)";
        n = sizeof nothing - 1;
        memcpy(verdict->text, nothing, n);
    }
    verdict->text_size = (uint16_t)n;
}

void verdict_copy(struct verdict *to, const struct verdict *from)
{
    memcpy(to, from, offsetof(struct verdict, text) + from->text_size);
}

static void verdict_clear(struct verdict *verdict)
{
    memset(verdict, 0, offsetof(struct verdict, text));
}

/* ---- status ---- */

static struct status status_of_words(enum words about, uint8_t class_)
{
    switch (about) {
    case WORDS_TOO_MANY_RCPTS:
        return STATUS(class_, 5, 3);
    case WORDS_GREYLIST:
    case WORDS_POLICY:
        return STATUS(class_, 7, 1);
    case WORDS_MAILBOX_FULL:
        return STATUS(class_, 2, 2);
    case WORDS_DISABLED:
        return STATUS(class_, 2, 1);
    case WORDS_UNKNOWN_USER:
        return STATUS(class_, 1, 1);
    case WORDS_CONNECTION_SPENT:
    case WORDS_NONE:
        break;
    }
    return STATUS(0, 0, 0);
}

/* Subject and detail by code; where they depend on the step, `at` names it and the row stands before the
 * general one. 550 to RCPT without a word is 5.1.0 and not 5.1.1: too little to call a user unknown. */
static const struct {
    uint16_t code;
    int at; /* enum smtp_step, -1: any */
    uint8_t subject, detail;
} derived[] = {
    {250, STEP_MAIL, 1, 0}, {250, STEP_RCPT, 1, 5},
    {251, -1, 1, 5},        {252, -1, 5, 0},
    {421, -1, 3, 2},        {432, -1, 7, 12},
    {450, STEP_RCPT, 2, 0}, {451, -1, 3, 0},
    {452, -1, 3, 1},        {453, -1, 3, 2},
    {454, -1, 7, 0},        {455, -1, 5, 4},
    {500, -1, 5, 2},        {501, STEP_MAIL, 1, 7},
    {501, STEP_RCPT, 1, 3}, {501, -1, 5, 4},
    {502, -1, 5, 1},        {503, -1, 5, 1},
    {504, -1, 5, 4},        {521, -1, 3, 2},
    {523, -1, 7, 10},       {530, -1, 7, 0},
    {534, -1, 7, 9},        {535, -1, 7, 8},
    {538, -1, 7, 11},       {550, STEP_MAIL, 7, 1},
    {550, STEP_RCPT, 1, 0}, {550, STEP_END, 7, 1},
    {551, -1, 1, 6},        {552, STEP_RCPT, 2, 2},
    {552, -1, 3, 4},        {553, STEP_MAIL, 1, 7},
    {553, -1, 1, 3},        {554, STEP_GREETING, 3, 2},
    {555, -1, 5, 4},        {556, -1, 1, 10},
};

static struct status status_derive(enum smtp_step step, unsigned code, enum words about)
{
    uint8_t class_ = (uint8_t)(code / 100);
    if (code == 421 && about == WORDS_POLICY)
        about = WORDS_NONE; /* "too many messages" in this connection: too little to pause the path */
    struct status status = status_of_words(about, class_);
    if (status.class_ != 0)
        return status;
    for (size_t i = 0; i < sizeof derived / sizeof *derived; i++)
        if (derived[i].code == code && (derived[i].at < 0 || derived[i].at == (int)step))
            return STATUS(class_, derived[i].subject, derived[i].detail);
    return STATUS(class_, 0, 0);
}

/* ---- the table ---- */

static bool before_ready(enum smtp_step step)
{
    return step <= STEP_AUTH;
}

static enum verdict_scope narrow(enum smtp_step step)
{
    return step == STEP_RCPT ? SCOPE_RECIPIENT : SCOPE_TRANSACTION;
}

static void decide(struct verdict *verdict, enum verdict_outcome outcome, enum verdict_scope scope)
{
    verdict->outcome = outcome;
    verdict->scope = scope;
    if (outcome == VERDICT_DEFERRED)
        verdict->status.class_ = 4;
}

static void decide_good(struct verdict *verdict, enum smtp_step step)
{
    bool wanted = (verdict->code >= 300) == (step == STEP_DATA);
    verdict->status.class_ = 2;
    if (wanted) {
        decide(verdict, step == STEP_END ? VERDICT_DELIVERED : VERDICT_NONE, SCOPE_RECIPIENT);
        return;
    }
    verdict->status = STATUS(4, 5, 0);
    decide(verdict, VERDICT_DEFERRED, before_ready(step) ? SCOPE_HOST : SCOPE_SESSION);
}

/* How far a 4xx hurts, once too many recipients are ruled out. */
static enum verdict_scope temporary_scope(const struct verdict *verdict, enum smtp_step step,
                                          enum words about)
{
    if (verdict->greylisted)
        return narrow(step);
    if (about == WORDS_CONNECTION_SPENT)
        return SCOPE_SESSION;
    if (verdict->status.subject == 7)
        return SCOPE_PATH;
    return verdict->code == 421 ? SCOPE_SESSION : narrow(step);
}

static void decide_bad(struct verdict *verdict, enum smtp_step step, enum words about)
{
    bool temporary = verdict->code < 500;
    struct status status = verdict->status;
    bool crowded = about == WORDS_TOO_MANY_RCPTS || (status.subject == 5 && status.detail == 3);
    bool full = about == WORDS_MAILBOX_FULL || (status.subject == 2 && status.detail == 2);
    verdict->greylisted = temporary && about == WORDS_GREYLIST;

    if (before_ready(step)) {
        bool policy = step <= STEP_EHLO && status.subject == 7 && !verdict->greylisted;
        decide(verdict, VERDICT_DEFERRED, policy ? SCOPE_PATH : SCOPE_HOST);
    } else if (step == STEP_RSET || step == STEP_QUIT) {
        decide(verdict, VERDICT_DEFERRED, SCOPE_SESSION);
    } else if (crowded && (temporary || verdict->code == 552) && (step == STEP_RCPT || step == STEP_DATA)) {
        verdict->status = STATUS(4, 5, 3);
        verdict->again_now = true;
        decide(verdict, VERDICT_DEFERRED, SCOPE_RECIPIENT);
    } else if (temporary) {
        decide(verdict, VERDICT_DEFERRED, temporary_scope(verdict, step, about));
    } else if (verdict->code == 552 && full) {
        verdict->status = STATUS(4, 2, 2);
        decide(verdict, VERDICT_DEFERRED, narrow(step));
    } else {
        decide(verdict, VERDICT_FAILED, narrow(step));
    }
}

void verdict_of_reply(struct verdict *verdict, enum smtp_step step, unsigned code, struct str text)
{
    verdict_clear(verdict);
    verdict->code = (uint16_t)code;
    text = str_trim(text);
    text_set(verdict, text);
    enum words about = code >= 400 ? words_about(text) : WORDS_NONE;
    struct str at = text.n > 0 && text.p[0] == '#' ? str_make(text.p + 1, text.n - 1) : text;
    size_t used;
    if (!status_parse(at, &verdict->status, &used))
        verdict->status = status_derive(step, code, about);
    verdict->status.class_ = (uint8_t)(code / 100);
    if (code < 400) {
        decide_good(verdict, step);
        return;
    }
    decide_bad(verdict, step, about);
    verdict->wait_s = words_wait_s(text); /* of a 5xx too: a rule may put it off */
}

void verdict_local(struct verdict *verdict, enum verdict_scope scope, struct status status,
                   const char *format, ...)
{
    char text[STORED_REPLY_MAX + 1];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    verdict_clear(verdict);
    size_t size = n < 0 ? 0 : (size_t)n;
    text_set(verdict, str_make(text, size < sizeof text ? size : sizeof text - 1));
    verdict->local = true;
    verdict->status = status;
    verdict->scope = scope;
    verdict->outcome = status.class_ == 2   ? VERDICT_DELIVERED
                       : status.class_ == 5 ? VERDICT_FAILED
                                            : VERDICT_DEFERRED;
}
