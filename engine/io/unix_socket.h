/* unix_socket.h - Unix sockets that others connect to: made, protected, removed. Main thread. */
#ifndef POSTRIDER_IO_UNIX_SOCKET_H
#define POSTRIDER_IO_UNIX_SOCKET_H

#include "engine/base/err.h"

#include <sys/types.h>

struct unix_socket {
    int fd;    /* listening, non-blocking */
    dev_t dev; /* which file it is, to remove no other */
    ino_t inode;
};

struct unix_socket_file {
    const char *path;
    unsigned mode;
    const char *group; /* NULL or "": left as it is */
};

/* A file left by a process that is gone is replaced. False and err otherwise. */
bool unix_socket_open(struct unix_socket *out, const struct unix_socket_file *file, struct err *err);
/* Removes the file if it is still ours. The descriptor is closed by who took it. */
void unix_socket_remove(const struct unix_socket *listening, const char *path);

#endif
