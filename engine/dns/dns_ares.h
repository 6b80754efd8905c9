/* dns_ares.h - the seam between the resolver's logic and the network: one question out, one answer back.
 *
 * dns_ares.c asks with c-ares over io; a simulator or a test links another file in its place. A question is
 * embedded in its owner and stays until `answered`, which comes once, perhaps from within dns_net_ask. One
 * thread. */
#ifndef POSTRIDER_DNS_DNS_ARES_H
#define POSTRIDER_DNS_DNS_ARES_H

#include "engine/dns/dns.h"
#include "engine/dns/dns_parse.h"

struct dns_net;

struct dns_question {
    const char *name; /* the owner's, until answered */
    enum dns_type type;
    /* The answer is valid during the call. */
    void (*answered)(struct dns_question *question, const struct dns_answer *answer);
    struct dns_question *next; /* the owner's, for its queue */
    struct dns_net *net;       /* of dns_ares.c */
};

struct dns_net *dns_net_create(struct io *io, struct wheel *wheel, const struct dns_settings *settings,
                               struct err *err);
/* Answers what is under way, as failed. */
void dns_net_destroy(struct dns_net *net);
void dns_net_ask(struct dns_net *net, struct dns_question *question, struct now now);

#endif
