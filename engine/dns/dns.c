/* dns.c - the resolver's cache and logic; the network is behind dns_ares.h.
 *
 * An `entry` is one name asked for one purpose (mail hosts or addresses): first its waiters and the questions
 * under way, later the answer until that expires. A query joins its entry, which is created, asked anew, or
 * already answered; in the last two cases and when the answer comes, the entry goes on the `ready` list, from
 * which dns_step calls the waiters. Questions wait in `queue` until dns_step may hand them to the network.
 *
 *   MX entry:       MX question -> hosts, null MX, no domain, failed
 *                               -> no MX: asks the address entry of the same name -> implicit MX, or no mail
 *   address entry:  AAAA and A questions side by side -> addresses, no domain, none, failed
 *
 * An answer that only leads to another name (a CNAME) makes its question ask there. Entries with waiters or
 * questions are never evicted; a flush takes them out of the table, and they die when they have answered. */
#include "engine/dns/dns.h"

#include "engine/dns/dns_ares.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>
#include <utlist.h>

enum kind { KIND_MX = 'M', KIND_ADDRESSES = 'A' };

/* One question of an entry, over all names that aliases lead it to. */
struct ask {
    struct dns_question question; /* first: both are the same address */
    struct entry *entry;
    unsigned aliases;
    uint32_t ttl_s; /* the least so far */
    enum dns_answer_kind result;
    unsigned ip_count;
    struct dns_ip *ips;
    char *alias; /* the name asked now, where it is not the entry's */
};

struct entry {
    UT_hash_handle hh;
    struct entry *prev, *next; /* from the least recently used to the most */
    struct entry *next_ready;
    struct dns *dns;
    struct dns_query *waiters;
    struct dns_query via; /* of an entry for mail: the addresses that make an implicit MX */
    struct ask asks[2];   /* of an entry for addresses: AAAA, A; for mail: MX */
    unsigned asking;      /* questions without an answer yet, and the query via */
    bool answered, ready, delivering, forgotten;
    struct dns_mx *mx;     /* an answer about mail; of addresses it holds status, reason and expiry */
    int64_t none_until_ns; /* of an implicit MX: how long there is no real one */
    size_t key_len;
    char key[]; /* the kind, then the name, NUL-terminated */
};

struct dns {
    struct dns_net *net;
    struct prng *prng;
    struct now now; /* of the last call: answers that arrive meanwhile are dated with it */
    bool ipv6, ending;
    unsigned cache_max, count;
    struct entry *table, *entries;
    struct entry *ready, **ready_tail;
    struct dns_question *queue, **queue_tail;
    unsigned under_way;
    struct dns_query *no_memory_mx, *no_memory_addresses; /* waiters that no entry could be made for */
    struct dns_query *calling;                            /* waiters whose turn it is now */
    struct dns_addresses addresses;                       /* what a callback is given */
};

/* ---- struct dns_mx ---- */

static struct dns_mx mx_no_memory = {
    .refs = 1, .status = DNS_FAILED, .reason = "out of memory for the resolver's cache"};

struct dns_mx *dns_mx_create(unsigned host_count)
{
    struct dns_mx *mx = calloc(1, sizeof *mx + host_count * sizeof mx->hosts[0]);
    if (mx == NULL)
        return NULL;
    mx->refs = 1;
    mx->host_count = host_count;
    return mx;
}

struct dns_mx *dns_mx_ref(struct dns_mx *mx)
{
    atomic_fetch_add_explicit(&mx->refs, 1, memory_order_relaxed);
    return mx;
}

void dns_mx_unref(struct dns_mx *mx)
{
    if (mx == NULL || atomic_fetch_sub_explicit(&mx->refs, 1, memory_order_acq_rel) > 1)
        return;
    free(mx);
}
/* ---- entries ---- */

static const char *entry_name(const struct entry *entry)
{
    return entry->key + 1;
}

static enum kind entry_kind(const struct entry *entry)
{
    return (enum kind)entry->key[0];
}

static bool entry_pinned(const struct entry *entry)
{
    return entry->asking > 0 || entry->ready || entry->delivering || entry->waiters != NULL;
}

