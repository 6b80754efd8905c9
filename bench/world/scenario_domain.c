/* scenario_domain.c - see scenario_domain.h. */
#include "bench/world/scenario_domain.h"

#include <stdlib.h>

static bool read_name(struct name *name, const struct yaml *node, struct err *err)
{
    struct err why;
    if (!yaml_want(node, YAML_SCALAR, err))
        return false;
    name_free(name);
    return name_parse(name, str_of(node->text), &why) || yaml_error(node, err, "%s", why.text);
}

static uint32_t length(const struct yaml *list)
{
    uint32_t n = 0;
    for (const struct yaml *node = list->first; node; node = node->next)
        n++;
    return n;
}

/* [[10, host], …] */
static bool read_mx(struct domain *domain, const struct yaml *list, struct err *err)
{
    if (!yaml_want(list, YAML_LIST, err))
        return false;
    free(domain->mx);
    domain->mx = calloc(length(list) + 1, sizeof *domain->mx);
    domain->mx_used = 0;
    if (domain->mx == NULL)
        return yaml_error(list, err, "out of memory");
    for (const struct yaml *node = list->first; node; node = node->next) {
        struct mx *mx = &domain->mx[domain->mx_used++];
        if (node->kind != YAML_LIST || length(node) != 2)
            return yaml_error(node, err, "mx wants [[preference, host], …]");
        if (!yaml_u32(node->first, 65535, &mx->preference, err) ||
            !yaml_copy(node->first->next, &mx->target, err) || !read_name(&mx->name, node->first->next, err))
            return false;
        if (mx->name.kind == NAME_WILDCARD)
            return yaml_error(node, err, "an mx target cannot be a wildcard");
    }
    return true;
}

static bool read_type(const struct yaml *node, uint32_t *bits, struct err *err)
{
    static const struct {
        const char *name;
        uint32_t bit;
    } types[] = {{"a", TYPE_BIT_A},     {"mx", TYPE_BIT_MX},       {"aaaa", TYPE_BIT_AAAA},
                 {"txt", TYPE_BIT_TXT}, {"other", TYPE_BIT_OTHER}, {"true", TYPE_BIT_ALL},
                 {"false", 0}};
    if (!yaml_want(node, YAML_SCALAR, err))
        return false;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (!str_eq_nocase(str_of(types[i].name), str_of(node->text)))
            continue;
        *bits |= types[i].bit;
        return true;
    }
    return yaml_error(node, err, "wants true, or types among a, mx, aaaa, txt, other, not '%s'", node->text);
}

static bool read_types(const struct yaml *node, uint32_t *bits, struct err *err)
{
    *bits = 0;
    if (node->kind != YAML_LIST)
        return read_type(node, bits, err);
    for (const struct yaml *item = node->first; item; item = item->next)
        if (!read_type(item, bits, err))
            return false;
    return true;
}

static bool read_txt(struct domain *domain, const struct yaml *node, struct err *err)
{
    const struct yaml *item = node->kind == YAML_LIST ? node->first : node;
    domain->txt = calloc(length(node) + 1, sizeof *domain->txt);
    if (domain->txt == NULL)
        return yaml_error(node, err, "out of memory");
    for (; item; item = node->kind == YAML_LIST ? item->next : NULL)
        if (!yaml_copy(item, &domain->txt[domain->txt_used++], err))
            return false;
    return true;
}

static bool read_address(struct domain *domain, const struct yaml *node, struct err *err)
{
    const struct yaml *item = node->kind == YAML_LIST ? node->first : node;
    domain->addresses = calloc(length(node) + 1, sizeof *domain->addresses);
    if (domain->addresses == NULL)
        return yaml_error(node, err, "out of memory");
    for (; item; item = node->kind == YAML_LIST ? item->next : NULL) {
        if (!yaml_want(item, YAML_SCALAR, err))
            return false;
        if (!address_parse(&domain->addresses[domain->addresses_used++], str_of(item->text), 0))
            return yaml_error(item, err, "'%s' is no IPv4 or IPv6 address", item->text);
    }
    return true;
}

static bool read_own(struct domain *domain, const struct yaml *node, struct err *err)
{
    if (!yaml_copy(node, &domain->mx_own, err))
        return false;
    if (strcmp(domain->mx_own, "true") == 0) {
        domain->mx_own[0] = '\0';
    } else if (strcmp(domain->mx_own, "false") == 0) {
        free(domain->mx_own);
        domain->mx_own = NULL;
    }
    return true;
}

static bool read_key(struct domain *domain, const struct yaml *key, struct err *err)
{
    if (yaml_is(key, "name"))
        return read_name(&domain->name, key, err);
    if (yaml_is(key, "mx"))
        return read_mx(domain, key, err);
    if (yaml_is(key, "mx_own"))
        return read_own(domain, key, err);
    if (yaml_is(key, "null_mx"))
        return yaml_bool(key, &domain->null_mx, err);
    if (yaml_is(key, "no_mx"))
        return yaml_bool(key, &domain->no_mx, err);
    if (yaml_is(key, "nxdomain"))
        return yaml_bool(key, &domain->nxdomain, err);
    if (yaml_is(key, "host"))
        return yaml_copy(key, &domain->host, err) && read_name(&domain->host_name, key, err);
    if (yaml_is(key, "cname"))
        return yaml_copy(key, &domain->cname, err) && read_name(&domain->cname_name, key, err);
    if (yaml_is(key, "servfail"))
        return read_types(key, &domain->servfail, err);
    if (yaml_is(key, "timeout"))
        return read_types(key, &domain->silent, err);
    if (yaml_is(key, "ttl")) {
        domain->has_ttl = true;
        return yaml_u32(key, INT32_MAX, &domain->ttl, err);
    }
    if (yaml_is(key, "delay_ms"))
        return yaml_u32(key, 60000, &domain->delay_ms, err);
    if (yaml_is(key, "txt"))
        return read_txt(domain, key, err);
    if (yaml_is(key, "address"))
        return read_address(domain, key, err);
    return yaml_error(key, err, "unknown key '%s' of a domain; see --help", key->key);
}

static bool check(const struct domain *domain, const struct yaml *node, struct err *err)
{
    if (domain->name.prefix == NULL)
        return yaml_error(node, err, "a domain wants a name");
    if (domain->no_mx && domain->host == NULL && domain->addresses_used == 0)
        return yaml_error(node, err, "no_mx wants the host (or address) its A record leads to");
    if (domain->mx_used && (domain->null_mx || domain->no_mx))
        return yaml_error(node, err, "mx together with null_mx or no_mx");
    if (domain->mx_own && domain->mx_used == 0)
        return yaml_error(node, err, "mx_own wants mx: the host that its own MX name leads to");
    return true;
}

bool scenario_read_domain(struct zone *zone, const struct yaml *node, const struct str *name, struct err *err)
{
    struct domain domain = {0};
    struct err why;
    bool ok = yaml_want(node, YAML_MAP, err);
    if (ok && name && !name_parse(&domain.name, *name, &why))
        ok = yaml_error(node, err, "%s", why.text);
    for (const struct yaml *key = node->first; ok && key; key = key->next)
        ok = read_key(&domain, key, err);
    ok = ok && check(&domain, node, err);
    if (!ok) {
        domain_free(&domain);
        return false;
    }
    return zone_add_domain(zone, &domain, &why) || yaml_error(node, err, "%s", why.text);
}
