/* host.c - see host.h. Listeners and accepting. */
#include "bench/world/host.h"

#include "bench/world/session.h"
#include "engine/base/log.h"

#include <errno.h>
#include <unistd.h>

#define ACCEPTS_A_TURN  64
#define RETRY_ACCEPT_NS (100 * NS_PER_MS)

static const char *listener_name(const struct listener *listener)
{
    return listener->host ? listener->host->name : "one_listener";
}

static void listener_retry(struct wheel_timer *timer, struct now now)
{
    struct listener *listener = OWNER_OF(timer, struct listener, retry);
    struct err err;
    (void)now;
    if (listener->watch.fd >= 0 && !loop_add(&listener->world->loop, &listener->watch, EPOLLIN, &err))
        log_error("%s: %s", listener_name(listener), err.text);
}

/* Out of descriptors or memory: connections wait in the backlog for a moment instead of spinning here. */
static void listener_rest(struct listener *listener)
{
    struct world *world = listener->world;
    if (world->accept_failures++ == 0)
        log_warn("%s: cannot accept a connection: %s; raise the limit on open files (ulimit -n)",
                 listener_name(listener), strerror(errno));
    loop_remove(&world->loop, &listener->watch);
    loop_after(&world->loop, &listener->retry, RETRY_ACCEPT_NS, listener_retry);
}

/* Whose connection it is; NULL if nobody takes it. */
static struct host *connection_host(const struct listener *listener, int fd)
{
    union address local;
    if (listener->host)
        return listener->host;
    struct host *host =
        net_local(fd, &local) ? address_book_find(&listener->world->address_book, &local) : NULL;
    return host && !host->character->refuse ? host : NULL;
}

static void listener_ready(struct watch *watch, uint32_t events)
{
    struct listener *listener = OWNER_OF(watch, struct listener, watch);
    (void)events;
    for (int i = 0; watch->fd >= 0 && i < ACCEPTS_A_TURN; i++) {
        union address from;
        int fd = net_accept(watch->fd, &from);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
                listener_rest(listener);
            return;
        }
        struct host *host = connection_host(listener, fd);
        if (host == NULL)
            net_reset(fd);
        else if (!session_arrive(host, fd, &from))
            listener->world->accept_failures++;
    }
}

bool listener_open(struct listener *listener, struct err *err)
{
    int fd = net_bind(&listener->address, SOCK_STREAM, err);
    if (fd < 0)
        return listener->host ? err_prefix(err, "host %s", listener->host->name) : false;
    listener->watch = (struct watch){.fd = fd, .ready = listener_ready};
    return loop_add(&listener->world->loop, &listener->watch, EPOLLIN, err);
}

void listener_close(struct listener *listener)
{
    wheel_cancel(&listener->world->loop.wheel, &listener->retry);
    if (listener->watch.fd >= 0)
        close(listener->watch.fd);
    listener->watch.fd = -1;
}

void host_close(struct host *host)
{
    for (uint32_t i = 0; i < host->listeners_used; i++)
        listener_close(&host->listeners[i]);
}

bool host_shares_listener(const struct host *host, uint32_t i)
{
    return host->world->scenario.one_listener && !host->own_port &&
           host->listeners[i].address.any.sa_family == AF_INET;
}

bool host_listen(struct host *host, struct err *err)
{
    if (host->character->refuse) {
        host_close(host);
        return true;
    }
    for (uint32_t i = 0; i < host->listeners_used; i++) {
        struct listener *listener = &host->listeners[i];
        if (host_shares_listener(host, i))
            continue;
        if (listener->watch.fd < 0 && !listener_open(listener, err))
            return false;
        /* An own port of 0 is one port for all its addresses. */
        for (uint32_t j = i + 1; j < host->listeners_used; j++)
            if (address_port(&host->listeners[j].address) == 0)
                address_set_port(&host->listeners[j].address, address_port(&listener->address));
    }
    return true;
}
