/* client.c - see client.h.
 *
 * Bytes come in (client_received), are decrypted, and fed to the dialogue (take); its replies gather in `out`
 * and leave in one send when the input is used up or the client has to wait. */
#include "engine/submission/client.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#define INPUT_PAUSE  16384 /* kept of a client that sends ahead, before it has to wait */
#define OUT_MAX      (SUBMISSION_REPLIES_MAX + 16 * 1024) /* one reply may come on top */
#define KEPT_BYTES   1024                                 /* of a buffer that an idle client keeps */
#define HANDSHAKE_MS 60000
#define PART_MS      2000 /* for the peer to take the last reply and close */

static int64_t now_ns(const struct client *client)
{
    return client->door->settings.now->mono_ns;
}

/* ---- the end ---- */

static void client_free(struct client *client)
{
    struct door *door = client->door;
    LIST_REMOVE(client, list);
    atomic_fetch_sub_explicit(&client->entrance->connections, 1, memory_order_relaxed);
    if (client->seat != NULL)
        atomic_fetch_sub_explicit(client->seat, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&door->settings.submission->bytes, client->held, memory_order_relaxed);
    wheel_cancel(door->settings.wheel, &client->timer);
    posting_free(&client->posting);
    dialogue_free(&client->dialogue);
    tls_free(client->tls);
    buf_free(&client->input);
    buf_free(&client->out);
    buf_free(&client->cipher);
    buf_free(&client->flying);
    free(client);
    door_leave(door);
}

static void on_closed(struct io_conn *conn)
{
    struct client *client = (struct client *)(void *)conn;
    client->gone = true;
    if (client->wait == CLIENT_READY)
        client_free(client);
}

static void cut(struct client *client)
{
    client->leaving = true;
    wheel_cancel(client->door->settings.wheel, &client->timer);
    io_close(client->door->settings.io, &client->conn);
}

/* ---- out ---- */

static void on_timer(struct wheel_timer *timer, struct now now);

static void set_timer(struct client *client, int64_t ms)
{
    int64_t at_ns = now_ns(client) + ms * NS_PER_MS;
    if (client->message_until_ns != 0 && client->message_until_ns < at_ns)
        at_ns = client->message_until_ns;
    wheel_set(client->door->settings.wheel, &client->timer, at_ns, on_timer);
}

/* The last reply is with the kernel. To close at once would lose it where the client is still sending. */
static void part(struct client *client)
{
    if (client->ended) {
        cut(client);
        return;
    }
    if (client->parted)
        return;
    client->parted = true;
    client->message_until_ns = 0;
    io_shutdown(&client->conn);
    set_timer(client, PART_MS);
}

/* What waits, to `cipher`; before the last of it is sent, TLS's own end behind it. */
static bool encrypt(struct client *client)
{
    struct iovec iov = {client->out.data, client->out.len};
    struct err err;
    bool good = true;
    if (client->handshake) /* only the reply to STARTTLS can be left, and it goes in the clear */
        return true;
    if (client->out.len > 0)
        good = tls_write(client->tls, &iov, 1, &err);
    buf_clear(&client->out);
    if (good && client->leaving && !client->shut) {
        client->shut = true;
        tls_shutdown(client->tls);
    }
    return good;
}

static void buffer_shrink(struct buf *buf)
{
    if (buf->cap > KEPT_BYTES)
        buf_free(buf);
}

/* Sends what waits, unless a send is under way. */
static void flush(struct client *client)
{
    if (client->sending || client->conn.closing)
        return;
    if (client->tls != NULL && !encrypt(client)) {
        cut(client);
        return;
    }
    struct buf *next = client->tls != NULL && client->cipher.len > 0 ? &client->cipher : &client->out;
    if (next->len == 0) {
        if (client->leaving)
            part(client);
        return;
    }
    struct buf was = client->flying;
    client->flying = *next;
    *next = was;
    next->max = client->flying.max;
    buf_clear(next);
    client->iov = (struct iovec){client->flying.data, client->flying.len};
    client->sending = true;
    io_send(client->door->settings.io, &client->conn, &client->iov, 1);
}

/* A last reply, and the end. */
static void send_away(struct client *client, const char *reply)
{
    dialogue_end(&client->dialogue, reply, &client->out);
    client->leaving = true;
    client->message_until_ns = 0;
    set_timer(client, PART_MS);
    flush(client);
}

