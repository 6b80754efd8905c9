/* config_check.c - completes what was read and checks what concerns several options.
 *
 * Names that refer to others are resolved; the source, pool, site and tenant "default" are there afterwards,
 * given or not; sites take from the default site what they do not say. Everything found wrong is reported
 * where it stands. */
#include "engine/config_table.h"
#include "engine/config_yaml.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static bool is_default(const char *name)
{
    return strcmp(name, "default") == 0;
}

/* ---- equal names ---- */

struct named {
    const char *name;
    size_t index;
};

static int by_name(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : (x->index > y->index) - (x->index < y->index);
}

static const char *element_name(struct config_reading *reading, const struct section *section,
                                const char *element)
{
    struct buf text;
    buf_init(&text, 1024);
    value_format(section->key, element + section->key->offset, &text);
    const char *name = config_copy(reading->config, buf_str(&text));
    buf_free(&text);
    return name;
}

static void check_names(struct config_reading *reading, const struct option *option,
                        const struct config_list *list)
{
    struct named *names = list->count > 1 ? calloc(list->count, sizeof *names) : NULL;
    if (names == NULL)
        return;
    size_t size = option->section->size, count = 0;
    for (size_t i = 0; i < list->count; i++) {
        const char *name = element_name(reading, option->section, list->elements + i * size);
        if (name != NULL && (list->items[i].set & 1))
            names[count++] = (struct named){name, i};
    }
    qsort(names, count, sizeof *names, by_name);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(names[i].name, names[i - 1].name) != 0)
            continue;
        const char *key = option->section->key->name;
        const struct config_item *first = &list->items[names[i - 1].index];
        yaml_report(reading->yaml, config_item_node(&list->items[names[i].index], key),
                    "%s '%s' stands twice in %s, first in %s:%d", key, names[i].name, option->name,
                    first->file, yaml_line(config_item_node(first, key)));
    }
    free(names);
}

/* ---- hostname, sockets, sizes ---- */

/* As `hostname -f`: the name of the system, completed by the resolver where it has no dot. */
static const char *find_hostname(struct config_reading *reading)
{
    char name[256] = "localhost";
    struct value_error error;
    if (gethostname(name, sizeof name) != 0 || !value_pattern(str_of(name), false, &error))
        return config_copy(reading->config, STR("localhost"));
    name[sizeof name - 1] = '\0';
    struct addrinfo hints = {.ai_flags = AI_CANONNAME, .ai_socktype = SOCK_STREAM}, *list = NULL;
    const char *found = name;
    if (strchr(name, '.') == NULL && getaddrinfo(name, NULL, &hints, &list) == 0 &&
        list->ai_canonname != NULL && value_pattern(str_of(list->ai_canonname), false, &error))
        found = list->ai_canonname;
    const char *copy = config_copy(reading->config, str_of(found));
    if (list != NULL)
        freeaddrinfo(list);
    return copy;
}

static void check_single(struct config_reading *reading)
{
    struct config *config = reading->config;
    if (config->hostname[0] == '\0' && (config->hostname = find_hostname(reading)) == NULL)
        reading->out_of_memory = true;
    struct config_tls_reports *reports = &config->tls_reports;
    char contact[DOMAIN_MAX + 16];
    if (reports->organization[0] == '\0')
        reports->organization = config->hostname;
    int n = snprintf(contact, sizeof contact, "postmaster@%s", config->hostname);
    if (reports->contact[0] == '\0')
        reports->contact = config_copy(config, str_make(contact, (size_t)n));
    struct fy_node *node = config_given(reading, "control", "unix");
    if (node != NULL && strcmp(config->jobs.unix_path, config->control.unix_path) == 0)
        yaml_report(reading->yaml, node,
                    "control and jobs name the same socket: leave this one out to have one for both");
    if (config->queue.reserve > config->queue.max_size) {
        node = config_given(reading, "queue", "reserve");
        yaml_report(reading->yaml, node ? node : config_given(reading, "queue", "max_size"),
                    "queue: reserve is larger than max_size");
    }
}

static void check_admin(struct config_reading *reading)
{
    struct config_admin *admin = &reading->config->admin;
    struct value_error error;
    struct fy_node *listen = config_given(reading, "admin", "listen");
    struct fy_node *file = config_given(reading, "admin", "token_file");
    if (listen != NULL && admin->token_file[0] == '\0')
        yaml_report(reading->yaml, listen,
                    "admin over TCP needs a token_file: make a token with 'openssl rand -hex 32'");
    if (listen == NULL && file != NULL)
        yaml_report(reading->yaml, file, "admin.token_file without admin.listen has no meaning");
    bool is_address =
        listen != NULL && value_listen(str_of(admin->listen), &admin->address, &admin->address_len, &error);
    if (is_address && admin->address_len == 0)
        yaml_report(reading->yaml, listen,
                    "admin is for an address; a Unix socket for operators is control.unix");
}

