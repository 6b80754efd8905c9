/* dkim.h - DKIM signatures (RFC 6376, 8301, 8463) for mail of the domains that have keys.
 *
 * relaxed/relaxed, since every hop may fold a header anew; From is signed once more than it is there, so that
 * none can be added; of the others those that matter to a reader, to threading, to lists (RFC 8058 wants both
 * of its fields signed) and to MIME. Several keys of one domain all sign, for the time between two keys and
 * for RSA beside Ed25519.
 *
 * A struct dkim is immutable and shared by all threads; a signer is one thread's. */
#ifndef POSTRIDER_DKIM_DKIM_H
#define POSTRIDER_DKIM_DKIM_H

#include "engine/config.h"
#include "engine/dkim/key.h"
#include "engine/message/template.h"

struct dkim;

/* The keys of one domain. */
struct dkim_domain {
    const char *name; /* lower case, A-labels */
    size_t first, count;
};

/* Reads every key that the configuration names. NULL with err, which names the domain, the selector and the
 * file; borrows nothing. A weak key is logged. */
struct dkim *dkim_create(const struct config *config, struct err *err);
void dkim_destroy(struct dkim *dkim);
/* Of two the later has the larger number; 0: dkim is NULL. */
uint64_t dkim_number(const struct dkim *dkim);
/* NULL: it has no keys. dkim may be NULL: nobody has. */
const struct dkim_domain *dkim_find(const struct dkim *dkim, struct str domain);
/* The index-th key of all, in the order of domains; NULL: there are no more. */
struct dkim_identity {
    const char *domain, *selector, *path;
    struct dkim_key *key;
};
const struct dkim_identity *dkim_identity(const struct dkim *dkim, size_t index);

/* A thread's own copies of the keys and its buffers. NULL: no memory. Borrows dkim. */
struct dkim_signer;
struct dkim_signer *dkim_signer_create(const struct dkim *dkim);
void dkim_signer_destroy(struct dkim_signer *signer);

/* Appends the DKIM-Signature fields, to stand before the message. It is rendered unstuffed; body_hash is of
 * what follows its header. */
bool dkim_sign(struct dkim_signer *signer, const struct dkim_domain *domain, const struct rendition *message,
               const uint8_t body_hash[DIGEST_SIZE], int64_t now_ms, struct buf *out, struct err *err);
/* begun: NULL, or the beginning of that job's bodies. */
struct dkim_body;
bool dkim_body_hash(const struct rendition *message, const struct dkim_body *begun, uint8_t out[DIGEST_SIZE],
                    struct err *err);
/* The digest of the first n bytes of a message's body (template_info.same_begin), for all others of the job
 * to go on from. Immutable; any thread. NULL: no memory. */
struct dkim_body *dkim_body_begin(const struct rendition *message, size_t n);
void dkim_body_free(struct dkim_body *begun);

#endif
