/* except.c - what is held of a lane: see struct store_except in store.h. */
#include "engine/base/reserve.h"
#include "queue/store.h"

#include <stdatomic.h>
#include <stdlib.h>

struct store_except *store_except_create(unsigned count, size_t bytes)
{
    size_t size = sizeof(struct store_except) + count * sizeof(struct store_held) + bytes;
    struct store_except *except = reserve_must(size);
    memset(except, 0, size);
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

static struct str keep(char **at, struct str s)
{
    struct str kept = str_make(*at, s.n);
    if (s.n > 0)
        memcpy(*at, s.p, s.n);
    *at += s.n;
    return kept;
}

struct store_except *store_except_more(struct store_except *except, const struct str *senders, unsigned n)
{
    unsigned count = except != NULL ? except->count : 0;
    size_t bytes = 0;
    for (unsigned i = 0; i < count; i++)
        bytes += except->list[i].campaign.n + except->list[i].sender.n;
    for (unsigned i = 0; i < n; i++)
        bytes += senders[i].n;
    struct store_except *more = store_except_create(count + n, bytes);
    char *at = (char *)&more->list[count + n];
    more->all = except != NULL && except->all;
    for (unsigned i = 0; i < count; i++) {
        more->list[i] = except->list[i];
        more->list[i].campaign = keep(&at, except->list[i].campaign);
        if (except->list[i].sender.p != NULL)
            more->list[i].sender = keep(&at, except->list[i].sender);
    }
    for (unsigned i = 0; i < n; i++)
        more->list[count + i].sender = keep(&at, senders[i]);
    store_except_unref(except);
    return more;
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
