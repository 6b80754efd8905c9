/* lane_held.c - see lane_held.h. */
#include "engine/route/lane_held.h"

#include "engine/base/reserve.h"
#include "engine/route/aside.h"
#include "engine/route/hold.h"
#include "engine/route/lane.h"
#include "engine/route/loan.h"
#include "engine/route/path.h"
#include "engine/route/shipment.h"
#include "engine/route/sift.h"

#include <stdlib.h>

/* The slowed senders of whom it has enough for now: a list to be freed, NULL: none. */
static struct str *lane_full_senders(const struct lane *lane, unsigned *n)
{
    struct str *list = NULL;
    unsigned room = 0;
    *n = 0;
    for (const struct aside *aside = lane->asides; aside != NULL; aside = aside->next)
        room += aside->full;
    if (room > 0)
        list = reserve_must(room * sizeof *list);
    for (const struct aside *aside = lane->asides; list != NULL && aside != NULL; aside = aside->next)
        if (aside->full)
            list[(*n)++] = str_of(sender_rate_sender(aside->rate));
    return list;
}

void lane_mark_held(struct lane *lane)
{
    struct str site = {0};
    unsigned n;
    struct str *senders = lane_full_senders(lane, &n);
    store_except_unref(lane->except);
    if (lane->state == LANE_ROUTED && lane->strand_count > 0)
        site = str_of(path_site(lane->strands[0].pool->path));
    struct store_except *held =
        hold_of_lane(lane->router->held, str_of(lane->tenant_name), str_of(lane->domain), site);
    lane->except = n > 0 ? store_except_more(held, senders, n) : held;
    free(senders);
}

bool lane_holds_back(const struct lane *lane, const struct taken *taken)
{
    const struct router *router = lane->router;
    const struct store_job *job = taken->job;
    if (lane->loan == NULL)
        return store_except_matches(lane->except, job->id, job->campaign, job->from);
    if (router->held == NULL || router->held->count == 0)
        return false;
    const struct hold_filter subject = {
        .job = job->id,
        .tenant = job->tenant,
        .campaign = job->campaign,
        .domain = str_domain(taken->to),
        .site = str_of(lane->loan->site),
        .sender = str_domain(job->from),
    };
    return hold_find(router->held, &subject) != NULL;
}

/* All its sources are paused until then at least. */
static bool lane_is_paused(const struct lane *lane, int64_t until_ns)
{
    if (lane->state != LANE_ROUTED || lane->strand_count == 0)
        return false;
    for (unsigned i = 0; i < lane->strand_count; i++)
        if (ledger_pause_until_ns(lane->strands[i].pool->path->ledger) < until_ns)
            return false;
    return true;
}

bool lane_is_stopped(const struct lane *lane)
{
    return lane_is_paused(lane, LEDGER_STOPPED);
}

bool lane_park(struct lane *lane)
{
    int64_t long_ns = lane->router->now.mono_ns + PARK_MS * NS_PER_MS;
    bool parked = lane->loan == NULL && lane_is_paused(lane, long_ns);
    bool held = lane->except != NULL && lane->except->all && lane->state != LANE_RESOLVING;
    if (!parked && !held)
        return false;
    struct store_except *all = held ? store_except_ref(lane->except) : store_except_create(0, 0);
    all->all = true;
    for (unsigned i = 0; parked && i < lane->strand_count; i++)
        lane->strands[i].pool->path->parked = true;
    lane->taking = true;
    lane->renewed = false;
    lane->asked = 0;
    store_take_but(lane->router->store, lane->id, 1, lane->router->index, all);
    store_except_unref(all);
    return true;
}

/* ---- what waits in memory ---- */

static enum sift_fate is_of_job(const struct lane *lane, const struct taken *taken, const void *user)
{
    const uint64_t *job = user;
    (void)lane;
    return taken->job->id == *job ? SIFT_RELEASE : SIFT_KEEP;
}

void lane_release_job(struct router *router, uint64_t job)
{
    shipment_drop_job(router, job);
    sift_all(router, is_of_job, &job);
}

void lane_drop_job(struct router *router, uint64_t job)
{
    lane_release_job(router, job);
    loan_drop_job(router, job);
}

static enum sift_fate is_held(const struct lane *lane, const struct taken *taken, const void *user)
{
    (void)user;
    return lane_holds_back(lane, taken) ? SIFT_RELEASE : SIFT_KEEP;
}

void lane_hear_holds(struct router *router)
{
    struct lane *lane, *next;
    hold_set_unref(router->held);
    router->held = holds_get(router->holds);
    if (router->held_walked == router->held->generation)
        return; /* several changes in a row were told of one by one */
    router->held_walked = router->held->generation;
    HASH_ITER(hh, router->lanes, lane, next)
    {
        lane_mark_held(lane);
        lane->renewed |= lane->taking; /* the answer to come is of what was held before */
    }
    sift_all(router, is_held, NULL);
}

struct sender_at {
    const char *site;
    struct str sender;
};

/* In a borrowed lane. */
static enum sift_fate is_of_sender(const struct lane *lane, const struct taken *taken, const void *user)
{
    const struct sender_at *at = user;
    if (strcmp(lane->loan->site, at->site) != 0)
        return SIFT_KEEP;
    return str_eq_nocase(str_domain(taken->job->from), at->sender) ? SIFT_RELEASE : SIFT_KEEP;
}

void lane_return_sender(struct router *router, const char *site, struct str sender)
{
    sift_borrowed(router, is_of_sender, &(struct sender_at){site, sender});
}
