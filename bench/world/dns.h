/* dns.h - one DNS query to its answer: from a zone, bytes to bytes, no socket and no state.
 *
 * RFC 1035, negative answers with an SOA (RFC 2308), EDNS0 sizes (RFC 6891), null MX (RFC 7505). Any thread.
 */
#ifndef POSTRIDER_WORLD_DNS_H
#define POSTRIDER_WORLD_DNS_H

#include "bench/world/zone.h"

#define DNS_MESSAGE_MAX 65535

enum dns_rcode { DNS_NOERROR, DNS_FORMERR, DNS_SERVFAIL, DNS_NXDOMAIN, DNS_NOTIMP };

struct dns_defaults {
    uint32_t ttl, negative_ttl;
};

struct dns_answer {
    size_t n;          /* bytes written; 0: no answer is to be sent */
    uint32_t delay_ms; /* the domain's own */
    unsigned type;     /* asked for, 0 if not understood */
    enum dns_rcode rcode;
    bool truncated, timed_out;
    struct name_text name; /* asked for, lower case */
};

/* `room` is DNS_MESSAGE_MAX bytes at `out`; over UDP the answer keeps to what the query allows. */
void dns_answer(const struct zone *zone, struct dns_defaults defaults, const uint8_t *query, size_t n,
                bool tcp, uint8_t *out, struct dns_answer *answer);
/* "MX", or "TYPE123" written into `room`. */
const char *dns_type_name(unsigned type, char room[static 16]);

#endif
