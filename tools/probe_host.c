/* probe_host.c - see probe_host.h. */
#include "tools/probe_host.h"

static const struct config_site *site_of(const struct probe *probe, const char *host)
{
    const struct config_site *site = config_site_of_host(probe->config, str_of(host));
    return site ? site : &probe->config->site_default;
}

unsigned probe_port(const struct probe *probe, const struct dns_mx_host *host)
{
    if (probe->port > 0)
        return probe->port;
    return host->port ? host->port : site_of(probe, host->name)->port;
}

static const struct trust *trust_of(const struct probe *probe, const char *host, struct err *err)
{
    const struct config_route *route = probe->route;
    const char *ca_file =
        route && route->tls_ca_file[0] ? route->tls_ca_file : site_of(probe, host)->tls_ca_file;
    return trusts_add(probe->trusts, ca_file, route ? route->tls_certificate : "",
                      route ? route->tls_key : "", err);
}

static void note_dane(json_t *out, enum dane_verdict verdict, const struct tlsa_set *set, const char *reason)
{
    char text[TLSA_TEXT_MAX];
    json_t *records = json_array();
    for (unsigned i = 0; set != NULL && i < set->count; i++) {
        tlsa_text(set, i, text);
        json_array_append_new(records, json_string(text));
    }
    json_object_set_new(out, "dane",
                        json_pack("{s:s, s:o, s:s}", "verdict", dane_verdict_name(verdict), "records",
                                  records, "reason", verdict == DANE_BOGUS ? reason : ""));
}

static void note_sts(enum sts_verdict verdict, json_t *talk)
{
    const json_t *tls = json_object_get(talk, "tls");
    bool met = json_is_true(json_object_get(json_object_get(tls, "certificate"), "verified"));
    bool known = verdict == STS_REQUIRED && json_is_true(json_object_get(talk, "answered"));
    json_object_set_new(talk, "mta_sts_met", known ? json_boolean(met) : json_null());
}

static bool ask_address(struct probe *probe, const struct probe_peer *peer, json_t *talks, struct err *err)
{
    char text[LOOKUP_ADDRESS_MAX];
    json_t *talk = json_pack("{s:s}", "address", lookup_address_text(peer->address, text));
    json_array_append_new(talks, talk);
    if (probe->line != NULL)
        json_object_set_new(talk, "trace", json_array());
    probe->talks--;
    probe->user = talk;
    if (!probe_talk(probe, peer, talk, err))
        return false;
    note_sts(sts_verdict(probe->sts, str_of(peer->host)), talk);
    return true;
}

bool probe_host(struct probe *probe, struct lookup *lookup, unsigned host, json_t *out, struct err *err)
{
    const struct dns_addresses *addresses = lookup_addresses(lookup, host);
    const struct dns_mx_host *known = &lookup_mx(lookup)->hosts[host];
    struct probe_peer peer = {.host = known->name, .port = probe_port(probe, known)};
    char reason[DNS_REASON_MAX];
    json_t *talks = json_array();
    json_object_set_new(out, "talks", talks);
    json_object_set_new(out, "port", json_integer(peer.port));
    json_object_set_new(out, "mta_sts",
                        json_string(sts_verdict_name(sts_verdict(probe->sts, str_of(peer.host)))));
    peer.trust = trust_of(probe, peer.host, err);
    if (peer.trust == NULL)
        return false;
    enum dane_verdict dane = lookup_dane(lookup, host, peer.port, &peer.tlsa, reason);
    note_dane(out, dane, peer.tlsa, reason);
    bool good = true;
    for (unsigned i = 0; good && i < addresses->count && i < PROBE_HOST_TALKS_MAX && probe->talks > 0; i++) {
        peer.address = &addresses->list[i];
        good = ask_address(probe, &peer, talks, err);
    }
    tlsa_set_unref(peer.tlsa);
    return good;
}
