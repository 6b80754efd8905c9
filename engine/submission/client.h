/* client.h - one SMTP client of a door: its bytes, through TLS where it is on, and what its dialogue wants
 * done. Private to door.c and client*.c.
 *
 * One thing at a time is done for a client: while it waits for the store or the desk, what it sends is kept,
 * up to SUBMISSION_INPUT_MAX, and then no longer received. A client that leaves meanwhile stays in memory
 * until it is given back. */
#ifndef POSTRIDER_SUBMISSION_CLIENT_H
#define POSTRIDER_SUBMISSION_CLIENT_H

#include "engine/submission/door.h"
#include "engine/submission/posting.h"
#include "engine/submission/submission_parts.h"
#include "queue/edit.h"

#include <netinet/in.h>
#include <sys/queue.h>

enum client_wait { CLIENT_READY, CLIENT_LOGIN, CLIENT_POST, CLIENT_INBOUND, CLIENT_RETRY };

struct client {
    struct io_conn conn; /* first: io's callbacks find the client by it */
    struct inbox_node node;
    struct desk_item errand;
    struct wheel_timer timer;
    LIST_ENTRY(client) list;
    struct door *door;
    struct entrance *entrance;
    atomic_uint *seat; /* of submission.seats, where it counts among others from its address; or NULL */
    struct dialogue dialogue;
    struct tls_conn *tls;
    enum client_wait wait;
    bool handshake; /* TLS's is under way */
    bool sending, paused;
    bool ended;        /* the peer sends no more; what it has asked is answered all the same */
    bool leaving;      /* what waits to be sent is the last */
    bool shut;         /* TLS has said that it ends */
    bool parted;       /* that is done, and the peer has not closed yet */
    bool gone;         /* the connection is over */
    bool stopping;     /* send it away when it is given back */
    struct buf input;  /* plain, not yet taken */
    struct buf out;    /* plain, to be sent next */
    struct buf cipher; /* TLS: to be sent next */
    struct buf flying; /* in the send under way */
    struct iovec iov;
    int64_t message_until_ns; /* 0: no message is under way */
    uint64_t steps;           /* of the dialogue, when the timer was set */
    size_t held;              /* of its message and recipients, counted in submission.bytes */
    struct posting posting;
    bool refused, committed; /* the posting: `reply` says why; or all of it is with the store */
    enum admit_result admitted;
    size_t heard;              /* of a message to return domains: the recipients done so far, */
    int64_t heard_ns, look_ns; /* since when; and when it is looked at again, as it was too early */
    bool put_off;              /* it still is */
    enum edit_result edited;   /* how the last one ended */
    enum login_result login;
    char login_tenant[NAME_MAX_BYTES + 1];
    char tenant[NAME_MAX_BYTES + 1]; /* bound to; "": to none */
    char peer[INET6_ADDRSTRLEN + 8]; /* "[192.0.2.1]", "uid 1000" */
    char reply[ANSWER_MAX];
};

struct door {
    struct door_settings settings;
    struct doorway *doorways; /* one an entrance */
    LIST_HEAD(client_list, client) clients;
    bool stopping, full;
    int64_t full_until_ns; /* what `full` says holds until then */
};

/* A new connection, which counts among the door's already; closed where there is no memory. */
void client_create(struct door *door, struct entrance *entrance, int fd);
void client_back(struct client *client);
/* One less. */
void door_leave(struct door *door);
void client_stop(struct client *client, bool hard);

/* ---- client_errand.c: what the dialogue wants done ---- */

/* True: the client waits now. False: it is done, and `reply` (or the login's result) says how. */
bool client_post(struct client *client);
/* It is back: true when it waits again. */
bool client_post_back(struct client *client);
/* A message to a return domain. */
void client_inbound(struct client *client);
/* It is back: true when it waits again, for the next recipient; else `refused` and `reply` say how it
 * went. */
bool client_inbound_back(struct client *client);
bool client_log_in(struct client *client);
void client_retry(struct client *client);

#endif