static void ask_clear(struct ask *ask)
{
    free(ask->ips);
    free(ask->alias);
    *ask = (struct ask){.ttl_s = INT32_MAX};
}

static void entry_free(struct entry *entry)
{
    struct dns *dns = entry->dns;
    if (!entry->forgotten)
        HASH_DELETE(hh, dns->table, entry);
    DL_DELETE(dns->entries, entry);
    dns->count--;
    dns_cancel(&entry->via);
    dns_mx_unref(entry->mx);
    ask_clear(&entry->asks[0]);
    ask_clear(&entry->asks[1]);
    free(entry);
}

/* Makes room for one more. Those that are busy are passed over, so that there may be more than cache_max. */
static void evict(struct dns *dns)
{
    struct entry *entry = dns->entries, *next;
    for (int looks = 0; looks < 16 && entry != NULL && dns->count >= dns->cache_max; looks++, entry = next) {
        next = entry->next;
        if (!entry_pinned(entry)) {
            entry_free(entry);
            continue;
        }
        DL_DELETE(dns->entries, entry);
        DL_APPEND(dns->entries, entry);
    }
}

static struct entry *entry_get(struct dns *dns, enum kind kind, struct str name)
{
    char key[DOMAIN_MAX + 2];
    if (name.n > DOMAIN_MAX)
        name.n = 0; /* no valid name either */
    key[0] = (char)kind;
    if (name.n > 0)
        memcpy(key + 1, name.p, name.n);
    size_t key_len = name.n + 1;
    struct entry *entry;
    HASH_FIND(hh, dns->table, key, key_len, entry);
    if (entry != NULL) {
        DL_DELETE(dns->entries, entry);
        DL_APPEND(dns->entries, entry);
        return entry;
    }
    evict(dns);
    entry = calloc(1, sizeof *entry + key_len + 1);
    if (entry == NULL)
        return NULL;
    memcpy(entry->key, key, key_len);
    HASH_ADD_KEYPTR(hh, dns->table, entry->key, key_len, entry);
    if (entry->hh.tbl == NULL) {
        free(entry);
        return NULL;
    }
    entry->dns = dns;
    DL_APPEND(dns->entries, entry);
    dns->count++;
    return entry;
}

static void entry_make_ready(struct entry *entry)
{
    struct dns *dns = entry->dns;
    if (entry->ready)
        return;
    entry->ready = true;
    entry->next_ready = NULL;
    *dns->ready_tail = entry;
    dns->ready_tail = &entry->next_ready;
}

/* ---- answers ---- */

static int64_t expiry(const struct dns *dns, uint32_t ttl_s, uint32_t max_s)
{
    if (ttl_s < DNS_TTL_MIN_S)
        ttl_s = DNS_TTL_MIN_S;
    return dns->now.mono_ns + (int64_t)(ttl_s < max_s ? ttl_s : max_s) * NS_PER_S;
}

/* Takes mx over; NULL is out of memory. */
static void entry_conclude(struct entry *entry, struct dns_mx *mx)
{
    if (mx == NULL)
        mx = dns_mx_ref(&mx_no_memory);
    dns_mx_unref(entry->mx);
    entry->mx = mx;
    entry->answered = true;
    entry_make_ready(entry);
}

static struct dns_mx *mx_make(enum dns_status status, unsigned hosts, int64_t expires_ns)
{
    struct dns_mx *mx = dns_mx_create(hosts);
    if (mx == NULL)
        return NULL;
    mx->status = status;
    mx->expires_ns = expires_ns;
    return mx;
}

__attribute__((format(printf, 3, 4))) static struct dns_mx *
mx_none(enum dns_status status, int64_t expires_ns, const char *format, ...)
{
    struct dns_mx *mx = mx_make(status, 0, expires_ns);
    if (mx == NULL)
        return NULL;
    va_list args;
    va_start(args, format);
    vsnprintf(mx->reason, sizeof mx->reason, format, args);
    va_end(args);
    return mx;
}

static struct dns_mx *mx_failed(const struct dns *dns, const char *reason)
{
    return mx_none(DNS_FAILED, expiry(dns, DNS_FAILED_TTL_S, DNS_FAILED_TTL_S), "%s", reason);
}

