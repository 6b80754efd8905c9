/* opened.h - a job's message, opened once for all workers, and what is known of its signature.
 *
 * Hangs in store_job.opened from whoever needs it first until the job's last recipient is settled. What is
 * the same for all recipients is worked out once a job, by the signer that comes first: the digest of the
 * body, or of a body's beginning, and where nothing differs the whole signature: anew once keys have changed.
 * Any thread. */
#ifndef POSTRIDER_ROUTE_OPENED_H
#define POSTRIDER_ROUTE_OPENED_H

#include "engine/dkim/dkim.h"
#include "engine/limits.h"
#include "engine/message/template.h"
#include "queue/store.h"

#include <stdatomic.h>

/* DKIM-Signature fields, as they stand before the message; none (n is 0) where its author's domain has no
 * key. */
struct signature {
    struct signature *before; /* of the same job, with keys that are gone: messages may still point into it */
    uint64_t keys;            /* dkim_number */
    size_t n;
    char text[];
};

struct opened {
    struct template template;
    bool wants_signature;
    char
        domain[DOMAIN_MAX + 1]; /* whose keys sign; "": From varies, each message has its own, or none does */
    _Atomic(struct signature *) signature; /* of all its messages; NULL: not yet, or they differ */
    _Atomic(uint8_t *) body_hash;          /* DIGEST_SIZE bytes; likewise */
    _Atomic(struct dkim_body *) body_begun;
};

/* NULL with err: the record is damaged, no memory, or it must be signed and there is no key. */
struct opened *opened_get(struct store_job *job, const struct dkim *dkim, struct err *err);
/* For store_set_job_closer. */
void opened_close(void *opened);

/* Its keys, as they are now; NULL: From varies, or they are there no more. */
const struct dkim_domain *opened_domain(const struct opened *opened, const struct dkim *dkim);
/* What this recipient's message is rendered with. rid: room for the text. */
struct render_args opened_args(const struct taken *taken, char rid[RID_TEXT_MAX]);
/* The fields for this recipient; p is NULL while it is not signed. They stay as long as both. */
struct str opened_signature(const struct opened *opened, const struct taken *taken);
/* Whether there are some, and where they are the job's, of no older keys. */
bool opened_is_signed(const struct opened *opened, const struct taken *taken, const struct dkim *dkim);
/* Renders, signs and keeps the signature, in the job or in taken->signature. message and text are the
 * thread's. */
bool opened_sign(struct opened *opened, struct taken *taken, const struct dkim *dkim,
                 struct dkim_signer *signer, struct rendition *message, struct buf *text, int64_t now_ms,
                 struct err *err);

#endif
