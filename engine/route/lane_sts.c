/* lane_sts.c - see lane_sts.h.
 *
 *   TXT -> no record:  the keeper, which may know a policy that still holds
 *       -> a record:   A and AAAA of the policy host -> the keeper -> lane_route */
#include "engine/route/lane_sts.h"

#include "engine/route/handover.h"
#include "engine/route/lane_route.h"
#include "engine/route/tally.h"
#include "engine/sts/keeper.h"
#include "engine/tls/sts.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

/* From the first question to the keeper's answer. */
struct lane_sts {
    struct sts_request request; /* first: the keeper's message */
    struct dns_query query;
    struct lane *lane; /* NULL: it did not wait */
    struct dns_mx *mx;
};

static struct lane_sts *sts_of_query(struct dns_query *query)
{
    return (struct lane_sts *)(void *)((char *)query - offsetof(struct lane_sts, query));
}

static void sts_free(struct lane_sts *sts)
{
    dns_mx_unref(sts->mx);
    free(sts->request.policy);
    free(sts);
}

/* The lane goes on, with these hosts. */
static void sts_route(struct lane *lane, struct dns_mx *mx)
{
    lane->sts = NULL;
    lane->asking = false;
    lane_route(lane, mx, NULL);
}

/* ---- the keeper ---- */

static void sts_ask_keeper(struct lane_sts *sts)
{
    struct router *router = sts->lane->router;
    sts->request.back = router->inboxes[router->index];
    sts->request.kind = HANDOVER_STS;
    sts_keeper_ask(router->sts, &sts->request);
}

/* The hosts with what the policy says of each; mx itself where it says nothing or memory is out. */
static struct dns_mx *sts_apply(const struct router *router, const char *domain, struct dns_mx *mx,
                                const char *text)
{
    static _Thread_local struct sts_policy policy; /* too large for a stack */
    struct err err;
    if (text == NULL || !sts_policy_parse(str_of(text), &policy, &err) || policy.mode == STS_NONE)
        return mx;
    tally_policy(router, domain, text);
    struct dns_mx *copy = dns_mx_create(mx->host_count);
    if (copy == NULL)
        return mx;
    copy->status = mx->status;
    copy->expires_ns = mx->expires_ns;
    copy->implicit = mx->implicit;
    copy->secure = mx->secure;
    memcpy(copy->hosts, mx->hosts, mx->host_count * sizeof mx->hosts[0]);
    copy->sts_mode = (uint8_t)policy.mode;
    for (unsigned i = 0; i < mx->host_count; i++)
        if (sts_verdict(&policy, str_of(mx->hosts[i].name)) == STS_REQUIRED)
            copy->sts_hosts |= UINT32_C(1) << i;
    dns_mx_unref(mx);
    return copy;
}

void lane_sts_answered(struct inbox_node *node)
{
    struct lane_sts *sts = (struct lane_sts *)(void *)node;
    struct lane *lane = sts->lane;
    if (lane != NULL) {
        struct dns_mx *mx = sts_apply(lane->router, lane->domain, sts->mx, sts->request.policy);
        sts->mx = NULL;
        sts_route(lane, mx);
    }
    sts_free(sts);
}

void lane_sts_drop_message(struct inbox_node *node)
{
    sts_free((struct lane_sts *)(void *)node);
}

/* ---- DNS ---- */

static void sts_heard_addresses(struct dns_query *query, const struct dns_addresses *answer)
{
    struct lane_sts *sts = sts_of_query(query);
    char *to = sts->request.addresses, text[INET6_ADDRSTRLEN];
    size_t used = 0;
    for (unsigned i = 0; answer->status == DNS_OK && i < answer->count; i++) {
        const struct sockaddr_storage *address = &answer->list[i].address;
        bool v6 = address->ss_family == AF_INET6;
        const void *bytes = v6 ? (const void *)&((const struct sockaddr_in6 *)address)->sin6_addr
                               : (const void *)&((const struct sockaddr_in *)address)->sin_addr;
        inet_ntop(address->ss_family, bytes, text, sizeof text);
        if (used + strlen(text) + 4 > sizeof sts->request.addresses)
            break;
        used += (size_t)snprintf(to + used, sizeof sts->request.addresses - used, "%s%s%s%s",
                                 used > 0 ? "," : "", v6 ? "[" : "", text, v6 ? "]" : "");
    }
    sts_ask_keeper(sts);
}

/* Of several records of the name exactly one must be a policy's, RFC 8461 3.1. */
static void sts_heard_record(struct dns_query *query, const struct dns_records *answer)
{
    struct lane_sts *sts = sts_of_query(query);
    struct router *router = sts->lane->router;
    unsigned found = 0;
    char name[DOMAIN_MAX + 16];
    for (unsigned i = 0; answer->status == DNS_OK && i < answer->data->count; i++) {
        const char *text = (const char *)answer->data->bytes + answer->data->list[i].at;
        found += sts_record_parse(str_make(text, answer->data->list[i].size), sts->request.id);
    }
    if (found != 1)
        sts->request.id[0] = '\0';
    if (found == 1) {
        int n = snprintf(name, sizeof name, "mta-sts.%s", sts->request.domain);
        dns_ask_addresses(router->dns, &sts->query, str_make(name, (size_t)n), router->now);
    } else {
        sts_ask_keeper(sts);
    }
}

void lane_sts_ask(struct lane *lane, struct dns_mx *mx)
{
    struct router *router = lane->router;
    char site[DOMAIN_MAX + 1], name[DOMAIN_MAX + 16];
    bool wanted = router->sts != NULL && !router->stopping &&
                  lane_site(router->config, mx, site)->tls != TLS_POLICY_NONE;
    struct lane_sts *sts = wanted ? calloc(1, sizeof *sts) : NULL;
    if (sts == NULL) {
        sts_route(lane, mx);
        return;
    }
    sts->lane = lane;
    sts->mx = mx;
    lane->sts = sts;
    lane->asking = true;
    snprintf(sts->request.domain, sizeof sts->request.domain, "%s", lane->domain);
    int n = snprintf(name, sizeof name, "_mta-sts.%s", lane->domain);
    sts->query.records = sts_heard_record;
    sts->query.addresses = sts_heard_addresses;
    dns_ask_records(router->dns, &sts->query, DNS_RECORDS_TXT, str_make(name, (size_t)n), router->now);
}

void lane_sts_cancel(struct lane *lane)
{
    struct lane_sts *sts = lane->sts;
    if (sts == NULL)
        return;
    lane->sts = NULL;
    sts->lane = NULL;
    if (sts->request.back == NULL) { /* it is not with the keeper */
        dns_cancel(&sts->query);
        sts_free(sts);
    }
}
