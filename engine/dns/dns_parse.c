/* dns_parse.c - see dns_parse.h. libc's nameser.h walks the message; what follows from the records is here:
 * first the chain of CNAMEs from the question's name, then the records at its end, and if there are none,
 * what kind of "none" it is. */
#include "engine/dns/dns_parse.h"

#include "engine/base/codec.h"

#include <arpa/nameser.h>
#include <errno.h>
#include <resolv.h>
#include <stdarg.h>
#include <stdio.h>

enum parsed { PARSED_NONE, PARSED_SOME, PARSED_BAD };

void dns_answer_fail(struct dns_answer *answer, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    answer->kind = DNS_ANSWER_FAILED;
    answer->count = 0;
    answer->secure = false; /* that there is no answer is nobody's word */
    vsnprintf(answer->reason, sizeof answer->reason, format, args);
    va_end(args);
}

bool dns_name_valid(struct str name)
{
    if (name.n == 0 || name.n > DOMAIN_MAX - 2) /* 255 on the wire, lengths and root included */
        return false;
    size_t label = 0;
    for (size_t i = 0; i < name.n; i++) {
        char c = ascii_lower(name.p[i]);
        bool ordinary = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
        if (c == '.' ? label == 0 : !ordinary || label == 63)
            return false;
        label = c == '.' ? 0 : label + 1;
    }
    return label > 0;
}

/* The name at `at` inside the message, lower case without final dot: "" for the root; bad where it can't be
 * unpacked, none where it is no host name. */
static enum parsed parse_name(ns_msg *message, const uint8_t *at, char name[DOMAIN_MAX + 1])
{
    char text[NS_MAXDNAME];
    if (ns_name_uncompress(ns_msg_base(*message), ns_msg_end(*message), at, text, sizeof text) < 0)
        return PARSED_BAD;
    size_t n = strlen(text);
    if (n == 0 || (n == 1 && text[0] == '.')) {
        name[0] = '\0';
        return PARSED_SOME;
    }
    if (!dns_name_valid(str_make(text, n)))
        return PARSED_NONE;
    str_lower(str_make(text, n + 1), name);
    return PARSED_SOME;
}

static bool is_owner(const ns_rr *rr, const char *name)
{
    return str_eq_nocase(str_of(ns_rr_name(*rr)), str_of(name));
}

static void take_ttl(struct dns_answer *answer, uint32_t ttl)
{
    if (ttl > INT32_MAX) /* RFC 2181 8 */
        ttl = 0;
    if (ttl < answer->ttl_s)
        answer->ttl_s = ttl;
}

/* One step along the chain. */
static enum parsed follow_cname(ns_msg *message, struct dns_answer *answer)
{
    for (int i = 0; i < ns_msg_count(*message, ns_s_an); i++) {
        ns_rr rr;
        if (ns_parserr(message, ns_s_an, i, &rr) != 0)
            return PARSED_BAD;
        if (ns_rr_type(rr) != ns_t_cname || ns_rr_class(rr) != ns_c_in || !is_owner(&rr, answer->name))
            continue;
        char target[DOMAIN_MAX + 1];
        if (parse_name(message, ns_rr_rdata(rr), target) != PARSED_SOME || target[0] == '\0')
            return PARSED_BAD;
        take_ttl(answer, ns_rr_ttl(rr));
        memcpy(answer->name, target, strlen(target) + 1);
        return PARSED_SOME;
    }
    return PARSED_NONE;
}

/* Keeps the hosts in order, each once with its best preference, the first MX_HOSTS_MAX of them. */
static void add_host(struct dns_answer *answer, uint16_t preference, const char *name)
{
    unsigned at = 0, old = answer->count;
    for (unsigned i = 0; i < answer->count; i++)
        if (strcmp(answer->hosts[i].name, name) == 0)
            old = i;
    if (old < answer->count && answer->hosts[old].preference <= preference)
        return;
    while (at < answer->count &&
           (answer->hosts[at].preference < preference ||
            (answer->hosts[at].preference == preference && strcmp(answer->hosts[at].name, name) < 0)))
        at++;
    if (at == MX_HOSTS_MAX)
        return;
    if (old == answer->count) {
        if (answer->count < MX_HOSTS_MAX)
            answer->count++;
        else
            old--;
    }
    memmove(&answer->hosts[at + 1], &answer->hosts[at], (old - at) * sizeof answer->hosts[0]);
    answer->hosts[at].preference = preference;
    answer->hosts[at].port = 0;
    memcpy(answer->hosts[at].name, name, strlen(name) + 1);
}

