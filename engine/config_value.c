/* config_value.c - one scalar at a time: text to a field by its kind, and back. */
#include "engine/config_table.h"
#include "engine/limits.h"
#include "engine/message/address.h"

#include <stdio.h>

bool value_wrong(struct value_error *error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error->expected, sizeof error->expected, format, args);
    va_end(args);
    return false;
}

const char *value_kind_text(enum option_kind kind)
{
    static const char *const texts[] = {
        [KIND_PATH] = "an absolute path",
        [KIND_FILE] = "a path, absolute or beside this file",
        [KIND_LISTEN] = "an address and port such as 127.0.0.1:587 or \"[::1]:587\", or \"unix:/path\"",
        [KIND_NAME] = "a name of letters, digits, '.', '_' and '-'",
        [KIND_HOST] = "a host name such as mta1.example.com, or an address in brackets",
        [KIND_ADDRESS] = "an IP address such as 192.0.2.10 or 2001:db8::10",
        [KIND_FEEDBACK] = "parts with colons between, such as \"{{campaign}}:{{tenant}}:{{class}}:acme\"",
        [KIND_MAILBOX] = "a mail address such as postmaster@example.com",
        [KIND_URL] = "an address such as https://crm.example.com/events, without user and password",
        [KIND_PROXY] = "a proxy such as socks5://192.0.2.1:1080 or haproxy://[2001:db8::1]:5000",
        [KIND_USER] = "a user such as u@example.com, of printable characters",
        [KIND_EXPRESSION] = "a regular expression such as 'unusual rate|too many'",
        [KIND_PATTERN] = "a domain such as example.com, *.example.com or *",
        [KIND_PATTERNS] = "a list of host name patterns such as [\"*.example.com\"]",
        [KIND_SERVERS] = "a list of addresses such as [127.0.0.1:5353, \"[::1]:53\"]",
        [KIND_TARGETS] =
            "a host, or a list such as [smtp.example.com, \"10 192.0.2.1:2525\", unix:/run/lmtp]",
        [KIND_NETWORKS] = "a list of networks such as [192.0.2.0/24, \"2001:db8::/32\"]",
        [KIND_NAMES] = "a list of names such as [acme, umbrella]",
        [KIND_EVENTS] = "a list of types of events such as [bounced, complained]",
        [KIND_GLOBS] = "a list of files such as [conf.d/*.yaml]",
        [KIND_NUMBER] = "a number",
        [KIND_PORT] = "a port",
        [KIND_SWITCH] = "yes or no",
        [KIND_MODE] = "octal permissions such as \"0660\"",
        [KIND_DURATION] = "a duration such as 30s, 5m, 4h or 4d12h",
        [KIND_SIZE] = "a size such as 64k, 10M or 100G",
        [KIND_RATE] = "a rate such as 5/s, 100/min or 1000/h, or none",
        [KIND_TLS] = "none, may, encrypt, verify or dane",
        [KIND_ROUTE_TLS] = "none, may, encrypt, verify, dane or site",
        [KIND_PROTOCOL] = "smtp or lmtp",
        [KIND_LENDING] = "auto, always or never",
        [KIND_DNSSEC] = "auto, yes or no",
        [KIND_SHAPE] = "native, listmonk, mailgun or ses",
        [KIND_START] = "now or oldest",
        [KIND_ON_FULL] = "stop or drop",
        [KIND_STATUS] = "an enhanced status of class 4 such as 4.2.2, 4.2.* or 4",
        [KIND_SCHEDULE] = "a list of durations such as [30m, 2h, 6h]",
        [KIND_WEIGHTS] = "a map of sources and weights such as {a: 3, b: 1}",
        [KIND_UIDS] = "a map of user ids and tenants such as {1001: acme}",
        [KIND_CODES] = "reply codes such as 421, [450, 451], 4xx, 550-554 or closed (without a reply)",
        [KIND_STATUSES] = "enhanced statuses such as 4.7.28, x.7.1, 4.7.500-699, [5.1, 5.2] or none",
        [KIND_STEPS] = "steps of the dialogue: greeting, mail, rcpt, data or a list of them",
        [KIND_ACTION] = "what to do, such as 'pause 1h' or 'slow, pause 15m'",
        [KIND_GROUP] = "a map of options",
        [KIND_LIST] = "a list of maps",
    };
    return texts[kind];
}