static void join_servers(struct config_reading *reading)
{
    struct config_dns *dns = &reading->config->dns;
    struct buf text;
    buf_init(&text, 64 * 1024);
    for (size_t i = 0; i < dns->servers.count; i++)
        buf_printf(&text, "%s%s", i ? "," : "", dns->servers.list[i]);
    if (text.failed)
        yaml_report(reading->yaml, config_given(reading, "dns", "servers"), "too many servers");
    dns->servers_joined = config_copy(reading->config, buf_str(&text));
    if (dns->servers_joined == NULL)
        reading->out_of_memory = true;
    buf_free(&text);
}

/* ---- sources, pools, tenants ---- */

static void check_proxy(struct config_reading *reading, struct config_source *source,
                        const struct config_item *item)
{
    struct value_error error;
    bool has_user = source->proxy_user[0] != '\0';
    if (source->proxy_text[0] != '\0')
        value_proxy(str_of(source->proxy_text), &source->proxy, &error);
    if (source->proxy.kind == PROXY_HAPROXY && source->address_len == 0)
        yaml_report(reading->yaml, config_item_node(item, "proxy"),
                    "haproxy is told the address to send from: it needs address");
    if (has_user != (source->proxy_password_file[0] != '\0'))
        yaml_report(reading->yaml, config_item_node(item, has_user ? "proxy_user" : "proxy_password_file"),
                    "proxy_user and proxy_password_file go together");
    else if (has_user && source->proxy.kind != PROXY_SOCKS5)
        yaml_report(reading->yaml, config_item_node(item, "proxy_user"), "proxy_user is for a socks5 proxy");
}

static void check_sources(struct config_reading *reading)
{
    struct config *config = reading->config;
    const struct config_list *list = config_list_of(reading, "sources");
    if (config->source_count == 0)
        config->sources[config->source_count++].name = "default";
    for (size_t i = 0; i < config->source_count; i++) {
        struct config_source *source = &config->sources[i];
        if (source->address[0] != '\0')
            value_address(str_of(source->address), &source->address_value, &source->address_len);
        if (source->ehlo[0] == '\0')
            source->ehlo = config->hostname;
        source->proxy.text = source->proxy_text;
        source->proxy.user = source->proxy_user;
        source->proxy.password_file = source->proxy_password_file;
        if (list->count > 0)
            check_proxy(reading, source, &list->items[i]);
    }
}

/* The key of this source in the map of a pool. */
static struct fy_node *weight_node(const struct config_item *item, const char *name)
{
    struct fy_node *map = config_item_node(item, "sources");
    void *at = NULL;
    struct yaml_pair pair;
    while (yaml_kind(map) == YAML_MAP && yaml_next_pair(map, &at, &pair))
        if (yaml_kind(pair.key) == YAML_TEXT && str_eq(yaml_text(pair.key), str_of(name)))
            return pair.key;
    return map;
}

static void resolve_weight(struct config_reading *reading, const struct config_item *item,
                           struct config_weight *weight)
{
    const struct config *config = reading->config;
    struct near_name near = near_name_of(str_of(weight->name));
    for (unsigned i = 0; i < config->source_count; i++) {
        if (strcmp(config->sources[i].name, weight->name) == 0) {
            weight->source = i;
            return;
        }
        near_name_try(&near, config->sources[i].name);
    }
    char hint[NEAR_TEXT_MAX];
    yaml_report(reading->yaml, weight_node(item, weight->name), "unknown source '%s'%s", weight->name,
                near_name_text(&near, hint));
}

static void check_pools(struct config_reading *reading)
{
    struct config *config = reading->config;
    const struct config_list *list = config_list_of(reading, "pools");
    for (size_t i = 0; i < config->pool_count; i++)
        for (size_t j = 0; j < config->pools[i].source_count; j++)
            resolve_weight(reading, &list->items[i], &config->pools[i].sources[j]);
    if (config_pool_of(config, STR("default")) != NULL)
        return;
    struct config_weight *all = config_allocate(reading, config->source_count * sizeof *all);
    if (all == NULL)
        return;
    for (unsigned i = 0; i < config->source_count; i++)
        all[i] = (struct config_weight){config->sources[i].name, i, 1};
    config->pools[config->pool_count++] = (struct config_pool){"default", all, config->source_count};
}

