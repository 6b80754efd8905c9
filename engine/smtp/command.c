/* command.c - see command.h. */
#include "engine/smtp/command.h"

#include "engine/base/utf8_addr.h"
#include "queue/store.h"

#include <stdio.h>

_Static_assert(ADDRESS_MAX + ORCPT_MAX + 128 <= COMMAND_MAX, "a RCPT with everything");
_Static_assert(ADDRESS_MAX + ENVID_MAX + 128 <= COMMAND_MAX, "a MAIL with everything");

/* What nearly all addresses are made of: printable ASCII but blank, quote, backslash and angle brackets. */
static bool is_plain(struct str s)
{
    static const uint64_t plain[4] = {UINT64_C(0xaffffffa00000000), UINT64_C(0x7fffffffefffffff)};
    uint64_t all = 1;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        all &= plain[c >> 6] >> (c & 63);
    }
    return all & 1;
}

enum command_address command_address_check(struct str address, bool utf8)
{
    bool quoted = false, eight_bit = false;
    if (address.n > ADDRESS_MAX)
        return COMMAND_ADDRESS_BAD;
    if (is_plain(address))
        return COMMAND_ADDRESS_OK;
    for (size_t i = 0; i < address.n; i++) {
        unsigned char c = (unsigned char)address.p[i];
        if (c < ' ' || c == 0x7f)
            return COMMAND_ADDRESS_BAD;
        if (c >= 0x80)
            eight_bit = true;
        if (c == '"')
            quoted = !quoted;
        else if (quoted && c == '\\' && i + 1 < address.n &&
                 (address.p[i + 1] == '"' || address.p[i + 1] == '\\'))
            i++;
        else if (!quoted && (c == ' ' || c == '<' || c == '>' || c == '\\'))
            return COMMAND_ADDRESS_BAD;
    }
    if (quoted)
        return COMMAND_ADDRESS_BAD;
    return eight_bit && !utf8 ? COMMAND_ADDRESS_NEEDS_UTF8 : COMMAND_ADDRESS_OK;
}

/* xtext (RFC 3461 4): "+", "=" and what is not printable ASCII in hexadecimal. SIZE_MAX when it takes more
 * than max; writes nothing where out is NULL. */
static size_t xtext(char *out, struct str s, size_t max)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool plain = c > ' ' && c < 0x7f && c != '+' && c != '=';
        if (n + (plain ? 1 : 3) > max)
            return SIZE_MAX;
        if (out != NULL && plain) {
            out[n] = (char)c;
        } else if (out != NULL) {
            out[n] = '+';
            out[n + 1] = hex[c >> 4];
            out[n + 2] = hex[c & 15];
        }
        n += plain ? 1 : 3;
    }
    return n;
}

/* Adds lead, type and the xtext of s, or nothing where that would be longer than max. */
static bool add_xtext(struct buf *out, struct str lead, struct str type, struct str s, size_t max)
{
    size_t n = xtext(NULL, s, max);
    if (n == SIZE_MAX || n + type.n > max)
        return true;
    char *room = buf_room(out, lead.n + type.n + n);
    if (room == NULL)
        return false;
    memcpy(room, lead.p, lead.n);
    if (type.n > 0)
        memcpy(room + lead.n, type.p, type.n);
    xtext(room + lead.n + type.n, s, n);
    out->len += lead.n + type.n + n;
    return true;
}

/* How much of it is the address type with its semicolon; 0: it is an address alone. */
static size_t orcpt_type(struct str orcpt)
{
    for (size_t i = 0; i < orcpt.n; i++) {
        char c = ascii_lower(orcpt.p[i]);
        if (c == ';')
            return i > 0 ? i + 1 : 0;
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return 0;
    }
    return 0;
}

/* RFC 6533 3: of type utf-8 and in 7 bits, which any host with DSN and SMTPUTF8 takes. */
static bool add_utf8_orcpt(struct buf *out, struct str address)
{
    struct buf text;
    struct str lead = STR(" ORCPT=utf-8;");
    buf_init(&text, ORCPT_MAX);
    if (buf_add_utf8_addr(&text, address, false)) { /* else it would be too long */
        buf_add_str(out, lead);
        buf_add_str(out, buf_str(&text));
    }
    buf_free(&text);
    return !out->failed;
}

static bool add_orcpt(struct buf *out, struct str orcpt)
{
    size_t n = orcpt_type(orcpt);
    if (!str_is_ascii(orcpt))
        return add_utf8_orcpt(out, str_make(orcpt.p + n, orcpt.n - n));
    struct str type = n ? str_make(orcpt.p, n) : STR("rfc822;");
    return add_xtext(out, STR(" ORCPT="), type, str_make(orcpt.p + n, orcpt.n - n), ORCPT_MAX);
}

