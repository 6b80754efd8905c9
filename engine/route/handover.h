/* handover.h - what workers tell each other through their inboxes. Each message is malloc'ed by who posts it
 * and freed by who takes it. */
#ifndef POSTRIDER_ROUTE_HANDOVER_H
#define POSTRIDER_ROUTE_HANDOVER_H

#include "engine/dns/dns.h"
#include "queue/store.h"

enum {
    HANDOVER_LANE = 200,
    HANDOVER_LOOK,
    HANDOVER_STOP,
    HANDOVER_LOAN_OFFER, /* these seven are loan.c's */
    HANDOVER_LOAN_WANT,
    HANDOVER_LOAN_BATCH,
    HANDOVER_LOAN_BACK,
    HANDOVER_LOAN_NEWS,
    HANDOVER_LOAN_LESSON,
    HANDOVER_LOAN_DROP,
    HANDOVER_HOLDS,  /* the list of holds has changed (hold.h); nothing but the node */
    HANDOVER_SIGNED, /* signers.h */
    HANDOVER_STS,    /* lane_sts.h */
};

/* HANDOVER_LANE: a lane whose site the receiver owns, with its domain's hosts (the reference goes along). */
struct lane_handover {
    struct inbox_node node;
    struct dns_mx *mx;
    struct store_lane_msg lane;
    bool announced;      /* the store has more of it */
    struct taken *given; /* and what came unasked of it */
};

#endif
