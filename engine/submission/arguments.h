/* arguments.h - what stands behind MAIL and RCPT, into a parcel: a path, and the parameters of SIZE (RFC
 * 1870), 8BITMIME (6152), BINARYMIME (3030), SMTPUTF8 (6531), DSN (3461, 6533), AUTH (4954), FUTURERELEASE
 * (4865), DELIVERBY (2852) and MT-PRIORITY (6710). Pure; any thread.
 *
 * On false nothing of the parcel is of use but what it held before a RCPT, and the reply that says why is in
 * *out. */
#ifndef POSTRIDER_SUBMISSION_ARGUMENTS_H
#define POSTRIDER_SUBMISSION_ARGUMENTS_H

#include "engine/base/clock.h"
#include "engine/submission/parcel.h"

struct argument_rules {
    const char *hostname; /* completes <Postmaster> */
    uint64_t size_max;
    bool extended; /* the client said EHLO: parameters are understood */
    struct now now;
};

/* "FROM:<a@example.com> SIZE=…". */
bool arguments_mail(struct parcel *parcel, struct str text, const struct argument_rules *rules,
                    struct buf *out);

/* A recipient as it was read: views into it and the text. */
struct argument_rcpt {
    struct rcpt_spec spec;
    struct address address;
    char to[ADDRESS_MAX + 1];
    char orcpt[ORCPT_MAX + 1];
};
/* "TO:<b@example.com> NOTIFY=…"; the parcel is not changed. */
bool arguments_rcpt(const struct parcel *parcel, struct argument_rcpt *rcpt, struct str text,
                    const struct argument_rules *rules, struct buf *out);

/* How far into the future a message may be held (FUTURERELEASE). */
#define HOLD_MAX_S (INT64_C(365) * 24 * 3600)

#endif
