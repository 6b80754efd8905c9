/* The configuration: every kind of error with its place, defaults, what refers to what, and what is shown. */
#include "engine/config.h"
#include "engine/config_table.h"
#include "tests/unit/temporary.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define SHOW_MAX (1024 * 1024)

static char directory[TEMPORARY_PATH], main_file[TEMPORARY_PATH + 20], other_file[TEMPORARY_PATH + 20];

static int make_directory(void **state)
{
    (void)state;
    if (!temporary_directory(directory))
        return -1;
    snprintf(main_file, sizeof main_file, "%s/main.yaml", directory);
    snprintf(other_file, sizeof other_file, "%s/other.yaml", directory);
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    unlink(main_file);
    unlink(other_file);
    return rmdir(directory);
}

static void write_bytes(const char *path, const char *text, size_t n)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

static struct config *load(const char *text)
{
    struct buf errors;
    struct config *config;
    buf_init(&errors, CONFIG_ERRORS_MAX);
    write_bytes(main_file, text, strlen(text));
    if (!config_load(main_file, &config, &errors))
        fail_msg("%.*s", STR_ARG(buf_str(&errors)));
    assert_int_equal(errors.len, 0);
    buf_free(&errors);
    return config;
}

static unsigned count_of(const char *text, const char *what)
{
    unsigned n = 0;
    for (const char *p = text; (p = strstr(p, what)) != NULL; p++)
        n++;
    return n;
}

/* The main file is refused with exactly these errors: "LINE:COLUMN: error: text" each, text as a beginning.
 */
static void refused_bytes(const char *text, size_t n, unsigned count, const char *const wants[])
{
    struct buf errors;
    struct config *config;
    buf_init(&errors, CONFIG_ERRORS_MAX);
    write_bytes(main_file, text, n);
    assert_false(config_load(main_file, &config, &errors));
    assert_null(config);
    buf_add_char(&errors, '\0');
    for (unsigned i = 0; i < count; i++) {
        char want[512];
        snprintf(want, sizeof want, "%s:%s", main_file, wants[i]);
        if (strstr(errors.data, want) == NULL)
            fail_msg("no \"%s\" in\n%s", want, errors.data);
    }
    if (count_of(errors.data, ": error: ") != count)
        fail_msg("expected %u errors in\n%s", count, errors.data);
    buf_free(&errors);
}

static void refused(const char *text, const char *want)
{
    refused_bytes(text, strlen(text), 1, &want);
}

static void test_defaults(void **state)
{
    (void)state;
    struct buf errors;
    struct config *config;
    buf_init(&errors, CONFIG_ERRORS_MAX);
    assert_true(config_load(NULL, &config, &errors));
    assert_string_equal(config->state_directory, "/var/lib/postrider");
    assert_string_equal(config->jobs.unix_path, "/run/postrider/jobs.sock");
    assert_int_equal(config->jobs.mode, 0660);
    assert_string_equal(config->jobs.group, "");
    assert_string_equal(config->control.unix_path, "");
    assert_true(strlen(config->hostname) > 0);
    assert_string_equal(config->dns.servers_joined, "");
    assert_true(config->queue.max_size == UINT64_C(100) << 30);
    assert_int_equal(config->queue.lifetime_ms, INT64_C(388800000));
    assert_int_equal(config->stop_timeout_ms, 30000);
    assert_int_equal(config->source_count, 1);
    assert_string_equal(config->sources[0].name, "default");
    assert_string_equal(config->sources[0].ehlo, config->hostname);
    assert_int_equal(config->sources[0].address_len, 0);
    assert_int_equal(config->pool_count, 1);
    assert_int_equal(config->pools[0].source_count, 1);
    assert_int_equal(config->site_count, 0);
    assert_int_equal(config->site_default.max_connections, 32);
    assert_int_equal(config->site_default.port, 25);
    assert_int_equal(config->site_default.tls, TLS_POLICY_MAY);
    assert_int_equal(config->site_default.max_recipients_per_transaction, 100);
    assert_int_equal(config->site_default.end_timeout_ms, 600000);
    assert_int_equal(config->site_default.max_rate.count, 0);
    assert_string_equal(config_tenant_of(config, STR("anybody"))->name, "default");
    assert_int_equal(config_tenant_of(config, STR("anybody"))->weight, 1);
    config_free(config);
    buf_free(&errors);
    for (int i = 0; i < 3; i++) {
        config = load((const char *const[]){"", "# nothing\n", "queue:\nsites:\n"}[i]);
        assert_int_equal(config->site_default.port, 25);
        config_free(config);
    }
}

