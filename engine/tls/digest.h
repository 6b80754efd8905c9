/* digest.h - SHA-256 (OpenSSL), whole or in pieces, and HMAC with it: content addresses, idempotency keys,
 * signed requests. Any thread. */
#ifndef POSTRIDER_TLS_DIGEST_H
#define POSTRIDER_TLS_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define DIGEST_SIZE 32

void digest_of(const void *data, size_t n, uint8_t out[DIGEST_SIZE]);

/* RFC 2104, over several pieces as if joined. */
struct digest_piece {
    const void *data;
    size_t n;
};
void digest_hmac(const void *key, size_t key_n, const struct digest_piece *pieces, size_t n,
                 uint8_t out[DIGEST_SIZE]);

struct digest;
struct digest *digest_begin(void); /* NULL: no memory */
void digest_add(struct digest *digest, const void *data, size_t n);
void digest_end(struct digest *digest, uint8_t out[DIGEST_SIZE]); /* also frees; out may be NULL */

#endif
