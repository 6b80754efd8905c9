/* flow.c - see flow.h. A flow is charged a recipient's worth for each recipient; when its deficit is used up
 * the turn goes to the next tenant, which gains its weight times TURN_RCPTS. */
#include "engine/route/flow.h"

#include "engine/route/sender_rate.h"

#include <stdlib.h>

bool flow_join(struct strand *strand, struct sender_rate *rate)
{
    struct pool *pool = strand->pool;
    struct lane *lane = strand->lane;
    struct flow *flow = pool->flows;
    while (flow != NULL &&
           (flow->tenant != lane->tenant || flow->class_ != lane->class_ || flow->rate != rate))
        flow = flow->pool_next;
    if (flow == NULL) {
        flow = calloc(1, sizeof *flow);
        if (flow == NULL)
            return false;
        flow->tenant = lane->tenant;
        flow->limit = lane->limit;
        flow->rate = rate;
        flow->class_ = lane->class_;
        flow->pool_next = pool->flows;
        pool->flows = flow;
    }
    flow->strands++;
    strand->flow = flow;
    return true;
}

void flow_leave(struct strand *strand)
{
    struct flow *flow = strand->flow;
    strand->flow = NULL;
    if (--flow->strands > 0)
        return;
    struct flow **link = &strand->pool->flows;
    while (*link != flow)
        link = &(*link)->pool_next;
    *link = flow->pool_next;
    free(flow);
}

void flow_enter_turns(struct strand *strand)
{
    struct flow *flow = strand->flow;
    if (flow->turn != NULL) { /* at the end: just before whose turn it is */
        strand->turn_next = flow->turn;
        strand->turn_prev = flow->turn->turn_prev;
        strand->turn_prev->turn_next = strand;
        strand->turn_next->turn_prev = strand;
        return;
    }
    strand->turn_next = strand->turn_prev = strand;
    flow->turn = strand;
    struct flow **turn = &strand->pool->turn[flow->class_];
    if (*turn == NULL) {
        flow->next = flow->prev = flow;
        *turn = flow;
    } else {
        flow->next = *turn;
        flow->prev = (*turn)->prev;
        flow->prev->next = flow;
        flow->next->prev = flow;
    }
    flow->deficit = (int64_t)flow->tenant->weight * TURN_RCPTS;
}

void flow_leave_turns(struct strand *strand)
{
    struct flow *flow = strand->flow;
    struct flow **turn = &strand->pool->turn[flow->class_];
    if (strand->turn_next != strand) {
        strand->turn_prev->turn_next = strand->turn_next;
        strand->turn_next->turn_prev = strand->turn_prev;
        if (flow->turn == strand)
            flow->turn = strand->turn_next;
    } else {
        flow->turn = NULL;
        if (flow->next == flow) {
            *turn = NULL;
        } else {
            flow->prev->next = flow->next;
            flow->next->prev = flow->prev;
            if (*turn == flow)
                *turn = flow->next;
        }
        flow->next = flow->prev = NULL;
    }
    strand->turn_next = strand->turn_prev = NULL;
}

static bool flow_may(const struct flow *flow, int64_t now_ns, int64_t *until_ns, enum flow_of of)
{
    if (flow->limit == NULL && flow->rate == NULL)
        return true;
    if (of == FLOW_WITHOUT_LIMIT)
        return false;
    int64_t when_ns = flow->limit != NULL ? limit_when_ns(flow->limit, now_ns) : now_ns;
    int64_t slow_ns = flow->rate != NULL ? limit_when_ns(&flow->rate->limit, now_ns) : now_ns;
    if (slow_ns > when_ns)
        when_ns = slow_ns;
    if (when_ns > now_ns && when_ns < *until_ns)
        *until_ns = when_ns;
    return when_ns <= now_ns;
}

static struct strand *flow_pick_class(struct pool *pool, enum job_class class_, int64_t now_ns,
                                      int64_t *until_ns, enum flow_of of)
{
    struct flow *flow = pool->turn[class_];
    if (flow == NULL)
        return NULL;
    /* Bounded: each round adds at least TURN_RCPTS to all that may go, and no charge exceeds TXN_RCPTS_MAX;
     * when a whole round finds nobody who may, it is over. */
    const struct flow *stop = flow;
    for (bool any = false;; flow = flow->next) {
        if (flow_may(flow, now_ns, until_ns, of)) {
            if (flow->deficit > 0)
                break;
            any = true;
            flow->deficit += (int64_t)flow->tenant->weight * TURN_RCPTS;
        }
        if (flow->next == stop) {
            if (!any)
                return NULL;
            any = false;
        }
    }
    pool->turn[class_] = flow;
    return flow->turn;
}

struct strand *flow_pick(struct pool *pool, int64_t now_ns, int64_t *until_ns, enum flow_of of)
{
    bool bulk_first = pool->transactional_in_a_row >= BULK_SHARE - 1;
    enum job_class first = bulk_first ? CLASS_BULK : CLASS_TRANSACTIONAL;
    struct strand *strand = flow_pick_class(pool, first, now_ns, until_ns, of);
    return strand
               ? strand
               : flow_pick_class(pool, bulk_first ? CLASS_TRANSACTIONAL : CLASS_BULK, now_ns, until_ns, of);
}

void flow_charge(struct pool *pool, struct strand *strand, unsigned recipients, int64_t now_ns)
{
    struct flow *flow = strand->flow;
    if (flow->class_ == CLASS_TRANSACTIONAL)
        pool->transactional_in_a_row++;
    else
        pool->transactional_in_a_row = 0;
    flow->deficit -= (int64_t)recipients;
    flow->turn = strand->turn_next; /* the next lane of this tenant */
    if (flow->limit != NULL)
        limit_use(flow->limit, now_ns);
    if (flow->rate != NULL)
        limit_use(&flow->rate->limit, now_ns);
}