static struct dns_mx *mx_no_domain(const struct entry *entry, const char *name, uint32_t ttl_s)
{
    int64_t expires = expiry(entry->dns, ttl_s, DNS_NEGATIVE_TTL_MAX_S);
    if (strcmp(name, entry_name(entry)) == 0)
        return mx_none(DNS_NO_DOMAIN, expires, "no such domain");
    return mx_none(DNS_NO_DOMAIN, expires, "no such domain: an alias of %s, which does not exist", name);
}

static void on_via(struct dns_query *query, const struct dns_addresses *answer);
static void dns_ask(struct dns *dns, struct dns_query *query, enum kind kind, struct str name);

/* No MX: the domain itself is its mail host if it has an address, RFC 5321 5.1. */
static void ask_implicit(struct entry *entry, struct ask *ask)
{
    entry->none_until_ns = expiry(entry->dns, ask->ttl_s, DNS_NEGATIVE_TTL_MAX_S);
    entry->via.addresses = on_via;
    entry->asking++;
    dns_ask(entry->dns, &entry->via, KIND_ADDRESSES, str_of(ask->question.name));
}

static void on_via(struct dns_query *query, const struct dns_addresses *answer)
{
    struct entry *entry = (struct entry *)(void *)((char *)query - offsetof(struct entry, via));
    int64_t expires = answer->expires_ns < entry->none_until_ns ? answer->expires_ns : entry->none_until_ns;
    struct dns_mx *mx;
    entry->asking--;
    if (answer->status == DNS_OK) {
        mx = mx_make(DNS_OK, 1, expires);
        if (mx != NULL) {
            const char *name = entry->asks[0].question.name;
            mx->implicit = true;
            memcpy(mx->hosts[0].name, name, strlen(name) + 1);
        }
    } else if (answer->status == DNS_FAILED) {
        mx = mx_none(DNS_FAILED, answer->expires_ns, "%s", answer->reason);
    } else {
        mx = mx_none(DNS_NO_MAIL, expires, "the domain has no mail host: no MX, A or AAAA record");
    }
    entry_conclude(entry, mx);
}

static void conclude_mx(struct entry *entry, struct ask *ask, const struct dns_answer *answer)
{
    struct dns_mx *mx;
    int64_t expires = expiry(entry->dns, ask->ttl_s, DNS_TTL_MAX_S);
    switch (answer->kind) {
    case DNS_ANSWER_RECORDS:
        mx = mx_make(DNS_OK, answer->count, expires);
        if (mx != NULL)
            memcpy(mx->hosts, answer->hosts, answer->count * sizeof mx->hosts[0]);
        break;
    case DNS_ANSWER_NULL_MX:
        mx = mx_none(DNS_NULL_MX, expires, "the domain accepts no mail (null MX, RFC 7505)");
        break;
    case DNS_ANSWER_NO_DOMAIN:
        mx = mx_no_domain(entry, answer->name, ask->ttl_s);
        break;
    case DNS_ANSWER_NO_DATA:
        ask_implicit(entry, ask);
        return;
    default:
        mx = mx_failed(entry->dns, answer->reason);
        break;
    }
    entry_conclude(entry, mx);
}

/* One of AAAA and A has come. entry->mx meanwhile keeps what a failure was. */
static void take_addresses(struct entry *entry, struct ask *ask, const struct dns_answer *answer)
{
    if (answer->kind == DNS_ANSWER_FAILED) {
        dns_mx_unref(entry->mx);
        entry->mx = mx_failed(entry->dns, answer->reason);
        return;
    }
    if (answer->kind != DNS_ANSWER_RECORDS)
        return;
    ask->ips = malloc(answer->count * sizeof *ask->ips);
    if (ask->ips == NULL) {
        ask->result = DNS_ANSWER_FAILED;
        return;
    }
    ask->ip_count = answer->count;
    memcpy(ask->ips, answer->ips, answer->count * sizeof *ask->ips);
}

