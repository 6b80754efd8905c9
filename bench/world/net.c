/* net.c - see net.h. */
#include "bench/world/net.h"

#include "engine/limits.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 65535 /* the kernel takes net.core.somaxconn of it */

bool address_parse(union address *address, struct str text, uint16_t port)
{
    char z[ADDRESS_TEXT_MAX];
    if (text.n >= sizeof z)
        return false;
    memcpy(z, text.p, text.n);
    z[text.n] = '\0';
    memset(address, 0, sizeof *address);
    if (inet_pton(AF_INET, z, &address->v4.sin_addr) == 1)
        address->any.sa_family = AF_INET;
    else if (inet_pton(AF_INET6, z, &address->v6.sin6_addr) == 1)
        address->any.sa_family = AF_INET6;
    else
        return false;
    address_set_port(address, port);
    return true;
}

socklen_t address_size(const union address *address)
{
    return address->any.sa_family == AF_INET6 ? sizeof address->v6 : sizeof address->v4;
}

bool address_is_loopback(const union address *address)
{
    if (address->any.sa_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&address->v6.sin6_addr);
    return ntohl(address->v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

uint16_t address_port(const union address *address)
{
    return ntohs(address->any.sa_family == AF_INET6 ? address->v6.sin6_port : address->v4.sin_port);
}

void address_set_port(union address *address, uint16_t port)
{
    if (address->any.sa_family == AF_INET6)
        address->v6.sin6_port = htons(port);
    else
        address->v4.sin_port = htons(port);
}

void address_advance(union address *address, uint32_t n)
{
    if (address->any.sa_family == AF_INET)
        address->v4.sin_addr.s_addr = htonl(ntohl(address->v4.sin_addr.s_addr) + n);
}

void address_text(const union address *address, bool with_port, char out[static ADDRESS_TEXT_MAX])
{
    char z[INET6_ADDRSTRLEN] = "";
    bool v6 = address->any.sa_family == AF_INET6;
    if (v6)
        inet_ntop(AF_INET6, &address->v6.sin6_addr, z, sizeof z);
    else
        inet_ntop(AF_INET, &address->v4.sin_addr, z, sizeof z);
    if (with_port)
        snprintf(out, ADDRESS_TEXT_MAX, v6 ? "[%s]:%u" : "%s:%u", z, address_port(address));
    else
        snprintf(out, ADDRESS_TEXT_MAX, "%s", z);
}

uint64_t address_hash(const union address *address)
{
    if (address->any.sa_family == AF_INET6)
        return str_hash(str_make((const char *)&address->v6.sin6_addr, sizeof address->v6.sin6_addr));
    return str_hash(str_make((const char *)&address->v4.sin_addr, sizeof address->v4.sin_addr));
}

/* Where the kernel's default is BBR its pacing costs a timer a reply and says nothing on loopback. Accepted
 * sockets inherit it; a kernel without reno keeps its own. */
static void use_reno(int fd)
{
    static const char reno[] = "reno";
    (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, reno, sizeof reno - 1);
}

static bool prepare(int fd, union address *address, int type)
{
    const int on = 1;
    int room = DNS_SOCKET_BYTES; /* a burst of questions waits while SMTP is served; best effort */
    if (type == SOCK_DGRAM)
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    if (type == SOCK_STREAM && (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
                                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0))
        return false;
    if (type == SOCK_STREAM)
        use_reno(fd);
    if (address->any.sa_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) != 0)
        return false;
    socklen_t size = address_size(address);
    if (bind(fd, &address->any, size) != 0)
        return false;
    if (type == SOCK_STREAM && listen(fd, BACKLOG) != 0)
        return false;
    return getsockname(fd, &address->any, &size) == 0;
}

int net_bind(union address *address, int type, struct err *err)
{
    int fd = socket(address->any.sa_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && prepare(fd, address, type))
        return fd;
    int code = errno;
    char text[ADDRESS_TEXT_MAX];
    address_text(address, true, text);
    err_set(err, code, "cannot listen on %s (%s): %s", text, type == SOCK_STREAM ? "TCP" : "UDP",
            code == EADDRINUSE ? "something listens there already; choose another port, or 0"
            : code == EMFILE   ? "too many open files; raise the limit (ulimit -n)"
                               : strerror(code));
    if (fd >= 0)
        close(fd);
    return -1;
}

int net_listen_unix(const char *path, struct err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t n = strlen(path);
    if (n >= sizeof address.sun_path) {
        err_set(err, ENAMETOOLONG, "the control socket's path is longer than %zu: %s",
                sizeof address.sun_path - 1, path);
        return -1;
    }
    memcpy(address.sun_path, path, n);
    unlink(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 16) == 0)
        return fd;
    err_set(err, errno, "cannot listen on %s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

void net_only_loopback(int fd)
{
    static const char device[] = "lo";
    (void)setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, sizeof device);
}

bool net_local(int fd, union address *address)
{
    socklen_t size = sizeof *address;
    return getsockname(fd, &address->any, &size) == 0;
}

void net_reset(int fd)
{
    const struct linger at_once = {.l_onoff = 1};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(fd);
}

int net_accept(int listener, union address *from)
{
    socklen_t size = sizeof *from;
    return accept4(listener, from ? &from->any : NULL, from ? &size : NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}