/* The message it handed in has ended so; what comes next. */
static enum dialogue_event message_over(struct client *client)
{
    struct submission *submission = client->door->settings.submission;
    bool closing = str_starts(str_of(client->reply), STR("421"));
    atomic_fetch_add_explicit(client->refused ? &submission->refused : &submission->messages, 1,
                              memory_order_relaxed);
    if (!client->refused)
        atomic_fetch_add_explicit(&submission->recipients, client->dialogue.parcel.rcpt_count,
                                  memory_order_relaxed);
    posting_free(&client->posting);
    enum dialogue_event event =
        dialogue_taken(&client->dialogue, !client->refused, client->reply, &client->out);
    return closing ? DIALOGUE_CLOSE : event;
}

/* ---- what the dialogue wants ---- */

static void start_tls(struct client *client)
{
    struct err err;
    client->tls = tls_accept(client->door->settings.tls, client->entrance->tls, &client->cipher, &err);
    client->handshake = true;
    if (client->tls == NULL)
        cut(client);
}

/* True: it goes on at once. */
static bool act(struct client *client, enum dialogue_event event)
{
    switch (event) {
    case DIALOGUE_MORE:
        return true;
    case DIALOGUE_TLS:
        flush(client); /* the reply goes in the clear */
        start_tls(client);
        return false;
    case DIALOGUE_LOGIN:
        if (client_log_in(client))
            return false;
        return act(client, dialogue_login(&client->dialogue, client->login, &client->out));
    case DIALOGUE_RETRY:
        if (client->door->stopping || client->door->full)
            return act(client, dialogue_retried(&client->dialogue, false, &client->out));
        client_retry(client);
        return false;
    case DIALOGUE_MESSAGE:
        if (client->dialogue.parcel.way == PARCEL_INBOUND) {
            client_inbound(client);
            return false;
        }
        if (client_post(client))
            return false;
        return act(client, message_over(client));
    case DIALOGUE_CLOSE:
        client->leaving = true;
        return false;
    }
    return false;
}

/* Looked up seldom: whether intake is stopped. */
static void look_whether_full(struct door *door)
{
    struct store_figures figures;
    if (door->settings.now->mono_ns < door->full_until_ns)
        return;
    store_figures(door->settings.submission->store, &figures);
    door->full = figures.full;
    door->full_until_ns = door->settings.now->mono_ns + 100 * NS_PER_MS;
}

/* Counts the memory of its message; when those of others take too much, one that is large gives up: alone
 * there is room for any. */
static void count_message(struct client *client)
{
    struct submission *submission = client->door->settings.submission;
    struct parcel *parcel = &client->dialogue.parcel;
    uint64_t held = parcel->message.cap + parcel->rcpts.cap, before = client->held;
    uint64_t others =
        atomic_fetch_add_explicit(&submission->bytes, held - before, memory_order_relaxed) - before;
    client->held = held;
    if (others > 2 * SUBMISSION_BYTES_MAX && held > SUBMISSION_QUICK_BYTES && client->wait == CLIENT_READY) {
        buf_free(&parcel->message);
        parcel->message.failed = true; /* said when it is whole */
    }
    if (!parcel->begun && client->dialogue.state != DIALOGUE_CHUNK)
        client->message_until_ns = 0;
    else if (client->message_until_ns == 0)
        client->message_until_ns = now_ns(client) + client->entrance->config->message_timeout_ms * NS_PER_MS;
}

static bool may_take(const struct client *client)
{
    return client->wait == CLIENT_READY && !client->leaving && !client->handshake &&
           client->out.len < SUBMISSION_REPLIES_MAX;
}

/* Feeds what is kept and these bytes, as far as it may; keeps the rest. */
static void take(struct client *client, struct str data)
{
    struct now now = *client->door->settings.now;
    struct io *io = client->door->settings.io;
    bool kept = client->input.len > 0;
    if (kept && !buf_add_str(&client->input, data)) {
        cut(client);
        return;
    }
    struct str rest = kept ? buf_str(&client->input) : data;
    client->dialogue.full = client->door->full;
    client->dialogue.crowded = atomic_load_explicit(&client->door->settings.submission->bytes,
                                                    memory_order_relaxed) > SUBMISSION_BYTES_MAX;
    while (rest.n > 0 && may_take(client)) {
        enum dialogue_event event = dialogue_feed(&client->dialogue, &rest, &client->out, now);
        if (!act(client, event))
            break;
    }
    if (client->leaving)
        rest.n = 0;
    if (kept)
        buf_shift(&client->input, client->input.len - rest.n);
    else if (rest.n > 0 && !buf_add_str(&client->input, rest))
        cut(client);
    if (client->input.len == 0)
        buf_free(&client->input);
    if (client->input.len > INPUT_PAUSE || client->paused) {
        client->paused = client->input.len > INPUT_PAUSE;
        io_pause(io, &client->conn, client->paused);
    }
}

