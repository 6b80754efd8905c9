/* tls_server.c - see tls_server.h. */
#include "engine/tls/tls_server.h"

#include "engine/tls/tls_context.h"
#include "engine/tls/trust_context.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct tls_server {
    _Atomic(SSL_CTX *) context;
    struct tls_server *former; /* with what it had before, by which a worker may just be accepting */
};

static bool load(SSL_CTX *context, const char *certificate, const char *key, struct err *err)
{
    if (access(certificate, R_OK) != 0 || access(key, R_OK) != 0) {
        const char *path = access(certificate, R_OK) != 0 ? certificate : key;
        return err_set(err, errno, "cannot read %s: %s", path, strerror(errno));
    }
    if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1)
        return err_set(err, 0, "%s holds no certificate (PEM) that can be used: %s", certificate,
                       tls_reason());
    if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
        return err_set(err, 0, "%s holds no private key (PEM) for %s: %s", key, certificate, tls_reason());
    return SSL_CTX_check_private_key(context) == 1 ||
           err_set(err, 0, "the key in %s is not that of the certificate in %s", key, certificate);
}

struct tls_server *tls_server_create(const char *certificate, const char *key, struct err *err)
{
    static const unsigned char id[] = "postrider"; /* else no session could be resumed */
    struct tls_server *server = calloc(1, sizeof *server);
    if (server != NULL)
        server->context = SSL_CTX_new(TLS_server_method());
    if (server == NULL || server->context == NULL ||
        !SSL_CTX_set_min_proto_version(server->context, TLS1_2_VERSION) ||
        !SSL_CTX_set_session_id_context(server->context, id, sizeof id - 1)) {
        err_set(err, ENOMEM, "cannot set up TLS: %s", tls_reason());
        tls_server_destroy(server);
        return NULL;
    }
    SSL_CTX_set_options(server->context,
                        SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(server->context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(server->context, SSL_SESS_CACHE_OFF); /* tickets hold all that is needed */
    if (load(server->context, certificate, key, err))
        return server;
    tls_server_destroy(server);
    return NULL;
}

static bool same_chain(SSL_CTX *a, SSL_CTX *b)
{
    STACK_OF(X509) *first = NULL, *second = NULL;
    SSL_CTX_get0_chain_certs(a, &first);
    SSL_CTX_get0_chain_certs(b, &second);
    int n = first != NULL ? sk_X509_num(first) : 0;
    bool same = n == (second != NULL ? sk_X509_num(second) : 0);
    for (int i = 0; same && i < n; i++)
        same = X509_cmp(sk_X509_value(first, i), sk_X509_value(second, i)) == 0;
    return same;
}

bool tls_server_replace(struct tls_server *server, struct tls_server *by)
{
    SSL_CTX *now = server->context, *next = by->context;
    if (X509_cmp(SSL_CTX_get0_certificate(now), SSL_CTX_get0_certificate(next)) == 0 &&
        EVP_PKEY_eq(SSL_CTX_get0_privatekey(now), SSL_CTX_get0_privatekey(next)) == 1 &&
        same_chain(now, next)) {
        tls_server_destroy(by); /* sessions can go on being resumed */
        return false;
    }
    by->context = now;
    by->former = server->former;
    server->former = by;
    server->context = next;
    return true;
}

void tls_server_destroy(struct tls_server *server)
{
    for (struct tls_server *former; server != NULL; server = former) {
        former = server->former;
        SSL_CTX_free(server->context);
        free(server);
    }
}

SSL_CTX *tls_server_context(const struct tls_server *server)
{
    return server->context;
}
