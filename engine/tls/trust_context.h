/* trust_context.h - the contexts in which OpenSSL works for a trust. Private to tls/. */
#ifndef POSTRIDER_TLS_TRUST_CONTEXT_H
#define POSTRIDER_TLS_TRUST_CONTEXT_H

#include "engine/tls/trust.h"

#include <openssl/ssl.h>

/* checked: with the authorities, and fit for DANE; else for connections whose certificate is not looked
 * at. */
SSL_CTX *trust_context(const struct trust *trust, bool checked);
/* tls.c's: a session came that may be resumed. */
int tls_keep_session(SSL *ssl, SSL_SESSION *session);
/* Why OpenSSL said no, in its words; and empties its queue of errors. */
const char *tls_reason(void);

#endif
