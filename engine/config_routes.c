/* config_routes.c - routes: what concerns several of their options, and which one mail takes. */
#include "engine/config_table.h"
#include "engine/config_yaml.h"
#include "engine/smtp/auth.h"
#include "engine/tls/wish.h"

#include <stdio.h>
#include <stdlib.h>

static int compare_targets(const void *a, const void *b)
{
    const struct config_target *left = a, *right = b;
    return (left->preference > right->preference) - (left->preference < right->preference);
}

/* Those without a number come in their order, behind what has one. */
static void set_targets(struct config_reading *reading, struct config_route *route)
{
    size_t n = route->hosts.count;
    route->targets = config_allocate(reading, (n + 1) * sizeof *route->targets);
    for (size_t i = 0; route->targets != NULL && i < n; i++) {
        struct config_target *target = &route->targets[i];
        struct value_error error;
        struct str host = {NULL, 0};
        value_target(str_of(route->hosts.list[i]), &host, &target->port, &target->preference, &error);
        target->host = config_copy(reading->config, host);
        if (target->preference == 0)
            target->preference = (uint16_t)(UINT16_MAX - n + i);
        if (target->host == NULL)
            reading->out_of_memory = true;
        else if (strncmp(target->host, "unix:", 5) != 0 && target->port == 0)
            target->port = route->port;
    }
    if (route->targets != NULL && !reading->out_of_memory) /* the sort keeps equal ones as they are: few */
        qsort(route->targets, n, sizeof *route->targets, compare_targets);
}

static void check_login(struct config_reading *reading, struct config_login *login,
                        const struct config_item *item)
{
    const unsigned with_token = 1u << AUTH_XOAUTH2, all = (1u << AUTH_MECHANISMS) - 1;
    bool password = login->password_file[0] != '\0', token = login->token_file[0] != '\0';
    for (size_t i = 0; i < login->mechanisms.count; i++) {
        unsigned bits = auth_mechanisms(str_of(login->mechanisms.list[i]));
        if (bits == 0)
            yaml_report(reading->yaml, config_item_node(item, "auth"),
                        "auth: expected scram-sha-256, xoauth2, plain or login, found '%s'",
                        login->mechanisms.list[i]);
        login->allowed |= bits;
    }
    if (login->mechanisms.count == 0)
        login->allowed = all;
    login->allowed &= token ? with_token : all & ~with_token;
    if (login->user[0] == '\0' && (password || token || login->mechanisms.count > 0))
        yaml_report(reading->yaml, item->node, "to log in takes a user");
    else if (login->user[0] != '\0' && password == token)
        yaml_report(reading->yaml, config_item_node(item, "user"),
                    "user needs either password_file or token_file");
    else if (login->user[0] != '\0' && login->allowed == 0)
        yaml_report(reading->yaml, config_item_node(item, "auth"),
                    "auth: xoauth2 takes a %s, the others a %s", "token_file", "password_file");
}

static void check_tls(struct config_reading *reading, const struct config_route *route,
                      const struct config_item *item)
{
    if ((route->tls_certificate[0] == '\0') != (route->tls_key[0] == '\0'))
        yaml_report(reading->yaml,
                    config_item_node(item, route->tls_certificate[0] ? "tls_certificate" : "tls_key"),
                    "tls_certificate and tls_key go together");
    if (route->tls_implicit && route->tls == TLS_POLICY_NONE)
        yaml_report(reading->yaml, config_item_node(item, "tls_implicit"),
                    "tls_implicit is TLS, and tls is none");
    if (route->login.user[0] != '\0' && route->tls == TLS_POLICY_NONE && !route->login.in_clear)
        yaml_report(reading->yaml, config_item_node(item, "tls"),
                    "tls is none, and nothing is logged in with in the clear: see auth_in_clear");
}

/* Nothing ever reaches one that stands behind its like. */
static void check_repeats(struct config_reading *reading, const struct config_list *list, size_t at)
{
    const struct config_route *route = &reading->config->routes[at];
    for (size_t i = 0; i < at; i++) {
        const struct config_route *other = &reading->config->routes[i];
        if (strcmp(route->domain, other->domain) == 0 && strcmp(route->sender, other->sender) == 0 &&
            strcmp(route->tenant, other->tenant) == 0) {
            yaml_report(reading->yaml, config_item_node(&list->items[at], "domain"),
                        "a route for the same domain, sender and tenant stands before it, in %s:%d",
                        list->items[i].file, yaml_line(config_item_node(&list->items[i], "domain")));
            return;
        }
    }
}

void config_check_routes(struct config_reading *reading)
{
    const struct config_list *list = config_list_of(reading, "routes");
    for (size_t i = 0; i < reading->config->route_count; i++) {
        struct config_route *route = &reading->config->routes[i];
        set_targets(reading, route);
        check_login(reading, &route->login, &list->items[i]);
        check_tls(reading, route, &list->items[i]);
        check_repeats(reading, list, i);
    }
}

static bool sender_matches(const struct config_route *route, struct str sender)
{
    return route->sender[0] == '\0' || (sender.n > 0 && str_glob_nocase(str_of(route->sender), sender));
}

static bool tenant_matches(const struct config_route *route, struct str tenant)
{
    return route->tenant[0] == '\0' || str_eq(str_of(route->tenant), tenant);
}

const struct config_route *config_route_of(const struct config *config, struct str domain, struct str sender,
                                           struct str tenant)
{
    for (size_t i = 0; i < config->route_count; i++) {
        const struct config_route *route = &config->routes[i];
        if (str_glob_nocase(str_of(route->domain), domain) && sender_matches(route, sender) &&
            tenant_matches(route, tenant))
            return route;
    }
    return NULL;
}

struct str config_pool_text(struct str pool)
{
    pool = wish_pool(pool);
    size_t at = str_find(pool, '@', 0);
    return at == SIZE_MAX ? pool : str_make(pool.p, at);
}

struct str config_pool_sender(struct str pool)
{
    struct str name = config_pool_text(pool);
    pool = wish_pool(pool);
    return pool.n > name.n ? str_make(pool.p + name.n + 1, pool.n - name.n - 1) : STR("");
}

bool config_routes_by_sender(const struct config *config, struct str sender, struct str tenant)
{
    for (size_t i = 0; i < config->route_count; i++) {
        const struct config_route *route = &config->routes[i];
        if (route->sender[0] != '\0' && sender_matches(route, sender) && tenant_matches(route, tenant))
            return true;
    }
    return false;
}