size_t value_size(enum option_kind kind)
{
    switch (kind) {
    case KIND_PATTERNS:
    case KIND_SERVERS:
    case KIND_TARGETS:
    case KIND_NETWORKS:
    case KIND_NAMES:
        return sizeof(struct config_strings);
    case KIND_NUMBER:
    case KIND_EVENTS:
    case KIND_MODE:
        return sizeof(unsigned);
    case KIND_PORT:
        return sizeof(uint16_t);
    case KIND_SWITCH:
        return sizeof(bool);
    case KIND_DURATION:
    case KIND_SIZE:
        return sizeof(uint64_t);
    case KIND_RATE:
        return sizeof(struct rate);
    case KIND_TLS:
        return sizeof(enum tls_policy);
    case KIND_ROUTE_TLS:
        return sizeof(unsigned);
    case KIND_PROTOCOL:
        return sizeof(enum config_protocol);
    case KIND_LENDING:
        return sizeof(enum config_lending);
    case KIND_DNSSEC:
        return sizeof(enum config_dnssec);
    case KIND_SHAPE:
        return sizeof(enum config_shape);
    case KIND_START:
        return sizeof(enum config_start);
    case KIND_ON_FULL:
        return sizeof(enum config_on_full);
    default:
        return sizeof(const char *);
    }
}

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z');
}

bool value_is_printable(struct str text)
{
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] < ' ' || text.p[i] == 0x7f)
            return false;
    return true;
}

bool value_name(struct str text, struct value_error *error)
{
    bool good = text.n > 0;
    for (size_t i = 0; i < text.n; i++)
        good = good && (is_alnum(text.p[i]) || strchr("._-", text.p[i]) != NULL);
    if (!good)
        return value_wrong(error, "%s", value_kind_text(KIND_NAME));
    if (text.n > NAME_MAX_BYTES)
        return value_wrong(error, "a name of at most %d characters", NAME_MAX_BYTES);
    return true;
}

/* A domain name in labels of letters, digits, hyphens (and underscores, which hosts do use). */
static bool is_domain(struct str text, const char *also)
{
    size_t label = 0;
    if (text.n == 0 || text.n > DOMAIN_MAX)
        return false;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (c == '.') {
            if (label == 0)
                return false;
            label = 0;
        } else {
            if (!is_alnum(c) && c != '-' && c != '_' && strchr(also, c) == NULL)
                return false;
            if (++label > 63)
                return false;
        }
    }
    return label > 0;
}

bool value_pattern(struct str text, bool with_wildcards, struct value_error *error)
{
    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)text.p[i] >= 0x80)
            return value_wrong(error, "a domain in its ASCII form (xn--...)");
    if (!is_domain(text, with_wildcards ? "*?" : ""))
        return value_wrong(error, "%s", value_kind_text(with_wildcards ? KIND_PATTERN : KIND_HOST));
    return true;
}

static bool parse_path(const struct option *option, struct str text, struct value_error *error)
{
    if (text.n == 0 || text.p[0] != '/' || memchr(text.p, '\0', text.n) != NULL)
        return value_wrong(error, "%s", value_kind_text(KIND_PATH));
    if (text.n > option->max)
        return value_wrong(error, "a path of at most %llu characters", (unsigned long long)option->max);
    return true;
}

/* Printable ASCII and known names in braces; four parts at most, as Gmail reads them. */
static bool parse_feedback(struct str text, struct value_error *error)
{
    static const struct str names[] = {
        {"{{tenant}}", 10}, {"{{campaign}}", 12}, {"{{class}}", 9}, {"{{recipient_hash}}", 18}};
    unsigned colons = 0;
    for (size_t i = 0; i < text.n; i++) {
        struct str rest = str_make(text.p + i, text.n - i);
        size_t k = 0;
        while (k < sizeof names / sizeof *names && !str_starts(rest, names[k]))
            k++;
        if (k < sizeof names / sizeof *names)
            i += names[k].n - 1;
        else if (text.p[i] <= ' ' || text.p[i] >= 0x7f || strchr("{}%", text.p[i]) != NULL)
            return value_wrong(error, "%s; of names there are tenant, campaign, class and recipient_hash",
                               value_kind_text(KIND_FEEDBACK));
        colons += text.p[i] == ':';
    }
    if (text.n > 200 || colons > 3)
        return value_wrong(error, "up to four parts with colons between, of at most 200 characters");
    return true;
}

