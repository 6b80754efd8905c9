/* dialogue.h - a conversation with a mail host, command by command, each answer waited for: for a person who
 * wants to see how it answers. Blocking; every step has a time-out; replies are bounded as the engine's are
 * (smtp/reply.h). One thread. */
#ifndef POSTRIDER_TOOLS_DIALOGUE_H
#define POSTRIDER_TOOLS_DIALOGUE_H

#include "engine/smtp/proxy.h"
#include "engine/smtp/reply.h"
#include "engine/tls/tls.h"

#include <sys/socket.h>

struct dialogue {
    int fd;             /* -1: closed */
    int64_t timeout_ms; /* a step */
    struct tls *tls;
    struct tls_conn *conn; /* NULL: in the clear */
    struct buf cipher;     /* of TLS, to be sent */
    struct buf kept;       /* what came behind an answer */
    struct reply reply;
    /* The last step: how long it took, and what was answered. */
    int64_t took_ns;
    unsigned code;
    struct buf text;  /* as in struct reply */
    struct buf lines; /* without codes, each with LF */
    /* Hears every line that is sent (sent: true) or came, without CRLF and without secrets. May be NULL. */
    void (*line)(void *user, bool sent, struct str line);
    void *user;
};

/* line and user may be set then. False with err: TLS can't be set up. */
bool dialogue_init(struct dialogue *dialogue, int64_t timeout_ms, struct err *err);
/* Ends the connection, if there is one; the next may begin. */
void dialogue_close(struct dialogue *dialogue);
void dialogue_free(struct dialogue *dialogue);

/* The steps. False with err: the connection is of no more use. source: NULL, the system chooses. */
bool dialogue_connect(struct dialogue *dialogue, const struct sockaddr *source, socklen_t source_len,
                      const struct sockaddr *peer, socklen_t peer_len, struct err *err);
/* The same by way of a proxy (smtp/proxy.h): source is what HAProxy is told, and may be NULL for SOCKS5. */
bool dialogue_connect_by(struct dialogue *dialogue, const struct proxy *proxy, const struct sockaddr *source,
                         const struct sockaddr *peer, struct err *err);
/* Waits for an answer. */
bool dialogue_hear(struct dialogue *dialogue, struct err *err);
/* Sends a command, with its CRLF, and waits for its answer. */
bool dialogue_say(struct dialogue *dialogue, struct str command, struct err *err);
/* The handshake, after STARTTLS was granted. */
bool dialogue_secure(struct dialogue *dialogue, const char *host, const struct tls_demand *demand,
                     struct err *err);

#endif