static void check_tenants(struct config_reading *reading)
{
    struct config *config = reading->config;
    const struct config_list *list = config_list_of(reading, "tenants");
    for (size_t i = 0; i < config->tenant_count; i++) {
        struct config_tenant *tenant = &config->tenants[i];
        const struct config_pool *pool = config_pool_of(config, str_of(tenant->pool));
        if (pool != NULL) {
            tenant->pool_index = (unsigned)(pool - config->pools);
            continue;
        }
        struct near_name near = near_name_of(str_of(tenant->pool));
        char hint[NEAR_TEXT_MAX];
        for (size_t j = 0; j < config->pool_count; j++)
            near_name_try(&near, config->pools[j].name);
        yaml_report(reading->yaml, config_item_node(&list->items[i], "pool"), "unknown pool '%s'%s",
                    tenant->pool, near_name_text(&near, hint));
    }
    if (config_tenant_of(config, STR("default")) != NULL)
        return;
    struct config_tenant *tenant = &config->tenants[config->tenant_count++]; /* its presets are in place */
    tenant->name = "default";
    tenant->pool_index = (unsigned)(config_pool_of(config, STR("default")) - config->pools);
}

/* ---- dkim ---- */

static void check_dkim(struct config_reading *reading)
{
    const struct config_dkim *dkim = reading->config->dkim;
    const struct config_list *list = config_list_of(reading, "dkim");
    for (size_t i = 1; i < reading->config->dkim_count; i++)
        for (size_t j = 0; j < i; j++)
            if (strcasecmp(dkim[i].domain, dkim[j].domain) == 0 &&
                strcasecmp(dkim[i].selector, dkim[j].selector) == 0) {
                yaml_report(reading->yaml, config_item_node(&list->items[i], "selector"),
                            "selector '%s' of %s stands twice in dkim, first in %s:%d", dkim[i].selector,
                            dkim[i].domain, list->items[j].file,
                            yaml_line(config_item_node(&list->items[j], "selector")));
                break;
            }
}

/* ---- sites ---- */

static void inherit(struct config_site *site, uint32_t set, const struct config_site *from)
{
    for (size_t i = 0; i < config_site_section.count; i++) {
        const struct option *option = &config_site_section.options[i];
        if ((set & (1u << i)) || option->kind == KIND_NAME || option->kind == KIND_PATTERNS)
            continue;
        memcpy((char *)site + option->offset, (const char *)from + option->offset, value_size(option->kind));
    }
}

/* A delay that is doubled up to its maximum cannot begin above it; said once where it was given. */
static void check_delays(struct config_reading *reading, const struct config_site *site,
                         const struct config_item *item, const struct config_site *inherited)
{
    if (site->dead_host_delay_ms > site->dead_host_delay_max_ms &&
        (inherited == NULL || site->dead_host_delay_ms != inherited->dead_host_delay_ms ||
         site->dead_host_delay_max_ms != inherited->dead_host_delay_max_ms))
        yaml_report(reading->yaml, config_item_node(item, "dead_host_delay"),
                    "dead_host_delay is longer than dead_host_delay_max");
    if (site->pause_ms > site->pause_max_ms && (inherited == NULL || site->pause_ms != inherited->pause_ms ||
                                                site->pause_max_ms != inherited->pause_max_ms))
        yaml_report(reading->yaml, config_item_node(item, "pause"), "pause is longer than pause_max");
}

static void check_sites(struct config_reading *reading)
{
    struct config *config = reading->config;
    const struct config_list *list = config_list_of(reading, "sites");
    config->site_default = config->sites[config->site_count]; /* the presets */
    config->site_default.name = "default";
    for (size_t i = 0; i < config->site_count; i++)
        if (is_default(config->sites[i].name))
            config->site_default = config->sites[i];
    size_t kept = 0;
    for (size_t i = 0; i < config->site_count; i++) {
        struct config_site *site = &config->sites[i];
        const struct config_item *item = &list->items[i];
        if (is_default(site->name)) {
            check_delays(reading, site, item, NULL);
            if (site->mx.count > 0)
                yaml_report(reading->yaml, config_item_node(item, "mx"),
                            "the site 'default' is for every host that no other matches: it takes no mx");
            continue;
        }
        inherit(site, item->set, &config->site_default);
        check_delays(reading, site, item, &config->site_default);
        if (config_item_node(item, "mx") == item->node)
            yaml_report(reading->yaml, config_item_node(item, "mx"),
                        "the site '%s' needs mx, the patterns of its hosts, such as [\"*.example.com\"]",
                        site->name);
        config->sites[kept++] = *site;
    }
    config->site_count = kept;
}

