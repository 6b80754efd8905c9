/* sift.c - see sift.h. */
#include "engine/route/sift.h"

#include "engine/route/aside.h"
#include "engine/route/lane.h"
#include "engine/route/loan.h"
#include "engine/route/settle.h"
#include "engine/route/signers.h"

struct sift {
    sift_judge *judge;
    const void *user;
};

/* It is in nobody's list any more. */
static void sift_out(struct router *router, struct taken *taken, enum sift_fate fate)
{
    if (fate == SIFT_SUPPRESS)
        settle_suppressed(router, taken);
    else
        settle_release(router, taken);
}

static bool strand_loses_any(const struct sift *sift, const struct strand *strand)
{
    for (const struct taken *taken = strand->head; taken != NULL; taken = taken->next)
        if (sift->judge(strand->lane, taken, sift->user) != SIFT_KEEP)
            return true;
    return false;
}

static void sift_strand(const struct sift *sift, struct strand *strand)
{
    if (!strand_loses_any(sift, strand))
        return;
    struct taken *list = lane_empty_strand(strand);
    for (struct taken *next; list != NULL; list = next) {
        next = list->next;
        enum sift_fate fate = sift->judge(strand->lane, list, sift->user);
        if (fate == SIFT_KEEP)
            strand_add(strand, list, false);
        else
            sift_out(strand->lane->router, list, fate);
    }
}

static void sift_given(const struct sift *sift, struct lane *lane)
{
    for (struct taken **at = &lane->given, *taken; (taken = *at) != NULL;) {
        enum sift_fate fate = sift->judge(lane, taken, sift->user);
        if (fate == SIFT_KEEP) {
            at = &taken->next;
            continue;
        }
        *at = taken->next;
        sift_out(lane->router, taken, fate);
        lane_check(lane);
    }
}

static void sift_signing(const struct sift *sift, struct router *router)
{
    struct sign_request *request;
    LIST_FOREACH(request, &router->signing, mine)
    {
        const struct lane *lane = lane_by_id(router, request->lane); /* it is not over: this is buffered */
        enum sift_fate fate = sift->judge(lane, request->taken, sift->user);
        request->dropped |= fate == SIFT_RELEASE;
        request->recalled |= fate == SIFT_SUPPRESS;
    }
}

void sift_borrowed(struct router *router, sift_judge *judge, const void *user)
{
    const struct sift sift = {judge, user};
    for (struct loan *loan = router->borrowed; loan != NULL; loan = loan->next_borrowed) {
        if (loan->lane == NULL)
            continue;
        sift_strand(&sift, &loan->lane->strands[0]);
        lane_want(loan->lane);
    }
}

void sift_all(struct router *router, sift_judge *judge, const void *user)
{
    const struct sift sift = {judge, user};
    struct lane *lane, *next;
    sift_signing(&sift, router);
    HASH_ITER(hh, router->lanes, lane, next)
    {
        for (unsigned i = 0; i < lane->strand_count; i++)
            sift_strand(&sift, &lane->strands[i]);
        for (struct aside *aside = lane->asides; aside != NULL; aside = aside->next)
            sift_strand(&sift, &aside->strand);
        sift_given(&sift, lane);
        lane_want(lane);
    }
    sift_borrowed(router, judge, user);
}
