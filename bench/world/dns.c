/* dns.c - see dns.h. The question is repeated as it came (resolvers vary its case); owner names are pointers
 * to it where they are the same, and written out where a CNAME led elsewhere. */
#include "bench/world/dns.h"

#include "engine/base/codec.h"

#include <assert.h>
#include <stdio.h>

#define HEADER       12
#define CLASS_IN     1
#define UDP_DEFAULT  512
#define CNAMES_MAX   8
#define POINTER      0xc000
#define FLAG_QR      0x8000
#define FLAG_AA      0x0400
#define FLAG_TC      0x0200
#define FLAG_RD      0x0100
#define FLAG_RA      0x0080
#define OPCODE_MASK  0x7800
#define SOA_INTERVAL 3600

struct writer {
    uint8_t *p;
    size_t n, max;
    bool full;
    unsigned answers, authority, additional;
};

struct query {
    uint16_t id, flags;
    unsigned type;
    size_t question_end;
    bool has_edns;
    size_t udp_max;
};

static void put(struct writer *w, const void *p, size_t n)
{
    if (w->full || n > w->max - w->n) {
        w->full = true;
        return;
    }
    memcpy(w->p + w->n, p, n);
    w->n += n;
}

static void put8(struct writer *w, unsigned v)
{
    uint8_t byte = (uint8_t)v;
    put(w, &byte, 1);
}

static void put16(struct writer *w, unsigned v)
{
    uint8_t bytes[2];
    put_be16(bytes, (uint16_t)v);
    put(w, bytes, sizeof bytes);
}

static void put32(struct writer *w, uint32_t v)
{
    uint8_t bytes[4];
    put_be32(bytes, v);
    put(w, bytes, sizeof bytes);
}

static void put_name(struct writer *w, struct str name)
{
    while (name.n > 0) {
        size_t dot = str_find(name, '.', 0);
        size_t label = dot == SIZE_MAX ? name.n : dot;
        if (label > 63)
            label = 63;
        put8(w, (unsigned)label);
        put(w, name.p, label);
        size_t skip = dot == SIZE_MAX ? name.n : dot + 1;
        name = str_make(name.p + skip, name.n - skip);
    }
    put8(w, 0);
}

/* What every record begins with; returns where its length is to be put. An owner of n = 0 is the question's.
 */
static size_t begin_record(struct writer *w, struct str owner, unsigned type, uint32_t ttl)
{
    if (owner.n == 0)
        put16(w, POINTER | HEADER);
    else
        put_name(w, owner);
    put16(w, type);
    put16(w, CLASS_IN);
    put32(w, ttl);
    put16(w, 0);
    return w->n;
}

static void end_record(struct writer *w, size_t data)
{
    if (!w->full)
        put_be16(w->p + data - 2, (uint16_t)(w->n - data));
}

static void put_mx(struct writer *w, struct str owner, uint32_t ttl, uint32_t preference, struct str host)
{
    size_t data = begin_record(w, owner, DNS_MX, ttl);
    put16(w, preference);
    put_name(w, host);
    end_record(w, data);
    w->answers++;
}

static void put_address(struct writer *w, struct str owner, uint32_t ttl, unsigned type,
                        const union address *address)
{
    bool v6 = address->any.sa_family == AF_INET6;
    if (v6 != (type == DNS_AAAA))
        return;
    size_t data = begin_record(w, owner, type, ttl);
    if (v6)
        put(w, &address->v6.sin6_addr, 16);
    else
        put(w, &address->v4.sin_addr, 4);
    end_record(w, data);
    w->answers++;
}

static void put_host_addresses(struct writer *w, struct str owner, uint32_t ttl, unsigned type,
                               const struct host *host)
{
    if (type != DNS_A && type != DNS_AAAA)
        return;
    for (uint32_t i = 0; i < host->listeners_used; i++)
        put_address(w, owner, ttl, type, &host->listeners[i].address);
}

