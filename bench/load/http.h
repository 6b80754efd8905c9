/* http.h - just enough HTTP/1.1 for the job API over a Unix socket: connecting, and taking in an answer.
 *
 * An answer is gathered whole (its header and body), then looked at in place. One thread. */
#ifndef POSTRIDER_LOAD_HTTP_H
#define POSTRIDER_LOAD_HTTP_H

#include "engine/base/buf.h"
#include "engine/base/err.h"

#define HTTP_ANSWER_SIZE (16 * 1024 * 1024)

enum answer_state { ANSWER_MORE, ANSWER_WHOLE, ANSWER_BROKEN };

struct answer {
    struct buf in;
    int status;
    bool close;      /* the server will close the connection */
    struct str body; /* once whole; valid until the next read or clear */
};

/* A connected socket, or -1. It blocks: say MSG_DONTWAIT. */
int http_connect(const char *path, struct err *err);

void answer_init(struct answer *answer);
void answer_free(struct answer *answer);
/* Before the next one. */
void answer_clear(struct answer *answer);
/* Looks at what is in answer->in. */
enum answer_state answer_parse(struct answer *answer);
/* Reads what the socket has and parses it. ANSWER_BROKEN fills err: closed, reset, not HTTP, too long. */
enum answer_state answer_read(struct answer *answer, int fd, struct err *err);
/* Of the body, what fits an error. */
struct str answer_excerpt(const struct answer *answer);
/* The sum of all "accepted":N in the body. */
uint64_t answer_accepted(const struct answer *answer);

#endif