static void conclude_addresses(struct entry *entry)
{
    const struct dns *dns = entry->dns;
    uint32_t some_ttl_s = INT32_MAX, none_ttl_s = INT32_MAX;
    unsigned failed = 0, no_domain = 0, found = 0, asked = dns->ipv6 ? 2 : 1;
    for (struct ask *ask = entry->asks + 2 - asked; ask < entry->asks + 2; ask++) {
        uint32_t *ttl = ask->ip_count > 0 ? &some_ttl_s : &none_ttl_s;
        if (ask->ttl_s < *ttl)
            *ttl = ask->ttl_s;
        failed += ask->result == DNS_ANSWER_FAILED;
        no_domain += ask->result == DNS_ANSWER_NO_DOMAIN;
        found += ask->ip_count;
    }
    if (found > 0)
        entry_conclude(
            entry, mx_make(DNS_OK, 0, expiry(dns, some_ttl_s, failed ? DNS_HALF_TTL_MAX_S : DNS_TTL_MAX_S)));
    else if (failed > 0)
        entry_conclude(entry, entry->mx != NULL ? dns_mx_ref(entry->mx) : NULL);
    else if (no_domain == asked)
        entry_conclude(entry, mx_no_domain(entry, entry->asks[1].question.name, none_ttl_s));
    else
        entry_conclude(entry, mx_none(DNS_NO_MAIL, expiry(dns, none_ttl_s, DNS_NEGATIVE_TTL_MAX_S),
                                      "the host has no A or AAAA record"));
}

/* ---- questions ---- */

static void question_enqueue(struct dns *dns, struct dns_question *question)
{
    question->next = NULL;
    *dns->queue_tail = question;
    dns->queue_tail = &question->next;
}

static struct dns_question *question_dequeue(struct dns *dns)
{
    struct dns_question *question = dns->queue;
    dns->queue = question->next;
    if (dns->queue == NULL)
        dns->queue_tail = &dns->queue;
    dns->under_way++;
    return question;
}

/* Notes where a chain of CNAMEs has led. */
static bool ask_move(struct ask *ask, const char *name)
{
    if (strcmp(name, ask->question.name) == 0)
        return true;
    char *alias = str_dup(str_of(name));
    if (alias == NULL)
        return false;
    free(ask->alias);
    ask->alias = alias;
    ask->question.name = alias;
    return true;
}

static void ask_fail(struct ask *ask, const char *reason);

static void on_answer(struct dns_question *question, const struct dns_answer *answer)
{
    struct ask *ask = (struct ask *)(void *)question;
    struct entry *entry = ask->entry;
    struct dns *dns = entry->dns;
    bool failed = answer->kind == DNS_ANSWER_FAILED;
    if (!failed && answer->ttl_s < ask->ttl_s)
        ask->ttl_s = answer->ttl_s;
    if (!failed && !ask_move(ask, answer->name)) {
        ask_fail(ask, mx_no_memory.reason);
        return;
    }
    if (answer->kind == DNS_ANSWER_ALIAS && ++ask->aliases > DNS_ALIASES_MAX) {
        ask_fail(ask, "too many CNAME records in a row, or a loop of them");
        return;
    }
    dns->under_way--;
    if (answer->kind == DNS_ANSWER_ALIAS) {
        question_enqueue(dns, question);
        return;
    }
    ask->result = answer->kind;
    entry->asking--;
    if (entry_kind(entry) == KIND_MX) {
        conclude_mx(entry, ask, answer);
        return;
    }
    take_addresses(entry, ask, answer);
    if (entry->asking == 0)
        conclude_addresses(entry);
}

static void ask_fail(struct ask *ask, const char *reason)
{
    struct dns_answer answer;
    dns_answer_fail(&answer, "%s", reason);
    on_answer(&ask->question, &answer);
}

static void ask_start(struct entry *entry, struct ask *ask, enum dns_type type)
{
    ask->entry = entry;
    ask->question = (struct dns_question){.name = entry_name(entry), .type = type, .answered = on_answer};
    entry->asking++;
    question_enqueue(entry->dns, &ask->question);
}

