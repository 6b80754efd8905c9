/* aside.c - see aside.h. */
#include "engine/route/aside.h"

#include "engine/route/lane.h"
#include "engine/route/lane_held.h"
#include "engine/route/path.h"
#include "engine/route/pool.h"

#include <stdlib.h>

static struct aside *aside_of_strand(struct strand *strand)
{
    return (struct aside *)(void *)((char *)strand - offsetof(struct aside, strand));
}

static struct aside *aside_make(struct strand *strand, struct sender_rate *rate)
{
    struct lane *lane = strand->lane;
    struct aside *aside = calloc(1, sizeof *aside);
    if (aside == NULL)
        return NULL;
    aside->rate = rate;
    aside->strand = (struct strand){.lane = lane, .source = strand->source, .tail = &aside->strand.head};
    if (!pool_join(strand->pool, &aside->strand, rate)) {
        free(aside);
        return NULL;
    }
    aside->next = lane->asides;
    lane->asides = aside;
    TAILQ_INSERT_TAIL(&rate->open, aside, link);
    return aside;
}

struct strand *aside_of(struct strand *strand, const struct taken *taken)
{
    struct lane *lane = strand->lane;
    struct router *router = lane->router;
    if (router->sender_rates == NULL || lane->loan != NULL)
        return strand;
    struct sender_rate *rate = sender_rate_find(router, path_site(strand->pool->path), taken->job->from);
    if (rate == NULL)
        return strand;
    struct aside *aside = lane->asides;
    while (aside != NULL && (aside->rate != rate || aside->strand.source != strand->source))
        aside = aside->next;
    if (aside == NULL)
        aside = aside_make(strand, rate);
    return aside != NULL ? &aside->strand : strand; /* no memory: it goes with the others */
}

static void aside_set_full(struct aside *aside, bool full)
{
    struct sender_rate *rate = aside->rate;
    TAILQ_REMOVE(aside->full ? &rate->full : &rate->open, aside, link);
    aside->full = full;
    TAILQ_INSERT_TAIL(full ? &rate->full : &rate->open, aside, link);
}

/* How many of one sender may wait: a part of what is left, so that there is room for the next. */
static unsigned sender_share(const struct router *router)
{
    unsigned left = router->set_aside < SET_ASIDE_MAX ? SET_ASIDE_MAX - router->set_aside : 0;
    unsigned share = 1 + left / SET_ASIDE_PART;
    return share < SENDER_TAKEN_MAX ? share : SENDER_TAKEN_MAX;
}

static void aside_count(const struct aside *aside, int n)
{
    const struct strand *strand = &aside->strand;
    strand->lane->set_aside += (unsigned)n;
    strand->pool->path->set_aside += (unsigned)n;
    strand->lane->router->set_aside += (unsigned)n;
    aside->rate->buffered += (unsigned)n;
}

void aside_added(struct strand *strand)
{
    struct aside *aside = aside_of_strand(strand);
    struct sender_rate *rate = aside->rate;
    aside_count(aside, 1);
    bool enough = strand->buffered >= ASIDE_TAKEN || rate->buffered >= sender_share(strand->lane->router);
    if (aside->full || rate->over || !enough)
        return;
    aside_set_full(aside, true);
    lane_mark_held(strand->lane);
}

/* The store gives more of it again. */
static void aside_reopen(struct aside *aside)
{
    aside_set_full(aside, false);
    lane_look_again(aside->strand.lane);
}

/* The one that has waited longest for more, if it has room; else the next one is looked at the next time. */
static void aside_reopen_first(struct sender_rate *rate)
{
    struct aside *first = TAILQ_FIRST(&rate->full);
    if (first == NULL || rate->buffered > sender_share(first->strand.lane->router) / 2)
        return;
    if (first->strand.buffered <= ASIDE_TAKEN / 2)
        aside_reopen(first);
    else
        aside_set_full(first, true);
}

void aside_left(struct strand *strand, unsigned n)
{
    struct aside *aside = aside_of_strand(strand);
    struct sender_rate *rate = aside->rate;
    aside_count(aside, -(int)n);
    if (aside->full && strand->buffered <= ASIDE_TAKEN / 2 &&
        rate->buffered < sender_share(strand->lane->router))
        aside_reopen(aside);
    aside_reopen_first(rate);
}

void aside_refill(struct sender_rate *rate)
{
    for (unsigned n = 0; n < SENDER_TAKEN_MAX / ASIDE_TAKEN; n++)
        aside_reopen_first(rate);
}

bool aside_is_satisfied(const struct lane *lane)
{
    for (const struct aside *aside = lane->asides; aside != NULL; aside = aside->next)
        if (!aside->full)
            return false;
    return true;
}

/* Puts those of the strand that are to wait apart there. */
static void aside_sort(struct strand *strand)
{
    struct taken *list = lane_empty_strand(strand);
    for (struct taken *next; list != NULL; list = next) {
        next = list->next;
        strand_add(aside_of(strand, list), list, false);
    }
}

void aside_gather(struct router *router, const struct sender_rate *rate)
{
    for (struct lane *lane = router->lanes; lane != NULL; lane = lane->hh.next) {
        if (lane->strand_count == 0 ||
            strcmp(path_site(lane->strands[0].pool->path), sender_rate_site(rate)) != 0)
            continue;
        for (unsigned i = 0; i < lane->strand_count; i++)
            aside_sort(&lane->strands[i]);
    }
}

void aside_end(struct sender_rate *rate)
{
    for (struct aside *aside; (aside = TAILQ_FIRST(&rate->full)) != NULL;)
        aside_reopen(aside);
    for (struct aside *aside = TAILQ_FIRST(&rate->open); aside != NULL; aside = TAILQ_NEXT(aside, link))
        pool_touch(aside->strand.pool);
}

/* Out of its lane, pool and rate. */
static void aside_free(struct aside *aside)
{
    struct aside **link = &aside->strand.lane->asides;
    while (*link != aside)
        link = &(*link)->next;
    *link = aside->next;
    TAILQ_REMOVE(aside->full ? &aside->rate->full : &aside->rate->open, aside, link);
    aside->rate->missed |= aside->full;
    pool_leave(&aside->strand);
    free(aside);
}

void aside_sweep(struct sender_rate *rate)
{
    for (struct aside *aside = TAILQ_FIRST(&rate->open), *next; aside != NULL; aside = next) {
        next = TAILQ_NEXT(aside, link);
        if (aside->strand.buffered == 0)
            aside_free(aside);
    }
}

void aside_free_all(struct lane *lane)
{
    while (lane->asides != NULL)
        aside_free(lane->asides);
}
