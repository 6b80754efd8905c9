/* parcel.h - what a client hands in over SMTP: an envelope with its parameters, recipients, a message.
 *
 * Filled by the dialogue (dialogue.h), read by whoever makes a job of it (posting.h) or hands it to inbound.
 * Zero it and call parcel_init once; parcel_reset ends a transaction and gives its memory back, so that a
 * connection that waits has none. One thread at a time. */
#ifndef POSTRIDER_SUBMISSION_PARCEL_H
#define POSTRIDER_SUBMISSION_PARCEL_H

#include "engine/message/address.h"
#include "queue/store.h"

enum parcel_body { PARCEL_7BIT, PARCEL_8BIT, PARCEL_BINARY };

/* Who the recipients of one transaction are: mail of the two kinds goes different ways. */
enum parcel_way {
    PARCEL_NOBODY,  /* none yet */
    PARCEL_RELAY,   /* to be delivered */
    PARCEL_INBOUND, /* to a return domain: a bounce or complaint of ours */
};

struct parcel {
    bool begun;                 /* MAIL was accepted */
    char from[ADDRESS_MAX + 1]; /* may hold {{rid}}; "": the null sender */
    uint64_t size;              /* as MAIL announced; 0: not */
    enum parcel_body body;
    bool utf8; /* SMTPUTF8 */
    enum dsn_ret ret;
    char envid[ENVID_MAX + 1]; /* decoded */
    int64_t not_before_ms;     /* FUTURERELEASE; 0: at once */
    int64_t lifetime_ms;       /* DELIVERBY; 0: as usual */
    int64_t delay_warning_ms;  /* DELIVERBY in its mode N: the sender wants to know after that time; 0: no */
    int priority;              /* MT-PRIORITY, -9 to 9 */
    enum parcel_way way;
    unsigned rcpt_count, refused; /* RCPTs accepted, and those that were not */
    struct buf rcpts;             /* parcel_next_rcpt */
    struct buf message;           /* its lines, as they are without the dots of SMTP */
};

void parcel_init(struct parcel *parcel, uint64_t message_max);
void parcel_reset(struct parcel *parcel);
/* Strings are copied. False: no memory. */
bool parcel_add_rcpt(struct parcel *parcel, const struct rcpt_spec *rcpt);
/* Walks the recipients, *at being 0 at first. Views are good until the parcel changes. */
bool parcel_next_rcpt(const struct parcel *parcel, size_t *at, struct rcpt_spec *rcpt);

#endif
