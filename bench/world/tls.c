/* tls.c - see tls.h. */
#include "bench/world/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdlib.h>

#define CERTIFICATE_LIFE_S (30L * 24 * 3600)

struct tls_context {
    SSL_CTX *ctx;
};

struct tls {
    SSL *ssl;
};

static X509 *self_signed(EVP_PKEY *key)
{
    X509 *certificate = X509_new();
    if (certificate == NULL)
        return NULL;
    X509_NAME *name = X509_get_subject_name(certificate);
    if (X509_set_version(certificate, 2) && ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1) &&
        X509_gmtime_adj(X509_getm_notBefore(certificate), -3600) &&
        X509_gmtime_adj(X509_getm_notAfter(certificate), CERTIFICATE_LIFE_S) &&
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"world.invalid", -1, -1,
                                   0) &&
        X509_set_issuer_name(certificate, name) && X509_set_pubkey(certificate, key) &&
        X509_sign(certificate, key, EVP_sha256()))
        return certificate;
    X509_free(certificate);
    return NULL;
}

static bool configure(SSL_CTX *ctx)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = key ? self_signed(key) : NULL;
    bool ok = certificate && SSL_CTX_use_certificate(ctx, certificate) == 1 &&
              SSL_CTX_use_PrivateKey(ctx, key) == 1;
    X509_free(certificate);
    EVP_PKEY_free(key);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
    return ok && SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) &&
           SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"world", 5);
}

struct tls_context *tls_context_create(struct err *err)
{
    struct tls_context *context = calloc(1, sizeof *context);
    if (context && (context->ctx = SSL_CTX_new(TLS_server_method())) != NULL && configure(context->ctx))
        return context;
    tls_context_free(context);
    err_set(err, ENOMEM, "OpenSSL cannot make a self-signed certificate: %s",
            ERR_reason_error_string(ERR_peek_error()));
    return NULL;
}

void tls_context_free(struct tls_context *context)
{
    if (context)
        SSL_CTX_free(context->ctx);
    free(context);
}

struct tls *tls_create(struct tls_context *context, int fd, bool resumption)
{
    struct tls *tls = calloc(1, sizeof *tls);
    if (tls && (tls->ssl = SSL_new(context->ctx)) != NULL && SSL_set_fd(tls->ssl, fd) == 1) {
        if (!resumption) {
            SSL_set_options(tls->ssl, SSL_OP_NO_TICKET);
            SSL_set_num_tickets(tls->ssl, 0);
        }
        return tls;
    }
    tls_free(tls);
    return NULL;
}

void tls_free(struct tls *tls)
{
    if (tls)
        SSL_free(tls->ssl);
    free(tls);
}

static bool must_wait(struct tls *tls, int result)
{
    int error = SSL_get_error(tls->ssl, result);
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
}

enum tls_step tls_handshake(struct tls *tls)
{
    ERR_clear_error();
    int result = SSL_accept(tls->ssl);
    if (result == 1)
        return TLS_DONE;
    return must_wait(tls, result) ? TLS_WAIT : TLS_FAILED;
}

bool tls_resumed(struct tls *tls)
{
    return SSL_session_reused(tls->ssl) == 1;
}

ssize_t tls_recv(struct tls *tls, void *p, size_t n)
{
    size_t got = 0;
    ERR_clear_error();
    int result = SSL_read_ex(tls->ssl, p, n, &got);
    if (result == 1)
        return (ssize_t)got;
    if (must_wait(tls, result)) {
        errno = EAGAIN;
        return -1;
    }
    return 0;
}

ssize_t tls_send(struct tls *tls, const void *p, size_t n)
{
    size_t sent = 0;
    ERR_clear_error();
    int result = SSL_write_ex(tls->ssl, p, n, &sent);
    if (result == 1)
        return (ssize_t)sent;
    errno = must_wait(tls, result) ? EAGAIN : EPIPE;
    return -1;
}
