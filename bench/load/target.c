/* target.c - see target.h. */
#include "bench/load/target.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define COUNT_MAX     65536
#define FILES_BESIDES 32

static bool local_parse(struct target *target, struct str path, struct err *err)
{
    if (path.n == 0 || path.n >= sizeof target->address.local.sun_path)
        return err_set(err, EINVAL, "a socket's path has 1 to %zu characters",
                       sizeof target->address.local.sun_path - 1);
    target->address.local.sun_family = AF_UNIX;
    memcpy(target->address.local.sun_path, path.p, path.n);
    target->size = sizeof target->address.local;
    return true;
}

bool target_parse(struct target *target, const char *text, struct err *err)
{
    struct str whole = str_of(text), host = whole;
    *target = (struct target){.count = 1};
    if (str_starts(whole, STR("unix:")))
        return local_parse(target, str_make(whole.p + 5, whole.n - 5), err);
    size_t colon = whole.n;
    while (colon > 0 && whole.p[colon - 1] != ':')
        colon--;
    uint64_t port, count = 1;
    char name[INET6_ADDRSTRLEN];
    bool ok = colon > 1 && str_u64(str_make(whole.p + colon, whole.n - colon), 65535, &port) && port > 0;
    host.n = ok ? colon - 1 : 0;
    size_t dots = 0;
    while (dots + 1 < host.n && (host.p[dots] != '.' || host.p[dots + 1] != '.'))
        dots++;
    if (dots + 1 < host.n) {
        ok = ok && str_u64(str_make(host.p + dots + 2, host.n - dots - 2), COUNT_MAX, &count) && count > 0;
        host.n = dots;
    } else if (host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']') {
        host = str_make(host.p + 1, host.n - 2);
    }
    ok = ok && host.n < sizeof name;
    if (ok) {
        memcpy(name, host.p, host.n);
        name[host.n] = '\0';
    }
    target->count = (uint32_t)count;
    if (ok && inet_pton(AF_INET, name, &target->address.v4.sin_addr) == 1) {
        target->address.v4.sin_family = AF_INET;
        target->address.v4.sin_port = htons((uint16_t)port);
        target->size = sizeof target->address.v4;
    } else if (ok && count == 1 && inet_pton(AF_INET6, name, &target->address.v6.sin6_addr) == 1) {
        target->address.v6.sin6_family = AF_INET6;
        target->address.v6.sin6_port = htons((uint16_t)port);
        target->size = sizeof target->address.v6;
    }
    return target->size > 0 ||
           err_set(
               err, EINVAL,
               "'%s' is no place to connect to: write 127.0.0.1:2525, 127.0.9.1..1000:2525, [::1]:2525 or "
               "unix:/path",
               text);
}

struct target target_of(const struct target *target, uint64_t n)
{
    struct target one = *target;
    if (target->count > 1) {
        uint32_t first = ntohl(target->address.v4.sin_addr.s_addr);
        one.address.v4.sin_addr.s_addr = htonl(first + (uint32_t)(n % target->count));
    }
    return one;
}

int target_socket(const struct target *target, bool blocking)
{
    int fd =
        socket(target->address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | (blocking ? 0 : SOCK_NONBLOCK), 0);
    int on = 1;
    if (fd >= 0 && target->address.any.sa_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

bool connections_allow(uint64_t connections, struct err *err)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return err_set(err, errno, "cannot read the limit on open files: %s", strerror(errno));
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_max >= connections + FILES_BESIDES ||
           err_set(err, EMFILE, "%llu connections need a higher limit on open files (ulimit -Hn)",
                   (unsigned long long)connections);
}
