/* key.h - a private key that signs mail: RSA or Ed25519, from a PEM file. The one file of dkim/ that knows
 * OpenSSL is key.c. */
#ifndef POSTRIDER_DKIM_KEY_H
#define POSTRIDER_DKIM_KEY_H

#include "engine/base/buf.h"
#include "engine/base/err.h"
#include "engine/tls/digest.h"

struct dkim_key;

/* NULL with err: not readable, no private key without passphrase, of another kind, RSA under
 * DKIM_RSA_BITS_MIN. */
struct dkim_key *dkim_key_read(const char *path, struct err *err);
void dkim_key_free(struct dkim_key *key);
/* For another thread: RSA keys have a lock inside (blinding) that threads would wait for. NULL: no memory. */
struct dkim_key *dkim_key_copy(const struct dkim_key *key);

/* "rsa-sha256" (RFC 8301) or "ed25519-sha256" (RFC 8463). */
const char *dkim_key_algorithm(const struct dkim_key *key);
unsigned dkim_key_bits(const struct dkim_key *key);
/* Appends the signature of what has this SHA-256 digest. One thread a key. */
bool dkim_key_sign(struct dkim_key *key, const uint8_t digest[DIGEST_SIZE], struct buf *out, struct err *err);
/* Appends the public key as DNS shows it behind p=, before base64: SubjectPublicKeyInfo for RSA, 32 bytes for
 * Ed25519. False: no memory. */
bool dkim_key_public(const struct dkim_key *key, struct buf *out);

#endif
