/* secure.c - see secure.h. */
#include "engine/route/secure.h"

#include "engine/route/host.h"
#include "engine/route/loan.h"
#include "engine/route/path.h"

#include <stdio.h>

/* ---- files ---- */

static bool load_site(struct trusts *trusts, const struct config_site *site, struct err *err)
{
    return trusts_add(trusts, site->tls_ca_file, "", "", err) != NULL ||
           err_prefix(err, "site %s", site->name);
}

/* What a route leaves unsaid its site says, and which site that is turns out only with its host. */
static bool load_route(struct trusts *trusts, const struct config *config, const struct config_route *route,
                       struct err *err)
{
    const char *certificate = route->tls_certificate, *key = route->tls_key;
    bool good = trusts_add(trusts, route->tls_ca_file, certificate, key, err) != NULL;
    for (size_t i = 0; good && route->tls_ca_file[0] == '\0' && i <= config->site_count; i++) {
        const struct config_site *site = i < config->site_count ? &config->sites[i] : &config->site_default;
        good = trusts_add(trusts, site->tls_ca_file, certificate, key, err) != NULL;
    }
    return good || err_prefix(err, "route %s", route->domain);
}

struct trusts *secure_load(const struct config *config, struct err *err)
{
    struct trusts *trusts = trusts_create(err);
    bool good = trusts != NULL && load_site(trusts, &config->site_default, err);
    for (size_t i = 0; good && i < config->site_count; i++)
        good = load_site(trusts, &config->sites[i], err);
    for (size_t i = 0; good && i < config->route_count; i++)
        good = load_route(trusts, config, &config->routes[i], err);
    if (good)
        return trusts;
    trusts_destroy(trusts);
    return NULL;
}

/* ---- pools ---- */

/* RFC 8689: who wants TLS has a verified connection or none; who does not care about the receiver's own
 * policies is not held up by them. */
static void policy_wish(struct pool_tls *tls, enum tls_wish wish)
{
    tls->wish = wish;
    if (wish == TLS_WISH_REQUIRED && tls->policy < TLS_POLICY_VERIFY)
        tls->policy = TLS_POLICY_VERIFY;
    if (wish != TLS_WISH_OPTIONAL)
        return;
    tls->tlsa = tls->policy == TLS_POLICY_DANE; /* the operator's word, not the receiver's */
    tls->sts = STS_NONE;
    tls->sts_hosts = 0;
}

struct pool_tls secure_policy(const struct router *router, const struct dns_mx *mx,
                              const struct config_site *settings, const struct config_route *route,
                              enum tls_wish wish)
{
    const char *ca_file = route && route->tls_ca_file[0] ? route->tls_ca_file : settings->tls_ca_file;
    struct pool_tls tls = {
        .policy = route && route->tls != CONFIG_TLS_SITE ? (enum tls_policy)route->tls : settings->tls,
        .implicit = route && route->tls_implicit,
        .vouched = route != NULL || mx->secure, /* a route's host is the operator's word */
        .trust = trusts_find(router->trusts, ca_file, route ? route->tls_certificate : "",
                             route ? route->tls_key : ""),
    };
    if (tls.implicit && tls.policy < TLS_POLICY_ENCRYPT)
        tls.policy = TLS_POLICY_ENCRYPT;
    if (route == NULL && tls.policy != TLS_POLICY_NONE) {
        tls.sts = (enum sts_mode)mx->sts_mode;
        tls.sts_hosts = mx->sts_hosts;
    }
    /* Who names the authorities that may vouch wants no others. */
    bool pinned = tls.policy == TLS_POLICY_VERIFY && ca_file[0] != '\0';
    tls.tlsa = tls.policy != TLS_POLICY_NONE && !pinned && tls.vouched;
    policy_wish(&tls, wish);
    return tls;
}

void secure_key(const struct pool_tls *tls, struct buf *key)
{
    buf_printf(key, " %d%d%d%d%d%d %u %x", tls->policy, tls->implicit, tls->vouched, tls->tlsa, tls->wish,
               tls->sts, trust_number(tls->trust), tls->sts_hosts);
}

void secure_text(const struct pool_tls *tls, char text[SECURE_TEXT_MAX])
{
    snprintf(text, SECURE_TEXT_MAX, "%s%s%s%s%s%s", tls_policy_name(tls->policy),
             tls->implicit ? ", from the first byte" : "", tls->tlsa ? ", TLSA" : "",
             tls->sts != STS_NONE ? ", MTA-STS " : "", tls->sts != STS_NONE ? sts_mode_name(tls->sts) : "",
             tls->wish == TLS_WISH_REQUIRED ? ", REQUIRETLS" : "");
}

