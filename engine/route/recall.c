/* recall.c - see recall.h. */
#include "engine/route/recall.h"

#include "engine/route/sift.h"

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

static enum sift_fate is_recalled(const struct lane *lane, const struct taken *taken, const void *user)
{
    const struct keys *keys = user;
    (void)lane;
    bool recalled = keys_have(keys, STR(""), taken->to) || keys_have(keys, taken->job->tenant, taken->to);
    return recalled ? SIFT_SUPPRESS : SIFT_KEEP;
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
    sift_all(router, is_recalled, &keys);
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
