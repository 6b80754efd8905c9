/* http_socket.h - the Unix sockets that http.c listens on: made, protected, removed. Main thread. */
#ifndef POSTRIDER_ADMIN_HTTP_SOCKET_H
#define POSTRIDER_ADMIN_HTTP_SOCKET_H

#include "engine/admin/http.h"

#include <sys/types.h>

struct http_socket {
    int fd;    /* listening, non-blocking */
    dev_t dev; /* which file it is, to remove no other */
    ino_t inode;
};

/* A file left by a process that is gone is replaced. False and err otherwise. */
bool http_socket_open(struct http_socket *out, const struct http_listener *listener, struct err *err);
/* Removes the file if it is still ours. The descriptor is closed by who took it. */
void http_socket_remove(const struct http_socket *listening, const struct http_listener *listener);

#endif
