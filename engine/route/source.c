/* source.c - see source.h. */
#include "engine/route/source.h"

#include "engine/base/str.h"
#include "engine/route/loan.h"
#include "engine/route/path.h"
#include "queue/edit.h"

#include <stdlib.h>

static char **source_find(const struct router *router, const char *name)
{
    for (unsigned i = 0; i < router->drained_count; i++)
        if (strcmp(router->drained[i], name) == 0)
            return &router->drained[i];
    return NULL;
}

static bool source_add(struct router *router, struct str name)
{
    char **room = realloc(router->drained, (router->drained_count + 1) * sizeof *room);
    char *copy = room != NULL ? str_dup(name) : NULL;
    if (room != NULL)
        router->drained = room;
    if (copy == NULL)
        return false;
    router->drained[router->drained_count++] = copy;
    return true;
}

static bool load_one(struct str name, struct str value, void *user)
{
    (void)value;
    return source_add(user, name);
}

void source_load(struct router *router)
{
    query_policy(router->store, POLICY_SOURCE, load_one, router);
}

void source_free(struct router *router)
{
    while (router->drained_count > 0)
        free(router->drained[--router->drained_count]);
    free(router->drained);
    router->drained = NULL;
}

void source_mark(struct path *path)
{
    if (source_find(path->router, path->source.name) != NULL)
        ledger_drain(path->ledger, true);
}

static void source_apply(struct path *path, bool drained)
{
    ledger_drain(path->ledger, drained);
    if (drained)
        path_hold(path);
    else
        path_wake_at(path, path->router->now.mono_ns);
    loan_tell_pause(path);
}

bool source_drain(struct router *router, const char *name, bool drained)
{
    char **there = source_find(router, name);
    if (drained && there == NULL && !source_add(router, str_of(name)))
        return false;
    if (!drained && there != NULL) {
        free(*there);
        *there = router->drained[--router->drained_count];
    }
    for (struct path *path = router->paths; path != NULL; path = path->hh.next)
        if (!path->borrowed && strcmp(path->source.name, name) == 0)
            source_apply(path, drained);
    return true;
}