static bool parse_host(struct str text, struct value_error *error)
{
    if (text.n > 2 && text.p[0] == '[' && text.p[text.n - 1] == ']') {
        struct str inside = str_make(text.p + 1, text.n - 2);
        if (str_starts_nocase(inside, STR("IPv6:")))
            inside = str_make(inside.p + 5, inside.n - 5);
        if (value_is_address(inside))
            return true;
    }
    return value_pattern(text, false, error);
}

/* Whether a number lies within the option's bounds; says which they are. */
static bool in_bounds(const struct option *option, uint64_t value, struct value_error *error)
{
    if (value >= option->min && value <= option->max)
        return true;
    char low[UNITS_TEXT_MAX], high[UNITS_TEXT_MAX];
    const char *what = "a number";
    switch (option->kind) {
    case KIND_DURATION:
    case KIND_SCHEDULE:
        what = "a duration";
        duration_format((int64_t)option->min, low);
        duration_format((int64_t)option->max, high);
        break;
    case KIND_SIZE:
        what = "a size";
        size_format(option->min, low);
        size_format(option->max, high);
        break;
    default:
        snprintf(low, sizeof low, "%llu", (unsigned long long)option->min);
        snprintf(high, sizeof high, "%llu", (unsigned long long)option->max);
    }
    return value_wrong(error, "%s from %s to %s", what, low, high);
}

static bool parse_number(const struct option *option, struct str text, uint64_t *number,
                         struct value_error *error)
{
    if (!str_u64(text, UINT64_MAX, number))
        return value_wrong(error, "a number from %llu to %llu", (unsigned long long)option->min,
                           (unsigned long long)option->max);
    return in_bounds(option, *number, error);
}

bool value_duration(const struct option *option, struct str text, int64_t *ms, struct value_error *error)
{
    uint64_t bare;
    int64_t value;
    if (!duration_parse(text, &value) && str_u64(text, UINT64_MAX, &bare))
        return value_wrong(error, "a unit after the number: %.*ss, %.*sm, %.*sh or %.*sd", STR_ARG(text),
                           STR_ARG(text), STR_ARG(text), STR_ARG(text));
    if (!duration_parse(text, &value))
        return value_wrong(error, "%s", value_kind_text(KIND_DURATION));
    if (!in_bounds(option, (uint64_t)value, error))
        return false;
    *ms = value;
    return true;
}

static bool parse_switch(struct str text, bool *on, struct value_error *error)
{
    *on =
        str_eq_nocase(text, STR("yes")) || str_eq_nocase(text, STR("true")) || str_eq_nocase(text, STR("on"));
    if (*on || str_eq_nocase(text, STR("no")) || str_eq_nocase(text, STR("false")) ||
        str_eq_nocase(text, STR("off")))
        return true;
    return value_wrong(error, "%s", value_kind_text(KIND_SWITCH));
}

static bool parse_mode(struct str text, unsigned *mode, struct value_error *error)
{
    *mode = 0;
    bool good = text.n >= 3 && text.n <= 4;
    for (size_t i = 0; i < text.n && good; i++) {
        good = text.p[i] >= '0' && text.p[i] <= '7';
        *mode = *mode * 8 + (unsigned)(text.p[i] - '0');
    }
    return (good && *mode <= 0777) || value_wrong(error, "%s", value_kind_text(KIND_MODE));
}

/* The words of a kind that takes one of several, in the order of its enum. */
static const char *const *words_of(enum option_kind kind)
{
    static const char *const lending[] = {[CONFIG_LENDING_AUTO] = "auto",
                                          [CONFIG_LENDING_ALWAYS] = "always",
                                          [CONFIG_LENDING_NEVER] = "never",
                                          NULL};
    static const char *const shapes[] = {[CONFIG_SHAPE_NATIVE] = "native",
                                         [CONFIG_SHAPE_LISTMONK] = "listmonk",
                                         [CONFIG_SHAPE_MAILGUN] = "mailgun",
                                         [CONFIG_SHAPE_SES] = "ses",
                                         NULL};
    static const char *const starts[] = {[CONFIG_START_NOW] = "now", [CONFIG_START_OLDEST] = "oldest", NULL};
    static const char *const on_full[] = {
        [CONFIG_ON_FULL_STOP] = "stop", [CONFIG_ON_FULL_DROP] = "drop", NULL};
    static const char *const tls[] = {"none", "may", "encrypt", "verify", "dane", NULL};
    static const char *const dnssec[] = {
        [CONFIG_DNSSEC_AUTO] = "auto", [CONFIG_DNSSEC_YES] = "yes", [CONFIG_DNSSEC_NO] = "no", NULL};
    static const char *const route_tls[] = {"none", "may", "encrypt", "verify", "dane", "site", NULL};
    static const char *const protocols[] = {
        [CONFIG_PROTOCOL_SMTP] = "smtp", [CONFIG_PROTOCOL_LMTP] = "lmtp", NULL};
    switch (kind) {
    case KIND_PROTOCOL:
        return protocols;
    case KIND_SHAPE:
        return shapes;
    case KIND_START:
        return starts;
    case KIND_ON_FULL:
        return on_full;
    case KIND_TLS:
        return tls;
    case KIND_ROUTE_TLS:
        return route_tls;
    case KIND_DNSSEC:
        return dnssec;
    default:
        return lending;
    }
}

