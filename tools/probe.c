/* probe.c - the command: what a domain's mail hosts say before anything is sent to them. */
#include "engine/base/js.h"
#include "engine/message/address.h"
#include "tools/commands.h"
#include "tools/local.h"
#include "tools/probe_host.h"
#include "tools/probe_sts.h"
#include "tools/table.h"

#include <stdlib.h>
#include <unistd.h>

#define TIMEOUT_MS     10000
#define TIMEOUT_MAX_MS (5 * 60 * 1000)

/* Where the conversation goes as it comes: into the talk's member `trace`, or to the terminal. */
static void trace_json(void *user, bool sent, struct str line)
{
    json_array_append_new(json_object_get(user, "trace"),
                          json_pack("{s:b, s:o}", "sent", sent, "line", js_text(line)));
}

static void trace_print(void *user, bool sent, struct str line)
{
    char *text = str_dup(line);
    json_t *trace = json_object_get(user, "trace");
    if (json_array_size(trace) == 0) { /* the first */
        printf("  %s\n", member_text(user, "address"));
        json_array_append_new(trace, json_null());
    }
    fputs(sent ? "  > " : "  < ", stdout);
    print_safe(stdout, text ? text : "?");
    putchar('\n');
    fflush(stdout);
    free(text);
}

/* ---- for people ---- */

static void print_steps(const json_t *talk)
{
    static const char *const heads[] = {"-ADDRESS", "-STEP", "MS", "CODE", "-REPLY"};
    const json_t *steps = json_object_get(talk, "steps"), *step;
    struct table table;
    size_t i;
    table_init(&table, 5, heads);
    json_array_foreach(steps, i, step)
    {
        const json_t *error = json_object_get(step, "error");
        long long code = member_number(step, "code");
        table_text(&table, member_text(talk, "address"));
        table_text(&table, member_text(step, "step"));
        table_printf(&table, error ? "-" : "%.1f", json_real_value(json_object_get(step, "ms")));
        table_printf(&table, code ? "%lld" : "", code);
        table_text(&table, error ? json_string_value(error) : member_text(step, "reply"));
    }
    table_print(&table, stdout, true);
    table_free(&table);
}

static void print_pair(struct table *table, const char *name, const char *value)
{
    table_text(table, name);
    table_text(table, or_dash(value));
}

static void add_certificate(struct table *table, const json_t *certificate)
{
    char expires[FIGURE_MAX];
    bool verified = member_true(certificate, "verified");
    print_pair(table, "certificate", member_text(certificate, "subject"));
    print_pair(table, "  names", member_text(certificate, "names"));
    print_pair(table, "  issuer", member_text(certificate, "issuer"));
    print_pair(table, "  expires", figure_time(expires, member_text(certificate, "expires")));
    table_text(table, "  verified");
    table_printf(table, "%s%s",
                 verified ? "yes" : "no: ", verified ? "" : member_text(certificate, "reason"));
}

/* What DANE and MTA-STS say, where they say something. */
static void add_policies(struct table *table, const json_t *host, const json_t *talk)
{
    const json_t *dane = json_object_get(host, "dane"), *matched = json_object_get(talk, "dane_matched");
    const char *verdict = member_text(dane, "verdict"), *sts = member_text(host, "mta_sts");
    table_text(table, "DANE");
    table_printf(table, "%s%s%s%s", verdict, json_is_true(matched) ? ", and a record matches" : "",
                 json_is_false(matched) ? ", and no record matches" : "", member_text(dane, "reason"));
    table_text(table, "MTA-STS");
    table_printf(table, "%s%s", sts,
                 strcmp(sts, "required") != 0       ? ""
                 : member_true(talk, "mta_sts_met") ? ", and met"
                                                    : ", and not met");
}

