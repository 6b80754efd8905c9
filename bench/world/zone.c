/* zone.c - see zone.h. */
#include "bench/world/zone.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <uthash.h>

struct exact {
    char *name;
    enum found_kind kind;
    const struct host *host;
    const struct domain *domain;
    uint32_t mx;
    UT_hash_handle hh;
};

struct pattern {
    struct pattern *next;
    const struct name *name;
    enum found_kind kind;
    const struct domain *domain;
    uint32_t mx;
};

struct owned {
    struct owned *next;
    char *written;
    struct domain domain;
    UT_hash_handle hh;
};

struct zone {
    struct exact *exacts;
    struct pattern *patterns; /* numbered ones first, then wildcards, the longest first */
    struct owned *domains;
};

struct zone *zone_create(void)
{
    return calloc(1, sizeof(struct zone));
}

void domain_free(struct domain *domain)
{
    name_free(&domain->name);
    name_free(&domain->cname_name);
    name_free(&domain->host_name);
    for (uint32_t i = 0; i < domain->mx_used; i++) {
        free(domain->mx[i].target);
        name_free(&domain->mx[i].name);
        name_free(&domain->mx[i].own);
    }
    for (uint32_t i = 0; i < domain->txt_used; i++)
        free(domain->txt[i]);
    free(domain->txt);
    free(domain->mx);
    free(domain->addresses);
    free(domain->mx_own);
    free(domain->cname);
    free(domain->host);
    *domain = (struct domain){0};
}

static void drop_exact(struct zone *zone, struct exact *exact)
{
    HASH_DEL(zone->exacts, exact);
    free(exact->name);
    free(exact);
}

/* Forgets every name that leads to the domain, then the domain. */
static void drop_domain(struct zone *zone, struct owned *owned)
{
    struct exact *exact, *next_exact;
    HASH_ITER(hh, zone->exacts, exact, next_exact)
    {
        if (exact->domain == &owned->domain)
            drop_exact(zone, exact);
    }
    for (struct pattern **at = &zone->patterns; *at;) {
        struct pattern *pattern = *at;
        if (pattern->domain != &owned->domain) {
            at = &pattern->next;
            continue;
        }
        *at = pattern->next;
        free(pattern);
    }
    HASH_DEL(zone->domains, owned);
    domain_free(&owned->domain);
    free(owned->written);
    free(owned);
}

void zone_free(struct zone *zone)
{
    if (zone == NULL)
        return;
    struct exact *exact, *next_exact;
    HASH_ITER(hh, zone->exacts, exact, next_exact)
    {
        drop_exact(zone, exact);
    }
    struct owned *owned, *next_owned;
    HASH_ITER(hh, zone->domains, owned, next_owned)
    {
        drop_domain(zone, owned);
    }
    free(zone);
}

static bool add_exact(struct zone *zone, const char *name, struct exact like, struct err *err)
{
    struct exact *exact = NULL;
    HASH_FIND_STR(zone->exacts, name, exact);
    if (exact)
        return err_set(err, EEXIST, "the name '%s' is there twice", name);
    exact = malloc(sizeof *exact);
    char *copy = str_dup(str_of(name));
    if (exact == NULL || copy == NULL) {
        free(exact);
        free(copy);
        return err_set(err, ENOMEM, "out of memory");
    }
    *exact = like;
    exact->name = copy;
    HASH_ADD_KEYPTR(hh, zone->exacts, exact->name, strlen(exact->name), exact);
    return true;
}

bool zone_add_host(struct zone *zone, const struct host *host, struct err *err)
{
    return add_exact(zone, host->name, (struct exact){.kind = FOUND_HOST, .host = host}, err);
}

static size_t weight(const struct name *name)
{
    return (name->kind == NAME_NUMBERED ? 1000 : 0) + strlen(name->prefix) + strlen(name->suffix);
}

static bool add_name(struct zone *zone, const struct name *name, enum found_kind kind,
                     const struct domain *domain, uint32_t mx, struct err *err)
{
    if (name->kind == NAME_EXACT)
        return add_exact(zone, name->prefix, (struct exact){.kind = kind, .domain = domain, .mx = mx}, err);
    struct pattern *pattern = malloc(sizeof *pattern);
    if (pattern == NULL)
        return err_set(err, ENOMEM, "out of memory");
    struct pattern **at = &zone->patterns;
    while (*at && weight((*at)->name) >= weight(name))
        at = &(*at)->next;
    *pattern = (struct pattern){*at, name, kind, domain, mx};
    *at = pattern;
    return true;
}

static void dash(char *text)
{
    for (; *text; text++)
        if (*text == '.')
            *text = '-';
}

