/* resolve.c - where mail for a domain goes: its mail hosts and their addresses, by the engine's own resolver,
 * asked from here and not through the daemon. */
#include "engine/base/clock.h"
#include "engine/dns/dns.h"
#include "engine/message/address.h"
#include "tools/commands.h"
#include "tools/table.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <stdlib.h>

#define TIMEOUT_MS 5000 /* a question; the whole takes two rounds */
#define WAIT_MS    (3 * TIMEOUT_MS)

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
    int64_t end_ns = clock_now().mono_ns + WAIT_MS * NS_PER_MS;
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

static bool ask(struct lookup *lookup, struct str domain)
{
    lookup->query.mx = on_mx;
    lookup->waiting = 1;
    dns_ask_mx(lookup->dns, &lookup->query, domain, clock_now());
    if (!wait_answers(lookup))
        return false;
    unsigned count = lookup->mx->status == DNS_OK ? lookup->mx->host_count : 0;
    for (unsigned i = 0; i < count; i++) {
        struct host *host = &lookup->hosts[i];
        host->lookup = lookup;
        host->query.addresses = on_addresses;
        lookup->waiting++;
        dns_ask_addresses(lookup->dns, &host->query, str_of(lookup->mx->hosts[i].name), clock_now());
    }
    return wait_answers(lookup);
}

static const char *address_text(const struct dns_address *address, char text[INET6_ADDRSTRLEN])
{
    const void *bytes =
        address->address.ss_family == AF_INET6
            ? (const void *)&((const struct sockaddr_in6 *)(const void *)&address->address)->sin6_addr
            : (const void *)&((const struct sockaddr_in *)(const void *)&address->address)->sin_addr;
    const char *shown = inet_ntop(address->address.ss_family, bytes, text, INET6_ADDRSTRLEN);
    return shown ? shown : "?";
}

static const char *status_name(enum dns_status status)
{
    static const char *const names[] = {"ok", "no_domain", "no_mail", "null_mx", "failed"};
    return names[status];
}

static void print_json(const struct lookup *lookup, const char *domain)
{
    json_t *hosts = json_array();
    char text[INET6_ADDRSTRLEN];
    unsigned count = lookup->mx->status == DNS_OK ? lookup->mx->host_count : 0;
    for (unsigned i = 0; i < count; i++) {
        const struct dns_addresses *answer = &lookup->hosts[i].answer;
        json_t *addresses = json_array();
        for (unsigned j = 0; j < answer->count; j++)
            json_array_append_new(addresses, json_string(address_text(&answer->list[j], text)));
        json_array_append_new(
            hosts, json_pack("{s:i, s:s, s:s, s:s, s:o}", "preference", lookup->mx->hosts[i].preference,
                             "host", lookup->mx->hosts[i].name, "status", status_name(answer->status),
                             "reason", answer->reason, "addresses", addresses));
    }
    json_t *all =
        json_pack("{s:s, s:s, s:s, s:b, s:o}", "domain", domain, "status", status_name(lookup->mx->status),
                  "reason", lookup->mx->reason, "implicit", lookup->mx->implicit, "hosts", hosts);
    json_dumpf(all, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(all);
}

static void print_hosts(const struct lookup *lookup)
{
    static const char *const heads[] = {"PREF", "-HOST", "-ADDRESSES"};
    struct table table;
    char text[INET6_ADDRSTRLEN];
    table_init(&table, 3, heads);
    for (unsigned i = 0; i < lookup->mx->host_count; i++) {
        const struct dns_addresses *answer = &lookup->hosts[i].answer;
        struct buf list;
        buf_init(&list, 4096);
        for (unsigned j = 0; j < answer->count; j++)
            buf_printf(&list, "%s%s", j ? " " : "", address_text(&answer->list[j], text));
        if (answer->count == 0)
            buf_printf(&list, "(%s)", answer->reason);
        buf_add_char(&list, '\0');
        table_number(&table, lookup->mx->hosts[i].preference);
        table_text(&table, lookup->mx->hosts[i].name);
        table_text(&table, list.data ? list.data : "");
        buf_free(&list);
    }
    table_print(&table, stdout, true);
    table_free(&table);
    if (lookup->mx->implicit)
        puts("(no MX record: mail goes to the domain's own address)");
}

static int print_lookup(const struct cli *cli, const struct lookup *lookup, const char *domain)
{
    if (cli->json)
        print_json(lookup, domain);
    else if (lookup->mx->status == DNS_OK)
        print_hosts(lookup);
    return lookup->mx->status == DNS_OK ? 0 : cli_fail("%s: %s", domain, lookup->mx->reason);
}

static bool open_lookup(struct lookup *lookup, const char *servers, struct err *err)
{
    const struct dns_settings settings = {
        .servers = servers, .timeout_ms = TIMEOUT_MS, .ipv6 = true, .cache_max = 2 * MX_HOSTS_MAX};
    lookup->prng.state = prng_seed();
    wheel_init(&lookup->wheel, clock_now());
    lookup->io = io_create(64, err);
    if (lookup->io == NULL)
        return false;
    lookup->dns = dns_create(lookup->io, &lookup->wheel, &lookup->prng, &settings, err);
    return lookup->dns != NULL;
}

static void close_lookup(struct lookup *lookup)
{
    if (lookup->dns != NULL)
        dns_destroy(lookup->dns);
    if (lookup->mx != NULL)
        dns_mx_unref(lookup->mx);
    if (lookup->io != NULL)
        io_destroy(lookup->io);
    free(lookup);
}

static const struct cli_option resolve_options[] = {
    {"servers", "ADDRESS,...", "ask these resolvers, such as 127.0.0.1:5353 (default: /etc/resolv.conf)"},
};

static int run_resolve(struct cli *cli)
{
    char domain[DOMAIN_MAX + 1];
    size_t n;
    struct err err;
    if (!domain_to_ascii(str_of(cli->args[0]), domain, &n, &err))
        return cli_usage("resolve: '%s' is no domain: %s", cli->args[0], err.text);
    struct lookup *lookup = calloc(1, sizeof *lookup);
    if (lookup == NULL)
        return cli_fail("memory is out");
    int code;
    if (!open_lookup(lookup, cli_value(cli, "servers"), &err))
        code = cli_fail("%s", err.text);
    else if (!ask(lookup, str_make(domain, n)))
        code = cli_fail("%s: no answer within %d s", domain, WAIT_MS / 1000);
    else
        code = print_lookup(cli, lookup, domain);
    close_lookup(lookup);
    return code;
}

const struct command command_resolve = {
    .name = "resolve",
    .args = "DOMAIN",
    .help = "Where mail for a domain goes: its mail hosts and their addresses. Does not need the daemon.",
    .run = run_resolve,
    .min_args = 1,
    .max_args = 1,
    .json = true,
    OPTIONS(resolve_options),
};
