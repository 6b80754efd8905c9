/* session.h - one connection of raw: the daemon's own dialogue, with no queue behind it.
 *
 * Pipelined as far as RFC 2920 allows: the end of one message goes out in one write with MAIL, RCPT and DATA
 * of the next, so a message costs one round trip, one send and one receive. By BDAT (--bdat) a message goes
 * out in one write with its own envelope, at the same cost. Any reply but the expected one fails the run: a
 * ceiling is measured against receivers that take everything. One thread. */
#ifndef POSTRIDER_RAW_SESSION_H
#define POSTRIDER_RAW_SESSION_H

#include "bench/load/envelope.h"
#include "bench/load/options.h"
#include "bench/load/reply.h"
#include "bench/load/samples.h"
#include "bench/load/target.h"
#include "bench/raw/ring.h"

#define SESSION_REPLIES_MAX 16384 /* bytes of replies to one write */

/* What the next reply answers. */
enum session_step {
    STEP_GREETING,
    STEP_EHLO,
    STEP_DOT,
    STEP_MAIL,
    STEP_RCPT,
    STEP_DATA,
    STEP_QUIT,
    STEP_OVER
};

struct session {
    uint32_t slot;
    int fd;
    enum session_step step;
    bool sending, answered; /* the write is not done; all replies to it are there */
    bool mail_open;         /* a transaction is begun: DATA's 354 is awaited or there */
    uint32_t recipients_left;
    uint64_t number; /* of the transaction's first recipient */
    int64_t sent_ns;
    struct envelope_writer writer;
    size_t replies_n;
    char *replies;
    struct target target;
};

struct raw {
    const struct options *options;
    struct ring *ring;
    struct target target;
    struct content *content;
    struct session *sessions;
    struct samples times; /* a transaction, from its message's send to the replies of all of that write */
    uint32_t open, opened;
    uint64_t begun, ended; /* transactions */
    int64_t first_ns;      /* when the first envelope was sent */
    int64_t now_ns;        /* of this step */
    bool failed;
    struct err *err;
};

bool session_open(struct raw *raw, uint32_t slot);
/* The ring's answer to an operation. */
void session_done(void *context, uint64_t tag, int result);
/* At the end. */
void session_close(struct session *session);

#endif
