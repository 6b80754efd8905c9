/* dns_psl.c - registrable domains, by the public suffix list that is built into libpsl. */
#include "engine/dns/dns.h"

#include <libpsl.h>

/* The last label of an IPv4 address is a number; no top level domain is (RFC 3696 2). */
static bool is_literal(struct str host)
{
    if (host.p[0] == '[' || str_find(host, ':', 0) != SIZE_MAX)
        return true;
    size_t at = host.n;
    while (at > 0 && host.p[at - 1] >= '0' && host.p[at - 1] <= '9')
        at--;
    return at < host.n && (at == 0 || host.p[at - 1] == '.');
}

struct str dns_registrable(struct str host)
{
    char name[DOMAIN_MAX + 1];
    if (host.n == 0 || host.n >= sizeof name || is_literal(host))
        return host;
    memcpy(name, host.p, host.n);
    name[host.n] = '\0';
    const char *found = psl_registrable_domain(psl_builtin(), name);
    if (found == NULL)
        return host;
    size_t skipped = (size_t)(found - name);
    return str_make(host.p + skipped, host.n - skipped);
}