static bool parse_word(enum option_kind kind, struct str text, unsigned *chosen, struct value_error *error)
{
    const char *const *words = words_of(kind);
    for (*chosen = 0; words[*chosen] != NULL; ++*chosen)
        if (str_eq(text, str_of(words[*chosen])))
            return true;
    return value_wrong(error, "%s", value_kind_text(kind));
}

const char *config_shape_name(enum config_shape shape)
{
    return words_of(KIND_SHAPE)[shape];
}

bool value_event(struct str text, unsigned *bits)
{
    unsigned found = 0;
    for (unsigned i = 0; i < EVENT_TYPES; i++) /* two of them may share a name */
        if (str_eq(text, str_of(event_type_name((enum event_type)i))))
            found |= 1u << i;
    *bits |= found;
    return found != 0;
}

static bool parse_status(struct str text, struct status_pattern *pattern, struct value_error *error)
{
    if (!status_pattern_parse(text, pattern) || pattern->class_ != 4)
        return value_wrong(error, "%s", value_kind_text(KIND_STATUS));
    return true;
}

static bool parse_action(struct str text, struct reaction *reaction, struct value_error *error)
{
    const char *why;
    return reaction_parse(text, reaction, &why) || value_wrong(error, "%s", why);
}

static bool parse_expression(struct str text, struct value_error *error)
{
    struct err err;
    size_t at;
    if (memchr(text.p, '\0', text.n) != NULL || text.n == 0)
        return value_wrong(error, "%s", value_kind_text(KIND_EXPRESSION));
    if (text.n > RULE_MATCH_BYTES)
        return value_wrong(error, "a regular expression of at most %d bytes", RULE_MATCH_BYTES);
    if (rules_check_match(text, &at, &err))
        return true;
    size_t shown = at < 40 ? at : 40;
    return value_wrong(error, "a regular expression (%.100s behind '%s%.*s')", err.text,
                       shown < at ? "..." : "", (int)shown, text.p + at - shown);
}

static bool parse_size(const struct option *option, struct str text, uint64_t *bytes,
                       struct value_error *error)
{
    uint64_t value;
    if (!size_parse(text, &value))
        return value_wrong(error, "%s", value_kind_text(KIND_SIZE));
    if (!in_bounds(option, value, error))
        return false;
    *bytes = value;
    return true;
}

/* Enough to find a slip early; libcurl reads the rest. No password stands in it: it is shown in the log. */
static bool parse_url(struct str text)
{
    size_t scheme = str_starts_nocase(text, STR("https://"))  ? 8
                    : str_starts_nocase(text, STR("http://")) ? 7
                                                              : 0;
    bool good = scheme > 0 && text.n > scheme && text.p[scheme] != '/' && text.n <= URL_MAX;
    for (size_t i = 0; i < text.n; i++)
        good = good && text.p[i] > ' ' && text.p[i] < 0x7f;
    for (size_t i = scheme; good && i < text.n && strchr("/?#", text.p[i]) == NULL; i++)
        good = text.p[i] != '@';
    return good;
}

/* Kinds that are kept as text: whether it is right. */
static bool parse_mailbox(struct str text)
{
    struct address address;
    struct err err;
    return address_parse(text, &address, &err) && str_is_ascii(text);
}

