/* match.h - which recipient of ours a notice means. Private to inbound/; see inbound.h for what counts as
 * evidence. Reads the store's tables as they are, without a wait for what is on its way; any thread. */
#ifndef POSTRIDER_INBOUND_MATCH_H
#define POSTRIDER_INBOUND_MATCH_H

#include "engine/inbound/inbound.h"

/* Where a rid stood, the surest first. */
enum evidence {
    EVIDENCE_RETURN_PATH, /* in an address that is the job's envelope sender for it */
    EVIDENCE_MESSAGE_ID,  /* all that is left of the @ in a Message-ID */
    EVIDENCE_FIELD,       /* in some field of the returned message */
};

/* A recipient of ours that may be meant. */
struct candidate {
    struct rid rid;
    enum evidence evidence;
    enum rcpt_state state;
    bool claimed;
    char to[ADDRESS_MAX + 1], domain[DOMAIN_MAX + 1], tenant[NAME_MAX_BYTES + 1];
};

struct candidates {
    struct candidate list[INBOUND_CANDIDATES_MAX];
    size_t count;
    bool unknown; /* a rid was named of a job that is not in the tables, and may have been accepted */
};

/* All whose rid the notice names, of this tenant or, if empty, of any. */
void match_candidates(struct store *store, const struct notice *notice, struct str tenant,
                      struct candidates *candidates);
/* Fills all but the action. */
void match_rcpt(struct store *store, const struct notice *notice, const struct notice_rcpt *rcpt,
                struct str tenant, const struct candidates *candidates, struct inbound_finding *finding);

#endif
