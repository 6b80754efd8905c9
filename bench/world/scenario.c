/* scenario.c - see scenario.h. The file's top level and its hosts; domains are in scenario_domain.c. */
#include "bench/world/scenario.h"

#include "bench/world/scenario_domain.h"
#include "engine/base/buf.h"

#include <errno.h>
#include <stdlib.h>

struct host_spec {
    const struct yaml *name, *address, *addresses, *group;
    uint32_t port;
    bool has_port;
};

static struct group *find_group(struct scenario *scenario, const struct yaml *node, struct err *err)
{
    for (uint32_t i = 0; i < scenario->groups_used; i++)
        if (strcmp(scenario->groups[i]->name, node->text) == 0)
            return scenario->groups[i];
    struct group **groups = realloc(scenario->groups, (scenario->groups_used + 1) * sizeof *groups);
    if (groups)
        scenario->groups = groups;
    struct group *group = groups ? calloc(1, sizeof *group) : NULL;
    if (group && (group->name = str_dup(str_of(node->text))) != NULL) {
        groups[scenario->groups_used++] = group;
        return group;
    }
    free(group);
    yaml_error(node, err, "out of memory");
    return NULL;
}

/* FIRST..COUNT */
static bool read_range(const struct yaml *node, union address *first, uint32_t *count, struct err *err)
{
    if (!yaml_want(node, YAML_SCALAR, err))
        return false;
    struct str text = str_of(node->text);
    uint64_t n = 0;
    size_t dots = 0;
    while (dots + 1 < text.n && !(text.p[dots] == '.' && text.p[dots + 1] == '.'))
        dots++;
    if (dots + 2 >= text.n || !address_parse(first, str_make(text.p, dots), 0) ||
        first->any.sa_family != AF_INET ||
        !str_u64(str_make(text.p + dots + 2, text.n - dots - 2), WORLD_HOSTS_MAX, &n) || n == 0)
        return yaml_error(node, err, "addresses wants FIRST..COUNT, such as 127.0.2.1..100, not '%s'",
                          node->text);
    *count = (uint32_t)n;
    return true;
}

static bool read_addresses(const struct yaml *node, union address *out, uint32_t max, uint32_t *used,
                           struct err *err)
{
    const struct yaml *item = node->kind == YAML_LIST ? node->first : node;
    for (; item; item = node->kind == YAML_LIST ? item->next : NULL) {
        if (*used == max)
            return yaml_error(item, err, "more than %u addresses", max);
        if (!yaml_want(item, YAML_SCALAR, err))
            return false;
        if (!address_parse(&out[*used], str_of(item->text), 0))
            return yaml_error(item, err, "'%s' is no IPv4 or IPv6 address", item->text);
        ++*used;
    }
    return true;
}

static bool read_host_key(struct host_spec *spec, struct character *character, const struct yaml *key,
                          struct err *err)
{
    if (yaml_is(key, "name")) {
        spec->name = key;
        return yaml_want(key, YAML_SCALAR, err);
    }
    if (yaml_is(key, "address")) {
        spec->address = key;
        return true;
    }
    if (yaml_is(key, "addresses")) {
        spec->addresses = key;
        return true;
    }
    if (yaml_is(key, "group")) {
        spec->group = key;
        return yaml_want(key, YAML_SCALAR, err);
    }
    if (yaml_is(key, "port")) {
        spec->has_port = true;
        return yaml_u32(key, 65535, &spec->port, err);
    }
    if (character_knows(key->key))
        return character_set(character, key, err);
    return yaml_error(key, err, "unknown key '%s' of a host; see --help", key->key);
}

static struct host *new_host(struct scenario *scenario, const struct yaml *node, struct err *err)
{
    if (scenario->hosts_used == WORLD_HOSTS_MAX) {
        yaml_error(node, err, "more than %d hosts", WORLD_HOSTS_MAX);
        return NULL;
    }
    if (scenario->hosts_used == scenario->hosts_room) {
        uint32_t room = scenario->hosts_room ? scenario->hosts_room * 2 : 64;
        struct host *hosts = realloc(scenario->hosts, room * sizeof *hosts);
        if (hosts == NULL) {
            yaml_error(node, err, "out of memory");
            return NULL;
        }
        scenario->hosts = hosts;
        scenario->hosts_room = room;
    }
    struct host *host = &scenario->hosts[scenario->hosts_used];
    *host = (struct host){.index = scenario->hosts_used};
    return host;
}

static bool add_host(struct scenario *scenario, const struct yaml *node, const struct host_spec *spec,
                     const struct name_text *name, const union address *addresses, uint32_t n,
                     struct character *character, struct err *err)
{
    struct host *host = new_host(scenario, node, err);
    if (host == NULL)
        return false;
    host->name = str_dup(str_make(name->text, name->n));
    host->listeners = calloc(n, sizeof *host->listeners);
    if (host->name == NULL || host->listeners == NULL) {
        free(host->name);
        free(host->listeners);
        return yaml_error(node, err, "out of memory");
    }
    scenario->hosts_used++;
    host->character = character_share(character);
    host->listeners_used = n;
    host->own_port = spec->has_port;
    for (uint32_t i = 0; i < n; i++) {
        host->listeners[i].watch.fd = -1;
        host->listeners[i].address = addresses[i];
        address_set_port(&host->listeners[i].address, (uint16_t)spec->port);
    }
    host->group = spec->group ? find_group(scenario, spec->group, err) : NULL;
    return spec->group == NULL || host->group != NULL;
}

