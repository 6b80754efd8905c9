/* notice.h - reads what comes back by mail about mail that was sent: bounces, complaints, and what only looks
 * like them.
 *
 * Pure: the bytes of one message in, findings out; any thread. Nothing is believed here: a notice says who is
 * said to have failed and in which words; whether that recipient exists, and what is to be done, is
 * inbound.h's to decide.
 *
 * Understood are delivery reports (RFC 3464, and RFC 6533 for addresses that are not ASCII), feedback reports
 * (ARF, RFC 5965), and bounces in words as qmail, Exim, Postfix, sendmail, Exchange, Domino and many others
 * write them. Automatic replies, receipts (RFC 8098) and what mailing lists send are told apart.
 *
 * Hostile input costs time linear in its size and memory of a few times that, whatever it holds: what is
 * beyond NOTICE_MESSAGE_MAX is not looked at, and parts, fields, recipients and addresses are bounded in
 * limits.h; what is beyond a bound is left out. A message that ends early is read as far as it goes. */
#ifndef POSTRIDER_INBOUND_NOTICE_H
#define POSTRIDER_INBOUND_NOTICE_H

#include "engine/base/slab.h"
#include "engine/limits.h"
#include "queue/status.h"

enum notice_kind {
    NOTICE_OTHER,     /* nothing of what follows */
    NOTICE_BOUNCE,    /* could not be delivered, for good */
    NOTICE_DELAY,     /* not yet */
    NOTICE_SUCCESS,   /* delivered, relayed or expanded */
    NOTICE_COMPLAINT, /* a person says it is not wanted */
    NOTICE_FEEDBACK,  /* of another kind: not-spam, auth-failure */
    NOTICE_AUTOREPLY, /* vacation, challenge, confirmation */
    NOTICE_RECEIPT,   /* read, or deleted unread */
    NOTICE_KINDS
};
/* "bounce", …; static. */
const char *notice_kind_name(enum notice_kind kind);

/* One recipient that the notice speaks of. */
struct notice_rcpt {
    enum notice_kind kind; /* BOUNCE, DELAY, SUCCESS, COMPLAINT or FEEDBACK */
    struct str address;    /* as the reporter knows it; empty: not named, or made unreadable */
    struct str original;   /* as it was given to the reporter, or empty */
    struct status status;  /* class 0: none */
    uint16_t code;         /* of the SMTP reply; 0: none */
    struct str reply;      /* in whose words, on one line; at most STORED_REPLY_MAX */
    struct str mx;         /* who said so, or empty */
};

/* All strings are views of the message that was given or of `memory`. */
struct notice {
    enum notice_kind kind; /* of the first recipient, else what the message is */
    const char
        *format; /* "dsn", "arf", "jmrp", "qmail", "words"; "" where kind is none of a report; static */
    struct str feedback; /* ARF's Feedback-Type, else empty */
    struct str envid;    /* Original-Envelope-Id, or empty */
    struct notice_rcpt rcpts[NOTICE_RCPTS_MAX];
    size_t rcpt_count;
    struct str to[NOTICE_TO_MAX]; /* addresses to which the notice itself was sent, the surest first */
    size_t to_count;
    struct str traces[NOTICE_TRACES_MAX]; /* values of the returned message's fields that may name a rid */
    size_t trace_count;
    struct str named[NOTICE_TO_MAX]; /* addresses to which the returned message was sent */
    size_t named_count;
    struct slab *memory;
};

/* Reads one message, of which an mbox "From " line may stand in front. envelope_rcpt: to whom it came, or
 * empty. False only when memory is out; notice_free in any case. */
bool notice_read(struct str message, struct str envelope_rcpt, struct notice *notice);
void notice_free(struct notice *notice);

#endif
