/* net.c - see net.h. */
#include "tests/sim/net.h"

#include "tests/sim/book.h"
#include "tests/sim/events.h"
#include "tests/sim/faults.h"
#include "tests/sim/host.h"
#include "tests/sim/seams.h"
#include "tests/sim/sim.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define SOCKS_MAX 4096
#define RX_MAX    (64 * 1024)

enum segment_kind { SEGMENT_BYTES, SEGMENT_END, SEGMENT_RESET };
struct segment { /* on its way to the daemon */
    struct segment *next;
    int64_t at_ns;
    enum segment_kind kind;
    size_t n, taken;
    char bytes[];
};

enum mark_state { MARK_ON_WAY, MARK_HANDED };
struct net_mark {
    struct net_mark *next;
    void *mark;
    uint64_t end; /* in all that was written */
    enum mark_state state;
};

struct tcp {
    struct link link; /* first: what hosts see */
    struct sock *sock;
    bool broken, hung_up, established;
    int64_t last_in_ns, last_out_ns; /* when the last bytes of each way arrive */
    uint64_t sent, received;         /* by the daemon, as far as they arrived */
    uint64_t written;                /* by the host */
    uint64_t break_sent, break_received;
    struct net_mark *marks, **marks_tail;
    struct tcp *next, **back;
};

struct sock {
    int fd;
    unsigned ring, source;
    bool given_up;
    unsigned sends; /* that the daemon has under way */
    struct tcp *tcp;
    struct segment *rx, **rx_tail;
};

static struct sock *socks[SOCKS_MAX];
static struct tcp *tcps;
static unsigned tcps_n, ids;

static struct tcp *tcp_of(const struct link *link)
{
    return (struct tcp *)(uintptr_t)link;
}

/* ---- sockets ---- */

struct sock *net_sock(int fd)
{
    return fd >= SEAM_FD_BASE && fd < SEAM_FD_BASE + SOCKS_MAX ? socks[fd - SEAM_FD_BASE] : NULL;
}

int seam_socket(void)
{
    if (fault_now(FAULT_NO_SOCKET, 60)) {
        errno = EMFILE;
        return -1;
    }
    int at = 0;
    while (at < SOCKS_MAX && socks[at] != NULL)
        at++;
    if (at == SOCKS_MAX)
        sim_fail("leak", "%d sockets are open", SOCKS_MAX);
    struct sock *sock = sim_alloc(sizeof *sock);
    sock->fd = SEAM_FD_BASE + at;
    sock->rx_tail = &sock->rx;
    socks[at] = sock;
    return sock->fd;
}

int seam_bind(int fd, const struct sockaddr *address)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;
    if (fault_now(FAULT_NO_SUCH_SOURCE, 60)) {
        errno = EADDRNOTAVAIL;
        return -1;
    }
    net_sock(fd)->source = (ntohl(in->sin_addr.s_addr) & 0xff) - 1; /* 192.0.2.1 is the first */
    return 0;
}

static void rx_add(struct sock *sock, enum segment_kind kind, const char *bytes, size_t n, int64_t at_ns)
{
    struct segment *segment = sim_alloc(sizeof *segment + n);
    segment->kind = kind;
    segment->at_ns = at_ns;
    segment->n = n;
    if (n > 0)
        memcpy(segment->bytes, bytes, n);
    *sock->rx_tail = segment;
    sock->rx_tail = &segment->next;
}

static void rx_drop(struct sock *sock)
{
    for (struct segment *segment = sock->rx, *next; segment != NULL; segment = next) {
        next = segment->next;
        free(segment);
    }
    sock->rx = NULL;
    sock->rx_tail = &sock->rx;
}

/* ---- marks ---- */

static void mark_tell(struct tcp *tcp, struct net_mark *mark, bool sure)
{
    host_heard(&tcp->link, mark->mark, sure && !sim.deaf);
    free(mark);
}

static void marks_end(struct tcp *tcp)
{
    for (struct net_mark *mark = tcp->marks, *next; mark != NULL; mark = next) {
        next = mark->next;
        mark_tell(tcp, mark, false);
    }
    tcp->marks = NULL;
    tcp->marks_tail = &tcp->marks;
}

static void marks_handed(struct tcp *tcp)
{
    for (struct net_mark *mark = tcp->marks; mark != NULL && mark->end <= tcp->received; mark = mark->next)
        mark->state = MARK_HANDED;
}

void net_seen(unsigned ring)
{
    for (struct tcp *tcp = tcps; tcp != NULL; tcp = tcp->next) {
        if (tcp->sock == NULL || tcp->sock->ring != ring)
            continue;
        while (tcp->marks != NULL && tcp->marks->state == MARK_HANDED && tcp->sock->sends == 0) {
            struct net_mark *mark = tcp->marks;
            tcp->marks = mark->next;
            if (tcp->marks == NULL)
                tcp->marks_tail = &tcp->marks;
            mark_tell(tcp, mark, !tcp->sock->given_up);
        }
    }
}

