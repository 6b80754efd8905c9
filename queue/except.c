/* except.c - what is held of a lane: see struct store_except in store.h. */
#include "queue/store.h"

#include <stdatomic.h>
#include <stdlib.h>

struct store_except *store_except_create(unsigned count, size_t bytes)
{
    struct store_except *except = calloc(1, sizeof *except + count * sizeof except->list[0] + bytes);
    if (except == NULL)
        return NULL;
    atomic_init(&except->refs, 1);
    except->count = count;
    return except;
}

struct store_except *store_except_ref(struct store_except *except)
{
    atomic_fetch_add_explicit(&except->refs, 1, memory_order_relaxed);
    return except;
}

void store_except_unref(struct store_except *except)
{
    if (except != NULL && atomic_fetch_sub_explicit(&except->refs, 1, memory_order_acq_rel) == 1)
        free(except);
}

bool store_held_matches(const struct store_held *held, uint64_t job, struct str campaign, struct str from)
{
    return (held->job == 0 || held->job == job) &&
           (held->campaign.n == 0 || str_eq(held->campaign, campaign)) &&
           (held->sender.p == NULL || str_eq_nocase(held->sender, str_domain(from)));
}

bool store_except_matches(const struct store_except *except, uint64_t job, struct str campaign,
                          struct str from)
{
    if (except == NULL)
        return false;
    for (unsigned i = 0; i < except->count; i++)
        if (store_held_matches(&except->list[i], job, campaign, from))
            return true;
    return except->all;
}
