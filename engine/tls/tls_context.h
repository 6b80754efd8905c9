/* tls_context.h - what tls.c wants of tls_server.c. Private to tls/. */
#ifndef POSTRIDER_TLS_TLS_CONTEXT_H
#define POSTRIDER_TLS_TLS_CONTEXT_H

#include "engine/tls/tls_server.h"

#include <openssl/ssl.h>

SSL_CTX *tls_server_context(const struct tls_server *server);

#endif
