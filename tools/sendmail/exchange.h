/* exchange.h - SMTP with the daemon over its Unix socket, one message; what went wrong as an exit code of
 * sysexits.h, with a line on standard error. */
#ifndef POSTRIDER_TOOLS_SENDMAIL_EXCHANGE_H
#define POSTRIDER_TOOLS_SENDMAIL_EXCHANGE_H

#include "engine/base/buf.h"

#include <stdbool.h>

#define EXCHANGE_TIMEOUT_S 300

struct exchange {
    int fd;
    struct buf in;    /* what came and is not read yet */
    struct buf reply; /* the last one, its lines joined */
    unsigned code;
    char host[256]; /* the daemon's, from its greeting */
};

/* "sendmail: …" on standard error; returns code. */
int complain(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Connects and reads the greeting. 0, or EX_TEMPFAIL with a complaint: the daemon is down, or lets nobody in
 * now. */
int exchange_open(struct exchange *exchange, const char *path);
void exchange_close(struct exchange *exchange);
/* Sends all of it and waits for the reply. 0 if its code begins with a digit of `good` ("2", "23"). */
int exchange_say(struct exchange *exchange, struct str text, const char *good);
/* Standard input and output as if they were the connection (-bs), until either ends. */
int exchange_relay(struct exchange *exchange);

#endif
