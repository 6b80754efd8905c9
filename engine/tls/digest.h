/* digest.h - SHA-256 (OpenSSL), whole or in pieces, HMAC with it, and keys from passwords: content addresses,
 * idempotency keys, signed requests, logins. What has no other answer waits for memory (reserve.h). Any
 * thread. */
#ifndef POSTRIDER_TLS_DIGEST_H
#define POSTRIDER_TLS_DIGEST_H

#include <stdbool.h>
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

/* RFC 8018 5.2: a key of one digest. A thousand iterations take about 0.5 ms. */
void digest_pbkdf2(const void *password, size_t password_n, const void *salt, size_t salt_n,
                   unsigned iterations, uint8_t out[DIGEST_SIZE]);
/* In a time that does not tell where they differ. */
bool digest_equal(const uint8_t a[DIGEST_SIZE], const uint8_t b[DIGEST_SIZE]);

struct digest;
struct digest *digest_begin(void);                       /* NULL: no memory */
struct digest *digest_copy(const struct digest *digest); /* as far as it is; NULL: no memory */
void digest_add(struct digest *digest, const void *data, size_t n);
void digest_end(struct digest *digest, uint8_t out[DIGEST_SIZE]); /* also frees; out may be NULL */

#endif
