/* network.c - see network.h. */
#include "engine/base/network.h"

#include <arpa/inet.h>

static bool bit_is_set(const uint8_t *address, unsigned bit)
{
    return address[bit / 8] & (0x80U >> bit % 8);
}

bool network_parse(struct str text, struct network *network)
{
    char address[INET6_ADDRSTRLEN];
    size_t slash = str_find(text, '/', 0), n = slash == SIZE_MAX ? text.n : slash;
    uint64_t bits;
    if (n >= sizeof address)
        return false;
    *network = (struct network){.family = AF_INET};
    if (n > 0)
        memcpy(address, text.p, n);
    address[n] = '\0';
    if (inet_pton(AF_INET, address, network->address) != 1) {
        network->family = AF_INET6;
        if (inet_pton(AF_INET6, address, network->address) != 1)
            return false;
    }
    unsigned all = network->family == AF_INET ? 32 : 128;
    network->bits = all;
    if (slash != SIZE_MAX) {
        if (!str_u64(str_make(text.p + slash + 1, text.n - slash - 1), all, &bits))
            return false;
        network->bits = (unsigned)bits;
    }
    for (unsigned bit = network->bits; bit < all; bit++)
        if (bit_is_set(network->address, bit))
            return false;
    return true;
}

bool network_has(const struct network *network, const struct sockaddr *address)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)address;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)address;
    const uint8_t *bytes = (const uint8_t *)&v4->sin_addr;
    int family = address->sa_family;
    if (family == AF_INET6) {
        bool mapped = IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr);
        bytes = v6->sin6_addr.s6_addr + (mapped ? 12 : 0);
        family = mapped ? AF_INET : AF_INET6;
    }
    if (family != network->family)
        return false;
    for (unsigned bit = 0; bit < network->bits; bit++)
        if (bit_is_set(network->address, bit) != bit_is_set(bytes, bit))
            return false;
    return true;
}
