/* proxy.h - connections by way of a proxy, from a source that lives elsewhere: what is said to it first.
 *
 * Pure. HAProxy is told both ends of the connection that it is to make, by a header of the PROXY protocol,
 * version 2 (binary), and answers nothing. A SOCKS5 server is asked (RFC 1928; user, password: RFC 1929):
 *
 *   hello: methods   -> the method chosen
 *   (user, password) -> taken or not
 *   CONNECT          -> how that went, with an address of no use to us */
#ifndef POSTRIDER_SMTP_PROXY_H
#define POSTRIDER_SMTP_PROXY_H

#include "engine/base/buf.h"

#include <sys/socket.h>

enum proxy_kind { PROXY_NONE, PROXY_SOCKS5, PROXY_HAPROXY };

struct proxy {
    enum proxy_kind kind;
    const char *text; /* as configured, for people */
    struct sockaddr_storage address;
    socklen_t len;
    const char *user, *password_file; /* SOCKS5; "": none */
};

/* False: no memory, or the two are of different families. */
bool proxy_add_header(struct buf *out, const struct sockaddr *source, const struct sockaddr *peer);

enum socks_step { SOCKS_HELLO, SOCKS_LOGIN, SOCKS_CONNECT };

bool socks_add_hello(struct buf *out, bool has_user);
/* False: no memory, or one of them is empty or longer than 255 bytes. */
bool socks_add_login(struct buf *out, struct str user, struct str password);
/* False: no memory, or peer is of no family that SOCKS5 knows. */
bool socks_add_connect(struct buf *out, const struct sockaddr *peer);

#define SOCKS_REPLY_MAX 262

enum socks_reply {
    SOCKS_MORE,   /* of the reply is missing */
    SOCKS_GOOD,   /* to hello: without user and password */
    SOCKS_ASKS,   /* to hello: with them */
    SOCKS_FAILED, /* the proxy cannot or will not */
    SOCKS_NO_HOST /* the mail host cannot be reached from there */
};

/* Reads a reply at the front of `in`: how many bytes it takes, and what it says in *why, for the last two. */
enum socks_reply socks_read(enum socks_step step, struct str in, size_t *used, const char **why);

#endif
