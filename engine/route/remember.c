/* remember.c - see remember.h. */
#include "engine/route/remember.h"

#include "engine/base/log.h"

#include <stdarg.h>
#include <stdio.h>

#define ROOM 16 /* edits that who asks may add */

struct edits *remember_edits(struct router *router)
{
    if (router->store == NULL)
        return NULL;
    if (router->edits != NULL && edits_count(router->edits) + ROOM > EDITS_MAX)
        remember_flush(router);
    if (router->edits == NULL)
        router->edits = edits_create();
    return router->edits;
}

void remember_flush(struct router *router)
{
    struct edits *edits = router->edits;
    if (edits == NULL)
        return;
    router->edits = NULL;
    if (edits_count(edits) > 0)
        store_edit(router->store, edits, NULL, NULL);
    else
        edits_free(edits);
}

void remember_alert(struct router *router, struct str site, struct str source, struct str tenant,
                    const char *format, ...)
{
    char words[STORED_REPLY_MAX];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(words, sizeof words, format, args);
    va_end(args);
    struct edits *edits = remember_edits(router);
    log_warn("%.*s: %s", STR_ARG(site), words);
    if (edits != NULL && n > 0)
        edits_alert(edits, site, source, tenant, str_of(words), router->now.wall_ms);
}
