/* tls.h - STARTTLS at the receiving end, with a self-signed certificate made at the start, in memory.
 *
 * The only file here that knows OpenSSL. A session's calls behave as recv and send do: -1 with EAGAIN to
 * wait, 0 at the end. One thread. */
#ifndef POSTRIDER_WORLD_TLS_H
#define POSTRIDER_WORLD_TLS_H

#include "engine/base/err.h"

#include <stddef.h>
#include <sys/types.h>

struct tls_context;
struct tls;

enum tls_step { TLS_DONE, TLS_WAIT, TLS_FAILED };

struct tls_context *tls_context_create(struct err *err);
void tls_context_free(struct tls_context *context);
/* NULL if memory is out. The descriptor stays the caller's. resumption: of sessions, by a ticket. */
struct tls *tls_create(struct tls_context *context, int fd, bool resumption);
void tls_free(struct tls *tls);
enum tls_step tls_handshake(struct tls *tls);
bool tls_resumed(struct tls *tls);
ssize_t tls_recv(struct tls *tls, void *p, size_t n);
ssize_t tls_send(struct tls *tls, const void *p, size_t n);

#endif
