/* lane_held.c - see lane_held.h. */
#include "engine/route/lane_held.h"

#include "engine/route/hold.h"
#include "engine/route/lane.h"
#include "engine/route/loan.h"
#include "engine/route/path.h"
#include "engine/route/settle.h"
#include "engine/route/shipment.h"
#include "engine/route/signers.h"

void lane_mark_held(struct lane *lane)
{
    struct str site = {0};
    store_except_unref(lane->except);
    if (lane->state == LANE_ROUTED && lane->strand_count > 0)
        site = str_of(path_site(lane->strands[0].pool->path));
    lane->except = hold_of_lane(lane->router->held, str_of(lane->tenant_name), str_of(lane->domain), site);
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
    if (all == NULL)
        return true;
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

/* Gives back those of the job, 0: those that are held. */
static void strand_drop_job(struct strand *strand, uint64_t job)
{
    struct taken *list = lane_empty_strand(strand);
    while (list != NULL) {
        struct taken *taken = list;
        list = taken->next;
        if (job != 0 ? taken->job->id == job : lane_holds_back(strand->lane, taken))
            settle_release(strand->lane->router, taken);
        else
            strand_add(strand, taken, false);
    }
}

static void given_drop_job(struct lane *lane, uint64_t job)
{
    for (struct taken **at = &lane->given, *taken; (taken = *at) != NULL;) {
        if (taken->job->id != job) {
            at = &taken->next;
            continue;
        }
        *at = taken->next;
        settle_release(lane->router, taken);
        lane_check(lane);
    }
}

/* What is with the signers goes back when it comes. */
static void signing_drop_job(struct router *router, uint64_t job)
{
    struct sign_request *request;
    LIST_FOREACH(request, &router->signing, mine)
    request->dropped |= request->taken->job->id == job;
}

void lane_drop_job(struct router *router, uint64_t job)
{
    struct lane *lane, *next;
    signing_drop_job(router, job);
    shipment_drop_job(router, job);
    HASH_ITER(hh, router->lanes, lane, next)
    {
        for (unsigned i = 0; i < lane->strand_count; i++)
            strand_drop_job(&lane->strands[i], job);
        given_drop_job(lane, job);
        lane_want(lane); /* other jobs' recipients have room now */
    }
    for (struct loan *loan = router->borrowed; loan != NULL; loan = loan->next_borrowed) {
        if (loan->lane == NULL)
            continue;
        strand_drop_job(&loan->lane->strands[0], job);
        lane_want(loan->lane);
    }
    loan_drop_job(router, job);
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
        for (unsigned i = 0; lane->except != NULL && i < lane->strand_count; i++)
            strand_drop_job(&lane->strands[i], 0);
        lane_want(lane);
    }
    for (struct loan *loan = router->borrowed; loan != NULL; loan = loan->next_borrowed) {
        if (loan->lane == NULL)
            continue;
        strand_drop_job(&loan->lane->strands[0], 0);
        lane_want(loan->lane);
    }
}
