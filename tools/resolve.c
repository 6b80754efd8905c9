/* resolve.c - where mail for a domain goes: its mail hosts and their addresses. */
#include "engine/message/address.h"
#include "tools/commands.h"
#include "tools/lookup.h"
#include "tools/table.h"

static void print_json(const struct lookup *lookup, const char *domain)
{
    json_t *all = lookup_json(lookup, domain);
    json_dumpf(all, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(all);
}

static void print_hosts(const struct lookup *lookup)
{
    static const char *const heads[] = {"PREF", "-HOST", "-ADDRESSES"};
    const struct dns_mx *mx = lookup_mx(lookup);
    struct table table;
    char text[LOOKUP_ADDRESS_MAX];
    table_init(&table, 3, heads);
    for (unsigned i = 0; i < lookup_count(lookup); i++) {
        const struct dns_addresses *answer = lookup_addresses(lookup, i);
        struct buf list;
        buf_init(&list, 4096);
        for (unsigned j = 0; j < answer->count; j++)
            buf_printf(&list, "%s%s", j ? " " : "", lookup_address_text(&answer->list[j], text));
        if (answer->count == 0)
            buf_printf(&list, "(%s)", answer->reason);
        buf_add_char(&list, '\0');
        table_number(&table, mx->hosts[i].preference);
        table_text(&table, mx->hosts[i].name);
        table_text(&table, list.data ? list.data : "");
        buf_free(&list);
    }
    table_print(&table, stdout, true);
    table_free(&table);
    if (mx->implicit)
        puts("(no MX record: mail goes to the domain's own address)");
}

static int print_lookup(const struct cli *cli, const struct lookup *lookup, const char *domain)
{
    const struct dns_mx *mx = lookup_mx(lookup);
    if (cli->json)
        print_json(lookup, domain);
    else if (mx->status == DNS_OK)
        print_hosts(lookup);
    return mx->status == DNS_OK ? 0 : cli_fail("%s: %s", domain, mx->reason);
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
    struct lookup *lookup = lookup_open(NULL, cli_value(cli, "servers"), &err);
    if (lookup == NULL)
        return cli_fail("%s", err.text);
    int code = lookup_ask(lookup, str_make(domain, n))
                   ? print_lookup(cli, lookup, domain)
                   : cli_fail("%s: no answer within %d s", domain, LOOKUP_WAIT_MS / 1000);
    lookup_close(lookup);
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
