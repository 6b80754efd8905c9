/* session.h - one outbound SMTP or LMTP connection: connect, greet, TLS, and one transaction after the other.
 *
 * A session belongs to one worker thread. It *pulls*: whenever it could carry another transaction it calls
 * `next`; with PIPELINING it asks while the body of the one before is being written, so that the end of one
 * message travels with MAIL, RCPT, DATA of the next in one write. At most two transactions are with it. A
 * chunked one (BDAT) travels whole, MAIL to its last byte, in one write, and alone: the next is asked for
 * when its reply is there, since after a failed chunk nothing but RSET may come. When `next` gives NULL it
 * asks again after session_kick or the end of a transaction; with nothing left it is idle until session_kick
 * or its idle time-out, then says QUIT.
 *
 * The session never decides what a failure means for the queue: it gives each recipient of a transaction a
 * `struct verdict` and calls `done`; when the connection is over it calls `closed` once with the reason,
 * after every transaction it held has been given back through `done`. The owner may call session_free from
 * `closed` or after. Callbacks may call session_kick and session_stop, never session_free except as said.
 * They run from io_step and wheel_run; `next`, and `done` of what is refused without asking the server (too
 * large, needs SMTPUTF8, malformed addresses), from session_kick too. A transaction is never given back while
 * the kernel may still read its body: where a session fails, `done` comes with the end, just before `closed`.
 *
 * An address is checked here once more: none can break out of its command, wherever it came from.
 *
 * RFC 5321 (4.5.3.2 time-outs), 2920, 3207, 8314, 1870, 2033, 2034, 6152, 3461, 3030. All times are mono_ns
 * unless named otherwise. */
#ifndef POSTRIDER_SMTP_SESSION_H
#define POSTRIDER_SMTP_SESSION_H

#include "engine/base/prng.h"
#include "engine/base/wheel.h"
#include "engine/io/io.h"
#include "engine/smtp/auth.h"
#include "engine/smtp/ehlo.h"
#include "engine/smtp/proxy.h"
#include "engine/smtp/transaction.h"
#include "engine/tls/tls.h"

#include <sys/queue.h>

struct session;

struct session_handlers {
    /* Another transaction, or NULL: nothing now. */
    struct session_transaction *(*next)(struct session *session, struct now now);
    /* A reply of 400 or above was read, or (code 0) the peer hung up where its reply was awaited: the owner
     * may decide otherwise than verdict.c's table. transaction: whose reply it is; NULL: none's. May be NULL.
     */
    void (*judge)(struct session *session, const struct session_transaction *transaction, enum smtp_step step,
                  struct verdict *verdict);
    /* Each recipient has its verdict. The owner takes the transaction back. */
    void (*done)(struct session *session, struct session_transaction *transaction, struct now now);
    /* The greeting and EHLO (and TLS) are through: the session counts as connected. Once at most. */
    void (*ready)(struct session *session, struct now now);
    /* Over. why.outcome == VERDICT_NONE: an ordinary end (QUIT, idle, limit of messages, the peer hung up
     * while idle, session_stop). Otherwise what failed, with its scope: before `ready` a failure of the host
     * (connect, greeting, TLS, login) or path, later of the connection. With session_tls_fault: TLS is what
     * failed; where the demand was MAY the owner may come back once with NONE. why.blameless: the login or,
     * of the path's scope, the proxy is what failed. */
    void (*closed)(struct session *session, const struct verdict *why, struct now now);
};

struct session_timeouts { /* milliseconds; the defaults of RFC 5321 stand in config.c */
    int64_t connect, greeting, ehlo, mail, rcpt, data_start, data_block, data_end, quit, idle, tls;
};

struct session_settings { /* shared by many sessions, must outlive them */
    const char *ehlo;     /* our name */
    struct session_timeouts timeouts;
    unsigned messages_max; /* transactions on this connection; 0: no limit */
    unsigned rcpts_max;    /* RCPTs a transaction that the owner will not pass anyway */
    bool chunking;         /* messages may go by BDAT */
};