struct mx_seen {
    bool root, unusable;
};

static enum parsed take_mx(ns_msg *message, const ns_rr *rr, struct dns_answer *answer, struct mx_seen *seen)
{
    char name[DOMAIN_MAX + 1];
    if (ns_rr_rdlen(*rr) < 3)
        return PARSED_BAD;
    enum parsed parsed = parse_name(message, ns_rr_rdata(*rr) + 2, name);
    if (parsed == PARSED_BAD)
        return PARSED_BAD;
    if (parsed == PARSED_NONE)
        seen->unusable = true;
    else if (name[0] == '\0')
        seen->root = true;
    else
        add_host(answer, get_be16(ns_rr_rdata(*rr)), name);
    return PARSED_SOME;
}

/* Addresses that no host can have (unspecified, multicast) are passed over: 0.0.0.0 would lead to ourselves.
 */
static enum parsed take_address(const ns_rr *rr, struct dns_answer *answer)
{
    static const uint8_t zero[16];
    size_t size = ns_rr_type(*rr) == ns_t_a ? 4 : 16;
    const uint8_t *bytes = ns_rr_rdata(*rr);
    if (ns_rr_rdlen(*rr) != size)
        return PARSED_BAD;
    bool multicast = size == 4 ? (bytes[0] & 0xf0) == 0xe0 : bytes[0] == 0xff;
    if (multicast || memcmp(bytes, zero, size) == 0 || answer->count == HOST_ADDRESSES_MAX)
        return PARSED_SOME;
    memcpy(answer->ips[answer->count++].bytes, bytes, size);
    return PARSED_SOME;
}

static bool add_bytes(struct dns_data *data, const uint8_t *bytes, size_t n)
{
    if (n > sizeof data->bytes - data->used)
        return false;
    memcpy(data->bytes + data->used, bytes, n);
    data->used += n;
    return true;
}

/* What there is no room for is left out. */
static enum parsed take_data(const ns_rr *rr, struct dns_answer *answer)
{
    struct dns_data *data = &answer->data;
    const uint8_t *at = ns_rr_rdata(*rr);
    size_t left = ns_rr_rdlen(*rr), before = data->used;
    bool room = data->count < DNS_RECORDS_MAX;
    if (ns_rr_type(*rr) != ns_t_txt)
        room = room && add_bytes(data, at, left);
    while (ns_rr_type(*rr) == ns_t_txt && left > 0) {
        size_t n = at[0];
        if (n >= left)
            return PARSED_BAD;
        room = room && add_bytes(data, at + 1, n);
        at += n + 1;
        left -= n + 1;
    }
    if (!room) {
        data->used = before;
        return PARSED_SOME;
    }
    data->list[data->count].at = (uint16_t)before;
    data->list[data->count++].size = (uint16_t)(data->used - before);
    answer->count = data->count;
    return PARSED_SOME;
}

static enum parsed take_record(ns_msg *message, const ns_rr *rr, struct dns_answer *answer,
                               struct mx_seen *seen)
{
    switch (ns_rr_type(*rr)) {
    case ns_t_mx:
        return take_mx(message, rr, answer, seen);
    case ns_t_a:
    case ns_t_aaaa:
        return take_address(rr, answer);
    default:
        return take_data(rr, answer);
    }
}

/* Gathers the records at the chain's end. */
static enum parsed take_records(ns_msg *message, enum dns_type type, struct dns_answer *answer,
                                struct mx_seen *seen)
{
    enum parsed all = PARSED_NONE;
    for (int i = 0; i < ns_msg_count(*message, ns_s_an); i++) {
        ns_rr rr;
        if (ns_parserr(message, ns_s_an, i, &rr) != 0)
            return PARSED_BAD;
        if ((int)ns_rr_type(rr) != (int)type || ns_rr_class(rr) != ns_c_in || !is_owner(&rr, answer->name))
            continue;
        all = take_record(message, &rr, answer, seen);
        if (all == PARSED_BAD)
            return PARSED_BAD;
        take_ttl(answer, ns_rr_ttl(rr));
    }
    return all;
}

struct authority {
    bool soa, ns;
};