/* After whatever happened. Bytes alone gain no time: a line or a handshake has to be whole within it, so that
 * nobody stays by a byte now and then. */
static void settle(struct client *client)
{
    if (client->conn.closing || client->gone)
        return;
    count_message(client);
    client->leaving |= client->ended && client->wait == CLIENT_READY && client->input.len == 0;
    if (client->wait != CLIENT_READY)
        wheel_cancel(client->door->settings.wheel, &client->timer);
    else if (!client->parted &&
             (client->leaving || client->steps != client->dialogue.steps || !wheel_is_set(&client->timer)))
        set_timer(client, client->leaving     ? PART_MS
                          : client->handshake ? HANDSHAKE_MS
                                              : client->entrance->config->timeout_ms);
    client->steps = client->dialogue.steps;
    flush(client);
}

/* ---- in ---- */

static void take_cipher(struct client *client, struct str data)
{
    struct str plain;
    struct err err;
    enum tls_state state = tls_feed(client->tls, data.p, data.n, &plain, &err);
    if (client->handshake && state == TLS_OPEN) {
        client->handshake = false;
        wheel_cancel(client->door->settings.wheel, &client->timer);
        if (client->entrance->config->implicit_tls)
            dialogue_begin(&client->dialogue, &client->entrance->rules, client->dialogue.trusted, true,
                           &client->out);
        else
            dialogue_secured(&client->dialogue);
    }
    if (plain.n > 0)
        take(client, plain);
    if (state == TLS_FAILED || state == TLS_CLOSED) {
        flush(client); /* an alert, which says why */
        cut(client);
    }
}

static void on_received(struct io_conn *conn, const void *data, ssize_t n)
{
    struct client *client = (struct client *)(void *)conn;
    if (n < 0) {
        cut(client);
        return;
    }
    if (n == 0) {
        client->ended = true;
        settle(client);
        return;
    }
    if (client->leaving) /* only so that the last reply gets through */
        return;
    look_whether_full(client->door);
    if (client->tls != NULL)
        take_cipher(client, str_make(data, (size_t)n));
    else
        take(client, str_make(data, (size_t)n));
    settle(client);
}

static void on_sent(struct io_conn *conn, ssize_t result)
{
    struct client *client = (struct client *)(void *)conn;
    client->sending = false;
    if (result < 0) {
        cut(client);
        return;
    }
    buf_clear(&client->flying);
    buffer_shrink(&client->flying);
    if (client->input.len > 0 && may_take(client)) {
        take(client, STR(""));
        settle(client);
        return;
    }
    if (client->out.len == 0 && client->cipher.len == 0 && !client->leaving) {
        buffer_shrink(&client->out);
        buffer_shrink(&client->cipher);
        return;
    }
    flush(client);
}

static void on_timer(struct wheel_timer *timer, struct now now)
{
    struct client *client = (struct client *)(void *)((char *)timer - offsetof(struct client, timer));
    bool late = client->message_until_ns != 0 && now.mono_ns >= client->message_until_ns;
    if (client->leaving || client->handshake || client->sending)
        cut(client);
    else
        send_away(client, late ? "421 4.4.2 the message takes too long: closing"
                               : "421 4.4.2 nothing whole came for too long: closing");
}

void client_back(struct client *client)
{
    enum client_wait was = client->wait;
    enum dialogue_event event = DIALOGUE_MORE;
    if ((was == CLIENT_POST && client_post_back(client)) ||
        (was == CLIENT_INBOUND && client_inbound_back(client)))
        return;
    client->wait = CLIENT_READY;
    if (was == CLIENT_POST || was == CLIENT_INBOUND) {
        event = message_over(client);
    } else if (was == CLIENT_LOGIN) {
        event = dialogue_login(&client->dialogue, client->login, &client->out);
        if (client->login == LOGIN_WRONG)
            atomic_fetch_add_explicit(&client->door->settings.submission->wrong_logins, 1,
                                      memory_order_relaxed);
        if (client->login == LOGIN_GOOD && client->login_tenant[0] != '\0')
            memcpy(client->tenant, client->login_tenant, sizeof client->tenant);
    } else {
        event = dialogue_retried(&client->dialogue, true, &client->out);
    }
    if (client->gone) {
        client_free(client);
        return;
    }
    if (client->stopping) {
        send_away(client, "421 4.3.2 shutting down: come again later");
        return;
    }
    if (act(client, event))
        take(client, STR(""));
    settle(client);
}

void client_stop(struct client *client, bool hard)
{
    client->stopping = true;
    if (hard || client->handshake)
        cut(client);
    else if (client->wait == CLIENT_READY && !client->leaving)
        send_away(client, "421 4.3.2 shutting down: come again later");
}

