/* audit.h - what must hold of the store as a whole: events, states and counters say the same of everybody. */
#ifndef POSTRIDER_TESTS_SIM_AUDIT_H
#define POSTRIDER_TESTS_SIM_AUDIT_H

#include "queue/store.h"

/* At any time: each job counts as its events do. */
void audit_jobs(struct store *store);
/* Everybody has ended: and the store has nothing left, and lists everybody as the log tells. */
void audit(struct store *store);

#endif
