/* config_address.c - options that name addresses: of resolvers, listeners, networks, proxies, a route. */
#include "engine/config_table.h"

#include "engine/base/network.h"

#include <arpa/inet.h>
#include <sys/un.h>

bool value_address(struct str text, struct sockaddr_storage *address, socklen_t *len)
{
    char z[INET6_ADDRSTRLEN + 1];
    if (text.n >= sizeof z)
        return false;
    memcpy(z, text.p, text.n);
    z[text.n] = '\0';
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    memset(address, 0, sizeof *address);
    if (inet_pton(AF_INET, z, &v4.sin_addr) == 1) {
        memcpy(address, &v4, *len = sizeof v4);
        return true;
    }
    if (inet_pton(AF_INET6, z, &v6.sin6_addr) == 1) {
        memcpy(address, &v6, *len = sizeof v6);
        return true;
    }
    return false;
}

bool value_is_address(struct str text)
{
    struct sockaddr_storage address;
    socklen_t len;
    return value_address(text, &address, &len);
}

/* "192.0.2.1:25", "[::1]:25"; the port may be missing where one is given. */
static bool split_port(struct str text, struct str *host, struct str *port, struct value_error *error)
{
    size_t close = str_find(text, ']', 0), colon = str_find(text, ':', 0);
    *host = text;
    if (text.n > 0 && text.p[0] == '[' && close != SIZE_MAX) {
        *host = str_make(text.p + 1, close - 1);
        if (close + 1 < text.n) {
            if (text.p[close + 1] != ':')
                return value_wrong(error, "a port after the bracket: [::1]:53");
            *port = str_make(text.p + close + 2, text.n - close - 2);
        }
    } else if (colon != SIZE_MAX && str_find(text, ':', colon + 1) == SIZE_MAX) {
        *host = str_make(text.p, colon);
        *port = str_make(text.p + colon + 1, text.n - colon - 1);
    }
    return true;
}

bool value_server(struct str text, struct value_error *error)
{
    struct str host, port = STR("53");
    uint64_t number;
    if (!split_port(text, &host, &port, error))
        return false;
    if (!value_is_address(host) || !str_u64(port, 65535, &number) || number == 0)
        return value_wrong(error, "a resolver's address such as 127.0.0.1, 127.0.0.1:5353 or [::1]:53");
    return true;
}

bool value_proxy(struct str text, struct proxy *proxy, struct value_error *error)
{
    struct str host, digits = STR("");
    bool socks = str_starts(text, STR("socks5://"));
    size_t scheme = socks ? 9 : str_starts(text, STR("haproxy://")) ? 10 : 0;
    uint64_t port;
    bool good = scheme > 0 && split_port(str_make(text.p + scheme, text.n - scheme), &host, &digits, error) &&
                value_address(host, &proxy->address, &proxy->len) && str_u64(digits, 65535, &port) &&
                port > 0;
    if (!good)
        return value_wrong(error, "%s", value_kind_text(KIND_PROXY));
    proxy->kind = socks ? PROXY_SOCKS5 : PROXY_HAPROXY;
    if (proxy->address.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)(void *)&proxy->address)->sin6_port = htons((uint16_t)port);
    else
        ((struct sockaddr_in *)(void *)&proxy->address)->sin_port = htons((uint16_t)port);
    return true;
}

bool value_target(struct str text, struct str *host, uint16_t *port, uint16_t *preference,
                  struct value_error *error)
{
    size_t space = str_find(text, ' ', 0);
    uint64_t number = 0, place = 0;
    struct str digits = STR("");
    bool good = space == SIZE_MAX || (str_u64(str_make(text.p, space), 65535, &place) && place > 0);
    if (space != SIZE_MAX)
        text = str_trim(str_make(text.p + space, text.n - space));
    if (str_starts(text, STR("unix:/"))) {
        *host = text;
        good = good && text.n < sizeof((struct sockaddr_un *)NULL)->sun_path + 5 && value_is_printable(text);
    } else {
        good = good && split_port(text, host, &digits, error) &&
               (value_is_address(*host) || value_pattern(*host, false, error));
        good = good && (digits.n == 0 ? digits.p[0] == '\0' : str_u64(digits, 65535, &number) && number > 0);
    }
    *port = (uint16_t)number;
    *preference = (uint16_t)place;
    return good || value_wrong(error, "%s", value_kind_text(KIND_TARGETS));
}

bool value_listen(struct str text, struct sockaddr_storage *address, socklen_t *len,
                  struct value_error *error)
{
    struct str host, port = STR("");
    uint64_t number;
    *len = 0;
    if (str_starts(text, STR("unix:"))) {
        bool good = text.n > 6 && text.p[5] == '/' && memchr(text.p, '\0', text.n) == NULL;
        return (good && text.n - 5 <= sizeof((struct sockaddr_un *)0)->sun_path - 1) ||
               value_wrong(error, "behind unix: an absolute path of at most %zu characters",
                           sizeof((struct sockaddr_un *)0)->sun_path - 1);
    }
    if (!split_port(text, &host, &port, error))
        return false;
    if (!value_address(host, address, len) || !str_u64(port, 65535, &number) || number == 0)
        return value_wrong(error, "%s", value_kind_text(KIND_LISTEN));
    uint16_t network_port = htons((uint16_t)number);
    if (address->ss_family == AF_INET)
        ((struct sockaddr_in *)address)->sin_port = network_port;
    else
        ((struct sockaddr_in6 *)address)->sin6_port = network_port;
    return true;
}

bool value_network(struct str text, struct value_error *error)
{
    struct network network;
    return network_parse(text, &network) ||
           value_wrong(error,
                       "a network such as 192.0.2.0/24 or 2001:db8::/32, without bits behind its prefix");
}
