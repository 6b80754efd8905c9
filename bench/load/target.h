/* target.h - where SMTP is spoken: 127.0.0.1:2525, [::1]:25, unix:/path, or 127.0.9.1..1000:25 (that many
 * addresses from the first on, in turn). */
#ifndef POSTRIDER_LOAD_TARGET_H
#define POSTRIDER_LOAD_TARGET_H

#include "engine/base/err.h"
#include "engine/base/str.h"

#include <netinet/in.h>
#include <sys/un.h>

struct target {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un local;
    } address;
    socklen_t size;
    uint32_t count; /* 1, or more with IPv4 */
};

bool target_parse(struct target *target, const char *text, struct err *err);
/* The one for connection number n. */
struct target target_of(const struct target *target, uint64_t n);
/* A socket of its family with TCP_NODELAY, or -1 with errno. */
int target_socket(const struct target *target, bool blocking);

/* Raises the limit on open files as far as may be; false where that is too little for so many. */
bool connections_allow(uint64_t connections, struct err *err);

#endif
