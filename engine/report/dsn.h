/* dsn.h - a delivery status notification for failed recipients of one message, as RFC 5322 text.
 *
 * RFC 3464 (message/delivery-status), 3462 and 6522 (multipart/report), 3461 4.3 (RET), 6533 (recipients that
 * are not ASCII), 3834 (Auto-Submitted). The text ends with CRLF, its lines have at most 998 octets and all
 * of it is 7-bit, whatever replies and the message hold. Pure: structs in, bytes out; any thread. */
#ifndef POSTRIDER_REPORT_DSN_H
#define POSTRIDER_REPORT_DSN_H

#include "engine/base/buf.h"
#include "engine/base/err.h"
#include "engine/limits.h"
#include "queue/status.h"

#define DSN_ORIGINAL_MAX (1024 * 1024)     /* a longer message is returned as its header, whatever RET says */
#define DSN_MESSAGE_MAX  (8 * 1024 * 1024) /* a good maximum for the buffer of dsn_compose */

struct dsn_rcpt {
    struct str to;
    struct str orcpt;     /* "rfc822;ada@example.com" as the client gave it, or empty */
    struct status status; /* the last one; class 0: none */
    uint16_t code;        /* of the reply; 0: a failure of our own finding, or none */
    struct str reply;     /* the receiver's words, or ours */
    struct str mx;        /* who said so, or empty */
    int64_t last_ms;      /* the last attempt; 0: none was made */
    uint32_t attempts;
    bool expired; /* its time was over, the last attempt was not final */
};

struct dsn_report {
    struct str hostname;    /* ours: Reporting-MTA */
    struct str return_path; /* to whom: never empty */
    struct str envid;       /* or empty */
    struct str job;         /* its id, for people */
    struct str unique;      /* letters, digits, dots: for the Message-ID and the boundary */
    int64_t arrival_ms, now_ms;
    bool full; /* RET=FULL */
    struct str
        original; /* the message as sent, or its header, with CRLF line ends; empty: not there any more */
    const struct dsn_rcpt *rcpts;
    size_t count; /* at least one */
};

/* Appends the message. False: out is full. */
bool dsn_compose(const struct dsn_report *report, struct buf *out, struct err *err);

#endif