static void put_txt(struct writer *w, struct str owner, uint32_t ttl, struct str text)
{
    size_t data = begin_record(w, owner, DNS_TXT, ttl);
    do {
        size_t n = text.n > 255 ? 255 : text.n;
        put8(w, (unsigned)n);
        put(w, text.p, n);
        text = str_make(text.p + n, text.n - n);
    } while (text.n > 0);
    end_record(w, data);
    w->answers++;
}

static void put_named(struct writer *w, struct str owner, uint32_t ttl, unsigned type, struct str target)
{
    size_t data = begin_record(w, owner, type, ttl);
    put_name(w, target);
    end_record(w, data);
    w->answers++;
}

static void put_soa(struct writer *w, struct str owner, uint32_t ttl, uint32_t minimum)
{
    size_t data = begin_record(w, owner, DNS_SOA, ttl);
    put_name(w, STR("ns.world.invalid"));
    put_name(w, STR("hostmaster.world.invalid"));
    put32(w, 1);
    put32(w, SOA_INTERVAL);
    put32(w, SOA_INTERVAL);
    put32(w, SOA_INTERVAL);
    put32(w, minimum);
    end_record(w, data);
}

/* The index-th of a target, numbered or not; more indexes than numbers go round. */
static void target_name(const struct name *target, uint32_t index, struct name_text *out)
{
    name_write(target, index % name_count(target), out);
}

static void put_domain_mx(struct writer *w, struct str owner, const struct found *found, uint32_t ttl)
{
    const struct domain *domain = found->domain;
    assert(domain != NULL);
    if (domain->null_mx)
        put_mx(w, owner, ttl, 0, STR(""));
    for (uint32_t i = 0; i < domain->mx_used; i++) {
        struct name_text host;
        if (domain->mx_own == NULL) {
            target_name(&domain->mx[i].name, found->index, &host);
        } else {
            char middle[WORLD_DNS_NAME_MAX + 1];
            size_t n = found->middle.n;
            for (size_t j = 0; j < n; j++)
                middle[j] = found->middle.p[j] == '.' && domain->mx_own[0] ? '-' : found->middle.p[j];
            name_join(domain->mx[i].own.prefix, str_make(middle, n), domain->mx[i].own.suffix, &host);
        }
        put_mx(w, owner, ttl, domain->mx[i].preference, str_make(host.text, host.n));
    }
}

/* The addresses of the host a written target leads to. */
static void put_target_addresses(struct writer *w, struct str owner, uint32_t ttl, unsigned type,
                                 const struct zone *zone, const struct name *target, uint32_t index)
{
    struct name_text text;
    target_name(target, index, &text);
    struct found found = zone_find(zone, str_make(text.text, text.n));
    if (found.kind == FOUND_HOST) {
        put_host_addresses(w, owner, ttl, type, found.host);
        return;
    }
    for (uint32_t i = 0; found.kind == FOUND_DOMAIN && i < found.domain->addresses_used; i++)
        if (type == DNS_A || type == DNS_AAAA)
            put_address(w, owner, ttl, type, &found.domain->addresses[i]);
}

static void put_domain_addresses(struct writer *w, struct str owner, uint32_t ttl, unsigned type,
                                 const struct zone *zone, const struct found *found)
{
    const struct domain *domain = found->domain;
    assert(domain != NULL);
    if (domain->host_name.prefix)
        put_target_addresses(w, owner, ttl, type, zone, &domain->host_name, found->index);
    for (uint32_t i = 0; i < domain->addresses_used; i++)
        put_address(w, owner, ttl, type, &domain->addresses[i]);
}

/* Records of one name, CNAME aside. */
static void put_records(struct writer *w, struct str owner, unsigned type, const struct zone *zone,
                        const struct found *found, uint32_t ttl)
{
    const struct domain *domain = found->domain;
    if (found->kind == FOUND_HOST) {
        put_host_addresses(w, owner, ttl, type, found->host);
        return;
    }
    assert(domain != NULL); /* every other kind has one */
    if (found->kind == FOUND_OWN_MX) {
        put_target_addresses(w, owner, ttl, type, zone, &domain->mx[found->mx].name, found->index);
        return;
    }
    switch (type) {
    case DNS_MX:
        put_domain_mx(w, owner, found, ttl);
        break;
    case DNS_A:
    case DNS_AAAA:
        put_domain_addresses(w, owner, ttl, type, zone, found);
        break;
    case DNS_TXT:
        for (uint32_t i = 0; i < domain->txt_used; i++)
            put_txt(w, owner, ttl, str_of(domain->txt[i]));
        break;
    case DNS_NS:
        put_named(w, owner, ttl, DNS_NS, STR("ns.world.invalid"));
        break;
    case DNS_SOA:
        put_soa(w, owner, ttl, ttl);
        w->answers++;
        break;
    default:
        break;
    }
}

