/* keeper.h - the policies of MTA-STS that are known: asked by workers, fetched, kept over restarts.
 *
 * A thread of its own, since HTTPS takes its time. A worker asks with a request: the domain, and what DNS
 * says of it (the id of its record, the addresses of its policy host); the request comes back to the
 * worker's inbox with the policy that holds now. It comes at once where there is nothing to fetch, which is
 * nearly always; else after the fetch, which takes timeout_ms at most once it has its turn: STS_FETCHES_MAX
 * are under way at once.
 *
 * A policy holds for its max_age, whatever DNS says meanwhile (RFC 8461 3, 5.1); another id, or a day, makes
 * it be fetched anew, and one that cannot be had leaves the old one in force. A failed fetch is not repeated
 * for STS_RETRY_MS. Policies are rows of POLICY_STS; one whose text is too long for a row is only kept in
 * memory. At most STS_POLICIES_MAX are known; beyond that the one not asked for the longest goes. */
#ifndef POSTRIDER_STS_KEEPER_H
#define POSTRIDER_STS_KEEPER_H

#include "engine/base/inbox.h"
#include "engine/limits.h"
#include "engine/sts/fetch.h"

struct store;
struct rpt;
struct sts_keeper;

struct sts_request {
    struct inbox_node node;
    struct inbox *back;                /* where it goes, */
    unsigned kind;                     /* and as what */
    char domain[DOMAIN_MAX + 1];       /* lower case */
    char id[STS_ID_MAX + 1];           /* "": no record */
    char addresses[STS_ADDRESSES_MAX]; /* as fetch.h wants them; "": none */
    char *policy;                      /* the answer: malloc'ed, for sts_policy_parse; NULL: none holds */
};

/* settings, store and rpt (which is told of fetches that fail; NULL: nobody is) outlive it. Rows are read by
 * the thread, before the first answer. */
struct sts_keeper *sts_keeper_start(struct store *store, struct rpt *rpt,
                                    const struct fetch_settings *settings, struct err *err);
/* Any thread. The request is the keeper's until it comes back. */
void sts_keeper_ask(struct sts_keeper *keeper, struct sts_request *request);
/* What waits comes back without a policy. NULL: nothing. */
void sts_keeper_stop(struct sts_keeper *keeper);

#endif
