/* tls.h - TLS for sessions, over the session's own buffers; OpenSSL stays in tls/.
 *
 * `struct tls` is a worker's: its cache of sessions to resume (by host name, source and demand, at most
 * TLS_RESUME_MAX), and the scratch memory that its connections share. A `struct tls_conn` is one
 * connection's. Neither reads nor writes sockets: what came in is fed with tls_feed, what must go out is
 * appended to the buffer given at tls_start, and the caller sends it. TLS 1.2 and newer. What is checked is
 * said by a demand: opportunistic TLS checks nothing (RFC 7435), VERIFY the host's name and an authority (RFC
 * 6125, names of subjects don't count), DANE the host's TLSA records (RFC 7672). One thread. */
#ifndef POSTRIDER_TLS_TLS_H
#define POSTRIDER_TLS_TLS_H

#include "engine/base/buf.h"
#include "engine/base/err.h"
#include "engine/limits.h"
#include "engine/tls/dane.h"
#include "engine/tls/policy.h"
#include "engine/tls/trust.h"

#include <sys/uio.h>

struct tls;
struct tls_conn;

/* What a connection must bring. All it points to outlives the connection. */
struct tls_demand {
    enum tls_policy policy;
    bool implicit;             /* TLS from the first byte, without STARTTLS (RFC 8314 3) */
    bool report;               /* checked as VERIFY asks, which is told by tls_fault and ends nothing */
    bool requiretls;           /* and the host must offer REQUIRETLS (RFC 8689) */
    const struct trust *trust; /* never NULL but with NONE */
    struct tlsa_set *tlsa;     /* of DANE, at least one of them usable */
    const char *name;          /* another name of the host that its certificate may bear; NULL: none */
};

/* What was not met, as RFC 8460 4.3 tells such things apart. */
enum tls_fault {
    TLS_FAULT_NONE,
    TLS_FAULT_NOT_OFFERED, /* told by the session */
    TLS_FAULT_HANDSHAKE,
    TLS_FAULT_NAME,
    TLS_FAULT_EXPIRED,
    TLS_FAULT_UNTRUSTED,
    TLS_FAULT_TLSA, /* no record matches */
};
#define TLS_FAULTS 7

struct tls *tls_create(struct err *err);
void tls_destroy(struct tls *tls);

/* Begins a handshake with `host` (SNI, unless it is an address literal). `source` tells our addresses apart
 * in the cache. Bytes to send are appended to *out during every call below; out's maximum bounds how much may
 * wait; the caller may empty it between calls. */
struct tls_conn *tls_start(struct tls *tls, const struct tls_demand *demand, const char *host,
                           const char *source, struct buf *out, struct err *err);
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
/* "TLSv1.3 TLS_AES_256_GCM_SHA384", with " verified" or " dane" behind it where that was checked and holds:
 * interned, valid for the life of the process. "" before TLS_OPEN. */
const char *tls_text(const struct tls_conn *conn);
/* After TLS_FAILED, or TLS_OPEN with report. */
enum tls_fault tls_fault(const struct tls_conn *conn);
bool tls_resumed(const struct tls_conn *conn);

#endif