/* The zone a missing name or type would be in: the last two labels where there are more, else the last. */
static struct str zone_apex(struct str name)
{
    size_t from[2] = {0, 0};
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] != '.')
            continue;
        from[0] = from[1];
        from[1] = i + 1;
    }
    size_t at = from[0] ? from[0] : from[1];
    return str_make(name.p + at, name.n - at);
}

static void put_negative(struct writer *w, struct str name, struct dns_defaults defaults)
{
    struct str apex = name.n ? zone_apex(name) : name;
    if (apex.n == 0)
        return;
    put_soa(w, apex, defaults.negative_ttl, defaults.negative_ttl);
    w->authority++;
}

/* What the domain does instead of answering; false then. */
static bool domain_answers(const struct domain *domain, struct dns_answer *answer)
{
    uint32_t bit = zone_type_bit(answer->type);
    answer->timed_out = answer->timed_out || (domain->silent & bit);
    if (domain->nxdomain)
        answer->rcode = DNS_NXDOMAIN;
    else if (domain->servfail & bit)
        answer->rcode = DNS_SERVFAIL;
    return answer->rcode == DNS_NOERROR;
}

/* Follows CNAMEs and fills the sections. */
static void resolve(struct writer *w, const struct zone *zone, struct dns_defaults defaults,
                    struct dns_answer *answer)
{
    struct name_text name = answer->name;
    struct str owner = STR("");
    for (int hops = 0; hops < CNAMES_MAX; hops++) {
        struct str text = str_make(name.text, name.n);
        struct found found = zone_find(zone, text);
        const struct domain *domain = found.kind == FOUND_DOMAIN ? found.domain : NULL;
        uint32_t ttl = found.domain && found.domain->has_ttl ? found.domain->ttl : defaults.ttl;
        unsigned before = w->answers;
        bool alias = domain && domain->cname;
        if (found.kind == FOUND_NONE)
            answer->rcode = DNS_NXDOMAIN;
        else if (domain && hops == 0)
            answer->delay_ms = domain->delay_ms;
        if (answer->rcode == DNS_NOERROR && (domain == NULL || domain_answers(domain, answer))) {
            if (alias) {
                target_name(&domain->cname_name, found.index, &name);
                put_named(w, owner, ttl, DNS_CNAME, str_make(name.text, name.n));
                owner = str_make(name.text, name.n);
                if (answer->type != DNS_CNAME)
                    continue;
            } else {
                put_records(w, owner, answer->type, zone, &found, ttl);
            }
        }
        if (w->answers == before && answer->rcode != DNS_SERVFAIL)
            put_negative(w, text, defaults);
        return;
    }
    answer->rcode = DNS_SERVFAIL; /* a loop of CNAMEs */
}

/* Reads the one question; false if the packet is no sound query. */
static bool read_question(const uint8_t *p, size_t n, struct query *query, struct name_text *name)
{
    size_t at = HEADER;
    name->n = 0;
    for (;;) {
        if (at >= n)
            return false;
        size_t label = p[at++];
        if (label == 0)
            break;
        if (label > 63 || label > n - at || name->n + label + 1 > WORLD_DNS_NAME_MAX)
            return false;
        if (name->n)
            name->text[name->n++] = '.';
        for (size_t i = 0; i < label; i++) {
            char c = ascii_lower((char)p[at + i]);
            name->text[name->n++] = c == '.' ? '\1' : c;
        }
        at += label;
    }
    name->text[name->n] = '\0';
    if (n - at < 4)
        return false;
    query->type = get_be16(p + at);
    query->question_end = at + 4;
    return get_be16(p + at + 2) == CLASS_IN;
}

