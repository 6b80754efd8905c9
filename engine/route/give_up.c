/* give_up.c - see give_up.h. */
#include "engine/route/give_up.h"

#include "engine/route/sift.h"
#include "engine/route/signers.h"

#include <stdlib.h>

static enum sift_fate is_given_up(const struct lane *lane, const struct taken *taken, const void *user)
{
    (void)lane;
    return store_bounce_matches(user, taken) ? SIFT_RELEASE : SIFT_KEEP;
}

static struct store_bounce_msg *next_of(const struct store_bounce_msg *msg)
{
    return (struct store_bounce_msg *)(void *)msg->node.next;
}

void give_up_heard(struct router *router, struct store_bounce_msg *msg)
{
    sift_all(router, is_given_up, msg->bounce);
    msg->node.next = router->given_up != NULL ? &router->given_up->node : NULL;
    router->given_up = msg;
}

static bool any_is_signed(const struct router *router, const struct store_bounce *bounce)
{
    const struct sign_request *request;
    LIST_FOREACH(request, &router->signing, mine)
    if (store_bounce_matches(bounce, request->taken))
        return true;
    return false;
}

void give_up_look(struct router *router)
{
    struct store_bounce_msg *list = router->given_up;
    router->given_up = NULL;
    for (struct store_bounce_msg *next; list != NULL; list = next) {
        next = next_of(list);
        if (any_is_signed(router, list->bounce)) {
            list->node.next = router->given_up != NULL ? &router->given_up->node : NULL;
            router->given_up = list;
            continue;
        }
        store_bounced(router->store, list->bounce);
        free(list);
    }
}

void give_up_free(struct router *router)
{
    for (struct store_bounce_msg *msg = router->given_up, *next; msg != NULL; msg = next) {
        next = next_of(msg);
        store_bounce_free(msg->bounce);
        free(msg);
    }
    router->given_up = NULL;
}
