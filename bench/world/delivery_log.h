/* delivery_log.h - one line for each recipient whose message was accepted.
 *
 * Tab separated: time_ms, host, connection number, helo name, mail from, rcpt to, size, digest, tls yes or
 * no. Buffered, written out when full, on delivery_log_flush and by the owner's timer. One thread. */
#ifndef POSTRIDER_WORLD_DELIVERY_LOG_H
#define POSTRIDER_WORLD_DELIVERY_LOG_H

#include "engine/base/buf.h"
#include "engine/base/err.h"

struct delivery_log {
    int fd; /* -1: no log */
    bool failed;
    struct buf lines;
};

struct delivery {
    int64_t time_ms;
    const char *host;
    uint64_t connection;
    struct str helo, from;
    uint64_t size;
    const char *digest;
    bool tls;
};

/* path NULL: no log. The file is made anew. */
bool delivery_log_open(struct delivery_log *log, const char *path, struct err *err);

static inline bool delivery_log_on(const struct delivery_log *log)
{
    return log->fd >= 0;
}

void delivery_log_close(struct delivery_log *log);
void delivery_log_flush(struct delivery_log *log);
void delivery_log_add(struct delivery_log *log, const struct delivery *delivery, struct str recipient);

#endif
