/* session.h - one SMTP connection as the receiver has it: bytes in, replies out, late where the host is slow.
 *
 * session.c moves the bytes and knows when a session waits, ends or is encrypted; smtp.c knows the commands.
 * A session is made by the listener, counted only when all that was ready before it has been handled (so that
 * a client that closed one connection before it opened the next is never seen with both), and frees itself.
 *
 * Measured on the 2-core machine, 4 KiB messages: 6.8 us a message, 1.0 of it here, the rest the kernel's for
 * one recv and one send. Sending the replies of a round of epoll together saves 6% of it, in one call of
 * io_uring 9%, and keeps the client's core waiting meanwhile: not done.
 *
 * Reading goes into one buffer for all (world.in) after what the session held back; replies gather in
 * world.out and leave in one send. The descriptor is registered once, edge triggered. One thread. */
#ifndef POSTRIDER_WORLD_SESSION_H
#define POSTRIDER_WORLD_SESSION_H

#include "bench/world/data.h"
#include "bench/world/world.h"

enum session_state {
    SESSION_ARRIVED, /* accepted, not yet counted */
    SESSION_COMMAND,
    SESSION_DATA,
    SESSION_CHUNK,
    SESSION_HANDSHAKE,
    SESSION_BROKEN_TLS, /* to spoil the handshake at the first byte */
    SESSION_SILENT,
    SESSION_LINGER /* all is said; only waits for the client to close */
};

enum session_end {
    END_NOT,
    END_LINGER, /* after the replies, closing so that they arrive */
    END_NOW     /* after the replies, or without any */
};

struct session {
    struct watch watch;
    struct wheel_timer pause, idle;
    struct session *next, **back;
    struct world *world;
    struct host *host;
    uint64_t number, client;   /* client: a hash of its address */
    int64_t last_ns, pause_ns; /* pause_ns: how long the replies now gathered are to wait */
    enum session_state state;
    enum session_end end;
    bool counted, readable, hangup, paused, unread, want_tls;
    bool quiet; /* the client must wait for the reply that is being delayed */

    /* The dialogue, smtp.c's. */
    bool greeted, pipelining, eight_bit, sizes, encrypted;
    bool mail, mail_tried, rcpt_tried, body_8bit, body_binary;
    bool chunking, binary; /* offered */
    bool chunked;          /* BDAT came in this transaction */
    bool chunk_last, chunk_good /* it may be taken */, want_reset /* after one that was not */;
    uint64_t chunk_left;
    uint32_t recipients, messages;
    uint64_t declared;
    struct data *data;
    struct tls *tls;
    struct buf helo, from;
    struct buf rcpts;         /* the first, or where there is a log all, each with a \n behind it */
    struct buf numbers;       /* of all: uint64_t, see record.h */
    struct buf held, pending; /* read but not handled; said but not sent */
};

/* Takes over fd; false if memory is out (fd is closed then). */
bool session_arrive(struct host *host, int fd, const union address *from);
/* At the end of the world. */
void session_free(struct session *s);

/* smtp.c: the greeting, or what there is instead. */
void smtp_begin(struct session *s);
/* Handles what it can of the n bytes; returns how many. What it leaves is offered again, with more. */
size_t smtp_input(struct session *s, const char *p, size_t n);
/* The client was idle for too long. */
void smtp_idle(struct session *s);
/* The client spoke while it had to wait. */
void smtp_spoke_early(struct session *s);

#endif