/* ---- consumers ---- */

/* Only what differs from the default is wrong of a file: `config show` shows everything. */
static void check_file(struct config_reading *reading, const struct config_consumer *consumer,
                       const struct config_item *item)
{
    const struct {
        const char *option;
        bool given;
    } for_webhooks[] = {
        {"shape", consumer->shape != CONFIG_SHAPE_NATIVE},
        {"gzip", consumer->gzip},
        {"secret_file", consumer->secret_file[0] != '\0'},
        {"user", consumer->user[0] != '\0'},
        {"ca_file", consumer->ca_file[0] != '\0'},
        {"dead_letters", consumer->dead_letters[0] != '\0'},
    };
    for (size_t i = 0; i < sizeof for_webhooks / sizeof *for_webhooks; i++)
        if (for_webhooks[i].given)
            yaml_report(reading->yaml, config_item_node(item, for_webhooks[i].option), "%s is for a webhook",
                        for_webhooks[i].option);
}

static void check_webhook(struct config_reading *reading, const struct config_consumer *consumer,
                          const struct config_item *item)
{
    if (consumer->shape == CONFIG_SHAPE_MAILGUN && consumer->secret_file[0] == '\0')
        yaml_report(reading->yaml, config_item_node(item, "shape"),
                    "the shape mailgun is signed: it needs secret_file");
    if ((consumer->user[0] == '\0') != (consumer->password_file[0] == '\0'))
        yaml_report(reading->yaml, config_item_node(item, consumer->user[0] ? "user" : "password_file"),
                    "user and password_file go together");
}

/* The file that it writes; "": none. */
static void consumer_writes(const struct config *config, const struct config_consumer *consumer,
                            char path[CONFIG_PATH_MAX])
{
    if (consumer->webhook[0] != '\0')
        config_dead_letters(consumer, config->state_directory, path);
    else
        snprintf(path, CONFIG_PATH_MAX, "%s", consumer->file);
}

/* Two would write into each other's lines, and put each other's files aside. */
static void check_consumer_file(struct config_reading *reading, size_t at, const struct config_item *item)
{
    const struct config *config = reading->config;
    const struct config_consumer *consumer = &config->consumers[at];
    char path[CONFIG_PATH_MAX], other[CONFIG_PATH_MAX];
    consumer_writes(config, consumer, path);
    for (size_t i = 0; i < at && path[0] != '\0'; i++) {
        consumer_writes(config, &config->consumers[i], other);
        if (strcmp(path, other) == 0)
            yaml_report(reading->yaml,
                        config_item_node(item, consumer->webhook[0] != '\0' ? "dead_letters" : "file"),
                        "the consumer '%s' writes this file already (%s): name another one",
                        config->consumers[i].name, path);
    }
}

static void check_consumers(struct config_reading *reading)
{
    struct config *config = reading->config;
    const struct config_list *list = config_list_of(reading, "consumers");
    if (config->consumer_count > CONSUMERS_MAX)
        yaml_report(reading->yaml, list->items[CONSUMERS_MAX].node, "there may be %d consumers at most",
                    CONSUMERS_MAX);
    for (size_t i = 0; i < config->consumer_count; i++) {
        const struct config_consumer *consumer = &config->consumers[i];
        const struct config_item *item = &list->items[i];
        if ((config_item_node(item, "webhook") == item->node) ==
            (config_item_node(item, "file") == item->node))
            yaml_report(reading->yaml, item->node, "the consumer '%s' needs either webhook or file",
                        consumer->name);
        if (consumer->retry_ms > consumer->retry_max_ms)
            yaml_report(reading->yaml, config_item_node(item, "retry"), "retry is longer than retry_max");
        check_consumer_file(reading, i, item);
        if (consumer->webhook[0] != '\0')
            check_webhook(reading, consumer, item);
        else
            check_file(reading, consumer, item);
    }
}

void config_check(struct config_reading *reading)
{
    for (size_t i = 0; i < config_top.count; i++)
        if (config_top.options[i].kind == KIND_LIST && config_top.options[i].section->key != NULL)
            check_names(reading, &config_top.options[i], &reading->lists[i]);
    check_single(reading);
    check_admin(reading);
    join_servers(reading);
    check_sources(reading);
    check_pools(reading);
    check_sites(reading);
    config_check_routes(reading);
    check_dkim(reading);
    check_consumers(reading);
    if (!reading->out_of_memory)
        check_tenants(reading);
}
