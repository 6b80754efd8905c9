/* dsn.h - a delivery status notification for recipients of one message, as RFC 5322 text.
 *
 * RFC 3464 (message/delivery-status), 3462 and 6522 (multipart/report), 3461 4.3 (RET) and 6 (what is
 * reported), 6533 (addresses that are not ASCII), 3834 (Auto-Submitted). A report is of one kind, failed,
 * delayed or relayed: many programs that read reports take all of one for failures if one is, or look at the
 * first recipient alone.
 *
 * The text ends with CRLF and its lines have at most 998 octets. All of it is 7-bit, whatever replies and the
 * message hold, and an address that is not ASCII is written as RFC 6533 3 has it for 7 bits; but to a return
 * path that is not ASCII itself, whose host must take SMTPUTF8 to get the report at all, it is in UTF-8
 * throughout, with message/global-delivery-status and message/global or message/global-headers.
 *
 * Pure: structs in, bytes out; any thread. */
#ifndef POSTRIDER_REPORT_DSN_H
#define POSTRIDER_REPORT_DSN_H

#include "engine/base/buf.h"
#include "engine/base/err.h"
#include "engine/limits.h"
#include "queue/store.h"

#define DSN_ORIGINAL_MAX (1024 * 1024)     /* a longer message is returned as its header, whatever RET says */
#define DSN_HEADER_MAX   (64 * 1024)       /* of its header, what is returned */
#define DSN_MESSAGE_MAX  (8 * 1024 * 1024) /* of dsn_compose's buffer: 500 recipients and a message fit */

struct dsn_rcpt {
    struct str to;
    struct str orcpt;     /* "rfc822;ada@example.com" as the client gave it, not xtext, or empty */
    struct status status; /* the last one; class 0: none */
    uint16_t code;        /* of the reply; 0: a failure of our own finding, or none */
    struct str reply;     /* the receiver's words, or ours */
    struct str mx;        /* who said so, or empty */
    int64_t last_ms;      /* the last attempt; 0: none was made */
    uint32_t attempts;
    bool expired; /* its time was over, the last attempt was not final */
};

struct dsn_report {
    enum dsn_kind kind;
    struct str hostname;    /* ours: Reporting-MTA */
    struct str return_path; /* to whom: never empty */
    struct str envid;       /* or empty */
    struct str job;         /* its id, for people */
    struct str unique;      /* letters, digits, dots: for the Message-ID and the boundary */
    int64_t arrival_ms, now_ms;
    int64_t until_ms; /* DSN_DELAYED: how long it will be tried */
    bool full;        /* RET=FULL, which counts for failures only (RFC 3461 4.3) */
    struct str
        original; /* the message as sent, or its header, with CRLF line ends; empty: not there any more */
    const struct dsn_rcpt *rcpts;
    size_t count; /* at least one */
};

/* Whether it goes out in UTF-8. */
bool dsn_is_global(struct str return_path);
/* Appends the message. False: out is full. */
bool dsn_compose(const struct dsn_report *report, struct buf *out, struct err *err);

#endif
