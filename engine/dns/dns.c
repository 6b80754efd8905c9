/* dns.c - the resolver's cache, and who waits for what; dns_lookup.c knows how an answer is found.
 *
 * An `entry` is one name asked for one purpose (mail hosts, addresses, records of a type): first its waiters
 * and the questions under way, later the answer until that expires. A query joins its entry, which is new,
 * expired, being asked, or answered; once there is an answer the entry goes on the `ready` list, from which
 * dns_step calls the waiters. Questions wait in `queue` until dns_step may hand them to the network.
 *
 * Entries with waiters or questions are never evicted; a flush takes them out of the table, and they die
 * when they have answered. */
#include "engine/dns/dns_entry.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <utlist.h>

/* ---- entries ---- */

static bool entry_pinned(const struct dns_entry *entry)
{
    return entry->asking > 0 || entry->ready || entry->delivering || entry->waiters != NULL;
}

/* Nobody finds it any more. */
static void entry_forget(struct dns_entry *entry)
{
    if (entry->forgotten)
        return;
    HASH_DELETE(hh, entry->dns->table, entry);
    entry->forgotten = true;
}

static void entry_free(struct dns_entry *entry)
{
    struct dns *dns = entry->dns;
    entry_forget(entry);
    DL_DELETE(dns->entries, entry);
    dns->count--;
    dns_cancel(&entry->via);
    dns_lookup_clear(entry);
    free(entry);
}

