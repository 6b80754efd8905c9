/* config.c - the configuration once it is loaded: its memory, and who is meant by a name.
 *
 * The other parts: config_table.c (every option), config_read.c with config_several.c and config_value.c
 * (reading), config_yaml.c (libfyaml), config_check.c (what concerns several options), config_replies.c
 * (reply rules), config_show.c (show, man page). */
#include "engine/config.h"

#include "engine/config_table.h"
#include "engine/tls/wish.h"

#include <stdio.h>
#include <stdlib.h>

struct config_block {
    struct config_block *next;
    max_align_t bytes[];
};

void *config_alloc(struct config *config, size_t size)
{
    struct config_block *block = calloc(1, sizeof *block + size);
    if (block == NULL)
        return NULL;
    block->next = config->blocks;
    config->blocks = block;
    return block->bytes;
}

const char *config_copy(struct config *config, struct str text)
{
    char *copy = config_alloc(config, text.n + 1);
    if (copy != NULL && text.n > 0)
        memcpy(copy, text.p, text.n);
    return copy;
}

void config_free(struct config *config)
{
    if (config == NULL)
        return;
    rules_destroy(config->rules);
    config_free(config->built_in);
    for (struct config_block *block = config->blocks, *next; block != NULL; block = next) {
        next = block->next;
        free(block);
    }
    free(config);
}

const struct config_site *config_site_of_host(const struct config *config, struct str host)
{
    for (size_t i = 0; i < config->site_count; i++)
        for (size_t j = 0; j < config->sites[i].mx.count; j++)
            if (str_glob_nocase(str_of(config->sites[i].mx.list[j]), host))
                return &config->sites[i];
    return NULL;
}

const struct config_route *config_route_of(const struct config *config, struct str domain)
{
    for (size_t i = 0; i < config->route_count; i++)
        if (str_glob_nocase(str_of(config->routes[i].domain), domain))
            return &config->routes[i];
    return NULL;
}

const struct config_tenant *config_tenant_of(const struct config *config, struct str name)
{
    const struct config_tenant *preset = NULL;
    for (size_t i = 0; i < config->tenant_count; i++) {
        const struct config_tenant *tenant = &config->tenants[i];
        if (str_eq(str_of(tenant->name), name))
            return tenant;
        if (str_eq(str_of(tenant->name), STR("default")))
            preset = tenant;
    }
    return preset;
}

const struct config_pool *config_pool_of(const struct config *config, struct str name)
{
    name = wish_pool(name);
    for (size_t i = 0; i < config->pool_count; i++)
        if (str_eq(str_of(config->pools[i].name), name))
            return &config->pools[i];
    return NULL;
}

void config_dead_letters(const struct config_consumer *consumer, const char *state_directory,
                         char path[CONFIG_PATH_MAX])
{
    if (consumer->dead_letters[0] != '\0')
        snprintf(path, CONFIG_PATH_MAX, "%s", consumer->dead_letters);
    else
        snprintf(path, CONFIG_PATH_MAX, "%s/%s.dead.ndjson", state_directory, consumer->name);
}
