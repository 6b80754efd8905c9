/* tls_conn.h - OpenSSL's side of a connection, for what looks at it. Private to tls/. */
#ifndef POSTRIDER_TLS_TLS_CONN_H
#define POSTRIDER_TLS_TLS_CONN_H

#include "engine/tls/tls.h"

#include <openssl/ssl.h>

const SSL *tls_ssl(const struct tls_conn *conn);
/* Whose certificate it is to be: a name among its alternative ones, or an address. False: no memory, or no
 * name that DNS knows. */
bool tls_expect_name(X509_VERIFY_PARAM *param, const char *host);

#endif
