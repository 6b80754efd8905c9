/* dns_ares.c - dns_ares.h over c-ares 1.18; the only file that includes ares.h.
 *
 * c-ares makes its own sockets and tells through a callback which of them it wants to read or write; each is
 * then polled, one shot at a time, by io. Its time-outs hang on one timer of the wheel. Answers are parsed
 * from the raw message (dns_parse.h), since c-ares drops the TTLs.
 *
 * With one server its error answers are passed on as they are. With several c-ares must see them first, so as
 * to ask the next server; it then keeps to itself which error the last one gave. */
#include "engine/dns/dns_ares.h"

#include "engine/base/log.h"

#include <ares.h>
#include <arpa/nameser.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define TRIES        3
#define TRIES_WEIGHT (1 + 2 + 4) /* c-ares doubles its time-out every round over the servers */
#define FLAGS_LOW    3           /* the byte of a message's header with AD in it */
#define FLAG_AD      0x20

struct net_socket {
    struct io_poll poll; /* first: poll and socket are the same address */
    struct dns_net *net;
    struct net_socket *next;
    int fd;
    short events; /* what c-ares waits for */
    bool in_use;  /* c-ares is working on it now */
    bool gone;    /* c-ares has closed it */
};

struct dns_net {
    struct io *io;
    struct wheel *wheel;
    struct wheel_timer timer;
    ares_channel channel;
    bool channel_made;
    int64_t try_ms, timeout_ms;
    unsigned under_way;
    struct net_socket *sockets;
    char servers[200]; /* for people */
    bool trusted;      /* their AD bit is believed */
    struct prng prng;  /* for the ids of questions */
    struct dns_answer answer;
};

static struct dns_net *timer_net(struct wheel_timer *timer)
{
    return (struct dns_net *)(void *)((char *)timer - offsetof(struct dns_net, timer));
}

/* ---- sockets ---- */

static void socket_free(struct net_socket *socket)
{
    free(socket);
}

static void socket_poll(struct net_socket *socket)
{
    if (!socket->gone && !socket->in_use && socket->events != 0 && io_poll_idle(&socket->poll))
        io_poll_start(socket->net->io, &socket->poll, socket->fd, socket->events);
}

static void socket_idle(struct io_poll *poll)
{
    struct net_socket *socket = (struct net_socket *)(void *)poll;
    if (socket->gone)
        socket_free(socket);
    else
        socket_poll(socket);
}

static void socket_ready(struct io_poll *poll, int events)
{
    struct net_socket *socket = (struct net_socket *)(void *)poll;
    bool error = events < 0 || events & (POLLERR | POLLHUP);
    ares_socket_t readable = error || events & POLLIN ? socket->fd : ARES_SOCKET_BAD;
    ares_socket_t writable = error || events & POLLOUT ? socket->fd : ARES_SOCKET_BAD;
    socket->in_use = true;
    ares_process_fd(socket->net->channel, readable, writable);
    socket->in_use = false;
    if (socket->gone)
        socket_free(socket);
    else
        socket_poll(socket);
}

static void socket_drop(struct dns_net *net, struct net_socket *socket)
{
    struct net_socket **link = &net->sockets;
    while (*link != socket)
        link = &(*link)->next;
    *link = socket->next;
    socket->gone = true;
    if (!io_poll_idle(&socket->poll))
        io_poll_cancel(net->io, &socket->poll); /* socket_idle frees it */
    else if (!socket->in_use)
        socket_free(socket);
}

/* c-ares calls it before it closes a socket, with nothing wanted. */
static void on_socket_state(void *data, ares_socket_t fd, int readable, int writable)
{
    struct dns_net *net = data;
    short events = (short)((readable ? POLLIN : 0) | (writable ? POLLOUT : 0));
    struct net_socket *socket = net->sockets;
    while (socket != NULL && socket->fd != fd)
        socket = socket->next;
    if (socket == NULL) {
        if (events == 0)
            return;
        socket = calloc(1, sizeof *socket);
        if (socket == NULL) {
            log_error("no memory to watch the resolver's socket: its questions will time out");
            return;
        }
        *socket = (struct net_socket){
            .poll = {.ready = socket_ready, .idle = socket_idle}, .net = net, .next = net->sockets, .fd = fd};
        net->sockets = socket;
    }
    if (events == 0) {
        socket_drop(net, socket);
        return;
    }
    if (socket->events != events && !io_poll_idle(&socket->poll))
        io_poll_cancel(net->io, &socket->poll); /* socket_idle polls for the new ones */
    socket->events = events;
    socket_poll(socket);
}

