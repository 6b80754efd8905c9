/* posting.h - a parcel to a job: its Received field, what its header says for this engine, its recipients.
 *
 * The header fields X-Postrider-Tenant, -Campaign, -Class, -Pool, -Metadata and -Id say what a job line says
 * under these names (-Id: every recipient's id); Return-Path takes the place of MAIL's address, so that a
 * program which can set header fields only has its bounces, with {{rid}} too, where it wants them. They are
 * not sent on. Any thread, also one for a while; one at a time a posting. */
#ifndef POSTRIDER_SUBMISSION_POSTING_H
#define POSTRIDER_SUBMISSION_POSTING_H

#include "engine/intake/job_line.h"
#include "engine/submission/answer.h"
#include "engine/submission/parcel.h"

/* Who hands it in, for the Received field. */
struct posting_origin {
    const char *hostname, *helo;
    const char *peer; /* "[192.0.2.1]", "uid 1000" */
    const char *tls;  /* "TLSv1.3 TLS_AES_256_GCM_SHA384", or "" */
    bool extended, logged_in;
};

/* Zero it; posting_free in any case. */
struct posting {
    struct admit *admit;
    struct buf id; /* of its recipients */
    size_t at;     /* the recipients added so far */
};

/* Begins the job. False: the reply that says why is in `reply`. */
bool posting_begin(struct posting *posting, struct store *store, const struct job_rules *rules,
                   const struct parcel *parcel, const struct posting_origin *origin, struct now now,
                   char reply[ANSWER_MAX]);
/* Adds recipients up to a full window, which is to be posted (*more), or all: the job is to be committed.
 * False as above. */
bool posting_fill(struct posting *posting, const struct parcel *parcel, bool *more, char reply[ANSWER_MAX]);
/* When the store is done with the admit. */
void posting_free(struct posting *posting);

#endif
