/* session_parts.h - what the files of the session share. Private to session*.c.
 *
 *  session.c           life, events, the table of states, time-outs, ends
 *  session_open.c      from the connection to "ready": greeting, EHLO, STARTTLS; and QUIT
 *  session_proxy.c     by way of a proxy
 *  session_login.c     AUTH
 *  session_transfer.c  transactions: what to write next, what a reply means for whom
 *  session_accept.c    whether one can go to this server
 *  session_chunk.c     of them, what is different by BDAT
 *  session_trace.c     what whoever watches is told
 *  session_wire.c      bytes: sends in the clear or through TLS, what came in to whole replies
 *
 * Every event (a completion, a timer, a kick) enters, changes state, and settles: session_settle writes what
 * can be written and sets the timer. Nothing is freed before io says `closed`: what is being sent lies in the
 * transaction's own memory. */
#ifndef POSTRIDER_SMTP_SESSION_PARTS_H
#define POSTRIDER_SMTP_SESSION_PARTS_H

#include "engine/smtp/reply.h"
#include "engine/smtp/session.h"

#include <netinet/in.h>

enum session_state {
    SESSION_CONNECTING,
    SESSION_PROXY, /* until the proxy has opened the way */
    SESSION_GREETING,
    SESSION_EHLO,
    SESSION_HELO,
    SESSION_STARTTLS,
    SESSION_HANDSHAKE,
    SESSION_LOGIN,
    SESSION_OPEN,     /* transactions, or idle */
    SESSION_QUITTING, /* until the reply to QUIT */
    SESSION_PARTING,  /* until TLS's close_notify is sent */
    SESSION_CLOSING,  /* until io lets go */
    SESSION_CLOSED
};

/* A place in the list of commands: RSET (when needed), MAIL, RCPT…, DATA, BODY (only when sending), END. By
 * BDAT, when sending: RSET, MAIL, RCPT…, END (no chunk begun), BODY; when receiving END, for every chunk. */
struct cursor {
    struct session_transaction *transaction; /* NULL: at the end of the list */
    enum smtp_step step;
    size_t rcpt;
};

/* A handshake in line, and what came of it meanwhile. */
struct session_wait {
    TAILQ_ENTRY(session_wait) line;
    struct session *session;
    struct buf data;
};

struct session {
    struct io_conn conn; /* first: io's callbacks find the session by it */
    struct wheel_timer timer;
    const struct session_context *context;
    const struct session_settings *settings;
    const struct session_handlers *handlers;
    void *owner;
    session_tracer *tracer; /* NULL, nearly always */
    struct tls_demand demand;
    struct tls_conn *tls;
    struct session_wait *wait; /* its handshake waits for its turn; NULL: it does not */
    const struct session_way *way;
    struct auth *auth;       /* while it logs in */
    struct proxy_talk *talk; /* until a proxy has opened the way */
    struct session_offers offers;
    struct reply reply;
    enum session_state state;
    enum tls_fault fault;

    /* Events. */
    bool busy;     /* an event is being handled: kicks and stops from callbacks wait for its end */
    bool progress; /* something moved: the time-out begins anew */
    bool stop_soft, stop_hard;
    bool ready; /* `ready` was called */
    bool early; /* the reply being read began when none was awaited */
    bool more;  /* and behind it there is something, other than a 421, that nothing asks for */
    bool closed_by_peer;
    bool told;      /* it ends by a reply that says so */
    bool chunks;    /* a message went by BDAT, */
    bool miscounts; /* and then replies did not fit the commands */
    bool by_data;   /* none goes by BDAT */
    int send_error; /* a send failed: what the peer still says counts, then comes the end */

    /* Transactions: at most two, the one whose replies come and the one being written ahead. */
    unsigned outstanding; /* replies awaited */
    unsigned unsent;      /* of them, to commands that still wait in `commands` */
    unsigned started, carried;
    struct cursor send, receive;
    bool idle;             /* nothing to do, the idle time-out runs */
    bool dry;              /* `next` gave NULL; not asked again before a kick or the end of a transaction */
    bool refused_many;     /* REFUSALS_MAX reached: goes on after a timer tick */
    bool need_reset;       /* the server still has a transaction open */
    unsigned domain_count; /* with RCPTDOMAINMAX: the recipients' domains so far, */
    uint32_t domains[LIMIT_DOMAINS]; /* hashed */
    /* Of the transaction at the receive cursor: */
    bool mail_accepted, go_ahead /* 354 came */, failed /* nobody is left to send it to */;
    bool cut; /* the rest of its commands will not be written */
    size_t accepted;
    /* Its body. */
    size_t body_segment, body_offset;
    uint64_t chunk_left, body_left;          /* BDAT: bytes of the chunk under way, and of what follows it */
    struct session_transaction *flying_body; /* its memory is in the send under way */
    struct session_transaction *held;        /* over, but given back only when that send is done */

    /* Bytes. */
    struct buf commands; /* to be written next, after the pieces of body in iov, */
    size_t ahead;        /* but for so many bytes, up to a BDAT, before them: iov[0] is kept for these */
    struct buf cipher;   /* TLS: to be written next */
    struct buf flying;   /* in the send under way */
    size_t iov_count, iov_room;
    struct iovec
        *iov; /* to be written next or in the send under way: iov_kept, or allocated until it is done */
    struct iovec iov_kept[SESSION_IOV_KEPT];

    struct verdict why;            /* of the end */
    char source[INET6_ADDRSTRLEN]; /* our address, to tell sources apart among the TLS sessions kept */
    char host[];
};