static void test_example(void **state)
{
    (void)state;
    struct buf errors;
    struct config *config;
    buf_init(&errors, CONFIG_ERRORS_MAX);
    if (!config_load("deploy/examples/postrider.yaml", &config, &errors))
        fail_msg("%.*s", STR_ARG(buf_str(&errors)));
    buf_free(&errors);
    assert_string_equal(config->hostname, "mta1.example.com");
    assert_string_equal(config->jobs.group, "postrider");
    assert_int_equal(config->jobs.tenant_count, 1);
    assert_int_equal(config->jobs.tenants[0].uid, 1001);
    assert_string_equal(config->jobs.tenants[0].tenant, "acme");
    assert_int_equal(config->control.mode, 0600);
    assert_string_equal(config->dns.servers_joined, "127.0.0.1:5353");
    assert_int_equal(config->source_count, 2);
    assert_string_equal(config->sources[1].ehlo, "b.mta.example.com");
    const struct sockaddr_in *address =
        (const struct sockaddr_in *)(const void *)&config->sources[0].address_value;
    assert_int_equal(address->sin_family, AF_INET);
    assert_int_equal(ntohl(address->sin_addr.s_addr), 0xc000020a);
    assert_int_equal(config->pools[0].sources[0].weight, 3);
    assert_int_equal(config->pools[0].sources[1].source, 1);
    const struct config_site *site = config_site_of_host(config, STR("ASPMX.L.Google.com"));
    assert_string_equal(site->name, "gmail");
    assert_int_equal(site->max_connections, 20);
    assert_int_equal(site->max_rate.count, 600);
    assert_int_equal(site->max_rate.per_ms, 60000);
    assert_null(config_site_of_host(config, STR("mx.example.org")));
    const struct config_route *route = config_route_of(config, STR("Example.net"), STR(""), STR("default"));
    assert_string_equal(route->targets[0].host, "smtp.relay.test");
    assert_int_equal(route->targets[0].port, 587);
    assert_string_equal(route->login.user, "u");
    assert_int_equal(route->tls, TLS_POLICY_VERIFY);
    assert_false(route->tls_implicit);
    assert_true(config_route_of(config, STR("example.org"), STR("x.test"), STR("acme"))->tls_implicit);
    assert_null(config_route_of(config, STR("example.com"), STR(""), STR("acme")));
    assert_int_equal(config->retry_count, 1);
    assert_int_equal(config->retry[0].count, 3);
    assert_int_equal(config->retry[0].delays_ms[1], 7200000);
    assert_int_equal(config->retry[0].give_up_ms, 259200000);
    const struct config_tenant *tenant = config_tenant_of(config, STR("acme"));
    assert_int_equal(tenant->weight, 2);
    assert_int_equal(tenant->max_rate.count, 50000);
    assert_int_equal(config->reply_count, 1);
    assert_int_equal(config->replies[0].reaction.wait_ms, 7200000);
    assert_int_equal(config->consumer_count, 2);
    assert_string_equal(config->consumers[0].webhook, "https://crm.test/events");
    assert_int_equal(config->consumers[0].events,
                     1U << EVENT_BOUNCED | 1U << EVENT_BOUNCED_LATE | 1U << EVENT_COMPLAINED);
    assert_int_equal(config->consumers[1].on_full, CONFIG_ON_FULL_DROP);
    config_free(config);
}

static void test_consumers(void **state)
{
    (void)state;
    refused("consumers: [{name: a}]\n", "1:14: error: the consumer 'a' needs either webhook or file");
    refused("consumers: [{name: a, file: /f, webhook: 'http://x'}]\n",
            "1:14: error: the consumer 'a' needs either webhook or file");
    refused("consumers: [{name: a, file: /f}, {name: b, file: /f}]\n",
            "1:50: error: the consumer 'a' writes this file already");
    refused("consumers: [{name: a, webhook: 'http://x', dead_letters: /f}, {name: b, file: /f}]\n",
            "1:79: error: the consumer 'a' writes this file already");
    refused("state_directory: /s\nconsumers: [{name: a, webhook: 'http://x'}, {name: b, webhook: 'http://y',"
            " dead_letters: /s/a.dead.ndjson}]\n",
            "2:90: error: the consumer 'a' writes this file already");
    refused("consumers: [{name: a, file: /f}, {name: a, file: /g}]\n",
            "1:41: error: name 'a' stands twice in consumers");
    refused("consumers: [{name: a, file: /f, gzip: yes}]\n", "1:39: error: gzip is for a webhook");
    refused("consumers: [{name: a, webhook: 'http://x', shape: mailgun}]\n",
            "1:51: error: the shape mailgun is signed: it needs secret_file");
    refused("consumers: [{name: a, webhook: 'http://u:p@x/'}]\n",
            "1:33: error: webhook: expected an address such as https://crm.example.com/events, without user");
    refused("consumers: [{name: a, webhook: 'http://x', user: u}]\n",
            "1:50: error: user and password_file go together");
    refused("consumers: [{name: a, webhook: 'http://x', retry: 1h}]\n",
            "1:51: error: retry is longer than retry_max");
    refused("consumers: [{name: a, file: /f, events: [bounce]}]\n",
            "1:42: error: unknown type of event 'bounce', did you mean 'bounced'?");
    refused("consumers: [{name: a, file: /f, tenants: ['b c']}]\n", "1:44: error: tenants: expected a name");
    refused("consumers: [{name: a, file: /f, on_full: wait}]\n",
            "1:42: error: on_full: expected stop or drop, found 'wait'");
    refused("consumers: [{name: a, webhook: 'http://x', shape: sendgrid}]\n",
            "1:51: error: shape: expected native, listmonk, mailgun or ses");
    static const char *const urls[] = {"ftp://x", "http://", "https:///x", "x", "http://a b", "http://ä"};
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        char text[128];
        snprintf(text, sizeof text, "consumers: [{name: a, webhook: '%s'}]\n", urls[i]);
        refused(text, "1:33: error: webhook: expected an address such as https://");
    }
}

