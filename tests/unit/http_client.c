/* http_client.c - see http_client.h. */
#include "tests/unit/http_client.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define WAIT_MS 20000

void client_open(struct http_client *client, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    assert_true(strlen(path) < sizeof address.sun_path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(client->fd >= 0);
    if (connect(client->fd, (struct sockaddr *)&address, sizeof address) != 0)
        fail_msg("connect to %s: %s", path, strerror(errno));
    buf_init(&client->in, (size_t)1 << 30);
}

void client_close(struct http_client *client)
{
    close(client->fd);
    buf_free(&client->in);
}

bool client_send(struct http_client *client, const void *data, size_t n)
{
    for (size_t at = 0; at < n;) {
        struct pollfd ready = {.fd = client->fd, .events = POLLOUT};
        assert_int_equal(poll(&ready, 1, WAIT_MS), 1);
        ssize_t sent = send(client->fd, (const char *)data + at, n - at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN)
            return false;
        at += sent > 0 ? (size_t)sent : 0;
    }
    return true;
}

bool client_send_z(struct http_client *client, const char *text)
{
    return client_send(client, text, strlen(text));
}

bool client_send_chunk(struct http_client *client, struct str data)
{
    char head[32];
    int n = snprintf(head, sizeof head, "%zx\r\n", data.n);
    return client_send(client, head, (size_t)n) && client_send(client, data.p, data.n) &&
           client_send_z(client, "\r\n");
}

/* More bytes; false at the end of the connection, or after wait_ms. */
static bool receive(struct http_client *client, int wait_ms)
{
    struct pollfd ready = {.fd = client->fd, .events = POLLIN};
    if (poll(&ready, 1, wait_ms) != 1)
        return false;
    char *room = buf_room(&client->in, 65536);
    assert_non_null(room);
    ssize_t n = recv(client->fd, room, 65536, 0);
    if (n <= 0)
        return false;
    client->in.len += (size_t)n;
    return true;
}

/* Takes n bytes off the front of what came, into out. */
static bool take(struct http_client *client, size_t n, struct buf *out)
{
    while (client->in.len < n) {
        if (!receive(client, WAIT_MS))
            return false;
    }
    buf_add(out, client->in.data, n);
    buf_shift(&client->in, n);
    return true;
}

/* The length of the first line, its line end included; SIZE_MAX when the connection ended. */
static size_t line_length(struct http_client *client, int wait_ms)
{
    size_t end;
    while ((end = str_find(buf_str(&client->in), '\n', 0)) == SIZE_MAX) {
        if (!receive(client, wait_ms))
            return SIZE_MAX;
    }
    return end + 1;
}

void client_read_header(struct http_client *client, struct http_reply *reply)
{
    size_t end;
    *reply = (struct http_reply){0};
    buf_init(&reply->body, (size_t)1 << 30);
    while (client->in.len == 0 || memmem(client->in.data, client->in.len, "\r\n\r\n", 4) == NULL)
        assert_true(receive(client, WAIT_MS));
    end = (size_t)((char *)memmem(client->in.data, client->in.len, "\r\n\r\n", 4) - client->in.data) + 4;
    assert_true(end < sizeof reply->header);
    memcpy(reply->header, client->in.data, end);
    buf_shift(&client->in, end);
    assert_int_equal(sscanf(reply->header, "HTTP/1.1 %u", &reply->status), 1);
}

static void read_chunks(struct http_client *client, struct http_reply *reply)
{
    struct buf end;
    size_t n;
    buf_init(&end, 16);
    do {
        size_t line = line_length(client, WAIT_MS);
        n = line == SIZE_MAX ? 0 : strtoul(client->in.data, NULL, 16);
        reply->cut = line == SIZE_MAX;
        if (!reply->cut) {
            buf_shift(&client->in, line);
            buf_clear(&end);
            reply->cut = !take(client, n, &reply->body) || !take(client, 2, &end);
        }
    } while (!reply->cut && n > 0);
    buf_free(&end);
}

void client_read(struct http_client *client, struct http_reply *reply)
{
    client_read_header(client, reply);
    const char *length = strcasestr(reply->header, "content-length:");
    if (strcasestr(reply->header, "chunked") != NULL)
        read_chunks(client, reply);
    else if (length != NULL)
        reply->cut = !take(client, strtoul(length + 15, NULL, 10), &reply->body);
    buf_add_char(&reply->body, '\0');
    reply->body.len--;
}

bool client_read_line(struct http_client *client, struct buf *line, int wait_ms)
{
    buf_clear(line);
    for (;;) {
        size_t n = line_length(client, wait_ms);
        if (n == SIZE_MAX)
            return false;
        bool data = client->in.data[0] == '{', end = client->in.data[0] == '0';
        if (data)
            buf_add(line, client->in.data, n - 1);
        buf_shift(&client->in, n);
        if (data || end)
            return data && buf_add_char(line, '\0');
    }
}

void http_reply_free(struct http_reply *reply)
{
    buf_free(&reply->body);
}

json_t *reply_json(const struct http_reply *reply)
{
    json_error_t error;
    json_t *root = json_loadb(reply->body.data, reply->body.len, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL)
        fail_msg("no JSON (%s): %s", error.text, reply->body.data);
    return root;
}

void http_call(const char *path, const char *method, const char *url, const char *headers, struct str body,
               struct http_reply *reply)
{
    struct http_client client;
    struct buf head;
    client_open(&client, path);
    buf_init(&head, 65536);
    buf_printf(&head, "%s %s HTTP/1.1\r\nHost: postrider\r\n%s", method, url, headers);
    if (body.n > 0)
        buf_printf(&head, "Content-Length: %zu\r\n", body.n);
    buf_add_z(&head, "\r\n");
    assert_true(client_send(&client, head.data, head.len));
    assert_true(client_send(&client, body.p, body.n));
    client_read(&client, reply);
    buf_free(&head);
    client_close(&client);
}