static bool check_text(const struct option *option, struct str text, struct value_error *error)
{
    switch (option->kind) {
    case KIND_PATH:
        return parse_path(option, text, error);
    case KIND_FILE:
        return (text.n > 0 && text.n <= option->max && memchr(text.p, '\0', text.n) == NULL) ||
               value_wrong(error, "%s", value_kind_text(KIND_FILE));
    case KIND_LISTEN: {
        struct sockaddr_storage address;
        socklen_t len;
        return value_listen(text, &address, &len, error);
    }
    case KIND_NAME:
        return value_name(text, error);
    case KIND_HOST:
        return parse_host(text, error);
    case KIND_PATTERN:
        return value_pattern(text, true, error);
    case KIND_FEEDBACK:
        return parse_feedback(text, error);
    case KIND_EXPRESSION:
        return parse_expression(text, error);
    case KIND_PROXY:
        return value_proxy(text, &(struct proxy){.kind = PROXY_NONE}, error);
    case KIND_USER:
        return (text.n > 0 && text.n <= 255 && value_is_printable(text)) ||
               value_wrong(error, "%s", value_kind_text(KIND_USER));
    case KIND_MAILBOX:
        return parse_mailbox(text) || value_wrong(error, "%s", value_kind_text(KIND_MAILBOX));
    case KIND_URL:
        return parse_url(text) || value_wrong(error, "%s", value_kind_text(KIND_URL));
    default:
        return value_is_address(text) || value_wrong(error, "%s", value_kind_text(KIND_ADDRESS));
    }
}

bool value_parse(struct config *config, const struct option *option, struct str text, void *to,
                 struct value_error *error)
{
    uint64_t number = 0;
    unsigned word;
    switch (option->kind) {
    case KIND_NUMBER:
        if (!parse_number(option, text, &number, error))
            return false;
        *(unsigned *)to = (unsigned)number;
        return true;
    case KIND_PORT:
        if (!parse_number(option, text, &number, error))
            return false;
        *(uint16_t *)to = (uint16_t)number;
        return true;
    case KIND_SWITCH:
        return parse_switch(text, to, error);
    case KIND_MODE:
        return parse_mode(text, to, error);
    case KIND_DURATION:
        return value_duration(option, text, to, error);
    case KIND_SIZE:
        return parse_size(option, text, to, error);
    case KIND_RATE:
        return rate_parse(text, to) || value_wrong(error, "%s", value_kind_text(KIND_RATE));
    case KIND_TLS:
    case KIND_ROUTE_TLS:
    case KIND_DNSSEC:
    case KIND_PROTOCOL:
    case KIND_LENDING:
    case KIND_SHAPE:
    case KIND_START:
    case KIND_ON_FULL:
        if (!parse_word(option->kind, text, &word, error))
            return false;
        memcpy(to, &word, value_size(option->kind)); /* an enum of a few */
        return true;
    case KIND_STATUS:
        return parse_status(text, to, error);
    case KIND_ACTION:
        return parse_action(text, to, error);
    default:
        if (!check_text(option, text, error))
            return false;
        const char *copy = config_copy(config, text);
        if (copy == NULL)
            return value_wrong(error, "less: memory is out");
        *(const char **)to = copy;
        return true;
    }
}

static void format_status(const struct status_pattern *pattern, struct buf *out)
{
    buf_printf(out, "%d", pattern->class_);
    if (pattern->subject < 0)
        return;
    buf_printf(out, ".%d", pattern->subject);
    if (pattern->detail >= 0)
        buf_printf(out, ".%d", pattern->detail);
}

void value_format(const struct option *option, const void *from, struct buf *out)
{
    char text[UNITS_TEXT_MAX] = "";
    switch (option->kind) {
    case KIND_NUMBER:
        buf_printf(out, "%u", *(const unsigned *)from);
        return;
    case KIND_PORT:
        buf_printf(out, "%u", *(const uint16_t *)from);
        return;
    case KIND_SWITCH:
        buf_add_z(out, *(const bool *)from ? "yes" : "no");
        return;
    case KIND_MODE:
        buf_printf(out, "\"%04o\"", *(const unsigned *)from);
        return;
    case KIND_DURATION:
        if (*(const int64_t *)from > 0 || option->preset != NULL)
            duration_format(*(const int64_t *)from, text);
        break;
    case KIND_SIZE:
        size_format(*(const uint64_t *)from, text);
        break;
    case KIND_RATE:
        rate_format(*(const struct rate *)from, text);
        break;
    case KIND_TLS:
    case KIND_ROUTE_TLS:
    case KIND_DNSSEC:
    case KIND_PROTOCOL:
    case KIND_LENDING:
    case KIND_SHAPE:
    case KIND_START:
    case KIND_ON_FULL:
        buf_add_z(out, words_of(option->kind)[*(const unsigned *)from]);
        return;
    case KIND_STATUS:
        format_status(from, out);
        return;
    default:
        buf_add_z(out, *(const char *const *)from);
        return;
    }
    buf_add_z(out, text);
}
