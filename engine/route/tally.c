/* tally.c - see tally.h. */
#include "engine/route/tally.h"

#include "engine/route/path.h"
#include "engine/tlsrpt/rpt.h"

#include <arpa/inet.h>
#include <stdio.h>

#define DOMAINS_MAX 32 /* that one failure is counted for */

static enum rpt_policy policy_of(const struct pool *pool, const struct tls_demand *demand)
{
    return demand->tlsa != NULL ? RPT_TLSA : pool->tls.sts != STS_NONE ? RPT_STS : RPT_NO_POLICY;
}

bool tally_wanted(const struct pool *pool, const struct tls_demand *demand)
{
    if (pool->path->router->rpt == NULL)
        return false;
    return policy_of(pool, demand) != RPT_NO_POLICY ||
           (pool->route == NULL && demand->policy != TLS_POLICY_NONE && pool->tls.wish != TLS_WISH_OPTIONAL);
}

static void put(char *to, size_t room, struct str text)
{
    snprintf(to, room, "%.*s", STR_ARG(text));
}

/* The records, as many as there is room for. */
static void put_tlsa(struct rpt_event *event, const struct tlsa_set *set)
{
    static _Thread_local char text[TLSA_TEXT_MAX];
    size_t used = 0;
    for (unsigned i = 0; set != NULL && i < set->count; i++) {
        size_t n = tlsa_text(set, i, text);
        if (used + n + 2 > sizeof event->text)
            return;
        used += (size_t)snprintf(event->text + used, sizeof event->text - used, "%s\n", text);
    }
}

static void begin(struct rpt_event *event, const struct pool *pool, const char *host, enum rpt_policy policy,
                  enum rpt_result result)
{
    const struct sockaddr_storage *source = &pool->path->source.address_value;
    *event = (struct rpt_event){.policy = policy, .result = result, .count = 1};
    put(event->host, sizeof event->host, str_of(host));
    if (source->ss_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)source)->sin_addr, event->source,
                  sizeof event->source);
    else if (source->ss_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)source)->sin6_addr, event->source,
                  sizeof event->source);
}

static enum rpt_result result_of(enum tls_fault fault)
{
    static const enum rpt_result results[TLS_FAULTS] = {
        [TLS_FAULT_NONE] = RPT_FINE,           [TLS_FAULT_NOT_OFFERED] = RPT_NOT_OFFERED,
        [TLS_FAULT_HANDSHAKE] = RPT_HANDSHAKE, [TLS_FAULT_NAME] = RPT_NAME,
        [TLS_FAULT_EXPIRED] = RPT_EXPIRED,     [TLS_FAULT_UNTRUSTED] = RPT_UNTRUSTED,
        [TLS_FAULT_TLSA] = RPT_TLSA_INVALID,
    };
    return results[fault];
}

static void begin_session(struct rpt_event *event, const struct pool *pool, const struct tls_demand *demand,
                          const char *host, enum tls_fault fault)
{
    begin(event, pool, host, policy_of(pool, demand), result_of(fault));
    put_tlsa(event, demand->tlsa);
}

void tally_session(const struct pool *pool, const struct tls_demand *demand, const char *host,
                   struct str domain, enum tls_fault fault)
{
    struct rpt *rpt = pool->path->router->rpt;
    struct rpt_event event;
    if (policy_of(pool, demand) == RPT_NO_POLICY && !rpt_wants(rpt, str_hash(domain)))
        return;
    begin_session(&event, pool, demand, host, fault);
    put(event.domain, sizeof event.domain, domain);
    rpt_count(rpt, &event);
}

/* Of what waits: a lane's domain, or, of what another worker lent, that of the first. */
static void count_waiting(const struct pool *pool, struct rpt_event *event)
{
    uint64_t seen[DOMAINS_MAX];
    unsigned count = 0;
    for (const struct strand *strand = pool->strands; strand != NULL && count < DOMAINS_MAX;
         strand = strand->pool_next) {
        struct str domain = str_of(strand->lane->domain);
        if (strand->head == NULL)
            continue;
        if (domain.n == 0)
            domain = str_domain(strand->head->to);
        unsigned i = 0;
        seen[count] = str_hash(domain);
        while (seen[i] != seen[count])
            i++;
        if (i < count)
            continue;
        count++;
        if (event->policy == RPT_NO_POLICY && !rpt_wants(pool->path->router->rpt, seen[i]))
            continue;
        put(event->domain, sizeof event->domain, domain);
        rpt_count(pool->path->router->rpt, event);
    }
}

void tally_failure(const struct pool *pool, const struct tls_demand *demand, const char *host,
                   enum tls_fault fault)
{
    struct rpt_event event;
    if (!tally_wanted(pool, demand) || fault == TLS_FAULT_NONE)
        return;
    begin_session(&event, pool, demand, host, fault);
    count_waiting(pool, &event);
}

void tally_refusal(const struct pool *pool, const char *host, enum dane_verdict dane)
{
    struct rpt_event event;
    bool bogus = dane == DANE_BOGUS;
    if (pool->path->router->rpt == NULL || (!bogus && pool->tls.sts == STS_NONE))
        return;
    begin(&event, pool, host, bogus ? RPT_TLSA : RPT_STS, bogus ? RPT_DNSSEC_INVALID : RPT_HANDSHAKE);
    count_waiting(pool, &event);
}

void tally_policy(const struct router *router, const char *domain, const char *text)
{
    struct rpt_event event = {.policy = RPT_STS};
    if (router->rpt == NULL)
        return;
    put(event.domain, sizeof event.domain, str_of(domain));
    put(event.text, sizeof event.text, str_of(text));
    rpt_count(router->rpt, &event);
}