static void test_sites_inherit(void **state)
{
    (void)state;
    struct config *config = load("sites:\n"
                                 "- {name: a, mx: ['*.a.test'], port: 26}\n"
                                 "- {name: default, port: 2525, tls: none, max_rate: 5/s, pause: 2m}\n"
                                 "- {name: b, mx: '*.b.test', tls: may, max_rate: none}\n");
    assert_int_equal(config->site_count, 2);
    assert_int_equal(config->site_default.port, 2525);
    const struct config_site *a = config_site_of_host(config, STR("mx.a.test"));
    const struct config_site *b = config_site_of_host(config, STR("mx.b.test"));
    assert_string_equal(a->name, "a");
    assert_int_equal(a->port, 26);
    assert_int_equal(a->tls, TLS_POLICY_NONE);
    assert_int_equal(a->max_rate.count, 5);
    assert_int_equal(a->pause_ms, 120000);
    assert_int_equal(b->port, 2525);
    assert_int_equal(b->tls, TLS_POLICY_MAY);
    assert_int_equal(b->max_rate.count, 0);
    config_free(config);
}

static void test_pools(void **state)
{
    (void)state;
    struct config *config = load("sources: [{name: x}, {name: y, address: '2001:db8::1'}]\n"
                                 "pools: [{name: slow, sources: {y: 1}}]\n"
                                 "tenants: [{name: t, pool: slow}]\n");
    assert_int_equal(config->sources[1].address_value.ss_family, AF_INET6);
    const struct config_pool *all = config_pool_of(config, STR("default"));
    assert_int_equal(all->source_count, 2);
    assert_int_equal(all->sources[1].source, 1);
    const struct config_tenant *tenant = config_tenant_of(config, STR("t"));
    assert_string_equal(config->pools[tenant->pool_index].name, "slow");
    tenant = config_tenant_of(config, STR("other"));
    assert_string_equal(config->pools[tenant->pool_index].name, "default");
    assert_null(config_pool_of(config, STR("none")));
    config_free(config);
}

