/* renew.c - see renew.h. */
#include "engine/route/renew.h"

#include "engine/base/log.h"
#include "engine/base/names.h"
#include "engine/dkim/dkim.h"
#include "engine/route/carrier.h"
#include "engine/route/hold.h"
#include "engine/route/lane.h"
#include "engine/route/lane_route.h"
#include "engine/route/loan.h"
#include "engine/route/path.h"
#include "engine/route/pool.h"
#include "engine/setup.h"

#include <stdlib.h>

/* A setup of before, and how many sessions there are that were open when it went. */
struct renewed {
    struct renewed *next;
    struct setup *setup;
    unsigned gone_at; /* the count of changes that ended it */
    unsigned sessions;
};

/* ---- what was before ---- */

static void renew_keep(struct router *router, struct setup *old)
{
    struct renewed *before = router->sessions > 0 ? calloc(1, sizeof *before) : NULL;
    if (before == NULL) {
        if (router->sessions > 0)
            log_error("no memory to note when the configuration of before may go: it stays");
        else
            setup_unref(old);
        return;
    }
    *before = (struct renewed){router->before, old, router->renewed, router->sessions};
    router->before = before;
}

void renew_session_over(struct router *router, unsigned began)
{
    for (struct renewed **at = &router->before, *before; (before = *at) != NULL;) {
        if (began >= before->gone_at || --before->sessions > 0) {
            at = &before->next;
            continue;
        }
        *at = before->next;
        setup_unref(before->setup);
        free(before);
    }
}

void renew_end(struct router *router)
{
    for (struct renewed *before = router->before, *next; before != NULL; before = next) {
        next = before->next;
        setup_unref(before->setup);
        free(before);
    }
    router->before = NULL;
    setup_unref(router->setup);
    router->setup = NULL;
}

/* ---- paths ---- */

static unsigned source_index(const struct config *config, const char *name)
{
    for (unsigned i = 0; i < config->source_count; i++)
        if (strcmp(config->sources[i].name, name) == 0)
            return i;
    return PATH_SOURCE_GONE;
}

/* Whether what it opens now looks the same to receivers, and goes the same way. */
static bool source_is_same(const struct config_source *before, const struct config_source *now)
{
    return strcmp(before->address, now->address) == 0 && strcmp(before->ehlo, now->ehlo) == 0 &&
           strcmp(before->proxy.text, now->proxy.text) == 0 &&
           strcmp(before->proxy.user, now->proxy.user) == 0;
}

/* Sources may have other numbers now, by which paths are found: all leave the table before any comes back. */
static void renew_paths(struct router *router)
{
    const struct config *config = router->config;
    struct path *list = NULL, *path, *next;
    HASH_ITER(hh, router->paths, path, next)
    {
        HASH_DEL(router->paths, path);
        path->renew_next = list;
        list = path;
    }
    router->site_count = 0;
    for (path = list; path != NULL; path = path->renew_next)
        path_enter(router, path, source_index(config, path->source.name));
    for (path = list; path != NULL; path = path->renew_next) {
        bool other = path->source_index == PATH_SOURCE_GONE ||
                     !source_is_same(&path->source, &config->sources[path->source_index]);
        path_settle_in(path, path_settings(config, path_site(path)));
        for (struct pool *pool = path->pools; pool != NULL; pool = pool->hh.next) {
            pool_reached(pool); /* what failed before may have failed by a rule of before */
            pool->tls.trust = trusts_same(router->trusts, pool->tls.trust);
            if (other || pool->tls.trust == NULL)
                pool_retire(pool);
            pool_touch(pool);
        }
    }
}

/* ---- lanes ---- */

static void renew_lanes(struct router *router)
{
    struct lane *lane, *next;
    /* Each before one is routed: what that gives back may make another ask for more. */
    HASH_ITER(hh, router->lanes, lane, next)
    {
        lane_settle_in(lane);
        lane->renewed |= lane->taking; /* the answer to come is of what was held before */
    }
    HASH_ITER(hh, router->lanes, lane, next)
    lane_reroute(lane);
    for (struct loan *loan = router->borrowed; loan != NULL; loan = loan->next_borrowed) {
        if (loan->lane == NULL)
            continue;
        loan->lane->tenant = config_tenant_of(router->config, STR("default"));
        loan->lane->strands[0].flow->tenant = loan->lane->tenant;
    }
}

/* Lanes that the store has been told to forget may go another way now, or belong to another site: parked with
 * a path, or held. */
static void renew_parked(struct router *router)
{
    bool any = router->held != NULL && router->held->count > 0;
    for (const struct path *path = router->paths; path != NULL && !any; path = path->hh.next)
        any = path->parked;
    if (any)
        store_look_again(router->store);
}

void renew(struct router *router, struct setup *setup, struct signers *signers)
{
    struct setup *old = router->setup;
    router->setup = setup_ref(setup);
    router->config = setup->config;
    router->retry = setup->retry;
    router->tenant_limits = setup->tenant_limits;
    router->dkim = setup->dkim;
    router->trusts = setup->trusts;
    router->signers = signers;
    dkim_signer_destroy(router->signer);
    router->signer = NULL;
    router->renewed++;
    renew_paths(router);
    renew_lanes(router);
    renew_parked(router);
    renew_keep(router, old);
}
