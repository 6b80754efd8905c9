/* lookup.c - see lookup.h. */
#include "tools/lookup.h"

#include "engine/base/clock.h"
#include "engine/route/lane_route.h"
#include "engine/route/secure.h"
#include "engine/route/targets.h"
#include "engine/tls/sts.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <stdlib.h>

/* One host whose addresses are asked for. */
struct host {
    struct dns_query query;
    struct lookup *lookup;
    struct dns_addresses answer;
};

struct lookup {
    struct io *io;
    struct wheel wheel;
    struct prng prng;
    struct dns *dns;
    struct dns_query query;
    struct dns_mx *mx;
    struct host hosts[MX_HOSTS_MAX];
    unsigned waiting; /* questions under way */
    bool vouched;     /* the list of hosts may be relied on */
};

static void on_mx(struct dns_query *query, struct dns_mx *mx)
{
    struct lookup *lookup = (struct lookup *)(void *)((char *)query - offsetof(struct lookup, query));
    lookup->mx = mx;
    lookup->waiting--;
}

static void on_addresses(struct dns_query *query, const struct dns_addresses *answer)
{
    struct host *host = (struct host *)(void *)((char *)query - offsetof(struct host, query));
    host->answer = *answer;
    host->lookup->waiting--;
}

static bool wait_answers(struct lookup *lookup)
{
    int64_t end_ns = clock_now().mono_ns + LOOKUP_WAIT_MS * NS_PER_MS;
    while (lookup->waiting > 0) {
        struct now now = clock_now();
        if (now.mono_ns > end_ns)
            return false;
        wheel_run(&lookup->wheel, now);
        dns_step(lookup->dns, now);
        int64_t wait_ns = wheel_next_ns(&lookup->wheel) - now.mono_ns;
        if (wait_ns > NS_PER_S / 10)
            wait_ns = NS_PER_S / 10;
        io_step(lookup->io, NULL, lookup->waiting == 0 || dns_busy(lookup->dns) || wait_ns < 0 ? 0 : wait_ns);
    }
    return true;
}

static bool ask_hosts(struct lookup *lookup)
{
    for (unsigned i = 0; i < lookup_count(lookup); i++) {
        struct host *host = &lookup->hosts[i];
        const char *name = lookup->mx->hosts[i].name;
        if (targets_read_literal(name, &host->answer.list[0])) {
            host->answer.count = 1;
            continue;
        }
        host->lookup = lookup;
        host->query.addresses = on_addresses;
        lookup->waiting++;
        dns_ask_addresses(lookup->dns, &host->query, str_of(name), clock_now());
    }
    return wait_answers(lookup);
}

bool lookup_ask(struct lookup *lookup, struct str domain)
{
    lookup->query.mx = on_mx;
    lookup->waiting = 1;
    dns_ask_mx(lookup->dns, &lookup->query, domain, clock_now());
    if (!wait_answers(lookup))
        return false;
    lookup->vouched = lookup->mx->secure;
    return ask_hosts(lookup);
}

bool lookup_ask_route(struct lookup *lookup, const struct config_route *route)
{
    lookup->mx = lane_route_hosts(route);
    lookup->vouched = true; /* by the operator */
    return lookup->mx != NULL && ask_hosts(lookup);
}

const struct dns_mx *lookup_mx(const struct lookup *lookup)
{
    return lookup->mx;
}

unsigned lookup_count(const struct lookup *lookup)
{
    return lookup->mx->status == DNS_OK ? lookup->mx->host_count : 0;
}

const struct dns_addresses *lookup_addresses(const struct lookup *lookup, unsigned host)
{
    return &lookup->hosts[host].answer;
}

const char *lookup_address_text(const struct dns_address *address, char text[LOOKUP_ADDRESS_MAX])
{
    const struct sockaddr_storage *any = &address->address;
    if (any->ss_family == AF_UNIX)
        snprintf(text, LOOKUP_ADDRESS_MAX, "unix:%s", ((const struct sockaddr_un *)any)->sun_path);
    else if (any->ss_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)any)->sin6_addr, text, LOOKUP_ADDRESS_MAX);
    else
        inet_ntop(AF_INET, &((const struct sockaddr_in *)any)->sin_addr, text, LOOKUP_ADDRESS_MAX);
    return text;
}

static const char *status_name(enum dns_status status)
{
    static const char *const names[] = {"ok", "no_domain", "no_mail", "null_mx", "failed"};
    return names[status];
}

json_t *lookup_json(const struct lookup *lookup, const char *domain)
{
    json_t *hosts = json_array();
    char text[LOOKUP_ADDRESS_MAX];
    const struct dns_mx *mx = lookup->mx;
    for (unsigned i = 0; i < lookup_count(lookup); i++) {
        const struct dns_addresses *answer = lookup_addresses(lookup, i);
        json_t *addresses = json_array();
        for (unsigned j = 0; j < answer->count; j++)
            json_array_append_new(addresses, json_string(lookup_address_text(&answer->list[j], text)));
        json_array_append_new(hosts,
                              json_pack("{s:i, s:s, s:s, s:s, s:o}", "preference", mx->hosts[i].preference,
                                        "host", mx->hosts[i].name, "status", status_name(answer->status),
                                        "reason", answer->reason, "addresses", addresses));
    }
    return json_pack("{s:s, s:s, s:s, s:b, s:o}", "domain", domain, "status", status_name(mx->status),
                     "reason", mx->reason, "implicit", mx->implicit, "hosts", hosts);
}

/* ---- what DNS says of TLS ---- */