static void test_values(void **state)
{
    (void)state;
    refused("hostname: foo bar\n", "1:11: error: hostname: expected a host name such as");
    refused("\nhostname: bücher.example\n",
            "2:11: error: hostname: expected a domain in its ASCII form (xn--...)");
    refused("hostname:\n",
            "1:1: error: hostname: expected a host name such as mta1.example.com, or an address in "
            "brackets, found nothing");
    refused("hostname: [a]\n", "1:12: error: hostname: expected a host name such as");
    refused("hostname: *x\n",
            "1:12: error: hostname: expected a host name such as mta1.example.com, or an address in "
            "brackets, found an alias");
    refused("workers: -1\n", "1:10: error: workers: expected a number from 0 to 256, found '-1'");
    refused("workers: 257\n", "1:10: error: workers: expected a number from 0 to 256, found '257'");
    refused("state_directory: x\n", "1:18: error: state_directory: expected an absolute path, found 'x'");
    refused("jobs: {mode: 999}\n",
            "1:14: error: mode: expected octal permissions such as \"0660\", found '999'");
    refused("jobs:\n  unix: jobs.sock\n", "2:9: error: unix: expected an absolute path");
    refused("jobs: {unix: "
            "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
            "aaaaaaaaaaaaaaaaaaaaa}\n",
            "1:14: error: unix: expected a path of at most 107 characters");
    refused("jobs: {group: a b}\n", "1:15: error: group: expected a name of letters");
    refused("jobs: {tenants: {ann: acme}}\n",
            "1:18: error: tenants: expected a user id (a number), found 'ann'");
    refused("jobs: {tenants: {5: a b}}\n", "1:21: error: 5: expected the name of a tenant, found 'a b'");
    refused("jobs: {tenants: [5]}\n", "1:18: error: tenants: expected a map of user ids and tenants");
    refused("jobs: text\n", "1:7: error: jobs: expected a map of options, found 'text'");
    refused("dns: {timeout: 5}\n",
            "1:16: error: timeout: expected a unit after the number: 5s, 5m, 5h or 5d, found '5'");
    refused("dns: {timeout: 5x}\n", "1:16: error: timeout: expected a duration such as 30s");
    refused("dns: {timeout: 5h}\n", "1:16: error: timeout: expected a duration from 100ms to 2m, found '5h'");
    refused("dns: {ipv6: maybe}\n", "1:13: error: ipv6: expected yes or no, found 'maybe'");
    refused("dns: {servers: [localhost]}\n", "1:17: error: servers: expected a resolver's address such as");
    refused("dns: {servers: [1.2.3.4, '[::1]:0']}\n", "1:27: error: servers: expected a resolver's address");
    refused("dns: {servers: {a: b}}\n", "1:17: error: servers: expected a list of addresses such as");
    refused("queue: {max_size: 10Q}\n", "1:19: error: max_size: expected a size such as 64k, 10M or 100G");
    refused("queue: {max_size: 10}\n", "1:19: error: max_size: expected a size from 64M to 64T, found '10'");
    refused("sources: [{name: a, address: 192.0.2.300}]\n",
            "1:30: error: address: expected an IP address such as");
    refused("sites: [{name: a, mx: a.b, max_rate: 5}]\n",
            "1:38: error: max_rate: expected a rate such as 5/s");
    refused("sites: [{name: a, mx: a.b, tls: strict}]\n",
            "1:33: error: tls: expected none, may, encrypt, verify or dane, found 'strict'");
    refused("routes: [{domain: a.b, host: c.d, tls_certificate: /c.pem}]\n",
            "1:52: error: tls_certificate and tls_key go together");
    refused("routes: [{domain: a.b, host: c.d, tls: none, tls_implicit: yes}]\n",
            "1:60: error: tls_implicit is TLS, and tls is none");
    refused("sites: [{name: a, mx: [a.b, [c]]}]\n", "1:30: error: mx: expected a list of host name patterns");
    refused("sites: [{name: a, mx: []}]\n", "1:23: error: mx: expected at least one pattern");
    refused("sites: [{name: a, mx: a.b, port: 0}]\n",
            "1:34: error: port: expected a number from 1 to 65535, found '0'");
    refused("routes: [{domain: 'a b', host: x}]\n",
            "1:20: error: domain: expected a domain such as example.com");
    refused("routes: [{domain: a, host: 'x:0'}]\n", "1:29: error: host: expected a host, or a list such as");
    refused("routes: [{host: [a, 'x y z']}]\n", "1:22: error: host: expected a host, or a list such as");
    refused("routes: [{host: ['0 a']}]\n", "1:19: error: host: expected a host, or a list such as");
    refused("routes: [{host: []}]\n", "1:17: error: host: expected at least one host");
    refused("routes: [{host: a, user: u}]\n", "1:26: error: user needs either password_file or token_file");
    refused("routes: [{host: a, user: u, password_file: /p, token_file: /t}]\n",
            "1:26: error: user needs either password_file or token_file");
    refused("routes: [{host: a, password_file: /p}]\n", "1:11: error: to log in takes a user");
    refused("routes: [{host: a, user: u, password_file: /p, auth: [plain, cram-md5]}]\n",
            "1:55: error: auth: expected scram-sha-256, xoauth2, plain or login, found 'cram-md5'");
    refused("routes: [{host: a, user: u, token_file: /t, auth: plain}]\n",
            "1:51: error: auth: xoauth2 takes a token_file, the others a password_file");
    refused("routes: [{host: a, tls: none, user: u, password_file: /p}]\n",
            "1:25: error: tls is none, and nothing is logged in with in the clear: see auth_in_clear");
    refused("retry: [{status: 5.1.1, schedule: 1h}]\n",
            "1:18: error: status: expected an enhanced status of class 4");
    refused("retry: [{status: 4.1, schedule: []}]\n", "1:33: error: schedule: expected 1 to 16 durations");
    refused("retry: [{status: 4.1, schedule: [1h, 2x]}]\n",
            "1:38: error: schedule: expected a duration such as");
    refused("pools: [{name: p, sources: {}}]\n", "1:28: error: sources: expected at least one source");
    refused("sources: {name: a}\n", "1:11: error: sources: expected a list: each entry begins with '-'");
    refused("sources: [a]\n",
            "1:11: error: sources: expected a map of options such as {name: ...}, found 'a'");
}

