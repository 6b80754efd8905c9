/* host_parts.h - what host.c (hosts, connections, messages) and host_say.c (replies) share. */
#ifndef POSTRIDER_TESTS_SIM_HOST_PARTS_H
#define POSTRIDER_TESTS_SIM_HOST_PARTS_H

#include "tests/sim/book.h"
#include "tests/sim/host.h"

struct host {
    unsigned number;
    bool pipelining, ehlo, greylists, size, eight_bit, dsn, chunking;
    bool bounces_late;
    unsigned rcpts_max; /* a transaction; 0: any number */
    unsigned mail_told,
        rcpt_told; /* with LIMITS (RFC 9422): messages a connection, recipients a message; 0: not */
    int64_t think_ns, down_until_ns;
};

/* One MAIL and what follows it; replies to it may still be on their way when it is over. */
struct txn {
    unsigned refs;
    struct book_job *job; /* by its sender; NULL: of a report, or of a null sender */
    char from[ADDRESS_MAX + 1], envid[64];
    size_t rcpt_n, rcpt_cap;
    struct txn_rcpt {
        struct book_rcpt *rcpt;  /* or, of a report: */
        struct book_job *report; /* about this job */
        bool accepted;
    } * rcpts;
};

struct smtp {
    struct link *link;
    struct host *host;
    struct txn *txn; /* NULL: none */
    struct buf line, body;
    size_t body_seen, body_n; /* looked at for its end; its size without the dot */
    int64_t last_ns;          /* when the last reply is there */
    unsigned messages;        /* MAILs so far */
    size_t chunk_left;        /* bytes of the BDAT under way */
    bool last_chunk;
    bool pipelining, greeted, in_data, in_chunk, heard_354;
    bool silent;     /* nothing is said any more */
    bool murky;      /* more was said than was asked, */
    bool astray;     /* and nobody can tell that from a delivery */
    char said[1024]; /* the last reply; "": none that may be said twice */
};

void smtp_begin_txn(struct smtp *smtp);
void smtp_end_txn(struct smtp *smtp);
void txn_unref(struct txn *txn);
/* The message of the transaction is taken. */
void smtp_take(struct smtp *smtp);

/* ---- host_say.c ---- */

void say_greeting(struct smtp *smtp);
void say_line(struct smtp *smtp, struct str line);
/* To the end of data, or the last chunk. */
void say_end(struct smtp *smtp);
/* To a chunk that others follow. */
void say_chunk(struct smtp *smtp);

#endif
