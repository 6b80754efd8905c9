/* setup.c - see setup.h. */
#include "engine/setup.h"

#include "engine/dkim/dkim.h"
#include "engine/route/limit.h"
#include "engine/route/secure.h"
#include "engine/tls/trust.h"
#include "queue/retry.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

static void set_rates(struct setup *setup, const struct setup *before)
{
    const struct config *config = setup->config;
    for (size_t i = 0; i < config->tenant_count; i++) {
        const struct config_tenant *tenant = &config->tenants[i];
        limit_set(&setup->tenant_limits[i], tenant->max_rate.count, tenant->max_rate.per_ms);
        for (size_t j = 0; before != NULL && j < before->config->tenant_count; j++)
            if (strcmp(before->config->tenants[j].name, tenant->name) == 0)
                limit_go_on(&setup->tenant_limits[i], &before->tenant_limits[j]);
    }
}

struct setup *setup_create(struct config *config, const struct setup *before, struct err *err)
{
    struct setup *setup = calloc(1, sizeof *setup);
    if (setup == NULL) {
        err_set(err, ENOMEM, "no memory for the configuration");
        config_free(config);
        return NULL;
    }
    atomic_init(&setup->refs, 1);
    setup->config = config;
    setup->dkim = dkim_create(config, err);
    if (setup->dkim != NULL)
        setup->trusts = secure_load(config, err);
    if (setup->trusts == NULL) {
        setup_unref(setup);
        return NULL;
    }
    if (before != NULL)
        trusts_follow(setup->trusts, before->trusts);
    setup->retry = retry_table_create(config->retry, config->retry_count);
    setup->tenant_limits = calloc(config->tenant_count, sizeof *setup->tenant_limits);
    if (setup->retry == NULL || setup->tenant_limits == NULL) {
        err_set(err, ENOMEM, "no memory for the configuration");
        setup_unref(setup);
        return NULL;
    }
    set_rates(setup, before);
    return setup;
}

struct setup *setup_ref(struct setup *setup)
{
    atomic_fetch_add_explicit(&setup->refs, 1, memory_order_relaxed);
    return setup;
}

void setup_unref(struct setup *setup)
{
    if (setup == NULL || atomic_fetch_sub_explicit(&setup->refs, 1, memory_order_acq_rel) > 1)
        return;
    retry_table_destroy(setup->retry);
    free(setup->tenant_limits);
    dkim_destroy(setup->dkim);
    trusts_destroy(setup->trusts);
    config_free(setup->config);
    free(setup);
}

/* ---- the one that holds now ---- */

struct setups {
    pthread_mutex_t lock;
    struct setup *now;
};

struct setups *setups_create(struct setup *first)
{
    struct setups *setups = calloc(1, sizeof *setups);
    if (setups == NULL)
        return NULL;
    pthread_mutex_init(&setups->lock, NULL);
    setups->now = first;
    return setups;
}

void setups_destroy(struct setups *setups)
{
    if (setups == NULL)
        return;
    setup_unref(setups->now);
    pthread_mutex_destroy(&setups->lock);
    free(setups);
}

struct setup *setups_get(struct setups *setups)
{
    pthread_mutex_lock(&setups->lock);
    struct setup *setup = setup_ref(setups->now);
    pthread_mutex_unlock(&setups->lock);
    return setup;
}

void setups_put(struct setups *setups, struct setup *next)
{
    pthread_mutex_lock(&setups->lock);
    struct setup *old = setups->now;
    setups->now = next;
    pthread_mutex_unlock(&setups->lock);
    setup_unref(old);
}
