/* key.c - see key.h. */
#include "engine/dkim/key.h"

#include "engine/limits.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>

struct dkim_key {
    EVP_PKEY *key;
    EVP_PKEY_CTX *rsa;   /* ready to sign; NULL: Ed25519 */
    EVP_MD_CTX *ed25519; /* likewise; NULL: RSA */
    size_t size;         /* of a signature, at most */
};

/* Why OpenSSL said no. Its queue is a thread's and must not keep what is old. */
static const char *reason(void)
{
    const char *text = ERR_reason_error_string(ERR_peek_last_error());
    ERR_clear_error();
    return text ? text : "no reason given";
}

void dkim_key_free(struct dkim_key *key)
{
    if (key == NULL)
        return;
    EVP_PKEY_CTX_free(key->rsa);
    EVP_MD_CTX_free(key->ed25519);
    EVP_PKEY_free(key->key);
    free(key);
}

static bool prepare_rsa(struct dkim_key *key)
{
    key->rsa = EVP_PKEY_CTX_new(key->key, NULL);
    return key->rsa != NULL && EVP_PKEY_sign_init(key->rsa) > 0 &&
           EVP_PKEY_CTX_set_rsa_padding(key->rsa, RSA_PKCS1_PADDING) > 0 &&
           EVP_PKEY_CTX_set_signature_md(key->rsa, EVP_sha256()) > 0;
}

static bool prepare_ed25519(struct dkim_key *key)
{
    key->ed25519 = EVP_MD_CTX_new();
    return key->ed25519 != NULL && EVP_DigestSignInit(key->ed25519, NULL, NULL, NULL, key->key) > 0;
}

/* Takes over pkey. */
static struct dkim_key *make(EVP_PKEY *pkey, struct err *err)
{
    struct dkim_key *key = calloc(1, sizeof *key);
    if (key == NULL) {
        EVP_PKEY_free(pkey);
        err_set(err, ENOMEM, "no memory for a key");
        return NULL;
    }
    key->key = pkey;
    key->size = (size_t)EVP_PKEY_get_size(pkey);
    if (EVP_PKEY_is_a(pkey, "RSA") ? prepare_rsa(key) : prepare_ed25519(key))
        return key;
    err_set(err, 0, "OpenSSL can't sign with it: %s", reason());
    dkim_key_free(key);
    return NULL;
}

static int no_passphrase(char *buf, int size, int writing, void *user)
{
    (void)buf, (void)size, (void)writing, (void)user;
    return -1;
}

struct dkim_key *dkim_key_read(const char *path, struct err *err)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        err_set(err, errno, "cannot read %s: %s", path, strerror(errno));
        return NULL;
    }
    EVP_PKEY *pkey = PEM_read_PrivateKey(file, NULL, no_passphrase, NULL);
    fclose(file);
    if (pkey == NULL) {
        err_set(err, 0, "%s holds no private key in PEM without passphrase: %s", path, reason());
        return NULL;
    }
    bool rsa = EVP_PKEY_is_a(pkey, "RSA");
    if (!rsa && !EVP_PKEY_is_a(pkey, "ED25519")) {
        const char *name = EVP_PKEY_get0_type_name(pkey);
        err_set(err, 0, "%s is a key of type %s: DKIM has RSA and Ed25519 (RFC 8463)", path,
                name ? name : "unknown");
    } else if (rsa && EVP_PKEY_get_bits(pkey) < DKIM_RSA_BITS_MIN) {
        err_set(err, 0, "%s has %d bits: receivers refuse less than %d (RFC 8301)", path,
                EVP_PKEY_get_bits(pkey), DKIM_RSA_BITS_MIN);
    } else {
        struct dkim_key *key = make(pkey, err);
        if (key == NULL)
            err_prefix(err, "%s", path);
        return key;
    }
    EVP_PKEY_free(pkey);
    return NULL;
}

struct dkim_key *dkim_key_copy(const struct dkim_key *key)
{
    struct err err;
    EVP_PKEY *pkey = EVP_PKEY_dup(key->key);
    return pkey ? make(pkey, &err) : NULL;
}

const char *dkim_key_algorithm(const struct dkim_key *key)
{
    return key->rsa ? "rsa-sha256" : "ed25519-sha256";
}

unsigned dkim_key_bits(const struct dkim_key *key)
{
    return (unsigned)EVP_PKEY_get_bits(key->key);
}

bool dkim_key_sign(struct dkim_key *key, const uint8_t digest[DIGEST_SIZE], struct buf *out, struct err *err)
{
    size_t n = key->size;
    unsigned char *room = (unsigned char *)buf_room(out, n);
    if (room == NULL)
        return err_set(err, ENOMEM, "no memory for a signature");
    /* RFC 8463 3: Ed25519 signs the digest as if it were the message. Without a key: as before. */
    int done = key->rsa != NULL ? EVP_PKEY_sign(key->rsa, room, &n, digest, DIGEST_SIZE)
                                : EVP_DigestSignInit(key->ed25519, NULL, NULL, NULL, NULL) > 0 &&
                                      EVP_DigestSign(key->ed25519, room, &n, digest, DIGEST_SIZE) > 0;
    if (done <= 0)
        return err_set(err, 0, "OpenSSL could not sign: %s", reason());
    out->len += n;
    return true;
}

bool dkim_key_public(const struct dkim_key *key, struct buf *out)
{
    if (key->rsa == NULL) {
        size_t n = 32;
        unsigned char *room = (unsigned char *)buf_room(out, n);
        if (room == NULL || EVP_PKEY_get_raw_public_key(key->key, room, &n) <= 0)
            return false;
        out->len += n;
        return true;
    }
    unsigned char *der = NULL;
    int n = i2d_PUBKEY(key->key, &der);
    bool ok = n > 0 && buf_add(out, der, (size_t)n);
    OPENSSL_free(der);
    return ok;
}
