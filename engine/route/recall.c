/* recall.c - see recall.h. */
#include "engine/route/recall.h"

#include "engine/route/lane.h"
#include "engine/route/loan.h"
#include "engine/route/settle.h"
#include "engine/route/signers.h"

#include <stddef.h>
#include <stdlib.h>

struct keys { /* rising */
    size_t n;
    struct str *list;
};

static int key_cmp(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static bool keys_have(const struct keys *keys, struct str scope, struct str address)
{
    char text[STORE_SUPPRESSED_KEY_MAX];
    struct str key = str_make(text, store_suppressed_key(scope, address, text));
    return bsearch(&key, keys->list, keys->n, sizeof key, key_cmp) != NULL;
}

static bool is_recalled(const struct keys *keys, const struct taken *taken)
{
    return keys_have(keys, STR(""), taken->to) || keys_have(keys, taken->job->tenant, taken->to);
}

static void recall_strand(struct strand *strand, const struct keys *keys)
{
    struct taken *list = lane_empty_strand(strand);
    for (struct taken *next; list != NULL; list = next) {
        next = list->next;
        if (is_recalled(keys, list))
            settle_suppressed(strand->lane->router, list);
        else
            strand_add(strand, list, false);
    }
}

static void recall_given(struct lane *lane, const struct keys *keys)
{
    for (struct taken **at = &lane->given, *taken; (taken = *at) != NULL;) {
        if (!is_recalled(keys, taken)) {
            at = &taken->next;
            continue;
        }
        *at = taken->next;
        settle_suppressed(lane->router, taken);
        lane_check(lane);
    }
}

/* They end when they come back. */
static void recall_signing(struct router *router, const struct keys *keys)
{
    struct sign_request *request;
    LIST_FOREACH(request, &router->signing, mine)
    request->recalled |= is_recalled(keys, request->taken);
}

static void recall_lanes(struct router *router, const struct keys *keys)
{
    struct lane *lane, *next;
    recall_signing(router, keys);
    HASH_ITER(hh, router->lanes, lane, next)
    {
        for (unsigned i = 0; i < lane->strand_count; i++)
            recall_strand(&lane->strands[i], keys);
        recall_given(lane, keys);
        lane_want(lane);
    }
    for (struct loan *loan = router->borrowed; loan != NULL; loan = loan->next_borrowed) {
        if (loan->lane == NULL)
            continue;
        recall_strand(&loan->lane->strands[0], keys);
        lane_want(loan->lane);
    }
}

static struct store_suppressed_msg *next_of(const struct store_suppressed_msg *msg)
{
    return (struct store_suppressed_msg *)(void *)msg->node.next;
}

static void recall_due(struct wheel_timer *timer, struct now now)
{
    struct router *router = (struct router *)((char *)timer - offsetof(struct router, recall_timer));
    struct keys keys = {0};
    size_t count = 0;
    for (const struct store_suppressed_msg *msg = router->recalls; msg != NULL; msg = next_of(msg))
        count += msg->count;
    keys.list = calloc(count + 1, sizeof *keys.list);
    if (keys.list == NULL) { /* again, when there may be memory */
        wheel_set(&router->wheel, timer, now.mono_ns + RECALL_MS * NS_PER_MS, recall_due);
        return;
    }
    for (const struct store_suppressed_msg *msg = router->recalls; msg != NULL; msg = next_of(msg)) {
        memcpy(keys.list + keys.n, msg->keys, msg->count * sizeof *keys.list);
        keys.n += msg->count;
    }
    qsort(keys.list, keys.n, sizeof *keys.list, key_cmp);
    recall_lanes(router, &keys);
    free(keys.list);
    recall_free(router);
}

void recall_heard(struct router *router, struct store_suppressed_msg *msg)
{
    if (router->recalls == NULL)
        wheel_set(&router->wheel, &router->recall_timer, router->now.mono_ns + RECALL_MS * NS_PER_MS,
                  recall_due);
    msg->node.next = router->recalls != NULL ? &router->recalls->node : NULL;
    router->recalls = msg;
}

void recall_free(struct router *router)
{
    wheel_cancel(&router->wheel, &router->recall_timer);
    for (struct store_suppressed_msg *msg = router->recalls, *next; msg != NULL; msg = next) {
        next = next_of(msg);
        free(msg);
    }
    router->recalls = NULL;
}
