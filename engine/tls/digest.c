/* digest.c - see digest.h. */
#include "engine/tls/digest.h"

#include "engine/base/log.h"

#include <openssl/evp.h>
#include <stdlib.h>

struct digest {
    EVP_MD_CTX *context;
};

/* SHA-256 fails only where memory is out or OpenSSL was set up without it: an address of content must not be
 * made up then. */
static void digest_require(int ok)
{
    if (ok)
        return;
    log_error("OpenSSL gives no SHA-256 (no memory, or its configuration forbids it); the daemon stops");
    abort();
}

void digest_of(const void *data, size_t n, uint8_t out[DIGEST_SIZE])
{
    digest_require(EVP_Digest(data, n, out, NULL, EVP_sha256(), NULL));
}

struct digest *digest_begin(void)
{
    struct digest *digest = malloc(sizeof *digest);
    if (digest == NULL)
        return NULL;
    digest->context = EVP_MD_CTX_new();
    if (digest->context == NULL || !EVP_DigestInit_ex(digest->context, EVP_sha256(), NULL)) {
        EVP_MD_CTX_free(digest->context);
        free(digest);
        return NULL;
    }
    return digest;
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
