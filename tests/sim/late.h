/* late.h - late bounces: hosts that take a message and send it back by mail, at once or hours later, the desk
 * that reads what came (engine/inbound), and what must come of it.
 *
 * A bounce is a delivery report (RFC 3464) to the sender of the transaction. The desk has it read as
 * "postrider inbound" does: while it is too early to say what it means, again after 50 ms, 100 ms, and so on;
 * when that was for nothing, its sender tries again some minutes later. So does it where the answer is lost
 * with the daemon. Each bounce says its number in its words, so that an event is known as that bounce's. */
#ifndef POSTRIDER_TESTS_SIM_LATE_H
#define POSTRIDER_TESTS_SIM_LATE_H

#include "tests/sim/book.h"

/* What a host took. */
struct late_mail {
    const char *host, *from, *envid; /* from, envid: as MAIL named them, or "" */
    struct str message;
};

void late_begin(void);
void late_end(void);
/* A host that bounces some mail has taken it for this recipient. */
void late_taken(const struct late_mail *mail, struct book_rcpt *rcpt);
/* The daemon surely had the reply to what was last taken for this recipient. */
void late_heard(const struct book_rcpt *rcpt);
/* The daemon's memory is gone, and with it whom it owed an answer. */
void late_crashed(void);
/* A late bounce is in the event log. */
void late_event(const struct event *event);
/* How many are not taken yet. */
unsigned late_open(void);
/* All are taken: each has its event, and whom it says to be gone is suppressed. */
void late_audit(struct store *store);

#endif