static void print_facts(const json_t *host, const json_t *talk)
{
    static const char *const heads[] = {"-", "-"};
    const json_t *tls = json_object_get(talk, "tls"), *extensions = json_object_get(talk, "extensions"), *one;
    const json_t *accepted = json_object_get(talk, "accepted");
    struct table table;
    struct buf list;
    size_t i;
    buf_init(&list, 65536);
    json_array_foreach(extensions, i, one) buf_printf(&list, "%s%s", i ? ", " : "", json_string_value(one));
    buf_add_char(&list, '\0');
    table_init(&table, 2, heads);
    print_pair(&table, "extensions", list.data ? list.data : "");
    print_pair(&table, "TLS", json_is_object(tls) ? member_text(tls, "version") : "none");
    if (json_is_object(json_object_get(tls, "certificate")))
        add_certificate(&table, json_object_get(tls, "certificate"));
    add_policies(&table, host, talk);
    if (accepted != NULL)
        print_pair(&table, "mailbox", json_is_true(accepted) ? "accepted" : "refused");
    table_print(&table, stdout, false);
    table_free(&table);
    buf_free(&list);
}

static void print_head(const struct probe *probe, const struct lookup *lookup, unsigned i)
{
    const struct dns_mx_host *host = &lookup_mx(lookup)->hosts[i];
    const struct dns_addresses *addresses = lookup_addresses(lookup, i);
    unsigned port = probe_port(probe, host);
    if (probe->route == NULL)
        printf("%u ", host->preference);
    printf("%s", host->name);
    if (port != 25 && addresses->count > 0 && addresses->list[0].address.ss_family != AF_UNIX)
        printf(", port %u", port);
    printf("%s%s\n", addresses->count == 0 ? ": " : "", addresses->count == 0 ? addresses->reason : "");
}

static void print_host(const json_t *host)
{
    const json_t *talks = json_object_get(host, "talks"), *talk;
    size_t i, addresses = json_array_size(json_object_get(host, "addresses"));
    json_array_foreach(talks, i, talk)
    {
        print_steps(talk);
        if (member_true(talk, "answered"))
            print_facts(host, talk);
        putchar('\n');
    }
    if (i < addresses)
        printf("(%zu more of its addresses were not asked)\n\n", addresses - i);
}

/* ---- asking ---- */

/* Whether one answered, and one accepts the mailbox. */
struct findings {
    bool answered, asked, accepted;
};

static void note_findings(const json_t *host, struct findings *findings)
{
    const json_t *talks = json_object_get(host, "talks"), *talk;
    size_t i;
    json_array_foreach(talks, i, talk)
    {
        const json_t *accepted = json_object_get(talk, "accepted");
        findings->answered |= member_true(talk, "answered");
        findings->asked |= accepted != NULL;
        findings->accepted |= json_is_true(accepted);
    }
}

static int probe_hosts(const struct cli *cli, struct probe *probe, struct lookup *lookup, json_t *all,
                       struct findings *findings)
{
    const json_t *hosts = json_object_get(all, "hosts");
    struct err err;
    for (unsigned i = 0; i < lookup_count(lookup); i++) {
        json_t *host = json_array_get(hosts, i);
        if (!cli->json)
            print_head(probe, lookup, i);
        if (!probe_host(probe, lookup, i, host, &err))
            return cli_fail("%s", err.text);
        if (!cli->json)
            print_host(host);
        note_findings(host, findings);
    }
    return 0;
}

/* Which route its mail takes, and whether it takes one at all. */
static void tell_route(const struct cli *cli, const struct config_route *route, json_t *all)
{
    json_t *told = json_null();
    if (route != NULL)
        told = json_pack("{s:s, s:s, s:s, s:s, s:b, s:s}", "domain", route->domain, "sender", route->sender,
                         "tenant", route->tenant, "protocol",
                         route->protocol == CONFIG_PROTOCOL_LMTP ? "lmtp" : "smtp", "tls_implicit",
                         route->tls_implicit, "user", route->login.user);
    json_object_set_new(all, "route", told);
    if (cli->json || route == NULL)
        return;
    printf("by the route for %s", route->domain);
    if (route->sender[0] != '\0')
        printf(", sender %s", route->sender);
    if (route->tenant[0] != '\0')
        printf(", tenant %s", route->tenant);
    printf("%s%s\n\n", route->protocol == CONFIG_PROTOCOL_LMTP ? ", LMTP" : "",
           route->tls_implicit ? ", TLS from the first byte" : "");
}

