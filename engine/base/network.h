/* network.h - sets of IP addresses with a common beginning: 192.0.2.0/24, 2001:db8::/32, 127.0.0.1. Pure; any
 * thread. */
#ifndef POSTRIDER_BASE_NETWORK_H
#define POSTRIDER_BASE_NETWORK_H

#include "engine/base/str.h"

#include <sys/socket.h>

struct network {
    int family; /* AF_INET or AF_INET6 */
    unsigned bits;
    uint8_t address[16];
};

/* False: it is none, or has bits set behind its prefix. */
bool network_parse(struct str text, struct network *network);
/* An IPv4 address that came over IPv6 (::ffff:192.0.2.1) is one of IPv4. */
bool network_has(const struct network *network, const struct sockaddr *address);

#endif