/* RFC 2308 5: the lesser of the SOA's own TTL and its last field. */
static enum parsed take_authority(ns_msg *message, struct dns_answer *answer, struct authority *authority)
{
    for (int i = 0; i < ns_msg_count(*message, ns_s_ns); i++) {
        ns_rr rr;
        if (ns_parserr(message, ns_s_ns, i, &rr) != 0)
            return PARSED_BAD;
        if (ns_rr_type(rr) == ns_t_ns)
            authority->ns = true;
        if (ns_rr_type(rr) != ns_t_soa || ns_rr_rdlen(rr) < 22)
            continue;
        authority->soa = true;
        take_ttl(answer, ns_rr_ttl(rr));
        take_ttl(answer, get_be32(ns_rr_rdata(rr) + ns_rr_rdlen(rr) - 4));
    }
    return PARSED_SOME;
}

static void conclude_none(ns_msg *message, const char *asked, struct dns_answer *answer)
{
    struct authority authority = {false, false};
    bool moved = strcmp(asked, answer->name) != 0;
    if (take_authority(message, answer, &authority) == PARSED_BAD) {
        dns_answer_fail(answer, "the resolver's answer is malformed");
        return;
    }
    bool no_domain = ns_msg_getflag(*message, ns_f_rcode) == ns_r_nxdomain;
    if (moved && !authority.soa && !no_domain) {
        answer->kind = DNS_ANSWER_ALIAS;
        return;
    }
    /* Taking a referral for "no mail here" would bounce everything. */
    if (!no_domain && !authority.soa && authority.ns && !ns_msg_getflag(*message, ns_f_aa)) {
        dns_answer_fail(answer, "the resolver only refers to other servers: it must be one that recurses");
        return;
    }
    answer->kind = no_domain ? DNS_ANSWER_NO_DOMAIN : DNS_ANSWER_NO_DATA;
    if (!authority.soa)
        answer->ttl_s = 0;
}

static void conclude_mx(struct dns_answer *answer, const struct mx_seen *seen)
{
    if (answer->count > 0)
        answer->kind = DNS_ANSWER_RECORDS; /* beside real hosts "." means nothing: RFC 7505 3 */
    else if (seen->root && !seen->unusable)
        answer->kind = DNS_ANSWER_NULL_MX;
    else
        dns_answer_fail(answer, "the MX records name no valid host");
}

static const char *rcode_name(int rcode)
{
    switch (rcode) {
    case ns_r_formerr:
        return "FORMERR";
    case ns_r_servfail:
        return "SERVFAIL";
    case ns_r_notimpl:
        return "NOTIMP";
    case ns_r_refused:
        return "REFUSED";
    default:
        return "an unknown error";
    }
}

void dns_parse(const uint8_t *bytes, size_t n, const char *name, enum dns_type type,
               struct dns_answer *answer)
{
    ns_msg message;
    size_t name_len = strlen(name);
    answer->ttl_s = INT32_MAX;
    answer->count = 0;
    answer->secure = false;
    answer->reason[0] = '\0';
    if (type == DNS_TYPE_TXT || type == DNS_TYPE_TLSA)
        answer->data.used = answer->data.count = 0;
    memcpy(answer->name, name, name_len + 1);
    if (n > NS_MAXMSG || ns_initparse(bytes, (int)n, &message) != 0) {
        dns_answer_fail(answer, "the resolver's answer is malformed");
        return;
    }
    int rcode = ns_msg_getflag(message, ns_f_rcode);
    if (rcode != ns_r_noerror && rcode != ns_r_nxdomain) {
        dns_answer_fail(answer, "the resolver answered %s", rcode_name(rcode));
        return;
    }
    answer->secure = ns_msg_getflag(message, ns_f_ad) != 0;
    enum parsed parsed = PARSED_SOME;
    for (int i = 0; parsed == PARSED_SOME; i++) {
        if (i > DNS_CNAMES_MAX) {
            dns_answer_fail(answer, "too many CNAME records in a row, or a loop of them");
            return;
        }
        parsed = follow_cname(&message, answer);
    }
    struct mx_seen seen = {false, false};
    if (parsed != PARSED_BAD)
        parsed = take_records(&message, type, answer, &seen);
    if (parsed == PARSED_BAD)
        dns_answer_fail(answer, "the resolver's answer is malformed");
    else if (parsed == PARSED_NONE)
        conclude_none(&message, name, answer);
    else if (type == DNS_TYPE_MX)
        conclude_mx(answer, &seen);
    else
        answer->kind = answer->count > 0 ? DNS_ANSWER_RECORDS : DNS_ANSWER_NO_DATA;
}
