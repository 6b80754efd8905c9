/* dns.h - the resolver: MX with addresses, cached and coalesced, for one worker.
 *
 * One `struct dns` a worker, on its thread, over its io and wheel. dns_ares.c is the only file that includes
 * ares.h and asks the network; dns.c holds the cache and the logic, and the simulator replaces the former.
 * Answers come through a callback, never from within the call; equal questions under way share one query.
 *
 * An answer is `secure` where the resolver says that DNSSEC vouches for all of it (the AD bit, RFC 6840 5.7),
 * which is believed only of a resolver that is trusted: dns_settings.
 *
 * RFC 5321 5.1 (MX, implicit MX, order), RFC 7505 (null MX), RFC 2308 (negative answers), RFC 2181
 * (CNAME). */
#ifndef POSTRIDER_DNS_DNS_H
#define POSTRIDER_DNS_DNS_H

#include "engine/base/clock.h"
#include "engine/base/prng.h"
#include "engine/base/str.h"
#include "engine/base/wheel.h"
#include "engine/io/io.h"
#include "engine/limits.h"

struct dns;

#define DNS_REASON_MAX 128

enum dns_status {
    DNS_OK,
    DNS_NO_DOMAIN, /* NXDOMAIN: 5.1.2 */
    DNS_NO_MAIL,   /* the domain exists, without MX, A or AAAA: 5.1.2 */
    DNS_NULL_MX,   /* RFC 7505: 5.1.10 */
    DNS_FAILED,    /* SERVFAIL, timeout, malformed: 4.4.3, try later */
};

/* The mail hosts of a domain. Immutable and reference counted (atomically: it travels between workers). */
_Static_assert(MX_HOSTS_MAX <= 32, "a bit a host");
struct dns_mx_host {
    uint16_t preference;
    char name[DOMAIN_MAX + 1]; /* lower case, no final dot */
};
struct dns_mx {
    _Atomic unsigned refs; /* dns_mx_ref and dns_mx_unref */
    enum dns_status status;
    char reason[DNS_REASON_MAX]; /* for people: "the resolver answered SERVFAIL", "no such domain" */
    int64_t expires_ns;          /* mono; from the TTL, within sane bounds */
    bool implicit;               /* no MX record: the domain itself */
    bool secure;
    /* What a policy of MTA-STS says of them; the resolver leaves it 0: route/lane_sts.h. */
    uint8_t sts_mode;   /* enum sts_mode */
    uint32_t sts_hosts; /* a bit a host that it names */
    unsigned host_count;
    struct dns_mx_host hosts[]; /* by preference; equal ones in the order of the names: shuffle on use */
};
/* One reference, all zero but host_count; for whoever fills it in before others see it. NULL: out of memory.
 */
struct dns_mx *dns_mx_create(unsigned host_count);
struct dns_mx *dns_mx_ref(struct dns_mx *mx);
void dns_mx_unref(struct dns_mx *mx);

struct dns_address {
    struct sockaddr_storage address; /* port 0 */
    socklen_t len;
};
struct dns_addresses {
    enum dns_status status;
    char reason[DNS_REASON_MAX];
    int64_t expires_ns;
    bool secure;
    unsigned count;
    /* IPv6 and IPv4 by turns, as RFC 8305 4 asks, v6 first; within each rotated at random, so that the load
     * spreads though the answer is cached. */
    struct dns_address list[HOST_ADDRESSES_MAX];
};

/* What records of one type hold: of TXT the strings of each joined, of others the bytes as they stand. */
enum dns_records_type { DNS_RECORDS_TXT, DNS_RECORDS_TLSA };
struct dns_data {
    unsigned count;
    struct {
        uint16_t at, size; /* in bytes */
    } list[DNS_RECORDS_MAX];
    size_t used;
    uint8_t bytes[DNS_RECORDS_BYTES];
};
struct dns_records {
    enum dns_status status; /* DNS_NO_MAIL: the name exists, without any */
    char reason[DNS_REASON_MAX];
    int64_t expires_ns;
    bool secure;
    const struct dns_data *data; /* of DNS_OK */
};

/* Whose word is taken for what is signed: of resolvers on this host, since nobody is between; of any; of
 * none. */
enum dns_dnssec { DNS_DNSSEC_AUTO, DNS_DNSSEC_YES, DNS_DNSSEC_NO };

struct dns_settings {
    const char *servers; /* "127.0.0.1:5353,[::1]:53"; NULL or "" for resolv.conf */
    int64_t timeout_ms;  /* over all tries of one question */
    bool ipv6;           /* ask for AAAA */
    unsigned cache_max;  /* entries kept */
    enum dns_dnssec dnssec;
};

struct dns *dns_create(struct io *io, struct wheel *wheel, struct prng *prng,
                       const struct dns_settings *settings, struct err *err);
/* Pending questions are answered DNS_FAILED from within; new ones asked meanwhile are not answered at all.
 * The resolver's sockets end with the next io_steps, or with io_destroy. */
void dns_destroy(struct dns *dns);

/* A question under way, embedded in its owner, who zeroes it first. dns_cancel is safe at any time, also when
 * idle. In its callback it is idle again: it may be asked anew or freed. */
struct dns_query {
    struct dns_query *next, **back;                         /* back is NULL while idle */
    void (*mx)(struct dns_query *query, struct dns_mx *mx); /* mx is the callee's to unref */
    void (*addresses)(struct dns_query *query,
                      const struct dns_addresses *answer);                      /* valid during the call */
    void (*records)(struct dns_query *query, const struct dns_records *answer); /* the same */
};
/* domain: an A-label, lower case. `now` dates the cache. A cached answer comes at the next dns_step.
 * Addresses are DNS_OK, DNS_NO_DOMAIN, DNS_FAILED, or DNS_NO_MAIL for a name that exists without any. */
void dns_ask_mx(struct dns *dns, struct dns_query *query, struct str domain, struct now now);
void dns_ask_addresses(struct dns *dns, struct dns_query *query, struct str host, struct now now);
/* name may have labels that begin with '_'. */
void dns_ask_records(struct dns *dns, struct dns_query *query, enum dns_records_type type, struct str name,
                     struct now now);
void dns_cancel(struct dns_query *query);

/* Answers from the cache or from what has arrived; run once a worker step. */
void dns_step(struct dns *dns, struct now now);
/* True while dns_step has something to deliver at once. */
bool dns_busy(const struct dns *dns);
/* Forgets everything cached (`flush dns`). */
void dns_flush(struct dns *dns);

/* The registrable domain of a host name (libpsl), e.g. mx1.mail.example.co.uk -> example.co.uk; the name
 * itself where there is none (an address literal, a public suffix). Returns a view into `host`. Any
 * thread. */
struct str dns_registrable(struct str host);

#endif
