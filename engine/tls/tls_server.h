/* tls_server.h - TLS where others connect to us: a certificate and its key, for connections of tls.h.
 *
 * A `struct tls_server` is made once and shared by all workers; each accepts with the scratch memory of its
 * own `struct tls`. TLS 1.2 and newer, the server's order of ciphers, session tickets, no client
 * certificates. */
#ifndef POSTRIDER_TLS_TLS_SERVER_H
#define POSTRIDER_TLS_TLS_SERVER_H

#include "engine/tls/tls.h"

struct tls_server;

/* PEM files: the certificate with its chain, the key without passphrase. Fails with a sentence that names
 * the file. */
struct tls_server *tls_server_create(const char *certificate, const char *key, struct err *err);
/* Connections that begin from now on have the certificate and key of the other, which is the server's then;
 * those before keep theirs. What it had goes with it: certificates are renewed every few weeks. Workers may
 * accept meanwhile; one replaces at a time. False: they are the same. */
bool tls_server_replace(struct tls_server *server, struct tls_server *by);
void tls_server_destroy(struct tls_server *server); /* NULL is allowed */

#endif
