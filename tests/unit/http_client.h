/* http_client.h - for tests: HTTP/1.1 by hand over a Unix socket, so that a client can also be slow, cut its
 * body short, or vanish. Every wait ends after some seconds and fails the test. */
#ifndef POSTRIDER_TESTS_HTTP_CLIENT_H
#define POSTRIDER_TESTS_HTTP_CLIENT_H

#include "engine/base/buf.h"

#include <jansson.h>

struct http_client {
    int fd;
    struct buf in; /* what has come and was not read yet */
};

struct http_reply {
    unsigned status;
    char header[4096]; /* with its lines */
    struct buf body;   /* whole, without chunks; NUL-terminated behind its length */
    bool cut;          /* the connection ended before the body did */
};

void client_open(struct http_client *client, const char *path);
void client_close(struct http_client *client);
/* All of it; false when the server closed. */
bool client_send(struct http_client *client, const void *data, size_t n);
bool client_send_z(struct http_client *client, const char *text);
/* One piece of a chunked body; "" ends it. */
bool client_send_chunk(struct http_client *client, struct str data);
void client_read(struct http_client *client, struct http_reply *reply);
/* Only the header of an answer that goes on. */
void client_read_header(struct http_client *client, struct http_reply *reply);
/* The next line of a chunked NDJSON body that goes on; false: nothing within wait_ms, or the end. */
bool client_read_line(struct http_client *client, struct buf *line, int wait_ms);
void http_reply_free(struct http_reply *reply);
/* The body as JSON; fails the test when it is none. The caller drops it. */
json_t *reply_json(const struct http_reply *reply);

/* One request on a connection of its own. headers: lines with CRLF, or "". */
void http_call(const char *path, const char *method, const char *url, const char *headers, struct str body,
               struct http_reply *reply);

#endif