/* ---- hosts ---- */

bool secure_wants_tlsa(const struct pool *pool, const struct dns_addresses *addresses)
{
    return pool->tls.tlsa && addresses->secure;
}

enum dane_verdict secure_read_tlsa(const struct dns_records *answer, struct tlsa_set **set)
{
    *set = NULL;
    if (answer->status == DNS_FAILED)
        return dane_verdict(TLSA_FAILED, NULL);
    if (answer->status != DNS_OK || !answer->secure)
        return dane_verdict(TLSA_NONE, NULL);
    struct tlsa_set *records = tlsa_set_create();
    if (records == NULL)
        return DANE_BOGUS; /* no memory: later */
    for (unsigned i = 0; i < answer->data->count; i++)
        tlsa_set_add(records, answer->data->bytes + answer->data->list[i].at, answer->data->list[i].size);
    enum dane_verdict verdict = dane_verdict(TLSA_FOUND, records);
    if (verdict == DANE_REQUIRED)
        *set = records;
    else
        tlsa_set_unref(records);
    return verdict;
}

static bool sts_names(const struct pool *pool, unsigned host)
{
    return (pool->tls.sts_hosts >> host & 1) != 0;
}

bool secure_refuses(const struct pool *pool, unsigned host, enum dane_verdict dane, const char *reason,
                    struct verdict *why)
{
    const char *name = pool->hosts->hosts[host].name;
    if (dane == DANE_BOGUS) {
        verdict_local(why, SCOPE_HOST, STATUS(4, 7, 5), "the TLSA records of %s cannot be had: %s", name,
                      reason);
        return true;
    }
    if (dane == DANE_REQUIRED)
        return false;
    if (pool->tls.policy == TLS_POLICY_DANE) {
        verdict_local(why, SCOPE_HOST, STATUS(4, 7, 5), "%s has no %s, and nothing goes there without", name,
                      dane == DANE_UNUSABLE ? "TLSA record that SMTP can use"
                                            : "TLSA records that DNSSEC vouches for");
        return true;
    }
    if (pool->tls.sts == STS_ENFORCE && !sts_names(pool, host)) {
        verdict_local(why, SCOPE_HOST, STATUS(4, 7, 5),
                      "the domain's MTA-STS policy does not name its mail host %s", name);
        return true;
    }
    if (pool->tls.wish == TLS_WISH_REQUIRED && !pool->tls.vouched && pool->tls.sts != STS_ENFORCE) {
        verdict_local(why, SCOPE_HOST, STATUS(5, 7, 30),
                      "TLS is required, and neither DNSSEC nor MTA-STS vouches for the mail host %s", name);
        return true;
    }
    return false;
}

/* ---- connections ---- */

/* RFC 8461 4.1, and RFC 8460 for what is only tested. */
static void demand_sts(const struct pool *pool, unsigned host, struct tls_demand *demand)
{
    if (pool->tls.sts == STS_ENFORCE && demand->policy < TLS_POLICY_VERIFY)
        demand->policy = TLS_POLICY_VERIFY;
    else if (pool->tls.sts == STS_TESTING && sts_names(pool, host))
        demand->report = true;
}

void secure_demand(const struct pool *pool, const struct target *target, struct tls_demand *demand)
{
    const struct path *path = pool->path;
    *demand = (struct tls_demand){
        .policy = pool->tls.policy,
        .implicit = pool->tls.implicit,
        .requiretls = pool->tls.wish == TLS_WISH_REQUIRED,
        .trust = pool->tls.trust,
    };
    if (target->dane == DANE_REQUIRED) { /* whatever MTA-STS says: RFC 8461 2 */
        demand->policy = TLS_POLICY_DANE;
        demand->tlsa = tlsa_set_ref(target->tlsa);
        return;
    }
    demand_sts(pool, target->host, demand);
    if (demand->policy != TLS_POLICY_MAY)
        return;
    if (target->dane == DANE_UNUSABLE || path_is_tls_only(path))
        demand->policy = TLS_POLICY_ENCRYPT;
    else if (host_is_plain(path->router, &target->address))
        demand->policy = TLS_POLICY_NONE;
}

bool secure_falls_back(struct pool *pool, const struct sockaddr_storage *address,
                       const struct tls_demand *demand, enum tls_fault fault)
{
    if (demand->policy != TLS_POLICY_MAY || fault != TLS_FAULT_HANDSHAKE)
        return false;
    host_set_plain(pool->path->router, address);
    loan_tell_host(pool->path, address);
    return true;
}
