/* secure.c - see secure.h. */
#include "engine/route/secure.h"

#include "engine/route/host.h"
#include "engine/route/loan.h"
#include "engine/route/path.h"

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

struct pool_tls secure_policy(const struct router *router, const struct config_site *settings,
                              const struct config_route *route)
{
    const char *ca_file = route && route->tls_ca_file[0] ? route->tls_ca_file : settings->tls_ca_file;
    struct pool_tls tls = {
        .policy = route && route->tls != CONFIG_TLS_SITE ? (enum tls_policy)route->tls : settings->tls,
        .implicit = route && route->tls_implicit,
        .trust = trusts_find(router->trusts, ca_file, route ? route->tls_certificate : "",
                             route ? route->tls_key : ""),
    };
    if (tls.implicit && tls.policy < TLS_POLICY_ENCRYPT)
        tls.policy = TLS_POLICY_ENCRYPT;
    return tls;
}

void secure_key(const struct pool_tls *tls, struct buf *key)
{
    buf_printf(key, " %d%d %u", tls->policy, tls->implicit, trust_number(tls->trust));
}

/* ---- connections ---- */

void secure_demand(const struct pool *pool, const struct target *target, struct tls_demand *demand)
{
    const struct path *path = pool->path;
    *demand = (struct tls_demand){
        .policy = pool->tls.policy, .implicit = pool->tls.implicit, .trust = pool->tls.trust};
    if (demand->policy != TLS_POLICY_MAY)
        return;
    if (path_is_tls_only(path))
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