static void entry_ask(struct entry *entry)
{
    entry->answered = false;
    dns_mx_unref(entry->mx);
    entry->mx = NULL;
    ask_clear(&entry->asks[0]);
    ask_clear(&entry->asks[1]);
    if (!dns_name_valid(str_of(entry_name(entry)))) {
        entry_conclude(entry, mx_none(DNS_NO_DOMAIN, expiry(entry->dns, DNS_TTL_MAX_S, DNS_TTL_MAX_S),
                                      "not a valid domain name"));
        return;
    }
    if (entry_kind(entry) == KIND_MX) {
        ask_start(entry, &entry->asks[0], DNS_TYPE_MX);
        return;
    }
    if (entry->dns->ipv6)
        ask_start(entry, &entry->asks[0], DNS_TYPE_AAAA);
    ask_start(entry, &entry->asks[1], DNS_TYPE_A);
}

/* ---- queries ---- */

static void query_link(struct dns_query **list, struct dns_query *query)
{
    query->next = *list;
    if (query->next != NULL)
        query->next->back = &query->next;
    query->back = list;
    *list = query;
}

void dns_cancel(struct dns_query *query)
{
    if (query->back == NULL)
        return;
    *query->back = query->next;
    if (query->next != NULL)
        query->next->back = query->back;
    query->next = NULL;
    query->back = NULL;
}

static void dns_ask(struct dns *dns, struct dns_query *query, enum kind kind, struct str name)
{
    assert(query->back == NULL);
    if (dns->ending)
        return;
    struct entry *entry = entry_get(dns, kind, name);
    if (entry == NULL) {
        query_link(kind == KIND_MX ? &dns->no_memory_mx : &dns->no_memory_addresses, query);
        return;
    }
    query_link(&entry->waiters, query);
    if (entry->asking > 0)
        return;
    if (entry->answered && (entry->ready || entry->mx->expires_ns > dns->now.mono_ns))
        entry_make_ready(entry);
    else
        entry_ask(entry);
}

void dns_ask_mx(struct dns *dns, struct dns_query *query, struct str domain, struct now now)
{
    dns->now = now;
    dns_ask(dns, query, KIND_MX, domain);
}

void dns_ask_addresses(struct dns *dns, struct dns_query *query, struct str host, struct now now)
{
    dns->now = now;
    dns_ask(dns, query, KIND_ADDRESSES, host);
}

/* ---- delivery ---- */

static void address_set(struct dns_address *address, const struct dns_ip *ip, bool v6)
{
    if (v6) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)&address->address;
        *in6 = (struct sockaddr_in6){.sin6_family = AF_INET6};
        memcpy(&in6->sin6_addr, ip->bytes, 16);
        address->len = sizeof *in6;
    } else {
        struct sockaddr_in *in = (struct sockaddr_in *)(void *)&address->address;
        *in = (struct sockaddr_in){.sin_family = AF_INET};
        memcpy(&in->sin_addr, ip->bytes, 4);
        address->len = sizeof *in;
    }
}

static void fill_addresses(struct dns *dns, const struct entry *entry, const struct dns_mx *mx)
{
    struct dns_addresses *out = &dns->addresses;
    out->status = mx->status;
    out->expires_ns = mx->expires_ns;
    memcpy(out->reason, mx->reason, sizeof out->reason);
    out->count = 0;
    uint64_t turn[2] = {0, 0};
    for (int i = 0; i < 2; i++)
        if (entry->asks[i].ip_count > 0)
            turn[i] = prng_below(dns->prng, entry->asks[i].ip_count);
    for (unsigned n = 0; n < HOST_ADDRESSES_MAX; n++) {
        for (int i = 0; i < 2; i++) {
            const struct ask *ask = &entry->asks[i];
            if (n < ask->ip_count && out->count < HOST_ADDRESSES_MAX)
                address_set(&out->list[out->count++], &ask->ips[(n + turn[i]) % ask->ip_count], i == 0);
        }
    }
}

