/* net.h - addresses and sockets: the only place here that opens any. All are non-blocking and close-on-exec.
 */
#ifndef POSTRIDER_WORLD_NET_H
#define POSTRIDER_WORLD_NET_H

#include "engine/base/err.h"
#include "engine/base/str.h"

#include <netinet/in.h>
#include <sys/socket.h>

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

#define ADDRESS_TEXT_MAX 64

/* An IPv4 or IPv6 literal. */
bool address_parse(union address *address, struct str text, uint16_t port);
socklen_t address_size(const union address *address);
/* In 127.0.0.0/8, or ::1. */
bool address_is_loopback(const union address *address);
uint16_t address_port(const union address *address);
void address_set_port(union address *address, uint16_t port);
/* The address n further on; IPv4 only. */
void address_advance(union address *address, uint32_t n);
/* "127.0.0.1", and with the port "127.0.0.1:25" or "[::1]:25". */
void address_text(const union address *address, bool with_port, char out[static ADDRESS_TEXT_MAX]);
/* Equal for connections from one source address. */
uint64_t address_hash(const union address *address);

/* type: SOCK_STREAM (listening) or SOCK_DGRAM. Port 0 is replaced by what the kernel chose. -1 and err on
 * failure. */
int net_bind(union address *address, int type, struct err *err);
int net_listen_unix(const char *path, struct err *err);
/* Takes connections that come by the loopback device only, where the kernel allows to say so. */
void net_only_loopback(int fd);
/* The address that was connected to. */
bool net_local(int fd, union address *address);
/* Closes the connection with a reset. */
void net_reset(int fd);
/* The next connection, or -1 with errno. `from` may be NULL. */
int net_accept(int listener, union address *from);

#endif
