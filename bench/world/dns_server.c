/* dns_server.c - see dns_server.h. */
#include "bench/world/dns_server.h"

#include "engine/base/codec.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <uthash.h>

#define TYPES_COUNTED  8
#define RCODES         6
#define QUERIES_A_TURN 256
#define BIND_TRIES     50

struct name_count {
    char *name;
    uint32_t types_used;
    struct {
        unsigned type;
        uint32_t n;
    } types[TYPES_COUNTED];
    UT_hash_handle hh;
};

struct late {
    struct wheel_timer timer;
    struct late *next, **back;
    struct dns_server *server;
    struct dns_client *client; /* NULL: UDP */
    union address to;
    size_t n;
    uint8_t bytes[];
};

struct dns_client {
    struct watch watch;
    struct wheel_timer idle;
    struct dns_client *next, **back;
    struct dns_server *server;
    struct late *late;
    size_t used;
    uint8_t in[2 + DNS_MESSAGE_MAX];
};

struct dns_server {
    struct loop *loop;
    const struct zone *zone;
    struct dns_defaults defaults;
    uint32_t delay_ms;
    struct watch udp, tcp;
    struct dns_client *clients;
    struct late *late;
    uint64_t queries, tcp_queries, truncated, timed_out, rcodes[RCODES];
    struct name_count all; /* by type only */
    struct name_count *names;
    uint8_t in[DNS_MESSAGE_MAX];
    uint8_t out[2 + DNS_MESSAGE_MAX]; /* TCP's length goes before the message */
};

static void count_type(struct name_count *count, unsigned type)
{
    uint32_t i = 0;
    while (i < count->types_used && count->types[i].type != type)
        i++;
    if (i == TYPES_COUNTED)
        return;
    if (i == count->types_used)
        count->types[count->types_used++].type = type;
    count->types[i].n++;
}

static struct name_count *counted_name(struct dns_server *server, const struct name_text *name)
{
    struct name_count *count = NULL;
    HASH_FIND(hh, server->names, name->text, name->n, count);
    if (count || HASH_COUNT(server->names) >= WORLD_DNS_NAMES_MAX)
        return count;
    count = calloc(1, sizeof *count);
    char *copy = str_dup(str_make(name->text, name->n));
    if (count == NULL || copy == NULL) {
        free(count);
        free(copy);
        return NULL;
    }
    count->name = copy;
    HASH_ADD_KEYPTR(hh, server->names, count->name, name->n, count);
    return count;
}

static void count_query(struct dns_server *server, const struct dns_answer *answer, bool tcp)
{
    server->queries++;
    server->tcp_queries += tcp;
    server->truncated += answer->truncated;
    server->timed_out += answer->timed_out;
    if (!answer->timed_out && answer->rcode < RCODES)
        server->rcodes[answer->rcode]++;
    if (answer->type == 0)
        return;
    count_type(&server->all, answer->type);
    struct name_count *count = counted_name(server, &answer->name);
    if (count)
        count_type(count, answer->type);
}

static void late_free(struct late *late)
{
    wheel_cancel(&late->server->loop->wheel, &late->timer);
    *late->back = late->next;
    if (late->next)
        late->next->back = late->back;
    free(late);
}

static void late_due(struct wheel_timer *timer, struct now now)
{
    struct late *late = OWNER_OF(timer, struct late, timer);
    (void)now;
    if (late->client)
        (void)!write(late->client->watch.fd, late->bytes, late->n);
    else
        (void)!sendto(late->server->udp.fd, late->bytes, late->n, 0, &late->to.any, address_size(&late->to));
    late_free(late);
}

/* Keeps the answer for later; without memory it is lost, as packets are. */
static void send_late(struct dns_server *server, struct dns_client *client, const union address *to,
                      const uint8_t *bytes, size_t n, uint32_t delay_ms)
{
    struct late *late = malloc(sizeof *late + n);
    if (late == NULL)
        return;
    struct late **head = client ? &client->late : &server->late;
    *late = (struct late){.next = *head, .back = head, .server = server, .client = client, .n = n};
    if (late->next)
        late->next->back = &late->next;
    *head = late;
    if (to)
        late->to = *to;
    memcpy(late->bytes, bytes, n);
    loop_after(server->loop, &late->timer, (int64_t)delay_ms * NS_PER_MS, late_due);
}

