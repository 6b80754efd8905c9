/* tls_server.c - see tls_server.h. */
#include "engine/tls/tls_server.h"

#include "engine/tls/tls_context.h"
#include "engine/tls/trust_context.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct tls_server {
    SSL_CTX *context;
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

void tls_server_destroy(struct tls_server *server)
{
    if (server == NULL)
        return;
    SSL_CTX_free(server->context);
    free(server);
}

SSL_CTX *tls_server_context(const struct tls_server *server)
{
    return server->context;
}
