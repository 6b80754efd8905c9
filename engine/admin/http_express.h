/* http_express.h - the door of a Unix socket: accepts connections, serves uploads that come in plain requests
 * itself, and hands every connection with anything else on it over to libmicrohttpd.
 *
 * Platforms that send a job a request are most of what the socket sees, and a good part of what such a job
 * cost was the library's way with a request that waits for a commit: a read too many, two changes of epoll, a
 * wake-up for each that is resumed, and 16 KiB cleared. Without it, and with one wake-up for all of a commit:
 * 81 to 70 us of the daemon's CPU a message end to end, 82 to 69 held (bench/notes.md).
 *
 * A connection's next request is looked at with MSG_PEEK, so that the library finds all of one that is not
 * plain (http_plain.h): another path, a chunked or a large body, "Expect", a head that comes in pieces. From
 * then on the connection is the library's. A plain request of at most HTTP_PLAIN_BODY_MAX bytes is read whole
 * before its upload begins, and not a byte further. Its answer keeps the connection open.
 *
 * Connections of both kinds count for HTTP_CONNECTIONS_MAX; more wait in the backlog. A client that neither
 * sends nor takes anything for HTTP_IDLE_S is closed. */
#ifndef POSTRIDER_ADMIN_HTTP_EXPRESS_H
#define POSTRIDER_ADMIN_HTTP_EXPRESS_H

#include "engine/base/err.h"

struct express;
struct express_conn;
struct http;
struct listener;

/* fd: listening, non-blocking; stays the caller's. Serves before it returns. */
struct express *express_create(struct listener *listener, struct http *http, int fd, unsigned threads,
                               struct err *err);
/* When nothing is suspended. Ends its threads and connections. NULL is fine. */
void express_destroy(struct express *express);
unsigned express_connections(const struct express *express);

/* For the request of that connection: its head, only while its upload begins; NULL where absent. */
const char *express_header(const struct express_conn *conn, const char *name);
int express_fd(const struct express_conn *conn);
/* Any thread: the request goes on, on its own thread. */
void express_resume(struct express_conn *conn);

#endif
