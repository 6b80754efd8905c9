/* zone.h - what every name of this Internet has: the hosts' names and the scenario's domains.
 *
 * Exact names are found by hash, patterns by trying each, wildcards by the longest match, as DNS does it.
 * Domains are kept in the order given and may be changed while running. Names handed in are in lower case.
 * One thread. */
#ifndef POSTRIDER_WORLD_ZONE_H
#define POSTRIDER_WORLD_ZONE_H

#include "bench/world/host.h"
#include "bench/world/name.h"

enum dns_type {
    DNS_A = 1,
    DNS_NS = 2,
    DNS_CNAME = 5,
    DNS_SOA = 6,
    DNS_MX = 15,
    DNS_TXT = 16,
    DNS_AAAA = 28,
    DNS_OPT = 41,
    DNS_TLSA = 52,
    DNS_ANY = 255
};

/* Bits for `servfail` and `timeout`. */
#define TYPE_BIT_A     1u
#define TYPE_BIT_MX    2u
#define TYPE_BIT_AAAA  4u
#define TYPE_BIT_TXT   8u
#define TYPE_BIT_OTHER 16u
#define TYPE_BIT_ALL   31u

struct mx {
    uint32_t preference;
    char *target;     /* a name as written, which may hold {n..m} */
    struct name name; /* the same, parsed */
    struct name own;  /* with mx_own: the MX name derived from the domain's */
};

struct domain {
    struct name name;
    bool null_mx, no_mx, nxdomain, has_ttl;
    uint32_t servfail, silent; /* type bits */
    uint32_t ttl, delay_ms;
    char *mx_own;       /* NULL, "" for mxN.DOMAIN, or the suffix */
    char *cname, *host; /* as written; host: whose addresses it has itself */
    struct name cname_name, host_name;
    struct mx *mx;
    uint32_t mx_used;
    union address *addresses; /* further ones, on which nothing need listen */
    uint32_t addresses_used;
    char **txt;
    uint32_t txt_used;
};

enum found_kind { FOUND_NONE, FOUND_HOST, FOUND_DOMAIN, FOUND_OWN_MX };

struct found {
    enum found_kind kind;
    const struct host *host;
    const struct domain *domain;
    uint32_t index;    /* in a numbered name */
    uint32_t mx;       /* FOUND_OWN_MX: which */
    struct str middle; /* inside the name looked for */
};

struct zone;

struct zone *zone_create(void);
void zone_free(struct zone *zone);
bool zone_add_host(struct zone *zone, const struct host *host, struct err *err);
/* Takes over what the domain holds, on failure too; replaces the domain of that name. */
bool zone_add_domain(struct zone *zone, struct domain *domain, struct err *err);
void domain_free(struct domain *domain);
/* An MX or cname target, or a `host`, that is no name here: the first such, for an error. */
bool zone_check(const struct zone *zone, struct err *err);
struct found zone_find(const struct zone *zone, struct str name);
uint32_t zone_type_bit(unsigned type);

#endif