void net_mark(struct link *link, void *what)
{
    struct tcp *tcp = tcp_of(link);
    struct net_mark *mark = sim_alloc(sizeof *mark);
    *mark = (struct net_mark){.mark = what, .end = tcp->written};
    *tcp->marks_tail = mark;
    tcp->marks_tail = &mark->next;
}

/* ---- links ---- */

unsigned net_links(void)
{
    return tcps_n;
}

static void tcp_free(struct tcp *tcp)
{
    marks_end(tcp);
    events_forget(tcp);
    host_gone(&tcp->link);
    *tcp->back = tcp->next;
    if (tcp->next != NULL)
        tcp->next->back = tcp->back;
    tcps_n--;
    free(tcp);
}

static void on_client_end(void *owner, const void *bytes, size_t n)
{
    (void)bytes;
    (void)n;
    tcp_free(owner);
}

int seam_close(int fd)
{
    struct sock *sock = net_sock(fd);
    struct tcp *tcp = sock->tcp;
    rx_drop(sock);
    socks[fd - SEAM_FD_BASE] = NULL;
    if (tcp != NULL) {
        book_disconnect(tcp->link.host, tcp->link.source);
        tcp->sock = NULL;
        int64_t at_ns = sim.now.mono_ns + sim_between(DICE_NET, 0, 5 * NS_PER_MS);
        events_at(at_ns > tcp->last_in_ns ? at_ns : tcp->last_in_ns, on_client_end, tcp, NULL, 0);
        trace("link %u closed", tcp->link.id);
    }
    free(sock);
    return 0;
}

void net_set_ring(struct sock *sock, unsigned ring)
{
    sock->ring = ring;
}

void net_sending(struct sock *sock, bool begins)
{
    sock->sends += begins ? 1 : -1U;
}

void net_give_up(struct sock *sock)
{
    sock->given_up = true;
}

int64_t net_connect(struct sock *sock, const struct sockaddr *peer, int *result)
{
    struct host *host = host_at(peer);
    *result = -ECONNREFUSED;
    if (sim.deaf || host == NULL)
        return sim.now.mono_ns + NS_PER_MS;
    struct tcp *tcp = sim_alloc(sizeof *tcp);
    tcp->link = (struct link){.id = ++ids, .source = sock->source, .host = host};
    tcp->sock = sock;
    tcp->marks_tail = &tcp->marks;
    tcp->next = tcps;
    tcp->back = &tcps;
    if (tcps != NULL)
        tcps->back = &tcp->next;
    tcps = tcp;
    tcps_n++;
    sock->tcp = tcp;
    book_connect(host, sock->source);
    int64_t at_ns = sim.now.mono_ns + sim_between(DICE_NET, NS_PER_MS / 10, 20 * NS_PER_MS);
    if (host_is_down(host)) {
        if (sim_once_in(DICE_NET, 2))
            return INT64_MAX;
    } else if (fault_now(FAULT_NO_ANSWER, 30)) {
        return INT64_MAX;
    } else if (!fault_now(FAULT_REFUSED, 20)) {
        *result = 0;
        tcp->break_sent = fault_now(FAULT_LOST_SENDING, 8) ? 1 + sim_below(DICE_NET, 2000) : UINT64_MAX;
        tcp->break_received = fault_now(FAULT_LOST_RECEIVING, 8) ? 1 + sim_below(DICE_NET, 600) : UINT64_MAX;
    }
    return at_ns;
}

void net_connected(struct sock *sock)
{
    struct tcp *tcp = sock->tcp;
    tcp->established = true;
    trace("link %u from %u to %s", tcp->link.id, sock->source, host_name(tcp->link.host));
    host_accept(&tcp->link);
}

/* ---- to the daemon ---- */

bool net_is_broken(const struct link *link)
{
    return tcp_of(link)->broken;
}

void net_break(struct link *link)
{
    struct tcp *tcp = tcp_of(link);
    if (tcp->broken)
        return;
    tcp->broken = true;
    trace("link %u breaks", link->id);
    if (tcp->sock != NULL)
        rx_add(tcp->sock, SEGMENT_RESET, NULL, 0,
               sim.now.mono_ns > tcp->last_out_ns ? sim.now.mono_ns : tcp->last_out_ns);
}

void net_hang_up(struct link *link, int64_t at_ns)
{
    struct tcp *tcp = tcp_of(link);
    if (tcp->broken || tcp->hung_up)
        return;
    tcp->hung_up = true;
    tcp->broken = true;
    if (tcp->sock != NULL)
        rx_add(tcp->sock, SEGMENT_END, NULL, 0, at_ns > tcp->last_out_ns ? at_ns : tcp->last_out_ns);
}