/* The domain's policy of MTA-STS. */
static void probe_policy(const struct cli *cli, struct probe *probe, struct lookup *lookup,
                         const char *domain, json_t *all, struct sts_policy *policy)
{
    json_t *told = probe_sts(lookup, &probe->config->mta_sts, domain, policy);
    json_object_set_new(all, "mta_sts", told ? told : json_null());
    if (policy->mode != STS_NONE)
        probe->sts = policy;
    if (cli->json || told == NULL)
        return;
    const char *error = json_string_value(json_object_get(told, "error"));
    printf("MTA-STS: policy %s", member_text(told, "id"));
    if (error != NULL)
        printf(" cannot be had: %s\n\n", error);
    else
        printf(", mode %s, for %lld s\n\n", member_text(told, "mode"), member_number(told, "max_age"));
}

static int probe_domain(const struct cli *cli, struct probe *probe, struct lookup *lookup, const char *domain)
{
    static struct sts_policy policy; /* too large for a stack */
    struct findings findings = {0};
    bool known = probe->route ? lookup_ask_route(lookup, probe->route) : lookup_ask(lookup, str_of(domain));
    if (!known)
        return cli_fail("%s: no answer from DNS within %d s", domain, LOOKUP_WAIT_MS / 1000);
    json_t *all = lookup_json(lookup, domain);
    tell_route(cli, probe->route, all);
    if (probe->route == NULL) /* of hosts that the operator names it says nothing */
        probe_policy(cli, probe, lookup, domain, all, &policy);
    else
        json_object_set_new(all, "mta_sts", json_null());
    int code = all == NULL ? cli_fail("memory is out") : probe_hosts(cli, probe, lookup, all, &findings);
    if (code == 0 && cli->json) {
        json_dumpf(all, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
        putchar('\n');
    }
    json_decref(all);
    if (code != 0)
        return code;
    if (lookup_mx(lookup)->status != DNS_OK)
        return cli_fail("%s: %s", domain, lookup_mx(lookup)->reason);
    if (!findings.answered)
        return cli_fail("%s: no mail host took the conversation as far as EHLO", domain);
    if (probe->rcpt && !findings.accepted)
        return cli_fail("%.*s is not accepted%s", STR_ARG(probe->address),
                        findings.asked ? "" : ": no mail host could be asked");
    return 0;
}

/* ---- the command ---- */

static const struct cli_option probe_options[] = {
    {"rcpt", NULL, "ask whether the mailbox is accepted (MAIL, RCPT, RSET; never DATA)"},
    {"trace", NULL, "print the conversation; with --json it is each host's 'trace'"},
    {"from", "ADDRESS", "the sender of MAIL (default: the null sender); a route may ask for it"},
    {"tenant", "NAME", "whose mail it would be, where a route asks for that (default: default)"},
    {"source", "NAME", "the source to speak from (default: the first that is configured)"},
    {"port", "PORT", "the port of the hosts (default: as configured for their site)"},
    {"timeout", "DURATION", "for each step (default: 10s)"},
    {"servers", "ADDRESS,...", "ask these resolvers (default: as configured, else /etc/resolv.conf)"},
    {"config", "FILE",
     "take hostname, sources, sites, routes and resolvers from it (default: " CONFIG_FILE
     ", where it can be read)"},
};

static bool choose_source(const struct config *config, const char *name, const struct config_source **source)
{
    for (size_t i = 0; i < config->source_count; i++)
        if (name == NULL || strcmp(config->sources[i].name, name) == 0) {
            *source = &config->sources[i];
            return true;
        }
    return false;
}

/* What it is about: the address that was given, or the domain's postmaster. */
static bool take_target(const char *text, struct address *address, char whole[ADDRESS_MAX + 1],
                        struct err *err)
{
    if (strchr(text, '@') != NULL)
        snprintf(whole, ADDRESS_MAX + 1, "%s", text);
    else
        snprintf(whole, ADDRESS_MAX + 1, "postmaster@%s", text);
    if (!address_parse(str_of(whole), address, err))
        return false;
    char local[LOCAL_PART_MAX + 1];
    memcpy(local, address->local.p, address->local.n);
    snprintf(whole, ADDRESS_MAX + 1, "%.*s@%s", (int)address->local.n, local, address->domain);
    return true;
}

static int take_options(const struct cli *cli, struct str domain, struct probe *probe)
{
    const char *source = cli_value(cli, "source"), *port = cli_value(cli, "port");
    const char *timeout = cli_value(cli, "timeout"), *from = cli_value(cli, "from");
    struct address sender;
    struct err err;
    uint64_t number = 0;
    if (!choose_source(probe->config, source, &probe->source))
        return cli_fail("there is no source '%s' in the configuration", source);
    if (port != NULL && (!str_u64(str_of(port), UINT16_MAX, &number) || number == 0))
        return cli_usage("probe: --port takes a number up to 65535, not '%s'", port);
    probe->port = (unsigned)number;
    if (timeout != NULL && (!duration_parse(str_of(timeout), &probe->timeout_ms) || probe->timeout_ms <= 0 ||
                            probe->timeout_ms > TIMEOUT_MAX_MS))
        return cli_usage("probe: --timeout takes a duration up to 5m, such as 30s, not '%s'", timeout);
    if (from != NULL && from[0] != '\0' && !address_parse(str_of(from), &sender, &err))
        return cli_usage("probe: --from '%s' is no address: %s", from, err.text);
    probe->from = str_of(from);
    probe->route = config_route_of(probe->config, domain, str_domain(probe->from),
                                   str_of(cli_value(cli, "tenant") ? cli_value(cli, "tenant") : "default"));
    if (cli_value(cli, "trace") != NULL)
        probe->line = cli->json ? trace_json : trace_print;
    return 0;
}

static int run_configured(const struct cli *cli, const struct config *config, const char *domain,
                          struct str address)
{
    struct probe probe = {.config = config,
                          .address = address,
                          .timeout_ms = TIMEOUT_MS,
                          .talks = PROBE_TALKS_MAX,
                          .rcpt = cli_value(cli, "rcpt") != NULL};
    const char *servers = cli_value(cli, "servers");
    struct err err;
    int code = take_options(cli, str_of(domain), &probe);
    if (code != 0)
        return code;
    probe.trusts = trusts_create(&err);
    struct lookup *lookup = probe.trusts ? lookup_open(&config->dns, servers, &err) : NULL;
    code = lookup != NULL ? probe_domain(cli, &probe, lookup, domain) : cli_fail("%s", err.text);
    if (lookup != NULL)
        lookup_close(lookup);
    trusts_destroy(probe.trusts);
    return code;
}

static int run_probe(struct cli *cli)
{
    const char *path = cli_value(cli, "config");
    char whole[ADDRESS_MAX + 1];
    struct address address;
    struct err err;
    if (!take_target(cli->args[0], &address, whole, &err))
        return cli_usage("probe: '%s' is no domain or address: %s", cli->args[0], err.text);
    if (path == NULL && access(CONFIG_FILE, R_OK) == 0)
        path = CONFIG_FILE;
    struct config *config = local_config(path);
    if (config == NULL)
        return cli_fail("%s is not a configuration that postriderd would start with", path);
    int code = run_configured(cli, config, address.domain, str_of(whole));
    config_free(config);
    return code;
}

const struct command command_probe = {
    .name = "probe",
    .args = "DOMAIN|ADDRESS",
    .help =
        "What can be known of a domain's mail hosts before anything is sent: of each address its greeting, "
        "extensions, TLS, certificate, what it says to HELP, VRFY and EXPN, and how long each step takes. "
        "Where a configured route takes the domain's mail it is that route's hosts, its TLS and its login. "
        "Does not need the daemon; sends nothing.",
    .run = run_probe,
    .min_args = 1,
    .max_args = 1,
    .json = true,
    OPTIONS(probe_options),
};
