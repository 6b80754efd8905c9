/* audit.h - what must hold when all is over: events, states and counters say the same of everybody. */
#ifndef POSTRIDER_TESTS_SIM_AUDIT_H
#define POSTRIDER_TESTS_SIM_AUDIT_H

#include "queue/store.h"

/* Everybody has ended. */
void audit(struct store *store);

#endif
