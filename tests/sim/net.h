/* net.h - TCP as the daemon and the mail hosts see it: sockets on the one side, links on the other.
 *
 * A link is one connection. Bytes take time, keep their order, and may end at any of them: the daemon's end
 * with close, the host's with net_hang_up (it says so) or net_break (a reset, both ways, at once). A host
 * writes whole replies with the time at which they are there; it may put a mark on one, and is told later
 * whether the daemon surely had it: handed to it by the kernel, and the connection not given up in the same
 * round. */
#ifndef POSTRIDER_TESTS_SIM_NET_H
#define POSTRIDER_TESTS_SIM_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

struct host;
struct smtp;
struct sock;

struct link {
    unsigned id, source; /* source: index of our address */
    struct host *host;
    struct smtp *smtp; /* the host's */
};

/* ---- for hosts ---- */

/* Behind what was written before, at mono_ns or later. False: not all of it could be written. */
bool net_reply(struct link *link, const char *bytes, size_t n, int64_t at_ns);
/* On the end of what was written last; host_heard gets it, once. */
void net_mark(struct link *link, void *mark);
void net_hang_up(struct link *link, int64_t at_ns);
void net_break(struct link *link);
bool net_is_broken(const struct link *link);
/* The daemon has all that was written. */
bool net_all_heard(const struct link *link);
unsigned net_links(void);

/* ---- for the ring: one operation each way at a time is the caller's business ---- */

struct sock *net_sock(int fd); /* NULL: not one of these */
/* Begins; returns when it is decided (INT64_MAX: never), and how. */
int64_t net_connect(struct sock *sock, const struct sockaddr *peer, int *result);
void net_connected(struct sock *sock);
/* How many bytes went, or -errno. */
ssize_t net_send(struct sock *sock, const void *bytes, size_t n);
/* When there is something to read: INT64_MAX: not yet. */
int64_t net_readable_ns(const struct sock *sock);
/* n > 0, 0 at the end, or -errno. */
ssize_t net_read(struct sock *sock, void *bytes, size_t room);
/* The daemon gives the connection up: what it was handed last it may not have looked at. */
void net_give_up(struct sock *sock);
/* A send begins or is over. While the kernel still takes what stands behind a message in the same write, the
 * message's memory is its, and the daemon keeps what it heard of it: nobody counts on that yet. */
void net_sending(struct sock *sock, bool begins);
/* A worker has seen all that it was handed. */
void net_seen(unsigned ring);
/* Notes whose it is. */
void net_set_ring(struct sock *sock, unsigned ring);

/* ---- for the daemon's end ---- */

/* All connections break, and the daemon's hears of it; no new ones. */
void net_crash(void);
/* Nothing is left; fails otherwise. */
void net_end(void);

#endif