static bool add_hosts(struct scenario *scenario, const struct yaml *node, const struct host_spec *spec,
                      const struct name *name, struct character *character, struct err *err)
{
    union address addresses[WORLD_HOST_ADDRESSES_MAX];
    uint32_t each = 0, hosts = name_count(name);
    union address first;
    if (spec->addresses) {
        uint32_t total = 0;
        if (!read_range(spec->addresses, &first, &total, err))
            return false;
        each = total / hosts;
        if (each == 0 || total % hosts != 0 || each > WORLD_HOST_ADDRESSES_MAX)
            return yaml_error(spec->addresses, err, "%u addresses cannot be dealt out evenly to %u hosts",
                              total, hosts);
    } else if (spec->address == NULL || hosts > 1) {
        return yaml_error(node, err,
                          hosts > 1 ? "a pattern of hosts wants addresses: FIRST..COUNT"
                                    : "a host wants address or addresses");
    } else if (!read_addresses(spec->address, addresses, WORLD_HOST_ADDRESSES_MAX, &each, err)) {
        return false;
    } else if (each == 0) {
        return yaml_error(spec->address, err, "a host wants at least one address");
    }
    for (uint32_t i = 0; i < hosts; i++) {
        struct name_text text;
        name_write(name, i, &text);
        for (uint32_t j = 0; spec->addresses && j < each; j++) {
            addresses[j] = first;
            address_advance(&addresses[j], i * each + j);
        }
        if (!add_host(scenario, node, spec, &text, addresses, each, character, err))
            return false;
    }
    return true;
}

static bool read_host(struct scenario *scenario, const struct yaml *node, struct err *err)
{
    struct host_spec spec = {0};
    if (!yaml_want(node, YAML_MAP, err))
        return false;
    struct character *character = character_create();
    struct name name = {0};
    struct err why;
    bool ok = true;
    if (character == NULL)
        return yaml_error(node, err, "out of memory");
    for (const struct yaml *key = node->first; ok && key; key = key->next)
        ok = read_host_key(&spec, character, key, err);
    if (ok && spec.name == NULL)
        ok = yaml_error(node, err, "a host wants a name");
    else if (ok && !name_parse(&name, str_of(spec.name->text), &why))
        ok = yaml_error(spec.name, err, "%s", why.text);
    if (ok && name.kind == NAME_WILDCARD)
        ok = yaml_error(spec.name, err, "a host has a name of its own, no wildcard");
    ok = ok && add_hosts(scenario, node, &spec, &name, character, err);
    name_free(&name);
    character_drop(character);
    return ok;
}

static bool read_listen(struct scenario *scenario, const struct yaml *node, struct err *err)
{
    if (!yaml_want(node, YAML_SCALAR, err))
        return false;
    const char *colon = strrchr(node->text, ':');
    uint64_t port = 0;
    struct str text = str_make(node->text, colon ? (size_t)(colon - node->text) : 0);
    if (text.n > 2 && text.p[0] == '[')
        text = str_make(text.p + 1, text.n - 2);
    if (colon && str_u64(str_of(colon + 1), 65535, &port) &&
        address_parse(&scenario->dns, text, (uint16_t)port))
        return true;
    return yaml_error(node, err, "listen wants ADDRESS:PORT, not '%s'", node->text);
}

static bool read_dns(struct scenario *scenario, const struct yaml *node, struct err *err)
{
    if (!yaml_want(node, YAML_MAP, err))
        return false;
    for (const struct yaml *key = node->first; key; key = key->next) {
        bool ok;
        if (yaml_is(key, "listen"))
            ok = read_listen(scenario, key, err);
        else if (yaml_is(key, "ttl"))
            ok = yaml_u32(key, INT32_MAX, &scenario->ttl, err);
        else if (yaml_is(key, "negative_ttl"))
            ok = yaml_u32(key, INT32_MAX, &scenario->negative_ttl, err);
        else if (yaml_is(key, "delay_ms"))
            ok = yaml_u32(key, 60000, &scenario->dns_delay_ms, err);
        else
            ok = yaml_error(key, err, "unknown key '%s'; known are listen, ttl, negative_ttl, delay_ms",
                            key->key);
        if (!ok)
            return false;
    }
    return true;
}

static bool read_list(struct scenario *scenario, const struct yaml *list,
                      bool (*read)(struct scenario *, const struct yaml *, struct err *), struct err *err)
{
    if (!yaml_want(list, YAML_LIST, err))
        return false;
    for (const struct yaml *node = list->first; node; node = node->next)
        if (!read(scenario, node, err))
            return false;
    return true;
}

static bool read_domain(struct scenario *scenario, const struct yaml *node, struct err *err)
{
    return scenario_read_domain(scenario->zone, node, NULL, err);
}

