/* digest.c - see digest.h. */
#include "engine/tls/digest.h"

#include "engine/base/log.h"
#include "engine/base/reserve.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define HMAC_BLOCK 64 /* of SHA-256 */

struct digest {
    EVP_MD_CTX *context;
};

/* An address of content must not be made up. */
static void digest_require(int ok)
{
    if (ok)
        return;
    log_error("OpenSSL gives no SHA-256: its configuration forbids it; the daemon stops");
    abort();
}

/* EVP_sha256() would be looked up anew for every digest: a third of the time that 4 KiB take. */
static EVP_MD *sha256_found;

static void sha256_find(void)
{
    sha256_found = EVP_MD_fetch(NULL, "SHA256", NULL);
    digest_require(sha256_found != NULL);
}

static const EVP_MD *sha256(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, sha256_find);
    return sha256_found;
}

void digest_of(const void *data, size_t n, uint8_t out[DIGEST_SIZE])
{
    for (unsigned tries = 0; !EVP_Digest(data, n, out, NULL, sha256(), NULL); tries++)
        reserve_wait(tries);
}

/* By its definition: OpenSSL's own takes one piece, or its parameters in a language of their own. */
void digest_hmac(const void *key, size_t key_n, const struct digest_piece *pieces, size_t n,
                 uint8_t out[DIGEST_SIZE])
{
    uint8_t block[HMAC_BLOCK] = {0}, pad[HMAC_BLOCK];
    if (key_n > sizeof block)
        digest_of(key, key_n, block);
    else if (key_n > 0)
        memcpy(block, key, key_n);
    for (unsigned outer = 0; outer < 2; outer++) {
        struct digest *digest;
        for (unsigned tries = 0; (digest = digest_begin()) == NULL; tries++)
            reserve_wait(tries);
        for (size_t i = 0; i < sizeof pad; i++)
            pad[i] = block[i] ^ (outer ? 0x5c : 0x36);
        digest_add(digest, pad, sizeof pad);
        if (outer)
            digest_add(digest, out, DIGEST_SIZE);
        for (size_t i = 0; !outer && i < n; i++)
            digest_add(digest, pieces[i].data, pieces[i].n);
        digest_end(digest, out);
    }
}

void digest_pbkdf2(const void *password, size_t password_n, const void *salt, size_t salt_n,
                   unsigned iterations, uint8_t out[DIGEST_SIZE])
{
    for (unsigned tries = 0; !PKCS5_PBKDF2_HMAC(password, (int)password_n, salt, (int)salt_n, (int)iterations,
                                                sha256(), DIGEST_SIZE, out);
         tries++)
        reserve_wait(tries);
}

bool digest_equal(const uint8_t a[DIGEST_SIZE], const uint8_t b[DIGEST_SIZE])
{
    return CRYPTO_memcmp(a, b, DIGEST_SIZE) == 0;
}

struct digest *digest_begin(void)
{
    struct digest *digest = malloc(sizeof *digest);
    if (digest == NULL)
        return NULL;
    digest->context = EVP_MD_CTX_new();
    if (digest->context == NULL || !EVP_DigestInit_ex(digest->context, sha256(), NULL)) {
        EVP_MD_CTX_free(digest->context);
        free(digest);
        return NULL;
    }
    return digest;
}

struct digest *digest_copy(const struct digest *digest)
{
    struct digest *copy = malloc(sizeof *copy);
    if (copy == NULL)
        return NULL;
    copy->context = EVP_MD_CTX_new();
    if (copy->context == NULL || !EVP_MD_CTX_copy_ex(copy->context, digest->context)) {
        EVP_MD_CTX_free(copy->context);
        free(copy);
        return NULL;
    }
    return copy;
}

void digest_add(struct digest *digest, const void *data, size_t n)
{
    digest_require(EVP_DigestUpdate(digest->context, data, n));
}

void digest_end(struct digest *digest, uint8_t out[DIGEST_SIZE])
{
    if (out != NULL)
        digest_require(EVP_DigestFinal_ex(digest->context, out, NULL));
    EVP_MD_CTX_free(digest->context);
    free(digest);
}
