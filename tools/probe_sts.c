/* probe_sts.c - see probe_sts.h. */
#include "tools/probe_sts.h"

#include "engine/sts/fetch.h"

#define WAIT_MS 100 /* a look at what has come */

static bool take_body(const struct fetch *fetch, struct sts_policy *policy, struct err *err)
{
    struct str body;
    return fetch_result(fetch, &body, err) == FETCH_FINE && sts_policy_parse(body, policy, err);
}

/* At most as long as the settings allow: the fetcher sees to that. */
static bool fetch_policy(const struct config_mta_sts *settings, const char *domain, const char *addresses,
                         struct sts_policy *policy, struct err *err)
{
    const struct fetch_settings wanted = {
        .timeout_ms = settings->timeout_ms, .ca_file = settings->ca_file, .port = settings->port};
    struct fetcher *fetcher = fetch_prepare(err) ? fetcher_create(&wanted, err) : NULL;
    if (fetcher == NULL)
        return false;
    bool good = fetcher_begin(fetcher, domain, addresses, NULL, err);
    while (good && fetcher_count(fetcher) > 0) {
        struct fetch *fetch = fetcher_next(fetcher);
        if (fetch == NULL) {
            fetcher_wait(fetcher, -1, WAIT_MS);
            continue;
        }
        good = take_body(fetch, policy, err);
        fetch_free(fetch);
    }
    fetcher_destroy(fetcher);
    return good;
}

json_t *probe_sts(struct lookup *lookup, const struct config_mta_sts *settings, const char *domain,
                  struct sts_policy *policy)
{
    char id[STS_ID_MAX + 1], addresses[STS_ADDRESSES_MAX];
    struct err err;
    *policy = (struct sts_policy){.mode = STS_NONE};
    if (!lookup_sts(lookup, domain, id, addresses))
        return NULL;
    json_t *told = json_pack("{s:s}", "id", id);
    bool good = addresses[0] ? fetch_policy(settings, domain, addresses, policy, &err)
                             : err_set(&err, 0, "mta-sts.%s has no address", domain);
    if (!good) {
        policy->mode = STS_NONE;
        json_object_set_new(told, "error", json_string(err.text));
        return told;
    }
    json_t *mx = json_array();
    for (unsigned i = 0; i < policy->mx_count; i++)
        json_array_append_new(mx, json_string(policy->mx[i]));
    json_object_set_new(told, "mode", json_string(sts_mode_name(policy->mode)));
    json_object_set_new(told, "max_age", json_integer(policy->max_age_s));
    json_object_set_new(told, "mx", mx);
    return told;
}