/* Handshakes take turns, so that a burst of them does not keep a worker from its other sessions: the longest
 * piece of one takes 0.5 ms of CPU, 2.4 with P-384 and its certificate checked, 0.1 resumed (bench/notes.md),
 * and io may have a thousand at once. TLS_HANDSHAKES_STEP of them go on in a step, fewer where one takes
 * longer than TLS_TURN_NS, the others in the next ones: some 6 ms of a step at most, and what the last one
 * takes. */
TAILQ_HEAD(session_line, session_wait);
struct session_turns {
    unsigned left; /* in this step */
    struct session_line line;
};
void session_turns_init(struct session_turns *turns);
/* What a turn took, so that a long one counts for several. */
void session_turns_charge(struct session_turns *turns, int64_t took_ns);
/* Once a step: lets those go on that wait. True: there are more. */
bool session_turns_run(struct session_turns *turns);
/* How a session logs in (auth.h). The secret is read from its file at each login. */
struct session_login {
    const char *user, *password_file, *token_file; /* "": none; with a token_file it is XOAUTH2 */
    unsigned allowed;                              /* mechanisms, a bit each */
    bool in_clear;                                 /* also without TLS */
    struct auth_keys *keys;                        /* may be NULL */
};

/* How the way of a route or source differs from that by MX. */
struct session_way {
    struct session_login login; /* user NULL or "": none */
    bool lmtp;                  /* RFC 2033: LHLO, and a reply for each recipient; never by BDAT */
    const struct proxy *proxy;  /* by way of which it goes; NULL or PROXY_NONE: none */
};

struct session_context { /* a worker's, shared by its sessions */
    struct io *io;
    struct wheel *wheel;
    struct tls *tls;
    struct now *now;             /* the worker's idea of now, kept fresh by it before callbacks run */
    struct session_turns *turns; /* NULL: every handshake goes on at once */
};

/* Begins to connect. host: the MX name (SNI, and in verdicts). demand is copied; way outlives the session.
 * NULL with err on a local failure. */
struct session *session_create(const struct session_context *context, const struct session_settings *settings,
                               const struct session_handlers *handlers, void *owner, const char *host,
                               const struct sockaddr *source, socklen_t source_len,
                               const struct sockaddr *peer, socklen_t peer_len,
                               const struct tls_demand *demand, const struct session_way *way,
                               struct err *err);
void *session_owner(const struct session *session);
/* There may be work now: a session that could carry another transaction calls `next`. Cheap otherwise. */
void session_kick(struct session *session);
/* No more transactions: those under way finish, then QUIT; one that is not ready yet just closes. hard: close
 * now, what is unfinished gets a verdict of 4.4.2, of the session's scope. Both end with `closed`, why being
 * VERDICT_NONE. */
void session_stop(struct session *session, bool hard);
/* Only after `closed`. */
void session_free(struct session *session);

/* For `sites`, `explain` and log lines: "waiting for the greeting", … and how many transactions it has
 * carried. */
const char *session_doing(const struct session *session);
unsigned session_carried(const struct session *session);
/* It ended by a reply that said so, and was not hung up on. */
bool session_was_told(const struct session *session);
bool session_is_ready(const struct session *session);
bool session_is_idle(const struct session *session);
/* As tls_text, or "" in the clear. Interned: valid for the life of the process. */
const char *session_tls_text(const struct session *session);
/* Transactions may be chunked: the settings allow it, and the server offers it. */
bool session_chunking(const struct session *session);
/* None may, whatever it offers. */
void session_use_data(struct session *session);
/* Some were, and the server said something that fits no command: by BDAT, where every reply hoped for is a
 * 2xx, one too many can make the reply to a recipient look like that to the message. By DATA the 354 in
 * between shows it. */
bool session_miscounts(const struct session *session);
/* What the demand asked and did not get; of `report` also while all is well otherwise. */
enum tls_fault session_tls_fault(const struct session *session);
/* What EHLO offered. */
const struct session_offers *session_offers(const struct session *session);

/* Whoever watches hears each line that goes or comes from now on, without CRLF and without secrets; of
 * messages how many bytes. NULL: nobody does, at the price of a branch a send and one a line of a reply. May
 * be called from the tracer, too. */
enum session_said { SESSION_SENT, SESSION_HEARD };
typedef void session_tracer(struct session *session, enum session_said said, struct str line);
void session_trace(struct session *session, session_tracer *tracer);

#endif