/* The OPT record, if it is the first after the question, as every resolver has it. */
static void read_edns(const uint8_t *p, size_t n, struct query *query)
{
    const uint8_t *at = p + query->question_end;
    query->udp_max = UDP_DEFAULT;
    if (get_be16(p + 10) == 0 || n - query->question_end < 11 || at[0] != 0 || get_be16(at + 1) != DNS_OPT)
        return;
    query->has_edns = true;
    size_t size = get_be16(at + 3);
    if (size > UDP_DEFAULT)
        query->udp_max = size > WORLD_DNS_UDP_MAX ? WORLD_DNS_UDP_MAX : size;
}

static void put_edns(struct writer *w)
{
    put8(w, 0);
    put16(w, DNS_OPT);
    put16(w, WORLD_DNS_UDP_MAX);
    put32(w, 0);
    put16(w, 0);
    w->additional++;
}

static void finish(struct writer *w, const struct query *query, unsigned questions, struct dns_answer *answer)
{
    unsigned flags =
        FLAG_QR | FLAG_AA | FLAG_RA | (query->flags & (FLAG_RD | OPCODE_MASK)) | (unsigned)answer->rcode;
    if (answer->truncated)
        flags |= FLAG_TC;
    put_be16(w->p, query->id);
    put_be16(w->p + 2, (uint16_t)flags);
    put_be16(w->p + 4, (uint16_t)questions);
    put_be16(w->p + 6, (uint16_t)w->answers);
    put_be16(w->p + 8, (uint16_t)w->authority);
    put_be16(w->p + 10, (uint16_t)w->additional);
    answer->n = w->n;
}

void dns_answer(const struct zone *zone, struct dns_defaults defaults, const uint8_t *query_bytes, size_t n,
                bool tcp, uint8_t *out, struct dns_answer *answer)
{
    struct query query = {0};
    answer->n = 0;
    answer->delay_ms = 0;
    answer->type = 0;
    answer->rcode = DNS_NOERROR;
    answer->truncated = answer->timed_out = false;
    answer->name.n = 0;
    answer->name.text[0] = '\0';
    if (n < HEADER || (get_be16(query_bytes + 2) & FLAG_QR))
        return; /* nobody to answer */
    query.id = get_be16(query_bytes);
    query.flags = get_be16(query_bytes + 2);
    struct writer w = {.p = out, .n = HEADER, .max = DNS_MESSAGE_MAX};
    if ((query.flags & OPCODE_MASK) != 0) {
        answer->rcode = DNS_NOTIMP;
        finish(&w, &query, 0, answer);
        return;
    }
    if (get_be16(query_bytes + 4) != 1 || !read_question(query_bytes, n, &query, &answer->name)) {
        answer->rcode = DNS_FORMERR;
        finish(&w, &query, 0, answer);
        return;
    }
    read_edns(query_bytes, n, &query);
    answer->type = query.type;
    w.max = tcp ? DNS_MESSAGE_MAX : query.udp_max;
    if (query.has_edns)
        w.max -= 11; /* its OPT always fits */
    put(&w, query_bytes + HEADER, query.question_end - HEADER);
    resolve(&w, zone, defaults, answer);
    if (answer->timed_out)
        return;
    if (w.full) {
        answer->truncated = true;
        w = (struct writer){.p = out, .n = query.question_end, .max = w.max};
    }
    if (query.has_edns) {
        w.max += 11;
        put_edns(&w);
    }
    finish(&w, &query, 1, answer);
}

const char *dns_type_name(unsigned type, char room[static 16])
{
    switch (type) {
    case DNS_A:
        return "A";
    case DNS_NS:
        return "NS";
    case DNS_CNAME:
        return "CNAME";
    case DNS_SOA:
        return "SOA";
    case DNS_MX:
        return "MX";
    case DNS_TXT:
        return "TXT";
    case DNS_AAAA:
        return "AAAA";
    case DNS_TLSA:
        return "TLSA";
    case DNS_ANY:
        return "ANY";
    default:
        snprintf(room, 16, "TYPE%u", type);
        return room;
    }
}
