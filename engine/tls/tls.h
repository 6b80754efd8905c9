/* tls.h - TLS for sessions, over the session's own buffers; OpenSSL stays in tls/.
 *
 * `struct tls` is a worker's: its SSL_CTX, its cache of sessions to resume (by host name and source, at most
 * TLS_RESUME_MAX), and the scratch memory that its connections share. A `struct tls_conn` is one
 * connection's. Neither reads nor writes sockets: what came in is fed with tls_feed, what must go out is
 * appended to the buffer given at tls_start, and the caller sends it. TLS 1.2 and newer; opportunistic policy
 * does not verify (RFC 7435). One thread. */
#ifndef POSTRIDER_TLS_TLS_H
#define POSTRIDER_TLS_TLS_H

#include "engine/base/buf.h"
#include "engine/base/err.h"
#include "engine/limits.h"

#include <sys/uio.h>

enum tls_policy { TLS_POLICY_NONE, TLS_POLICY_MAY, TLS_POLICY_ENCRYPT /* not in the clear; not verified */ };

struct tls;
struct tls_conn;

struct tls *tls_create(struct err *err);
void tls_destroy(struct tls *tls);

/* Begins a handshake with `host` (SNI, unless it is an address literal). `source` tells our addresses apart
 * in the cache. Bytes to send are appended to *out during every call below; out's maximum bounds how much may
 * wait; the caller may empty it between calls. */
struct tls_conn *tls_start(struct tls *tls, const char *host, const char *source, struct buf *out,
                           struct err *err);
/* The other side, of whoever connects to us (tls_server.h): the client speaks first. */
struct tls_server;
struct tls_conn *tls_accept(struct tls *tls, const struct tls_server *server, struct buf *out,
                            struct err *err);
void tls_free(struct tls_conn *conn); /* NULL is allowed */

enum tls_state { TLS_HANDSHAKING, TLS_OPEN, TLS_CLOSED, TLS_FAILED };
/* Ciphertext from the peer, at most TLS_FEED_MAX. *plain is what it holds, valid until the next tls_feed on
 * any connection of this `struct tls`. TLS_FAILED: err says why; TLS_CLOSED: the peer said close_notify. */
enum tls_state tls_feed(struct tls_conn *conn, const void *data, size_t n, struct str *plain,
                        struct err *err);
/* Encrypts all of iov[0..n) in records as full as they can be, or fails when out is full: pass pieces of at
 * most TLS_PIECE_MAX and wait for them to be sent. Only when TLS_OPEN. */
bool tls_write(struct tls_conn *conn, const struct iovec *iov, size_t n, struct err *err);
/* close_notify. */
void tls_shutdown(struct tls_conn *conn);
/* "TLSv1.3 TLS_AES_256_GCM_SHA384": interned, valid for the life of the process. "" before TLS_OPEN. */
const char *tls_text(const struct tls_conn *conn);
bool tls_resumed(const struct tls_conn *conn);

#endif
