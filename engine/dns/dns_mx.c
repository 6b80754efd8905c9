/* dns_mx.c - the reference counted answer about mail hosts; see dns.h. */
#include "engine/dns/dns_entry.h"

#include <stdatomic.h>
#include <stdlib.h>

struct dns_mx dns_mx_no_memory = {
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