static void write_piece(struct tcp *tcp, const char *bytes, size_t n, int64_t at_ns)
{
    if (at_ns < tcp->last_out_ns)
        at_ns = tcp->last_out_ns;
    tcp->last_out_ns = at_ns;
    tcp->written += n;
    if (tcp->sock != NULL)
        rx_add(tcp->sock, SEGMENT_BYTES, bytes, n, at_ns);
}

bool net_reply(struct link *link, const char *bytes, size_t n, int64_t at_ns)
{
    struct tcp *tcp = tcp_of(link);
    if (tcp->broken)
        return false;
    bool breaks = tcp->written + n >= tcp->break_received;
    size_t whole = breaks ? (size_t)(tcp->break_received - tcp->written) : n;
    for (size_t done = 0; done < whole;) {
        size_t piece = whole - done;
        if (piece > 1 && fault_now(FAULT_SPLIT, 4))
            piece = 1 + (size_t)sim_below(DICE_NET, piece - 1);
        write_piece(tcp, bytes + done, piece, at_ns);
        done += piece;
        if (done < whole)
            at_ns = tcp->last_out_ns + sim_between(DICE_NET, 0, 50 * NS_PER_MS);
    }
    if (breaks)
        net_break(link);
    return whole == n;
}

bool net_all_heard(const struct link *link)
{
    const struct tcp *tcp = tcp_of(link);
    return tcp->received == tcp->written;
}

int64_t net_readable_ns(const struct sock *sock)
{
    return sock->rx != NULL ? sock->rx->at_ns : INT64_MAX;
}

ssize_t net_read(struct sock *sock, void *bytes, size_t room)
{
    struct segment *segment = sock->rx;
    size_t n = 0;
    if (segment->kind != SEGMENT_BYTES)
        return segment->kind == SEGMENT_END ? 0 : -ECONNRESET;
    /* What has arrived together is read together, mostly. */
    while (segment != NULL && segment->kind == SEGMENT_BYTES && segment->at_ns <= sim.now.mono_ns &&
           n < room) {
        size_t part = segment->n - segment->taken < room - n ? segment->n - segment->taken : room - n;
        memcpy((char *)bytes + n, segment->bytes + segment->taken, part);
        n += part;
        segment->taken += part;
        if (segment->taken < segment->n)
            break;
        sock->rx = segment->next;
        if (sock->rx == NULL)
            sock->rx_tail = &sock->rx;
        free(segment);
        segment = sock->rx;
        if (sim_once_in(DICE_NET, 4))
            break;
    }
    sock->tcp->received += n;
    marks_handed(sock->tcp);
    return (ssize_t)n;
}

/* ---- from the daemon ---- */

static void on_arrival(void *owner, const void *bytes, size_t n)
{
    struct tcp *tcp = owner;
    if (tcp->broken)
        return;
    bool breaks = tcp->sent + n >= tcp->break_sent;
    size_t part = breaks ? (size_t)(tcp->break_sent - tcp->sent) : n;
    tcp->sent += part;
    host_input(&tcp->link, bytes, part);
    if (breaks)
        net_break(&tcp->link);
}

ssize_t net_send(struct sock *sock, const void *bytes, size_t n)
{
    struct tcp *tcp = sock->tcp;
    if (tcp == NULL || !tcp->established)
        return -ENOTCONN;
    if (tcp->broken && tcp->last_out_ns <= sim.now.mono_ns)
        return tcp->hung_up ? -EPIPE : -ECONNRESET;
    int64_t at_ns = sim.now.mono_ns + sim_between(DICE_NET, NS_PER_MS / 20, 5 * NS_PER_MS);
    if (at_ns < tcp->last_in_ns)
        at_ns = tcp->last_in_ns;
    tcp->last_in_ns = at_ns;
    events_at(at_ns, on_arrival, tcp, bytes, n);
    return (ssize_t)n;
}

/* ---- ends ---- */

void net_crash(void)
{
    for (struct tcp *tcp = tcps; tcp != NULL; tcp = tcp->next) {
        net_break(&tcp->link);
        if (tcp->sock != NULL && tcp->sock->rx != NULL)
            for (struct segment *segment = tcp->sock->rx; segment != NULL; segment = segment->next)
                segment->at_ns = sim.now.mono_ns;
        marks_end(tcp);
    }
}

void net_end(void)
{
    for (int i = 0; i < SOCKS_MAX; i++)
        if (socks[i] != NULL)
            sim_fail("leak", "socket %d is left open when all has ended", i);
    while (tcps != NULL)
        tcp_free(tcps);
    ids = 0;
}
