/* dns_parse.h - what a DNS message says about one question: pure, bytes to a record.
 *
 * RFC 1035 4 (format), RFC 2181 10.1 (CNAME), RFC 2308 2 and 5 (negative answers), RFC 7505 (null MX). Never
 * fails: what can't be understood is an answer of kind DNS_ANSWER_FAILED with its reason. Any thread. */
#ifndef POSTRIDER_DNS_DNS_PARSE_H
#define POSTRIDER_DNS_DNS_PARSE_H

#include "engine/dns/dns.h"

enum dns_type { DNS_TYPE_A = 1, DNS_TYPE_MX = 15, DNS_TYPE_TXT = 16, DNS_TYPE_AAAA = 28, DNS_TYPE_TLSA = 52 };

enum dns_answer_kind {
    DNS_ANSWER_RECORDS,
    DNS_ANSWER_NO_DATA,   /* the name exists, without records of this type */
    DNS_ANSWER_NO_DOMAIN, /* NXDOMAIN */
    DNS_ANSWER_NULL_MX,
    DNS_ANSWER_ALIAS, /* a CNAME to `name`, about which the server says nothing: ask there */
    DNS_ANSWER_FAILED,
};

struct dns_ip {
    uint8_t bytes[16]; /* the first four of an IPv4 address */
};

struct dns_answer {
    enum dns_answer_kind kind;
    bool secure;                 /* the AD bit */
    char reason[DNS_REASON_MAX]; /* of DNS_ANSWER_FAILED */
    uint32_t ttl_s;              /* the least on the way, as sent; 0 of a negative answer without SOA */
    char name[DOMAIN_MAX + 1];   /* where the chain of CNAMEs ends; the question's name without one */
    unsigned count;
    union {
        struct dns_mx_host hosts[MX_HOSTS_MAX]; /* in order; the first ones of more */
        struct dns_ip ips[HOST_ADDRESSES_MAX];
        struct dns_data data; /* of TXT and TLSA; its own count, too */
    };
};

/* `name` lower case, without a final dot. */
void dns_parse(const uint8_t *message, size_t n, const char *name, enum dns_type type,
               struct dns_answer *answer);
void dns_answer_fail(struct dns_answer *answer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A host name that a DNS question can carry and that is fit for logs: letters, digits, '-', '_', dots
 * between. */
bool dns_name_valid(struct str name);

#endif