/* ---- time-outs ---- */

static void on_timer(struct wheel_timer *timer, struct now now)
{
    struct dns_net *net = timer_net(timer);
    ares_process_fd(net->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    /* It walks over all that is under way, hence only here, not whenever a question starts. */
    struct timeval left;
    if (net->under_way == 0 || ares_timeout(net->channel, NULL, &left) == NULL)
        return;
    int64_t ns = (int64_t)left.tv_sec * NS_PER_S + (int64_t)left.tv_usec * 1000;
    wheel_set(net->wheel, timer, now.mono_ns + ns + NS_PER_MS, on_timer);
}

/* A new question's first time-out is always try_ms away. */
static void timer_for_question(struct dns_net *net, struct now now)
{
    int64_t at = now.mono_ns + net->try_ms * NS_PER_MS;
    if (!wheel_is_set(&net->timer) || net->timer.at_ms * NS_PER_MS > at)
        wheel_set(net->wheel, &net->timer, at, on_timer);
}

/* ---- questions ---- */

static void explain_status(const struct dns_net *net, int status, struct dns_answer *answer)
{
    switch (status) {
    case ARES_ETIMEOUT:
        dns_answer_fail(answer, "no answer from the resolver (%s) in %.3g s", net->servers,
                        (double)net->timeout_ms / 1000);
        break;
    case ARES_ECONNREFUSED: /* also c-ares' word for errors answered by all of several servers */
        dns_answer_fail(answer, "resolver unreachable, or it answers errors only (%s)", net->servers);
        break;
    case ARES_EBADNAME:
    case ARES_EBADRESP:
        dns_answer_fail(answer, "the resolver's answer is malformed");
        break;
    case ARES_EDESTRUCTION:
    case ARES_ECANCELLED:
        dns_answer_fail(answer, "the resolver is being shut down");
        break;
    default:
        dns_answer_fail(answer, "cannot ask the resolver (%s): %s", net->servers, ares_strerror(status));
        break;
    }
}

static void on_answer(void *arg, int status, int timeouts, unsigned char *message, int n)
{
    (void)timeouts;
    struct dns_question *question = arg;
    struct dns_net *net = question->net;
    net->under_way--;
    if (message != NULL && n > 0)
        dns_parse(message, (size_t)n, question->name, question->type, &net->answer);
    else
        explain_status(net, status, &net->answer);
    net->answer.secure &= net->trusted;
    question->answered(question, &net->answer);
}

/* c-ares never asks for the AD bit, so the question is made and marked here (RFC 6840 5.7). */
static void send_question(struct dns_net *net, struct dns_question *question)
{
    unsigned char *message = NULL;
    int n = 0;
    int status = ares_create_query(question->name, ns_c_in, (int)question->type,
                                   (unsigned short)prng_next(&net->prng), 1, &message, &n, DNS_EDNS_BYTES);
    if (status != ARES_SUCCESS) {
        on_answer(question, status, 0, NULL, 0);
        return;
    }
    message[FLAGS_LOW] |= FLAG_AD;
    ares_send(net->channel, message, n, on_answer, question);
    ares_free_string(message);
}

void dns_net_ask(struct dns_net *net, struct dns_question *question, struct now now)
{
    question->net = net;
    net->under_way++;
    send_question(net, question);
    if (net->under_way > 0)
        timer_for_question(net, now);
}

/* ---- making and ending ---- */

static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static int library_status;

static void library_init(void)
{
    library_status = ares_library_init(ARES_LIB_INIT_ALL); /* not safe in two threads at once */
}

static bool channel_make(struct dns_net *net, const char *servers, int flags, int try_ms, struct err *err)
{
    struct ares_options options = {
        .flags = flags,
        .timeout = try_ms,
        .tries = TRIES,
        .ednspsz = DNS_EDNS_BYTES,
        .socket_receive_buffer_size = DNS_SOCKET_BYTES,
        .sock_state_cb = on_socket_state,
        .sock_state_cb_data = net,
    };
    int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_EDNSPSZ |
               ARES_OPT_SOCK_RCVBUF | ARES_OPT_SOCK_STATE_CB;
    int status = ares_init_options(&net->channel, &options, mask);
    if (status != ARES_SUCCESS)
        return err_set(err, 0, "cannot set up the resolver: %s (see /etc/resolv.conf)",
                       ares_strerror(status));
    net->channel_made = true;
    if (servers == NULL || servers[0] == '\0')
        return true;
    status = ares_set_servers_ports_csv(net->channel, servers);
    if (status == ARES_SUCCESS)
        return true;
    return err_set(err, EINVAL,
                   "cannot use the resolvers \"%s\" (%s): write addresses with or without ports, as in "
                   "127.0.0.1,[::1]:5353",
                   servers, ares_strerror(status));
}

static void channel_end(struct dns_net *net)
{
    if (net->channel_made)
        ares_destroy(net->channel);
    net->channel_made = false;
}

static bool is_loopback(const struct ares_addr_port_node *node)
{
    if (node->family == AF_INET)
        return (ntohl(node->addr.addr4.s_addr) >> 24) == IN_LOOPBACKNET;
    return IN6_IS_ADDR_LOOPBACK((const struct in6_addr *)(const void *)&node->addr.addr6);
}

/* Counts the servers and notes them down for messages, and whether all of them are on this host. */
static int list_servers(struct dns_net *net)
{
    struct ares_addr_port_node *list = NULL;
    if (ares_get_servers_ports(net->channel, &list) != ARES_SUCCESS)
        return 0;
    int count = 0;
    size_t at = 0;
    net->trusted = true;
    for (struct ares_addr_port_node *node = list; node != NULL; node = node->next, count++) {
        char text[64];
        net->trusted &= is_loopback(node);
        if (ares_inet_ntop(node->family, &node->addr, text, sizeof text) == NULL)
            continue;
        int n = snprintf(net->servers + at, sizeof net->servers - at, "%s%s", at ? ", " : "", text);
        at += n > 0 ? (size_t)n : 0;
        if (at < sizeof net->servers && node->udp_port != 0 && node->udp_port != NS_DEFAULTPORT)
            n = snprintf(net->servers + at, sizeof net->servers - at, " port %d", node->udp_port),
            at += (size_t)n;
        if (at >= sizeof net->servers)
            at = sizeof net->servers - 1;
    }
    ares_free_data(list);
    return count;
}

struct dns_net *dns_net_create(struct io *io, struct wheel *wheel, const struct dns_settings *settings,
                               struct err *err)
{
    pthread_once(&library_once, library_init);
    struct dns_net *net = library_status == ARES_SUCCESS ? calloc(1, sizeof *net) : NULL;
    if (net == NULL) {
        err_set(err, ENOMEM, "no memory for the resolver");
        return NULL;
    }
    net->io = io;
    net->wheel = wheel;
    net->timeout_ms = settings->timeout_ms;
    /* Once to learn how many servers there are, then with the time-out and flags that follow from it. */
    bool ok = channel_make(net, settings->servers, 0, 1000, err);
    int servers = ok ? list_servers(net) : 0;
    channel_end(net);
    if (ok && servers == 0)
        ok = err_set(err, ENOENT,
                     "no resolver is configured: name one in the configuration or in "
                     "/etc/resolv.conf");
    if (settings->dnssec != DNS_DNSSEC_AUTO)
        net->trusted = settings->dnssec == DNS_DNSSEC_YES;
    net->prng.state = prng_seed();
    net->try_ms = settings->timeout_ms / TRIES_WEIGHT / (servers > 0 ? servers : 1);
    if (net->try_ms < 1)
        net->try_ms = 1;
    int flags = ARES_FLAG_EDNS | (servers == 1 ? ARES_FLAG_NOCHECKRESP : 0);
    if (ok && channel_make(net, settings->servers, flags, (int)net->try_ms, err))
        return net;
    channel_end(net);
    free(net);
    return NULL;
}

void dns_net_destroy(struct dns_net *net)
{
    if (net == NULL)
        return;
    channel_end(net);
    wheel_cancel(net->wheel, &net->timer);
    while (net->sockets != NULL) /* c-ares has closed them all; were one left, io must not know it longer */
        socket_drop(net, net->sockets);
    free(net);
}