/* Makes room for one more. Those that are busy are passed over, so that there may be more than cache_max. */
static void evict(struct dns *dns)
{
    struct dns_entry *entry = dns->entries, *next;
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

static struct dns_entry *entry_get(struct dns *dns, enum dns_kind kind, struct str name)
{
    char key[DOMAIN_MAX + 2];
    if (name.n > DOMAIN_MAX)
        name.n = 0; /* no valid name either */
    key[0] = (char)kind;
    if (name.n > 0)
        memcpy(key + 1, name.p, name.n);
    size_t key_len = name.n + 1;
    struct dns_entry *entry;
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

void dns_entry_make_ready(struct dns_entry *entry)
{
    struct dns *dns = entry->dns;
    if (entry->ready)
        return;
    entry->ready = true;
    entry->next_ready = NULL;
    *dns->ready_tail = entry;
    dns->ready_tail = &entry->next_ready;
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

void dns_ask(struct dns *dns, struct dns_query *query, enum dns_kind kind, struct str name)
{
    assert(query->back == NULL);
    if (dns->ending)
        return;
    struct dns_entry *entry = entry_get(dns, kind, name);
    if (entry == NULL) {
        query_link(kind == KIND_MX          ? &dns->no_memory_mx
                   : kind == KIND_ADDRESSES ? &dns->no_memory_addresses
                                            : &dns->no_memory_records,
                   query);
        return;
    }
    query_link(&entry->waiters, query);
    if (entry->asking > 0)
        return;
    if (entry->answered && (entry->ready || entry->mx->expires_ns > dns->now.mono_ns))
        dns_entry_make_ready(entry);
    else
        dns_lookup_start(entry);
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

void dns_ask_records(struct dns *dns, struct dns_query *query, enum dns_records_type type, struct str name,
                     struct now now)
{
    dns->now = now;
    dns_ask(dns, query, type == DNS_RECORDS_TXT ? KIND_TXT : KIND_TLSA, name);
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

static void fill_addresses(struct dns *dns, const struct dns_entry *entry, const struct dns_mx *mx)
{
    struct dns_addresses *out = &dns->addresses;
    out->status = mx->status;
    out->expires_ns = mx->expires_ns;
    out->secure = mx->secure;
    memcpy(out->reason, mx->reason, sizeof out->reason);
    out->count = 0;
    uint64_t turn[2] = {0, 0};
    for (int i = 0; i < 2; i++)
        if (entry->asks[i].ip_count > 0)
            turn[i] = prng_below(dns->prng, entry->asks[i].ip_count);
    for (unsigned n = 0; n < HOST_ADDRESSES_MAX; n++) {
        for (int i = 0; i < 2; i++) {
            const struct dns_ask *ask = &entry->asks[i];
            if (n < ask->ip_count && out->count < HOST_ADDRESSES_MAX)
                address_set(&out->list[out->count++], &ask->ips[(n + turn[i]) % ask->ip_count], i == 0);
        }
    }
}

/* Callbacks may ask and cancel what they like; who asks again now is answered by the next dns_step. */
static void call_waiters(struct dns *dns, struct dns_query **waiters, enum dns_kind kind, struct dns_mx *mx,
                         const struct dns_data *data)
{
    struct dns_records records = {
        .status = mx->status, .expires_ns = mx->expires_ns, .secure = mx->secure, .data = data};
    memcpy(records.reason, mx->reason, sizeof records.reason);
    dns->calling = *waiters;
    *waiters = NULL;
    if (dns->calling != NULL)
        dns->calling->back = &dns->calling;
    while (dns->calling != NULL) {
        struct dns_query *query = dns->calling;
        dns_cancel(query);
        if (kind == KIND_MX)
            query->mx(query, dns_mx_ref(mx));
        else if (dns_kind_is_records(kind))
            query->records(query, &records);
        else
            query->addresses(query, &dns->addresses);
    }
}

static void entry_deliver(struct dns_entry *entry)
{
    struct dns_mx *mx = dns_mx_ref(entry->mx);
    entry->ready = false;
    entry->delivering = true;
    if (dns_entry_kind(entry) == KIND_ADDRESSES)
        fill_addresses(entry->dns, entry, mx);
    call_waiters(entry->dns, &entry->waiters, dns_entry_kind(entry), mx, entry->data);
    entry->delivering = false;
    dns_mx_unref(mx);
    if (entry->forgotten && !entry_pinned(entry))
        entry_free(entry);
}

static bool has_no_memory(const struct dns *dns)
{
    return dns->no_memory_mx != NULL || dns->no_memory_addresses != NULL || dns->no_memory_records != NULL;
}

static void deliver_no_memory(struct dns *dns)
{
    call_waiters(dns, &dns->no_memory_mx, KIND_MX, &dns_mx_no_memory, NULL);
    dns->addresses.status = DNS_FAILED;
    dns->addresses.expires_ns = 0;
    dns->addresses.secure = false;
    dns->addresses.count = 0;
    memcpy(dns->addresses.reason, dns_mx_no_memory.reason, sizeof dns->addresses.reason);
    call_waiters(dns, &dns->no_memory_addresses, KIND_ADDRESSES, &dns_mx_no_memory, NULL);
    call_waiters(dns, &dns->no_memory_records, KIND_TXT, &dns_mx_no_memory, NULL);
}

static void deliver(struct dns *dns)
{
    struct dns_entry *list = dns->ready, *next;
    dns->ready = NULL;
    dns->ready_tail = &dns->ready;
    for (; list != NULL; list = next) {
        next = list->next_ready;
        entry_deliver(list);
    }
    if (has_no_memory(dns))
        deliver_no_memory(dns);
}

bool dns_busy(const struct dns *dns)
{
    return dns->ready != NULL || has_no_memory(dns) ||
           (dns->queue != NULL && dns->under_way < DNS_UNDER_WAY_MAX);
}

void dns_step(struct dns *dns, struct now now)
{
    dns->now = now;
    deliver(dns);
    for (int n = 0; n < DNS_STARTS_MAX && dns->queue != NULL && dns->under_way < DNS_UNDER_WAY_MAX; n++)
        dns_net_ask(dns->net, dns_lookup_next(dns), now);
}

void dns_flush(struct dns *dns)
{
    struct dns_entry *next;
    for (struct dns_entry *entry = dns->entries; entry != NULL; entry = next) {
        next = entry->next;
        if (entry_pinned(entry))
            entry_forget(entry);
        else
            entry_free(entry);
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
        dns_lookup_fail(dns_lookup_next(dns), "the resolver is being shut down");
    while (dns->ready != NULL || has_no_memory(dns))
        deliver(dns);
    while (dns->entries != NULL)
        entry_free(dns->entries); /* NOLINT(clang-analyzer-unix.Malloc): it takes the head off the list */
    free(dns);
}