static void udp_ready(struct watch *watch, uint32_t events)
{
    struct dns_server *server = OWNER_OF(watch, struct dns_server, udp);
    (void)events;
    for (int i = 0; i < QUERIES_A_TURN; i++) {
        union address from;
        socklen_t size = sizeof from;
        ssize_t n = recvfrom(watch->fd, server->in, sizeof server->in, 0, &from.any, &size);
        if (n < 0)
            return;
        struct dns_answer answer;
        dns_answer(server->zone, server->defaults, server->in, (size_t)n, false, server->out, &answer);
        count_query(server, &answer, false);
        uint32_t delay_ms = server->delay_ms + answer.delay_ms;
        if (answer.n == 0)
            continue;
        if (delay_ms)
            send_late(server, NULL, &from, server->out, answer.n, delay_ms);
        else
            (void)!sendto(watch->fd, server->out, answer.n, 0, &from.any, size);
    }
}

static void client_free(struct dns_client *client)
{
    while (client->late)
        late_free(client->late);
    wheel_cancel(&client->server->loop->wheel, &client->idle);
    *client->back = client->next;
    if (client->next)
        client->next->back = client->back;
    close(client->watch.fd);
    free(client);
}

static void client_idle(struct wheel_timer *timer, struct now now)
{
    (void)now;
    client_free(OWNER_OF(timer, struct dns_client, idle));
}

/* False once the client is of no use any more. */
static bool answer_client(struct dns_client *client, size_t n)
{
    struct dns_server *server = client->server;
    struct dns_answer answer;
    dns_answer(server->zone, server->defaults, client->in + 2, n, true, server->out + 2, &answer);
    count_query(server, &answer, true);
    uint32_t delay_ms = server->delay_ms + answer.delay_ms;
    if (answer.n == 0)
        return true;
    put_be16(server->out, (uint16_t)answer.n);
    if (delay_ms) {
        send_late(server, client, NULL, server->out, answer.n + 2, delay_ms);
        return true;
    }
    return write(client->watch.fd, server->out, answer.n + 2) == (ssize_t)(answer.n + 2);
}

static void client_ready(struct watch *watch, uint32_t events)
{
    struct dns_client *client = OWNER_OF(watch, struct dns_client, watch);
    (void)events;
    ssize_t got = read(watch->fd, client->in + client->used, sizeof client->in - client->used);
    if (got < 0 && errno == EAGAIN)
        return;
    bool alive = got > 0;
    client->used += alive ? (size_t)got : 0;
    while (alive && client->used >= 2 && client->used - 2 >= get_be16(client->in)) {
        size_t n = get_be16(client->in);
        alive = answer_client(client, n);
        client->used -= n + 2;
        memmove(client->in, client->in + n + 2, client->used);
    }
    if (alive)
        loop_after(client->server->loop, &client->idle, WORLD_DNS_TCP_IDLE_NS, client_idle);
    else
        client_free(client);
}

static void tcp_ready(struct watch *watch, uint32_t events)
{
    struct dns_server *server = OWNER_OF(watch, struct dns_server, tcp);
    struct err ignored;
    (void)events;
    int fd = net_accept(watch->fd, NULL);
    if (fd < 0)
        return;
    struct dns_client *client = malloc(sizeof *client);
    if (client == NULL) {
        close(fd);
        return;
    }
    client->watch = (struct watch){.fd = fd, .ready = client_ready};
    client->idle = (struct wheel_timer){0};
    client->server = server;
    client->late = NULL;
    client->used = 0;
    client->next = server->clients;
    client->back = &server->clients;
    if (client->next)
        client->next->back = &client->next;
    server->clients = client;
    loop_after(server->loop, &client->idle, WORLD_DNS_TCP_IDLE_NS, client_idle);
    if (!loop_add(server->loop, &client->watch, EPOLLIN, &ignored))
        client_free(client);
}

