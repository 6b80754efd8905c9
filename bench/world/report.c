/* report.c - see report.h. */
#include "bench/world/report.h"

#include <stdio.h>
#include <unistd.h>

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *violations_of(const struct counts *counts)
{
    json_t *kinds = json_object(), *examples = json_array();
    uint64_t total = 0;
    for (int i = 0; i < VIOLATIONS; i++) {
        total += counts->violations[i];
        if (counts->violations[i])
            json_object_set_new(kinds, violation_name((enum violation)i), number(counts->violations[i]));
    }
    for (uint32_t i = 0; i < counts->examples_used; i++)
        json_array_append_new(examples, json_string(counts->examples[i]));
    return json_pack("{so so so}", "total", number(total), "kinds", kinds, "examples", examples);
}

static json_t *counts_of(const struct counts *counts)
{
    json_t *rejected = json_object();
    for (uint32_t i = 0; i < counts->codes_used; i++) {
        char code[16];
        snprintf(code, sizeof code, "%u", counts->codes[i].code);
        json_object_set_new(rejected, code, number(counts->codes[i].n));
    }
    json_t *connections =
        json_pack("{so so so so so}", "now", number(counts->connections_now), "max",
                  number(counts->connections_max), "total", number(counts->connections), "over_cap",
                  number(counts->over_cap), "peak_per_s", number(counts->connects.peak));
    json_t *tls = json_pack("{so so so}", "sessions", number(counts->tls_sessions), "resumed",
                            number(counts->tls_resumed), "failed", number(counts->tls_failed));
    return json_pack("{so so so so so so so so so so so so}", "connections", connections, "messages",
                     number(counts->messages), "recipients", number(counts->recipients), "bytes",
                     number(counts->bytes), "peak_messages_per_s", number(counts->accepted.peak), "rejected",
                     rejected, "over_rate", number(counts->over_rate), "lost_replies",
                     number(counts->lost_replies), "aborted", number(counts->aborted), "chunked",
                     number(counts->chunked), "tls", tls, "violations", violations_of(counts));
}

static json_t *uptime_ms(const struct world *world)
{
    return number((uint64_t)((world->loop.now.mono_ns - world->started_ns) / NS_PER_MS));
}

json_t *report_totals(struct world *world)
{
    return json_pack("{so so so so}", "uptime_ms", uptime_ms(world), "accept_failures",
                     number(world->accept_failures), "totals", counts_of(&world->total), "dns",
                     dns_server_counts(world->dns, false));
}

json_t *report_stats(struct world *world)
{
    json_t *hosts = json_object(), *groups = json_object();
    for (uint32_t i = 0; i < world->scenario.hosts_used; i++)
        json_object_set_new(hosts, world->scenario.hosts[i].name,
                            counts_of(&world->scenario.hosts[i].counts));
    for (uint32_t i = 0; i < world->scenario.groups_used; i++)
        json_object_set_new(groups, world->scenario.groups[i]->name,
                            counts_of(&world->scenario.groups[i]->counts));
    return json_pack("{so so so so so so}", "uptime_ms", uptime_ms(world), "accept_failures",
                     number(world->accept_failures), "totals", counts_of(&world->total), "groups", groups,
                     "hosts", hosts, "dns", dns_server_counts(world->dns, true));
}

json_t *report_ports(struct world *world)
{
    json_t *hosts = json_object();
    char text[ADDRESS_TEXT_MAX];
    for (uint32_t i = 0; i < world->scenario.hosts_used; i++) {
        const struct host *host = &world->scenario.hosts[i];
        json_t *addresses = json_array();
        for (uint32_t j = 0; j < host->listeners_used; j++) {
            address_text(&host->listeners[j].address, false, text);
            json_array_append_new(addresses, json_string(text));
        }
        json_object_set_new(hosts, host->name,
                            json_pack("{so so}", "port", number(address_port(&host->listeners[0].address)),
                                      "addresses", addresses));
    }
    address_text(&world->scenario.dns, true, text);
    return json_pack("{ss so so so}", "dns", text, "smtp_port", number(world->scenario.smtp_port), "pid",
                     number((uint64_t)getpid()), "hosts", hosts);
}

void report_reset(struct world *world)
{
    counts_reset(&world->total);
    for (uint32_t i = 0; i < world->scenario.groups_used; i++)
        counts_reset(&world->scenario.groups[i]->counts);
    for (uint32_t i = 0; i < world->scenario.hosts_used; i++)
        counts_reset(&world->scenario.hosts[i].counts);
    dns_server_reset(world->dns);
    world->accept_failures = 0;
    world->started_ns = world->loop.now.mono_ns;
}