static void test_names(void **state)
{
    (void)state;
    refused("hostnam: x\n", "1:1: error: unknown option 'hostnam', did you mean 'hostname'?");
    refused("hotsname: x\n", "1:1: error: unknown option 'hotsname', did you mean 'hostname'?");
    refused("zebra: []\n", "1:1: error: unknown option 'zebra'\n");
    refused("max_connections: 5\n", "1:1: error: unknown option 'max_connections': it belongs to sites");
    refused("jobs: {mod: '0660'}\n", "1:8: error: unknown option 'mod' in jobs, did you mean 'mode'?");
    refused("jobs: {workers: 1}\n",
            "1:8: error: unknown option 'workers' in jobs: it belongs to the top level");
    refused("? [a]\n: b\n", "1:4: error: expected the name of an option");
    refused("dns: {timeout: 5s, : 3}\n", "1:22: error: expected the name of an option");
    refused("workers: 1\ndns: {}\nworkers: 1\n", "3:1: error: 'workers' is given twice, first in ");
    refused("dns: {timeout: 5s, timeout: 5s}\n", "1:20: error: 'timeout' is given twice, first in ");
    refused("dns: {}\ndns: {}\n", "2:1: error: 'dns' is given twice, first in ");
    refused("sites:\n - name: a\n   mx: a.b\n   port: 25\n   port: 26\n",
            "5:4: error: 'port' is given twice in this entry");
    refused("sites:\n - {name: a, mx: a.b}\n - {name: a, mx: c.d}\n",
            "3:11: error: name 'a' stands twice in sites, first in ");
    refused("routes:\n - {domain: a.b, host: c}\n - {domain: a.b, host: d}\n",
            "3:13: error: a route for the same domain, sender and tenant stands before it, in ");
    refused("retry:\n - {status: 4.2.*, schedule: 1h}\n - {status: 4.2, schedule: 2h}\n",
            "3:13: error: status '4.2' stands twice in retry, first in ");
    refused("feedback_id: \"{{camp}}:x\"\n", "1:15: error: feedback_id: expected parts with colons between");
    refused("feedback_id: \"a:b:c:d:e\"\n", "1:15: error: feedback_id: expected up to four parts");
    refused("dkim:\n - {domain: a.b, selector: s, key: /k}\n - {domain: A.b, selector: s, key: /l}\n",
            "3:28: error: selector 's' of A.b stands twice in dkim, first in ");
    refused("jobs: {tenants: {5: a, 5: b}}\n", "1:24: error: '5' is given twice, first in line 1");
    refused("sources: [{name: a}]\npools:\n - name: p\n   sources: {a: 1, a: 2}\n",
            "4:20: error: 'a' is given twice, first in line 4");
    refused("sources: [{address: 192.0.2.1}]\n", "1:12: error: this entry of sources needs 'name'");
    refused("routes: [{domain: a.b}]\n", "1:11: error: this entry of routes needs 'host'");
}

static void test_references(void **state)
{
    (void)state;
    refused("sources: [{name: alpha}, {name: beta}]\npools: [{name: p, sources: {beta: 1, alpa: 3}}]\n",
            "2:38: error: unknown source 'alpa', did you mean 'alpha'?");
    refused("tenants: [{name: t, pool: defualt}]\n",
            "1:27: error: unknown pool 'defualt', did you mean 'default'?");
    refused("tenants: [{name: t, pool: x}]\n", "1:27: error: unknown pool 'x'\n");
    refused("sites: [{name: gmail}]\n", "1:10: error: the site 'gmail' needs mx");
    refused("sites: [{name: default, mx: a.b}]\n", "1:29: error: the site 'default' is for every host");
    refused("sites: [{name: default, pause: 2h}, {name: a, mx: a.b}]\n",
            "1:32: error: pause is longer than pause_max");
    refused("sites: [{name: a, mx: a.b, dead_host_delay: 2h}]\n",
            "1:45: error: dead_host_delay is longer than dead_host_delay_max");
    refused("jobs: {unix: /a}\ncontrol: {unix: /a}\n", "2:11: error: control and jobs name the same socket");
    refused("queue: {max_size: 64M}\n", "1:9: error: queue: reserve is larger than max_size");
}

static void test_files(void **state)
{
    (void)state;
    refused("hostname: a: b\n", "1:12: error: ");
    refused("dns: {servers: [1.2.3.4\n", "2:1: error: ");
    refused("\thostname: a\n", "1:1: error: ");
    refused("a text\n", "1:1: error: expected options as 'name: value'");
    refused("- a\n", "1:3: error: expected options as 'name: value'");
    refused("workers: 1\n---\nworkers: 2\n", "3:1: error: expected one document, found a second one");
    const char *want[] = {"2:11: error: expected text in UTF-8, found the byte 0xff"};
    refused_bytes("workers: 1\nhostname: \xff\n", 23, 1, want);
    want[0] = "1:9: error: expected text in UTF-8, found the byte 0x00";
    refused_bytes("workers:\0 1\n", 12, 1, want);
    refused("include: [missing.yaml]\n", "1:11: error: there is no file ");
    struct buf errors;
    struct config *config;
    buf_init(&errors, CONFIG_ERRORS_MAX);
    assert_false(config_load("/nonexistent/postrider.yaml", &config, &errors));
    buf_add_char(&errors, '\0');
    assert_string_equal(errors.data,
                        "/nonexistent/postrider.yaml: error: cannot be read: No such file or directory\n");
    buf_free(&errors);
    buf_init(&errors, CONFIG_ERRORS_MAX);
    assert_false(config_load("/tmp", &config, &errors));
    buf_add_char(&errors, '\0');
    assert_string_equal(errors.data, "/tmp: error: cannot be read: Is a directory\n");
    buf_free(&errors);
}