/* Both kinds on one port: with port 0 the one UDP got may be taken for TCP, so try others. */
static bool bind_both(struct dns_server *server, union address *address, struct err *err)
{
    uint16_t wanted = address_port(address);
    for (int i = 0; i < BIND_TRIES; i++) {
        address_set_port(address, wanted);
        server->udp.fd = net_bind(address, SOCK_DGRAM, err);
        if (server->udp.fd < 0)
            return false;
        server->tcp.fd = net_bind(address, SOCK_STREAM, err);
        if (server->tcp.fd >= 0)
            return true;
        close(server->udp.fd);
        server->udp.fd = -1;
        if (wanted != 0 || err->code != EADDRINUSE)
            return false;
    }
    return false;
}

struct dns_server *dns_server_create(struct loop *loop, const struct zone *zone, struct dns_defaults defaults,
                                     uint32_t delay_ms, union address *address, struct err *err)
{
    struct dns_server *server = calloc(1, sizeof *server);
    if (server == NULL) {
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    server->loop = loop;
    server->zone = zone;
    server->defaults = defaults;
    server->delay_ms = delay_ms;
    server->udp = (struct watch){.fd = -1, .ready = udp_ready};
    server->tcp = (struct watch){.fd = -1, .ready = tcp_ready};
    if (bind_both(server, address, err) && loop_add(loop, &server->udp, EPOLLIN, err) &&
        loop_add(loop, &server->tcp, EPOLLIN, err))
        return server;
    dns_server_free(server);
    return NULL;
}

void dns_server_reset(struct dns_server *server)
{
    struct name_count *count, *next;
    HASH_ITER(hh, server->names, count, next)
    {
        HASH_DEL(server->names, count);
        free(count->name);
        free(count);
    }
    server->queries = server->tcp_queries = server->truncated = server->timed_out = 0;
    memset(server->rcodes, 0, sizeof server->rcodes);
    server->all = (struct name_count){0};
}

void dns_server_free(struct dns_server *server)
{
    if (server == NULL)
        return;
    while (server->clients)
        client_free(server->clients);
    while (server->late)
        late_free(server->late);
    dns_server_reset(server);
    if (server->udp.fd >= 0)
        close(server->udp.fd);
    if (server->tcp.fd >= 0)
        close(server->tcp.fd);
    free(server);
}

static json_t *types_of(const struct name_count *count)
{
    json_t *types = json_object();
    for (uint32_t i = 0; i < count->types_used; i++) {
        char room[16];
        json_object_set_new(types, dns_type_name(count->types[i].type, room),
                            json_integer(count->types[i].n));
    }
    return types;
}

json_t *dns_server_counts(const struct dns_server *server, bool by_name)
{
    static const char *const rcodes[RCODES] = {"NOERROR",  "FORMERR", "SERVFAIL",
                                               "NXDOMAIN", "NOTIMP",  "REFUSED"};
    json_t *by_rcode = json_object(), *names = by_name ? json_object() : NULL;
    for (int i = 0; i < RCODES; i++)
        if (server->rcodes[i])
            json_object_set_new(by_rcode, rcodes[i], json_integer((json_int_t)server->rcodes[i]));
    struct name_count *names_counted = by_name ? server->names : NULL, *count, *next;
    HASH_ITER(hh, names_counted, count, next)
    {
        json_object_set_new(names, count->name, types_of(count));
    }
    return json_pack("{sI sI sI sI so so so*}", "queries", (json_int_t)server->queries, "tcp",
                     (json_int_t)server->tcp_queries, "truncated", (json_int_t)server->truncated, "timed_out",
                     (json_int_t)server->timed_out, "types", types_of(&server->all), "rcodes", by_rcode,
                     "names", names);
}