/* ---- the beginning ---- */

static const struct io_handlers handlers = {.sent = on_sent, .received = on_received, .closed = on_closed};

static bool in_networks(const struct entrance *entrance, const struct sockaddr *address)
{
    for (size_t i = 0; i < entrance->config->networks.count; i++)
        if (network_has(&entrance->networks[i], address))
            return true;
    return false;
}

/* Who it is, as far as the connection tells: fills peer and tenant. True: it may send mail on. */
static bool recognise(struct client *client)
{
    const struct config *config = client->door->settings.submission->config;
    const struct sockaddr *address = (const struct sockaddr *)&client->conn.peer;
    char text[INET6_ADDRSTRLEN] = "unknown";
    uint32_t uid;
    snprintf(client->tenant, sizeof client->tenant, "%s", client->entrance->config->tenant);
    if (client->entrance->config->address_len > 0) {
        const void *bytes =
            address->sa_family == AF_INET6
                ? (const void *)&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr
                : (const void *)&((const struct sockaddr_in *)(const void *)address)->sin_addr;
        inet_ntop(address->sa_family, bytes, text, sizeof text);
        snprintf(client->peer, sizeof client->peer, address->sa_family == AF_INET6 ? "[IPv6:%s]" : "[%s]",
                 text);
        return in_networks(client->entrance, address);
    }
    if (!io_peer_uid(&client->conn, &uid)) {
        snprintf(client->peer, sizeof client->peer, "unknown");
        return false;
    }
    snprintf(client->peer, sizeof client->peer, "uid %u", uid);
    for (size_t i = 0; i < config->jobs.tenant_count; i++)
        if (config->jobs.tenants[i].uid == uid)
            snprintf(client->tenant, sizeof client->tenant, "%s", config->jobs.tenants[i].tenant);
    return true;
}

/* Of a client's address what stands for who it is: of IPv6 the network of one line. */
static struct str origin(const struct sockaddr *address)
{
    if (address->sa_family != AF_INET6)
        return str_make((const char *)&((const struct sockaddr_in *)(const void *)address)->sin_addr, 4);
    const struct in6_addr *v6 = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    return IN6_IS_ADDR_V4MAPPED(v6) ? str_make((const char *)v6 + 12, 4) : str_make((const char *)v6, 8);
}

/* Strangers are counted by their address, those of all workers. True: there are too many from there. */
static bool count_stranger(struct client *client)
{
    struct submission *submission = client->door->settings.submission;
    uint64_t seed = submission->seed + (uint64_t)(client->entrance - submission->entrances);
    uint64_t hash = str_hash_seeded(origin((const struct sockaddr *)&client->conn.peer), seed);
    client->seat = &submission->seats[hash % SUBMISSION_SEATS];
    return atomic_fetch_add_explicit(client->seat, 1, memory_order_relaxed) >=
           client->entrance->config->max_per_address;
}

static void greet(struct client *client, bool too_many)
{
    const struct entrance *entrance = client->entrance;
    bool trusted = recognise(client), implicit = entrance->config->implicit_tls;
    struct buf *out = &client->out;
    if (!trusted && entrance->config->address_len > 0)
        too_many |= count_stranger(client);
    dialogue_begin(&client->dialogue, &entrance->rules, trusted, implicit, out);
    if (implicit)
        buf_clear(out); /* the greeting comes when TLS is there */
    if (implicit && !too_many)
        start_tls(client);
    if (too_many) {
        buf_clear(out);
        if (implicit)
            cut(client);
        else
            send_away(client, "421 4.7.0 too many connections: come again later");
        return;
    }
    settle(client);
}

void client_create(struct door *door, struct entrance *entrance, int fd)
{
    struct client *client = calloc(1, sizeof *client);
    unsigned before = atomic_fetch_add_explicit(&entrance->connections, 1, memory_order_relaxed);
    if (client == NULL || before >= 2 * entrance->config->max_connections) {
        atomic_fetch_sub_explicit(&entrance->connections, 1, memory_order_relaxed);
        free(client);
        io_discard(fd);
        door_leave(door);
        return;
    }
    client->door = door;
    client->entrance = entrance;
    client->conn.handlers = &handlers;
    buf_init(&client->input, SUBMISSION_INPUT_MAX);
    buf_init(&client->out, OUT_MAX);
    buf_init(&client->cipher, TLS_OUT_MAX);
    buf_init(&client->flying, OUT_MAX);
    LIST_INSERT_HEAD(&door->clients, client, list);
    io_adopt(door->settings.io, &client->conn, fd);
    io_receive(door->settings.io, &client->conn);
    greet(client, before >= entrance->config->max_connections);
}
