/* submission.h - mail taken in over SMTP, as all workers share it: listening sockets, certificates, users,
 * and a desk for what would hold a worker up.
 *
 * Each worker accepts from every listener in its own ring and keeps what it has accepted (door.h). A message
 * becomes a job by the path that the job API uses: it is acknowledged once it is on disk, and shares its
 * commit with whatever else waits, over all connections and sockets. */
#ifndef POSTRIDER_SUBMISSION_SUBMISSION_H
#define POSTRIDER_SUBMISSION_SUBMISSION_H

#include "engine/config.h"
#include "queue/store.h"

struct submission;
struct dkim;
struct inbound;

/* Makes the sockets and reads certificates and users; nobody accepts yet. All arguments outlive it; dkim may
 * be NULL. Mail to return domains goes to `inbound`. NULL and err: a socket that is in use, a file that is
 * wrong. */
struct submission *submission_create(struct store *store, const struct config *config,
                                     const struct dkim *dkim, struct inbound *inbound, struct err *err);
/* After every door is gone. */
void submission_destroy(struct submission *submission); /* NULL is allowed */

#endif