static bool add_notify(struct buf *out, uint8_t notify)
{
    static const struct {
        uint8_t bit;
        struct str word;
    } words[] = {
        {NOTIFY_SUCCESS, {"SUCCESS", 7}}, {NOTIFY_FAILURE, {"FAILURE", 7}}, {NOTIFY_DELAY, {"DELAY", 5}}};
    if (notify & NOTIFY_NEVER)
        return buf_add_str(out, STR(" NOTIFY=NEVER"));
    struct str lead = STR(" NOTIFY=");
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (!(notify & words[i].bit))
            continue;
        buf_add_str(out, lead);
        buf_add_str(out, words[i].word);
        lead = STR(",");
    }
    return !out->failed;
}

bool command_mail(struct buf *out, const struct session_transaction *transaction,
                  const struct session_offers *offers)
{
    buf_add_str(out, STR("MAIL FROM:<"));
    buf_add_str(out, transaction->from);
    buf_add_str(out, STR(">"));
    if (offers->size) {
        buf_add_str(out, STR(" SIZE="));
        buf_add_u64(out, transaction->size);
    }
    if (transaction->binary)
        buf_add_str(out, STR(" BODY=BINARYMIME"));
    else if (offers->eight_bit && transaction->eight_bit)
        buf_add_str(out, STR(" BODY=8BITMIME"));
    if (offers->smtputf8 && transaction->utf8)
        buf_add_str(out, STR(" SMTPUTF8"));
    if (offers->requiretls && transaction->require_tls)
        buf_add_str(out, STR(" REQUIRETLS"));
    if (offers->dsn && transaction->ret != SESSION_RET_NONE)
        buf_add_str(out, transaction->ret == SESSION_RET_HDRS ? STR(" RET=HDRS") : STR(" RET=FULL"));
    if (offers->dsn && transaction->envid.n > 0)
        add_xtext(out, STR(" ENVID="), STR(""), transaction->envid, ENVID_MAX);
    return buf_add_str(out, STR("\r\n"));
}

bool command_rcpt(struct buf *out, const struct session_rcpt *rcpt, const struct session_offers *offers)
{
    static const char head[] = "RCPT TO:<", tail[] = ">\r\n";
    size_t to = sizeof head - 1, n = to + rcpt->to.n;
    char *room = buf_room(out, n + sizeof tail - 1);
    if (room == NULL)
        return false;
    memcpy(room, head, to);
    memcpy(room + to, rcpt->to.p, rcpt->to.n);
    memcpy(room + n, tail, sizeof tail - 1);
    if (!offers->dsn || (rcpt->notify == 0 && rcpt->orcpt.n == 0)) { /* as nearly always */
        out->len += n + sizeof tail - 1;
        return true;
    }
    out->len += n + 1;
    if (rcpt->notify != 0)
        add_notify(out, rcpt->notify);
    if (rcpt->orcpt.n > 0)
        add_orcpt(out, rcpt->orcpt);
    return buf_add_str(out, STR("\r\n"));
}

/* ---- for whoever watches ---- */

static bool is_open_command(struct str line)
{
    static const struct str open[] = {{"EHLO ", 5}, {"HELO ", 5}, {"LHLO ", 5}, {"STARTTLS", 8}, {"MAIL ", 5},
                                      {"RCPT ", 5}, {"DATA", 4},  {"BDAT ", 5}, {"RSET", 4},     {"QUIT", 4},
                                      {"HELP", 4},  {"VRFY ", 5}, {"EXPN ", 5}};
    for (size_t i = 0; i < sizeof open / sizeof *open; i++)
        if (str_starts(line, open[i]))
            return true;
    return str_eq(line, STR("."));
}

struct str command_shown(struct str line, char room[COMMAND_SHOWN_MAX])
{
    if (is_open_command(line))
        return line;
    size_t end = str_starts(line, STR("AUTH ")) ? str_find(line, ' ', 5) : SIZE_MAX;
    struct str shown = end != SIZE_MAX && end < 32 ? str_make(line.p, end) : STR("");
    int n = snprintf(room, COMMAND_SHOWN_MAX, "%.*s%s(%zu bytes hidden)", STR_ARG(shown), shown.n ? " " : "",
                     line.n - shown.n);
    return str_make(room, n < 0 ? 0 : (size_t)n);
}