/* One error whole: place, what was expected, the line, the mark. */
#define MISTYPED                                                                                             \
    "2:8: error: unknown option 'mdoe' in jobs, did you mean 'mode'?\njobs: {mdoe: '0660'}\n       ^~~~\n"

static void test_all_errors_at_once(void **state)
{
    (void)state;
    static const char text[] =
        "workers: many\njobs: {mdoe: '0660'}\nsites:\n - {name: a}\n - {name: b, mx: x.y, port: z}\n"
        "tenants: [{name: t, pool: p}]\n";
    static const char *const wants[] = {
        "1:10: error: workers: expected a number", MISTYPED,
        "4:5: error: the site 'a' needs mx",       "5:29: error: port: expected a number",
        "6:27: error: unknown pool 'p'",
    };
    refused_bytes(text, sizeof text - 1, 5, wants);
    /* A flood is cut. */
    struct buf many, errors;
    struct config *config;
    buf_init(&many, SHOW_MAX);
    buf_init(&errors, CONFIG_ERRORS_MAX);
    for (int i = 0; i < 500; i++)
        buf_printf(&many, "unknown%d: 1\n", i);
    write_bytes(main_file, many.data, many.len);
    assert_false(config_load(main_file, &config, &errors));
    buf_add_char(&errors, '\0');
    assert_false(errors.failed);
    assert_int_equal(count_of(errors.data, ": error: "), 50);
    assert_non_null(strstr(errors.data, "more than 50 errors"));
    buf_free(&many);
    buf_free(&errors);
}

static void test_includes(void **state)
{
    (void)state;
    static const char other[] = "sites: [{name: b, mx: b.test}]\nqueue: {retain: 1d}\n";
    static const char text[] = "include: ['oth*.yaml', 'none*.yaml']\nsites: [{name: a, mx: a.test}]\n"
                               "queue: {lifetime: 1d}\n";
    write_bytes(other_file, other, sizeof other - 1);
    struct config *config = load(text);
    assert_int_equal(config->site_count, 2);
    assert_string_equal(config->sites[1].name, "b");
    assert_int_equal(config->queue.retain_ms, 86400000);
    assert_int_equal(config->queue.lifetime_ms, 86400000);
    config_free(config);
    /* Errors across files name both. */
    static const char again[] = "queue: {lifetime: 2d}\nsites: [{name: a, mx: b.test}]\ninclude: x\n";
    struct buf errors;
    char want[3][256];
    buf_init(&errors, CONFIG_ERRORS_MAX);
    write_bytes(other_file, again, sizeof again - 1);
    assert_false(config_load(main_file, &config, &errors));
    buf_add_char(&errors, '\0');
    snprintf(want[0], sizeof want[0], "%s:1:9: error: 'lifetime' is given twice, first in %s:3", other_file,
             main_file);
    snprintf(want[1], sizeof want[1], "%s:2:16: error: name 'a' stands twice in sites", other_file);
    snprintf(want[2], sizeof want[2], "%s:3:1: error: 'include' is for the main file only", other_file);
    for (int i = 0; i < 3; i++)
        if (strstr(errors.data, want[i]) == NULL)
            fail_msg("no \"%s\" in\n%s", want[i], errors.data);
    assert_int_equal(count_of(errors.data, ": error: "), 3);
    buf_free(&errors);
    unlink(other_file);
}

/* ---- reply rules ---- */

static void test_wrong_replies(void **state)
{
    (void)state;
    refused("replies: [{match: 'a (b', action: fail}]\n",
            "1:20: error: match: expected a regular expression (missing closing parenthesis behind 'a (b'), "
            "found "
            "'a (b'");
    refused("replies: [{match: '', action: fail}]\n",
            "1:20: error: match: expected a regular expression such as");
    refused("replies: [{code: 700, action: fail}]\n", "1:18: error: code: expected reply codes such as 421");
    refused("replies: [{code: [], action: fail}]\n", "1:18: error: code: expected 1 to 8 of them");
    refused("replies: [{code: [421, 4x], action: fail}]\n",
            "1:24: error: code: expected reply codes such as 421");
    refused("replies: [{status: 3.1, action: fail}]\n",
            "1:20: error: status: expected enhanced statuses such as");
    refused("replies: [{code: 421, at: dta, action: fail}]\n",
            "1:27: error: at: expected steps of the dialogue");
    refused("replies: [{code: 421, action: pause 1}]\n",
            "1:31: error: action: expected a duration from 1s to 30d");
    refused("replies: [{code: 421}]\n", "1:12: error: this entry of replies needs 'action': what to do");
    refused("replies: [{site: gmail, action: fail}]\n",
            "1:12: error: this entry of replies needs 'code', 'status' or 'match': it is for every reply");
    refused("replies: [{site: gmial, code: 421, action: fail}]\n",
            "1:18: error: no site or receiver is called 'gmial', did you mean 'gmail'?");
    refused("replies: [{name: a, code: 421, action: fail}, {name: a, code: 422, action: fail}]\n",
            "1:54: error: name 'a' stands twice in replies");
    refused("receivers: [{name: x}]\n",
            "1:14: error: this entry of receivers needs 'mx': a list of host name");
}