static bool read_root(struct scenario *scenario, const struct yaml *root, struct err *err)
{
    const struct yaml *domains = NULL;
    if (!yaml_want(root, YAML_MAP, err))
        return false;
    for (const struct yaml *key = root->first; key; key = key->next) {
        bool ok = true;
        if (yaml_is(key, "dns"))
            ok = read_dns(scenario, key, err);
        else if (yaml_is(key, "smtp_port"))
            ok = yaml_u32(key, 65535, &scenario->smtp_port, err);
        else if (yaml_is(key, "one_listener"))
            ok = yaml_bool(key, &scenario->one_listener, err);
        else if (yaml_is(key, "seed"))
            ok = yaml_u32(key, UINT32_MAX, &scenario->seed, err);
        else if (yaml_is(key, "hosts"))
            ok = read_list(scenario, key, read_host, err);
        else if (yaml_is(key, "domains"))
            domains = key;
        else
            ok = yaml_error(key, err,
                            "unknown key '%s'; known are dns, smtp_port, one_listener, seed, hosts, domains",
                            key->key);
        if (!ok)
            return false;
    }
    for (uint32_t i = 0; i < scenario->hosts_used; i++) {
        struct err why;
        if (!zone_add_host(scenario->zone, &scenario->hosts[i], &why))
            return yaml_error(root, err, "%s", why.text);
    }
    return domains == NULL || read_list(scenario, domains, read_domain, err);
}

bool scenario_load(struct scenario *scenario, const char *path, struct err *err)
{
    *scenario = (struct scenario){.ttl = 300, .negative_ttl = 60, .smtp_port = 2525, .seed = 1};
    address_parse(&scenario->dns, STR("127.0.0.1"), 0);
    scenario->zone = zone_create();
    if (scenario->zone == NULL)
        return err_set(err, ENOMEM, "out of memory");
    struct yaml *root = yaml_load_file(path, err);
    if (root == NULL)
        return false;
    bool ok = read_root(scenario, root, err);
    yaml_free(root);
    if (ok && !zone_check(scenario->zone, err))
        ok = err_prefix(err, "%s", path);
    return ok;
}

void scenario_free(struct scenario *scenario)
{
    zone_free(scenario->zone);
    for (uint32_t i = 0; i < scenario->hosts_used; i++) {
        counts_reset(&scenario->hosts[i].counts);
        character_drop(scenario->hosts[i].character);
        free(scenario->hosts[i].listeners);
        free(scenario->hosts[i].name);
    }
    for (uint32_t i = 0; i < scenario->groups_used; i++) {
        counts_reset(&scenario->groups[i]->counts);
        free(scenario->groups[i]->name);
        free(scenario->groups[i]);
    }
    free(scenario->groups);
    free(scenario->hosts);
}

/* "{key: value}" as a tree. */
static struct yaml *parse_change(struct str key, struct str value, struct err *err)
{
    struct buf text;
    buf_init(&text, WORLD_CONTROL_LINE_MAX + 16);
    struct yaml *root = NULL;
    if (key.n == 0)
        buf_add_str(&text, value);
    else
        buf_printf(&text, "{%.*s: %.*s}", STR_ARG(key), STR_ARG(value));
    if (text.failed)
        err_set(err, ENOMEM, "out of memory");
    else
        root = yaml_load_text("control", buf_str(&text), err);
    buf_free(&text);
    if (root && !yaml_want(root, YAML_MAP, err)) {
        yaml_free(root);
        root = NULL;
    }
    return root;
}

static bool change_one(struct host *host, const struct yaml *key, struct err *err)
{
    struct character *changed = character_copy(host->character);
    if (changed == NULL)
        return err_set(err, ENOMEM, "out of memory");
    if (!character_set(changed, key, err)) {
        character_drop(changed);
        return false;
    }
    character_drop(host->character);
    host->character = changed;
    return true;
}

bool scenario_change_host(struct scenario *scenario, struct str host, struct str key, struct str value,
                          uint32_t *changed, struct err *err)
{
    *changed = 0;
    struct yaml *root = parse_change(key, value, err);
    if (root == NULL)
        return false;
    const struct yaml *node = root->first;
    bool ok =
        node && character_knows(node->key) ? true : err_set(err, EINVAL, "unknown key '%.*s'", STR_ARG(key));
    for (uint32_t i = 0; ok && i < scenario->hosts_used; i++) {
        struct host *at = &scenario->hosts[i];
        if (!str_glob_nocase(host, str_of(at->name)) && !(at->group && str_eq(host, str_of(at->group->name))))
            continue;
        ok = change_one(at, node, err);
        ++*changed;
    }
    yaml_free(root);
    if (ok && *changed == 0)
        return err_set(err, ENOENT, "no host or group '%.*s'", STR_ARG(host));
    return ok;
}

bool scenario_change_domain(struct scenario *scenario, struct str name, struct str value, struct err *err)
{
    struct yaml *root = parse_change(STR(""), value, err);
    if (root == NULL)
        return false;
    bool ok = scenario_read_domain(scenario->zone, root, &name, err) && zone_check(scenario->zone, err);
    yaml_free(root);
    return ok;
}