/* ---- session.c ---- */
struct now session_now(const struct session *session);
/* Changes the state and enters the new one: what is to be sent goes to `commands`. */
void session_go(struct session *session, enum session_state state);
/* A command was put in `commands`: its reply is awaited. */
void session_await(struct session *session);
/* The ends. All but session_end give what is unfinished the verdict. */
void session_end(struct session *session);
void session_fail(struct session *session, const struct verdict *why);
void session_fail_reply(struct session *session); /* by the reply just read */
void session_fail_protocol(struct session *session, const char *what);
/* TLS failed, or the certificate is not as demanded: fault says how. */
void session_fail_tls(struct session *session, enum tls_fault fault, const char *what);
void session_lost(struct session *session, const char *how); /* the connection, where it was still needed */
/* Lets the owner have its say in a verdict on what was read, or not, in this step. */
void session_judge(struct session *session, enum smtp_step step, struct verdict *verdict);
/* A whole reply is in session->reply. */
void session_reply(struct session *session);

/* ---- session_open.c ---- */
void open_enter_greeting(struct session *session);
void open_enter_ehlo(struct session *session);
void open_enter_helo(struct session *session);
void open_enter_starttls(struct session *session);
void open_enter_handshake(struct session *session);
void open_enter_quitting(struct session *session);
void open_enter_parting(struct session *session);
void open_reply_greeting(struct session *session);
void open_reply_ehlo(struct session *session);
void open_reply_helo(struct session *session);
void open_reply_starttls(struct session *session);
void open_reply_quit(struct session *session);

/* ---- session_proxy.c ---- */
/* Instead of connecting to peer the session connects to its proxy. False: no memory. */
bool proxy_start(struct session *session, const struct sockaddr *source, socklen_t source_len,
                 const struct sockaddr *peer, socklen_t peer_len);
void proxy_end(struct session *session); /* frees what that took */
void proxy_enter(struct session *session);
void proxy_sent(struct session *session);
/* What the proxy says; returns what is behind it, of the mail host. */
struct str proxy_received(struct session *session, struct str data);
/* The proxy is of no use. */
void proxy_fail(struct session *session, const char *what);
/* It answers, and is busy with reaching the mail host. */
bool proxy_awaits_host(const struct session *session);

/* ---- session_login.c ---- */
bool login_is_wanted(const struct session *session);
void login_enter(struct session *session);
void login_reply(struct session *session);

/* ---- session_transfer.c ---- */
void transfer_enter(struct session *session);
void transfer_reply(struct session *session);
void transfer_early_reply(struct session *session); /* to nothing that was asked */
/* Replies do not fit the commands: what they said of the recipients counts only behind a 354 in its place. */
void transfer_doubt(struct session *session);
/* Writes what may be written now, asks `next` where another transaction could go. */
void transfer_pump(struct session *session);
/* A send is done: what it held is free. */
void transfer_sent(struct session *session);
/* The idle or yield time-out. */
void transfer_timer(struct session *session);
/* Gives every recipient without a verdict this one; the transactions stay the session's. */
void transfer_condemn(struct session *session, const struct verdict *why);
/* Gives those that the reply at the receive cursor is about this one. */
void transfer_answer(struct session *session, const struct verdict *verdict);
/* Gives all transactions back. */
void transfer_give_back(struct session *session);
const char *transfer_doing(const struct session *session);
bool transfer_is_sending(const struct session *session); /* a body, its end not yet */
int64_t transfer_timeout_ms(const struct session *session);

/* For session_accept.c and session_chunk.c. Keeps the verdict as long as the transaction is here. */
const struct verdict *transfer_keep_verdict(struct session_transaction *t, const struct verdict *verdict);
/* Gives it to each recipient that has none. */
void transfer_decide_pending(struct session_transaction *t, const struct verdict *verdict);
/* Puts the next piece of the body in iov, and at most `most` bytes; how many. */
size_t transfer_write_body(struct session *session, struct session_transaction *t, uint64_t most);
/* The reply just read decides about everyone who is still without a verdict. */
void transfer_reply_for_pending(struct session *session, enum smtp_step step);
/* Nobody is left: what of it is not written yet will not be. */
void transfer_give_up(struct session *session);
/* Everyone of the transaction at the receive cursor has a verdict. */
void transfer_finish(struct session *session);

/* ---- session_accept.c ---- */
/* False: no; its recipients have their verdicts. */
bool accept_transaction(struct session *session, struct session_transaction *t);

/* ---- session_chunk.c ---- */
/* A chunked transaction begins. */
void chunk_start(struct session *session, const struct session_transaction *t);
/* Writes the next BDAT, or as much of its chunk as goes into one send, if it may be written now. */
void chunk_write(struct session *session);
/* To a BDAT. */
void chunk_reply(struct session *session);

/* ---- session_trace.c: only where there is a tracer ---- */
void trace_sending(struct session *session); /* `commands` and iov, as wire_flush is about to send them */
void trace_heard(struct session *session, bool last); /* the line that was just read */

/* ---- session_wire.c ---- */
/* Room for so many pieces and the commands behind them, or for as many as there is memory. */
void wire_widen(struct session *session, size_t pieces);
void wire_narrow(struct session *session); /* gives that room back */
/* Starts a send of what waits, unless one is under way. */
void wire_flush(struct session *session);
void wire_sent(struct session *session); /* that send is done */
void wire_received(struct session *session, struct str data);
void wire_leave_line(struct session *session);
/* Its turn has come. */
void wire_take_turn(struct session *session);
/* Frees what an idle session does not need. */
void wire_release(struct session *session);

#endif