static const struct rule *rule_for(const struct config *config, const char *site, const char *mx,
                                   unsigned code, const char *text)
{
    struct rule_question question = {
        .site = str_of(site), .mx = str_of(mx), .code = code, .text = str_of(text)};
    return rules_match(config->rules, &question);
}

static void test_built_in_replies(void **state)
{
    (void)state;
    struct config *config = load("");
    const char *text = "4.7.28 Gmail has detected an unusual rate of mail from your IP address.";
    const struct rule *rule = rule_for(config, "google.com", "alt1.aspmx.l.google.com", 421, text);
    assert_non_null(rule);
    assert_string_equal(rule->name, "gmail-rate");
    assert_int_equal(strncmp(rule->where, "built-in replies.yaml:", 22), 0);
    assert_null(rule_for(config, "gmail", "mx.example.com", 421, text));
    for (size_t i = 0; i < rules_count(config->rules); i++) {
        assert_true(rules_at(config->rules, i)->built_in);
        assert_true(rules_at(config->rules, i)->name[0] != '\0');
    }
    config_free(config);
    config = load("default_replies: no\nreplies:\n"
                  "  - { code: 421, site: gmail, match: unusual rate, action: slow }\n");
    rule = rule_for(config, "google.com", "alt1.aspmx.l.google.com", 421, text);
    assert_non_null(rule);
    assert_string_equal(rule->name, "replies.1");
    assert_non_null(strstr(rule->where, "main.yaml:3"));
    assert_int_equal(rules_count(config->rules), 1);
    config_free(config);
}

static void test_patterns_are_added_to_a_built_in_receiver(void **state)
{
    (void)state;
    struct config *config = load("receivers: [{name: barracuda, mx: filter.example.net}]\n");
    assert_string_equal(rule_for(config, "x", "filter.example.net", 451, "Greylisted, come back")->name,
                        "barracuda-greylist");
    assert_string_equal(rule_for(config, "x", "d1.ess.barracudanetworks.com", 451, "Greylisted")->name,
                        "barracuda-greylist");
    config_free(config);
}

/* What is shown loads, and shows the same again. */
static void test_show(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "hostname: mta.example\njobs: {group: mail, tenants: {7: x}}\ncontrol: {unix: /c}\ndns: {servers: "
        "['[::1]:53'], "
        "ipv6: no}\nsources: [{name: s, address: 192.0.2.1, ehlo: '[192.0.2.1]'}]\npools: [{name: p, "
        "sources: {s: 9}}]\n"
        "sites: [{name: a, mx: ['*', '?.b'], max_rate: 7/90s}]\nroutes: [{domain: '*', host: '2001:db8::1', "
        "port: 26}, {sender: b.c, tenant: t, host: ['10 a', 'b:587'], user: 'u@x, \"y', token_file: /t}]\n"
        "retry: [{status: 4, schedule: [0, 90s]}, {status: 4.2, schedule: 1h, give_up: 2d}]\n"
        "tenants: [{name: t, max_rate: 3/s}]\n",
        "default_replies: no\nreceivers: [{name: big, mx: 'mx*.big.test'}]\n"
        "replies: [{site: big, at: rcpt, code: [421, 4xx, closed], status: [4.7.28, x.7.500-699, none], "
        "match: 'a \"b\\d', action: 'slow, pause 1h, sender'}, {name: two, code: 550, action: fail}]\n"
        "consumers: [{name: f, file: /f, events: [bounced, alert], tenants: [t, u]}, {name: w, webhook: "
        "'https://x/?a=b#c', shape: ses, start: oldest, on_full: drop}]\n",
    };
    for (int i = 0; i < 3; i++) {
        struct buf first, second;
        buf_init(&first, SHOW_MAX);
        buf_init(&second, SHOW_MAX);
        struct config *config = load(texts[i]);
        config_show(config, &first);
        config_free(config);
        buf_add_char(&first, '\0');
        config = load(first.data);
        config_show(config, &second);
        config_free(config);
        buf_add_char(&second, '\0');
        assert_string_equal(first.data, second.data);
        if (i == 1) {
            assert_non_null(strstr(first.data, "    max_rate: 7/1m30s\n"));
            assert_non_null(strstr(first.data, "  servers: [\"[::1]:53\"]\n"));
            assert_non_null(strstr(first.data, "  - status: 4.2\n    schedule: [1h]\n    give_up: 2d\n"));
        }
        if (i == 2)
            assert_non_null(strstr(first.data, "    events: [bounced, alert]\n    tenants: [t, u]\n"));
        buf_free(&first);
        buf_free(&second);
    }
}