/* One question, and room for its answer. */
struct question {
    struct dns_query query;
    struct lookup *lookup;
    enum dane_verdict dane;
    struct tlsa_set *set;
    char *id, *reason;
    struct dns_addresses answer;
};

static void on_tlsa(struct dns_query *query, const struct dns_records *answer)
{
    struct question *question = (struct question *)(void *)query;
    question->dane = secure_read_tlsa(answer, &question->set);
    snprintf(question->reason, DNS_REASON_MAX, "%s", answer->reason);
    question->lookup->waiting--;
}

enum dane_verdict lookup_dane(struct lookup *lookup, unsigned host, unsigned port, struct tlsa_set **set,
                              char reason[DNS_REASON_MAX])
{
    struct question question = {.lookup = lookup, .dane = DANE_BOGUS, .reason = reason};
    char name[DOMAIN_MAX + 16];
    *set = NULL;
    reason[0] = '\0';
    if (!lookup->vouched || !lookup->hosts[host].answer.secure)
        return DANE_ABSENT;
    int n = snprintf(name, sizeof name, "_%u._tcp.%s", port, lookup->mx->hosts[host].name);
    question.query.records = on_tlsa;
    lookup->waiting = 1;
    dns_ask_records(lookup->dns, &question.query, DNS_RECORDS_TLSA, str_make(name, (size_t)n), clock_now());
    if (!wait_answers(lookup)) {
        dns_cancel(&question.query);
        snprintf(reason, DNS_REASON_MAX, "no answer from DNS");
    }
    *set = question.set;
    return question.dane;
}

static void on_sts_record(struct dns_query *query, const struct dns_records *answer)
{
    struct question *question = (struct question *)(void *)query;
    unsigned found = 0;
    for (unsigned i = 0; answer->status == DNS_OK && i < answer->data->count; i++) {
        const char *text = (const char *)answer->data->bytes + answer->data->list[i].at;
        found += sts_record_parse(str_make(text, answer->data->list[i].size), question->id);
    }
    if (found != 1) /* RFC 8461 3.1 */
        question->id[0] = '\0';
    question->lookup->waiting--;
}

static void on_sts_addresses(struct dns_query *query, const struct dns_addresses *answer)
{
    struct question *question = (struct question *)(void *)query;
    question->answer = *answer;
    question->lookup->waiting--;
}

static void list_addresses(const struct dns_addresses *answer, char text[STS_ADDRESSES_MAX])
{
    char one[LOOKUP_ADDRESS_MAX];
    size_t used = 0;
    for (unsigned i = 0; i < answer->count; i++) {
        bool v6 = answer->list[i].address.ss_family == AF_INET6;
        lookup_address_text(&answer->list[i], one);
        if (used + strlen(one) + 4 > STS_ADDRESSES_MAX)
            break;
        used += (size_t)snprintf(text + used, STS_ADDRESSES_MAX - used, "%s%s%s%s", used > 0 ? "," : "",
                                 v6 ? "[" : "", one, v6 ? "]" : "");
    }
}

bool lookup_sts(struct lookup *lookup, const char *domain, char id[STS_ID_MAX + 1],
                char addresses[STS_ADDRESSES_MAX])
{
    struct question question = {.lookup = lookup, .id = id};
    char name[DOMAIN_MAX + 16];
    id[0] = addresses[0] = '\0';
    question.query.records = on_sts_record;
    question.query.addresses = on_sts_addresses;
    int n = snprintf(name, sizeof name, "_mta-sts.%s", domain);
    lookup->waiting = 1;
    dns_ask_records(lookup->dns, &question.query, DNS_RECORDS_TXT, str_make(name, (size_t)n), clock_now());
    if (!wait_answers(lookup) || id[0] == '\0') {
        dns_cancel(&question.query);
        return false;
    }
    n = snprintf(name, sizeof name, "mta-sts.%s", domain);
    lookup->waiting = 1;
    dns_ask_addresses(lookup->dns, &question.query, str_make(name, (size_t)n), clock_now());
    if (!wait_answers(lookup))
        dns_cancel(&question.query);
    list_addresses(&question.answer, addresses);
    return true;
}

/* ---- the whole ---- */

static bool lookup_start(struct lookup *lookup, const struct config_dns *given, const char *servers,
                         struct err *err)
{
    const struct dns_settings settings = {
        .servers = servers ? servers
                   : given ? given->servers_joined
                           : NULL,
        .timeout_ms = LOOKUP_TIMEOUT_MS,
        .ipv6 = given == NULL || given->ipv6,
        .cache_max = 2 * MX_HOSTS_MAX,
        .dnssec = given ? (enum dns_dnssec)given->dnssec : DNS_DNSSEC_AUTO,
    };
    lookup->prng.state = prng_seed();
    wheel_init(&lookup->wheel, clock_now());
    lookup->io = io_create(64, err);
    if (lookup->io == NULL)
        return false;
    lookup->dns = dns_create(lookup->io, &lookup->wheel, &lookup->prng, &settings, err);
    return lookup->dns != NULL;
}

struct lookup *lookup_open(const struct config_dns *settings, const char *servers, struct err *err)
{
    struct lookup *lookup = calloc(1, sizeof *lookup);
    if (lookup == NULL) {
        err_set(err, 0, "memory is out");
        return NULL;
    }
    if (lookup_start(lookup, settings, servers, err))
        return lookup;
    lookup_close(lookup);
    return NULL;
}

void lookup_close(struct lookup *lookup)
{
    if (lookup->dns != NULL)
        dns_destroy(lookup->dns);
    if (lookup->mx != NULL)
        dns_mx_unref(lookup->mx);
    if (lookup->io != NULL)
        io_destroy(lookup->io);
    free(lookup);
}
