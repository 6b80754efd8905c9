/* transaction.h - what a session carries: a message for some recipients.
 *
 * The owner keeps it, and all it points to, from the session's call of `next` until `done`. */
#ifndef POSTRIDER_SMTP_TRANSACTION_H
#define POSTRIDER_SMTP_TRANSACTION_H

#include "engine/smtp/verdict.h"

#include <sys/uio.h>

/* One recipient, in an array that the owner of the transaction keeps. They are small, and a verdict is not:
 * recipients that fare alike, nearly always all of them, share one. */
struct session_rcpt {
    struct str to;
    struct str orcpt;              /* "rfc822;ada@example.com" or the address alone, not xtext; empty: none */
    const struct verdict *verdict; /* the session's answer; valid until `done` returns */
    void *owner;
    uint8_t notify; /* NOTIFY_ bits of queue/store.h, for a DSN peer; 0: say nothing */
    bool refused;   /* the session's: by ourselves, before it was written */
};

/* Of those that were needed besides the first. */
struct session_verdict {
    struct session_verdict *next;
    struct verdict verdict;
};

enum session_ret { SESSION_RET_NONE, SESSION_RET_HDRS, SESSION_RET_FULL };

struct session_transaction {
    struct session_transaction *link; /* the session's */
    struct str from;                  /* empty: <> */
    struct session_rcpt *rcpts;
    size_t rcpt_count;  /* 1 to TXN_RCPTS_MAX */
    struct iovec *body; /* ends with CRLF, and the session changes nothing: for DATA dot-stuffed, and it adds
                           ".\r\n"; for BDAT as the message is */
    size_t body_count;
    uint64_t size;    /* for SIZE=: not stuffed, CRLFs counted */
    bool eight_bit;   /* BODY=8BITMIME where offered */
    bool utf8;        /* sender or message need SMTPUTF8: else 5.6.7; set, too, where a recipient does */
    bool require_tls; /* REQUIRETLS where offered; the session's demand is to see to that */
    bool chunked;     /* goes by BDAT: only to where session_chunking says so */
    bool wary;        /* chunked: BDAT waits for the replies to RCPT, as it does for a large message */
    enum session_ret ret;
    struct str envid;   /* not xtext; empty: none */
    int64_t started_ns; /* filled by the session: when MAIL was written; 0: it never was */
    bool body_sent;     /* filled by the session: some of the body was written, and MAIL answered */
    bool nobody;        /* filled by the session: the server refused MAIL or every RCPT */
    bool peer_dsn;      /* filled by the session: MAIL was written for a server that offers DSN */
    void *owner;
    /* The session's: what the verdicts of its recipients point to. */
    bool verdict_used;
    struct session_verdict *more_verdicts;
    struct verdict verdict;
};

#endif