/* Callbacks may ask and cancel what they like; who asks again now is answered by the next dns_step. */
static void call_waiters(struct dns *dns, struct dns_query **waiters, enum kind kind, struct dns_mx *mx)
{
    dns->calling = *waiters;
    *waiters = NULL;
    if (dns->calling != NULL)
        dns->calling->back = &dns->calling;
    while (dns->calling != NULL) {
        struct dns_query *query = dns->calling;
        dns_cancel(query);
        if (kind == KIND_MX)
            query->mx(query, dns_mx_ref(mx));
        else
            query->addresses(query, &dns->addresses);
    }
}

static void entry_deliver(struct entry *entry)
{
    struct dns_mx *mx = dns_mx_ref(entry->mx);
    entry->ready = false;
    entry->delivering = true;
    if (entry_kind(entry) == KIND_ADDRESSES)
        fill_addresses(entry->dns, entry, mx);
    call_waiters(entry->dns, &entry->waiters, entry_kind(entry), mx);
    entry->delivering = false;
    dns_mx_unref(mx);
    if (entry->forgotten && !entry_pinned(entry))
        entry_free(entry);
}

static void deliver_no_memory(struct dns *dns)
{
    call_waiters(dns, &dns->no_memory_mx, KIND_MX, &mx_no_memory);
    dns->addresses.status = DNS_FAILED;
    dns->addresses.expires_ns = 0;
    dns->addresses.count = 0;
    memcpy(dns->addresses.reason, mx_no_memory.reason, sizeof dns->addresses.reason);
    call_waiters(dns, &dns->no_memory_addresses, KIND_ADDRESSES, &mx_no_memory);
}

static void deliver(struct dns *dns)
{
    struct entry *list = dns->ready, *next;
    dns->ready = NULL;
    dns->ready_tail = &dns->ready;
    for (; list != NULL; list = next) {
        next = list->next_ready;
        entry_deliver(list);
    }
    if (dns->no_memory_mx != NULL || dns->no_memory_addresses != NULL)
        deliver_no_memory(dns);
}

bool dns_busy(const struct dns *dns)
{
    return dns->ready != NULL || dns->no_memory_mx != NULL || dns->no_memory_addresses != NULL ||
           (dns->queue != NULL && dns->under_way < DNS_UNDER_WAY_MAX);
}

void dns_step(struct dns *dns, struct now now)
{
    dns->now = now;
    deliver(dns);
    for (int n = 0; n < DNS_STARTS_MAX && dns->queue != NULL && dns->under_way < DNS_UNDER_WAY_MAX; n++)
        dns_net_ask(dns->net, question_dequeue(dns), now);
}

void dns_flush(struct dns *dns)
{
    struct entry *entry, *next;
    DL_FOREACH_SAFE(dns->entries, entry, next)
    {
        if (!entry_pinned(entry)) {
            entry_free(entry);
        } else if (!entry->forgotten) {
            HASH_DELETE(hh, dns->table, entry);
            entry->forgotten = true;
        }
    }
}

/* ---- making and ending ---- */

struct dns *dns_create(struct io *io, struct wheel *wheel, struct prng *prng,
                       const struct dns_settings *settings, struct err *err)
{
    struct dns *dns = calloc(1, sizeof *dns);
    if (dns == NULL) {
        err_set(err, ENOMEM, "no memory for the resolver");
        return NULL;
    }
    dns->prng = prng;
    dns->ipv6 = settings->ipv6;
    dns->cache_max = settings->cache_max;
    dns->ready_tail = &dns->ready;
    dns->queue_tail = &dns->queue;
    dns->net = dns_net_create(io, wheel, settings, err);
    if (dns->net == NULL) {
        free(dns);
        return NULL;
    }
    return dns;
}

void dns_destroy(struct dns *dns)
{
    if (dns == NULL)
        return;
    dns->ending = true;
    dns_net_destroy(dns->net);
    while (dns->queue != NULL) /* an alias may have come back here, too */
        ask_fail((struct ask *)(void *)question_dequeue(dns), "the resolver is being shut down");
    while (dns->ready != NULL || dns->no_memory_mx != NULL || dns->no_memory_addresses != NULL)
        deliver(dns);
    struct entry *entry, *next;
    DL_FOREACH_SAFE(dns->entries, entry, next)
    entry_free(entry);
    free(dns);
}
