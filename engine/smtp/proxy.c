/* proxy.c - see proxy.h. */
#include "engine/smtp/proxy.h"

#include <netinet/in.h>

/* Address and port as they stand in such messages: in network order. */
struct endpoint {
    struct str address, port;
};

static bool endpoint_of(const struct sockaddr *from, struct endpoint *endpoint)
{
    if (from->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)from;
        endpoint->address = str_make((const char *)&v4->sin_addr, sizeof v4->sin_addr);
        endpoint->port = str_make((const char *)&v4->sin_port, sizeof v4->sin_port);
        return true;
    }
    if (from->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)from;
        endpoint->address = str_make((const char *)&v6->sin6_addr, sizeof v6->sin6_addr);
        endpoint->port = str_make((const char *)&v6->sin6_port, sizeof v6->sin6_port);
        return true;
    }
    return false;
}

bool proxy_add_header(struct buf *out, const struct sockaddr *source, const struct sockaddr *peer)
{
    static const char signature[] = "\r\n\r\n\0\r\nQUIT\n";
    struct endpoint from, to;
    if (source->sa_family != peer->sa_family || !endpoint_of(source, &from) || !endpoint_of(peer, &to))
        return false;
    buf_add(out, signature, sizeof signature - 1);
    buf_add_char(out, 0x21); /* version 2, PROXY */
    buf_add_char(out, source->sa_family == AF_INET ? 0x11 : 0x21);
    buf_add_char(out, 0);
    buf_add_char(out, (char)(2 * (from.address.n + 2)));
    buf_add_str(out, from.address);
    buf_add_str(out, to.address);
    buf_add_str(out, from.port);
    return buf_add_str(out, to.port);
}

bool socks_add_hello(struct buf *out, bool has_user)
{
    return buf_add_str(out, has_user ? STR("\005\002\000\002") : STR("\005\001\000"));
}

bool socks_add_login(struct buf *out, struct str user, struct str password)
{
    if (user.n == 0 || user.n > 255 || password.n == 0 || password.n > 255)
        return false;
    buf_add_char(out, 1);
    buf_add_char(out, (char)user.n);
    buf_add_str(out, user);
    buf_add_char(out, (char)password.n);
    return buf_add_str(out, password);
}

bool socks_add_connect(struct buf *out, const struct sockaddr *peer)
{
    struct endpoint to;
    if (!endpoint_of(peer, &to))
        return false;
    buf_add_str(out, peer->sa_family == AF_INET ? STR("\005\001\000\001") : STR("\005\001\000\004"));
    buf_add_str(out, to.address);
    return buf_add_str(out, to.port);
}

static enum socks_reply socks_says(const char **why, enum socks_reply reply, const char *text)
{
    *why = text;
    return reply;
}

static enum socks_reply read_hello(const uint8_t *p, const char **why)
{
    if (p[0] != 5)
        return socks_says(why, SOCKS_FAILED, "it does not speak SOCKS5");
    if (p[1] == 0 || p[1] == 2)
        return p[1] == 0 ? SOCKS_GOOD : SOCKS_ASKS;
    return socks_says(why, SOCKS_FAILED, "it wants another kind of login");
}

/* RFC 1928 6. Those that name the host's end are the host's; what is unclear is the proxy's. */
static enum socks_reply read_connect(const uint8_t *p, size_t n, size_t *used, const char **why)
{
    static const struct {
        enum socks_reply reply;
        const char *text;
    } all[] = {{SOCKS_GOOD, ""},
               {SOCKS_FAILED, "general failure"},
               {SOCKS_FAILED, "it does not allow the connection"},
               {SOCKS_NO_HOST, "network unreachable"},
               {SOCKS_NO_HOST, "host unreachable"},
               {SOCKS_NO_HOST, "connection refused"},
               {SOCKS_NO_HOST, "TTL expired"},
               {SOCKS_FAILED, "it does not know CONNECT"},
               {SOCKS_FAILED, "it does not know this kind of address"}};
    if (p[0] != 5)
        return socks_says(why, SOCKS_FAILED, "it does not speak SOCKS5");
    if (p[1] != 0)
        return p[1] < sizeof all / sizeof *all
                   ? socks_says(why, all[p[1]].reply, all[p[1]].text)
                   : socks_says(why, SOCKS_FAILED, "it answers with a code that is not known");
    if (n < 5)
        return SOCKS_MORE;
    size_t address = p[3] == 1 ? 4 : p[3] == 4 ? 16 : p[3] == 3 ? 1 + (size_t)p[4] : 0;
    if (address == 0)
        return socks_says(why, SOCKS_FAILED, "its reply holds an unknown kind of address");
    *used = 4 + address + 2;
    return n < *used ? SOCKS_MORE : SOCKS_GOOD;
}

enum socks_reply socks_read(enum socks_step step, struct str in, size_t *used, const char **why)
{
    const uint8_t *p = (const uint8_t *)in.p;
    *used = 2;
    *why = "";
    if (in.n < 2)
        return SOCKS_MORE;
    switch (step) {
    case SOCKS_HELLO:
        return read_hello(p, why);
    case SOCKS_LOGIN:
        return p[1] == 0 ? SOCKS_GOOD : socks_says(why, SOCKS_FAILED, "it refuses user and password");
    case SOCKS_CONNECT:
        break;
    }
    return read_connect(p, in.n, used, why);
}