/* The targets in order, and what goes where. */
static void test_routes(void **state)
{
    (void)state;
    struct config *config =
        load("routes:\n"
             "  - {domain: '*.a.test', sender: brand.test, host: [s1, 's2:2525', '[::1]:26'], port: 587}\n"
             "  - {domain: '*.a.test', tenant: acme, host: ['20 t1', '10 t2', '10 192.0.2.1:25', t4]}\n"
             "  - {host: 'unix:/run/lmtp', domain: b.test}\n"
             "  - {sender: '*.brand.test', tenant: acme, host: b1}\n");
    static const struct {
        const char *host;
        uint16_t port;
    } in_order[2][4] = {{{"s1", 587}, {"s2", 2525}, {"::1", 26}},
                        {{"t2", 25}, {"192.0.2.1", 25}, {"t1", 25}, {"t4", 25}}};
    for (unsigned i = 0; i < 2; i++)
        for (unsigned j = 0; j < config->routes[i].hosts.count; j++) {
            assert_true(str_eq(str_of(config->routes[i].targets[j].host), str_of(in_order[i][j].host)));
            assert_int_equal(config->routes[i].targets[j].port, in_order[i][j].port);
        }
    const struct config_target *targets = config->routes[1].targets;
    assert_true(config->routes[0].targets[0].preference < config->routes[0].targets[1].preference);
    assert_true(targets[0].preference == 10 && targets[1].preference == 10 && targets[2].preference == 20);
    assert_string_equal(config->routes[2].targets[0].host, "unix:/run/lmtp");
    static const struct {
        const char *domain, *sender, *tenant;
        int route;
    } ways[] = {
        {"x.a.test", "Brand.test", "acme", 0}, {"x.a.test", "brand.test", "default", 0},
        {"x.a.test", "other.test", "acme", 1}, {"x.a.test", "", "acme", 1},
        {"x.a.test", "", "default", -1},       {"B.test", "brand.test", "acme", 2},
        {"c.test", "x.brand.test", "acme", 3}, {"c.test", "x.brand.test", "default", -1},
        {"c.test", "brand.test", "acme", -1},
    };
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        const struct config_route *route =
            config_route_of(config, str_of(ways[i].domain), str_of(ways[i].sender), str_of(ways[i].tenant));
        assert_int_equal(route ? (int)(route - config->routes) : -1, ways[i].route);
    }
    assert_true(config_routes_by_sender(config, STR("brand.test"), STR("x")));
    assert_true(config_routes_by_sender(config, STR("a.brand.test"), STR("acme")));
    assert_false(config_routes_by_sender(config, STR("a.brand.test"), STR("x")));
    assert_false(config_routes_by_sender(config, STR(""), STR("acme")));
    assert_true(str_eq(config_pool_text(STR("default@brand.test")), STR("default")));
    assert_true(str_eq(config_pool_text(STR("default@brand.test+requiretls")), STR("default")));
    assert_true(str_eq(config_pool_sender(STR("default@brand.test+requiretls")), STR("brand.test")));
    assert_true(str_eq(config_pool_sender(STR("default+requiretls")), STR("")));
    assert_non_null(config_pool_of(config, STR("default@brand.test+anytls")));
    config_free(config);
}

/* Each option of the table stands in the man page, with its default. */
static void test_man(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, SHOW_MAX);
    config_man(&out);
    buf_add_char(&out, '\0');
    for (size_t i = 0; i < config_top.count; i++) {
        const struct section *section = config_top.options[i].section;
        char want[128];
        snprintf(want, sizeof want, ".It Ic %s\n", config_top.options[i].name);
        assert_non_null(strstr(out.data, want));
        for (size_t j = 0; section != NULL && j < section->count; j++) {
            snprintf(want, sizeof want, ".It Ic %s\n", section->options[j].name);
            assert_non_null(strstr(out.data, want));
        }
    }
    assert_non_null(strstr(out.data, "\nDefault: 4d12h.\n"));
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_example),
        cmocka_unit_test(test_consumers),
        cmocka_unit_test(test_sites_inherit),
        cmocka_unit_test(test_pools),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_all_errors_at_once),
        cmocka_unit_test(test_includes),
        cmocka_unit_test(test_wrong_replies),
        cmocka_unit_test(test_built_in_replies),
        cmocka_unit_test(test_patterns_are_added_to_a_built_in_receiver),
        cmocka_unit_test(test_show),
        cmocka_unit_test(test_routes),
        cmocka_unit_test(test_man),
    };
    return cmocka_run_group_tests_name("config", tests, make_directory, remove_directory);
}
