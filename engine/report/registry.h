/* registry.h - what an enhanced status means, in words.
 *
 * The phrases are the registered ones of the IANA registry "SMTP Enhanced Status Codes" (RFC 3463, 5248 and
 * the RFCs that add to it): X.0.0 to X.7.30. Details that a receiver made up (Gmail's 7.31, 7.32, 7.40, …)
 * have no phrase: they are the receiver's own. Reports put the phrase after the receiver's words, never in
 * their place. Pure; any thread. */
#ifndef POSTRIDER_REPORT_REGISTRY_H
#define POSTRIDER_REPORT_REGISTRY_H

#include "queue/status.h"

/* "Mailbox full" for 4.2.2 or 5.2.2; for a detail that is not registered the phrase of X.subject.0; "" for
 * class 0 or an unknown subject. Static. */
const char *registry_phrase(struct status status);
/* The registry has this very detail. */
bool registry_has(struct status status);
/* "Mailbox status" for X.2: the subject's name; "" if unknown. */
const char *registry_subject(struct status status);

#endif
