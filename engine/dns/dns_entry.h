/* dns_entry.h - what dns.c (the cache and who waits) and dns_lookup.c (the questions of one entry and what
 * their answers mean) share. Nobody else includes it. */
#ifndef POSTRIDER_DNS_DNS_ENTRY_H
#define POSTRIDER_DNS_DNS_ENTRY_H

#include "engine/dns/dns.h"
#include "engine/dns/dns_ares.h"

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

enum dns_kind { KIND_MX = 'M', KIND_ADDRESSES = 'A', KIND_TXT = 'X', KIND_TLSA = 'T' };

/* One question of an entry, over all names that aliases lead it to. */
struct dns_ask {
    struct dns_question question; /* first: both are the same address */
    struct dns_entry *entry;
    unsigned aliases;
    uint32_t ttl_s; /* the least so far */
    bool secure;    /* all so far */
    enum dns_answer_kind result;
    unsigned ip_count;
    struct dns_ip *ips;
    char *alias; /* the name asked now, where it is not the entry's */
};

struct dns_entry {
    UT_hash_handle hh;
    struct dns_entry *prev, *next; /* from the least recently used to the most */
    struct dns_entry *next_ready;
    struct dns *dns;
    struct dns_query *waiters;
    struct dns_query via;   /* of an entry for mail: the addresses that make an implicit MX */
    struct dns_ask asks[2]; /* of an entry for addresses: AAAA, A; for mail: MX */
    unsigned asking;        /* questions without an answer yet, and the query via */
    bool answered, ready, delivering, forgotten;
    struct dns_mx *mx;     /* an answer about mail; of others it holds status, reason, expiry and secure */
    struct dns_data *data; /* of TXT and TLSA, when there are any */
    int64_t none_until_ns; /* of an implicit MX: how long there is no real one */
    char key[];            /* the kind, then the name, NUL-terminated */
};

struct dns {
    struct dns_net *net;
    struct prng *prng;
    struct now now; /* of the last call: answers that arrive meanwhile are dated with it */
    bool ipv6, ending;
    unsigned cache_max, count;
    struct dns_entry *table, *entries;
    struct dns_entry *ready, **ready_tail;
    struct dns_question *queue, **queue_tail;
    unsigned under_way;
    struct dns_query *no_memory_mx, *no_memory_addresses,
        *no_memory_records;         /* waiters that no entry could be made for */
    struct dns_query *calling;      /* waiters whose turn it is now */
    struct dns_addresses addresses; /* what a callback is given */
};

/* What everybody gets when there is no memory for an answer. */
extern struct dns_mx dns_mx_no_memory;

static inline const char *dns_entry_name(const struct dns_entry *entry)
{
    return entry->key + 1;
}

static inline bool dns_kind_is_records(enum dns_kind kind)
{
    return kind == KIND_TXT || kind == KIND_TLSA;
}

static inline enum dns_kind dns_entry_kind(const struct dns_entry *entry)
{
    return (enum dns_kind)entry->key[0];
}

/* dns.c */
void dns_ask(struct dns *dns, struct dns_query *query, enum dns_kind kind, struct str name);
/* The entry has its answer: calls the waiters at the next dns_step. */
void dns_entry_make_ready(struct dns_entry *entry);

/* dns_lookup.c */
/* Forgets the entry's answer and queues its questions. */
void dns_lookup_start(struct dns_entry *entry);
/* The next question for the network; there must be one. */
struct dns_question *dns_lookup_next(struct dns *dns);
/* Answers a question that dns_lookup_next gave. */
void dns_lookup_fail(struct dns_question *question, const char *reason);
/* Frees what the entry knows. */
void dns_lookup_clear(struct dns_entry *entry);

#endif
