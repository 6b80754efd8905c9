/* submission.h - mail taken in over SMTP, as all workers share it: listening sockets, certificates, users,
 * and desks for what would hold a worker up.
 *
 * Each worker accepts from every listener in its own ring and keeps what it has accepted (door.h). A message
 * becomes a job by the path that the job API uses: it is acknowledged once it is on disk, and shares its
 * commit with whatever else waits, over all connections and sockets. */
#ifndef POSTRIDER_SUBMISSION_SUBMISSION_H
#define POSTRIDER_SUBMISSION_SUBMISSION_H

#include "engine/config.h"
#include "queue/store.h"

struct submission;
struct inbound;
struct setups;

/* Makes the sockets and reads certificates and users; nobody accepts yet. All arguments outlive it. Listeners
 * are those of the setup that holds now; what a message meets, tenants and keys, those of the one that holds
 * then. Mail to return domains goes to `inbound`. NULL and err: a socket that is in use, a file that is
 * wrong. */
struct submission *submission_create(struct store *store, struct setups *setups, struct inbound *inbound,
                                     struct err *err);
/* A reload: the certificates and keys of the listeners, read again where `next` still names them. NULL and
 * err: one is wrong. Then, if all else is right too, in place for connections to come. Any thread but a
 * worker's, one at a time. */
struct tls_server;
struct tls_server **submission_read_certificates(const struct submission *submission,
                                                 const struct config *next, struct err *err);
void submission_put_certificates(struct submission *submission, struct tls_server **list);

struct submission_figures {
    unsigned clients;
    uint64_t messages, recipients; /* accepted since the start */
    uint64_t refused;              /* messages that were not, once they were whole */
    uint64_t wrong_logins;         /* answered 535 */
};
/* Any thread. */
void submission_figures(const struct submission *submission, struct submission_figures *figures);
/* Ends its threads, when no door has a client any more and before the workers' inboxes go. */
void submission_stop(struct submission *submission);
/* After every door is gone. */
void submission_destroy(struct submission *submission); /* NULL is allowed */

#endif