/* mx1.DOMAIN, or DOMAIN-with-dashes.SUFFIX as Microsoft names them. */
static bool derive_own(struct domain *domain, uint32_t i, struct err *err)
{
    const struct name *from = &domain->name;
    char prefix[WORLD_DNS_NAME_MAX * 2], suffix[WORLD_DNS_NAME_MAX * 2];
    bool dashed = domain->mx_own[0] != '\0';
    if (!dashed) {
        snprintf(prefix, sizeof prefix, "mx%u.%s", i + 1, from->prefix);
        snprintf(suffix, sizeof suffix, "%s", from->suffix);
    } else {
        char head[WORLD_DNS_NAME_MAX + 1], tail[WORLD_DNS_NAME_MAX + 1];
        snprintf(head, sizeof head, "%s", from->prefix);
        snprintf(tail, sizeof tail, "%s", from->suffix);
        dash(head);
        dash(tail);
        bool exact = from->kind == NAME_EXACT;
        snprintf(prefix, sizeof prefix, exact ? "%s.%s" : "%s", head, domain->mx_own);
        snprintf(suffix, sizeof suffix, "%s.%s", tail, domain->mx_own);
        if (exact)
            suffix[0] = '\0';
    }
    if (!name_derive(&domain->mx[i].own, from, prefix, suffix))
        return err_set(err, EINVAL, "the MX name of '%s' gets too long", from->prefix);
    return true;
}

static bool add_own_names(struct zone *zone, struct domain *domain, struct err *err)
{
    if (domain->mx_own == NULL)
        return true;
    if (domain->mx_own[0] && domain->mx_used > 1)
        return err_set(err, EINVAL, "mx_own with a suffix gives one name, so it wants one mx");
    for (uint32_t i = 0; i < domain->mx_used; i++)
        if (!derive_own(domain, i, err) || !add_name(zone, &domain->mx[i].own, FOUND_OWN_MX, domain, i, err))
            return false;
    return true;
}

bool zone_add_domain(struct zone *zone, struct domain *domain, struct err *err)
{
    struct name_text written;
    if (domain->name.kind == NAME_NUMBERED) {
        char range[32];
        snprintf(range, sizeof range, "{%0*u..%u}", (int)domain->name.width, domain->name.first,
                 domain->name.last);
        name_join(domain->name.prefix, str_of(range), domain->name.suffix, &written);
    } else {
        name_join(domain->name.kind == NAME_WILDCARD ? "*" : "", str_of(domain->name.prefix),
                  domain->name.suffix, &written);
    }
    struct owned *owned = NULL;
    HASH_FIND_STR(zone->domains, written.text, owned);
    if (owned)
        drop_domain(zone, owned);
    owned = calloc(1, sizeof *owned);
    char *copy = str_dup(str_make(written.text, written.n));
    if (owned == NULL || copy == NULL) {
        free(owned);
        free(copy);
        domain_free(domain);
        return err_set(err, ENOMEM, "out of memory");
    }
    owned->domain = *domain;
    owned->written = copy;
    *domain = (struct domain){0};
    HASH_ADD_KEYPTR(hh, zone->domains, owned->written, written.n, owned);
    if (add_name(zone, &owned->domain.name, FOUND_DOMAIN, &owned->domain, 0, err) &&
        add_own_names(zone, &owned->domain, err))
        return true;
    drop_domain(zone, owned);
    return false;
}

static bool check_target(const struct zone *zone, const struct name *target, const char *written,
                         const struct owned *owned, struct err *err)
{
    struct name_text text;
    for (uint32_t end = 0; end < 2; end++) { /* both ends of a numbered one */
        name_write(target, end ? name_count(target) - 1 : 0, &text);
        if (zone_find(zone, str_make(text.text, text.n)).kind == FOUND_NONE)
            return err_set(err, ENOENT, "domain '%s' names '%s', which is no host or domain here",
                           owned->written, written);
    }
    return true;
}

bool zone_check(const struct zone *zone, struct err *err)
{
    struct owned *owned, *next;
    HASH_ITER(hh, zone->domains, owned, next)
    {
        const struct domain *domain = &owned->domain;
        for (uint32_t i = 0; i < domain->mx_used; i++)
            if (!check_target(zone, &domain->mx[i].name, domain->mx[i].target, owned, err))
                return false;
        if (domain->host && !check_target(zone, &domain->host_name, domain->host, owned, err))
            return false;
        if (domain->cname && !check_target(zone, &domain->cname_name, domain->cname, owned, err))
            return false;
    }
    return true;
}

struct found zone_find(const struct zone *zone, struct str name)
{
    struct exact *exact = NULL;
    HASH_FIND(hh, zone->exacts, name.p, name.n, exact);
    if (exact)
        return (struct found){.kind = exact->kind,
                              .host = exact->host,
                              .domain = exact->domain,
                              .mx = exact->mx,
                              .middle = STR("")};
    for (const struct pattern *pattern = zone->patterns; pattern; pattern = pattern->next) {
        struct found found = {.kind = pattern->kind, .domain = pattern->domain, .mx = pattern->mx};
        if (name_match(pattern->name, name, &found.index, &found.middle))
            return found;
    }
    return (struct found){.kind = FOUND_NONE};
}

uint32_t zone_type_bit(unsigned type)
{
    switch (type) {
    case DNS_A:
        return TYPE_BIT_A;
    case DNS_MX:
        return TYPE_BIT_MX;
    case DNS_AAAA:
        return TYPE_BIT_AAAA;
    case DNS_TXT:
        return TYPE_BIT_TXT;
    default:
        return TYPE_BIT_OTHER;
    }
}
