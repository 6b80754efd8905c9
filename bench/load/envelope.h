/* envelope.h - transactions as bytes, for the injectors that speak SMTP (load smtp, raw).
 *
 * A writer owns the memory of one connection: the message's head is written so that it ends where the body
 * begins, the body is brought to its number in place where that is possible, and behind the final dot there
 * is room for what goes out in the same write: the next envelope, or QUIT. Chunked, the envelope goes before
 * its own message. */
#ifndef POSTRIDER_LOAD_ENVELOPE_H
#define POSTRIDER_LOAD_ENVELOPE_H

#include "bench/load/content.h"

struct envelope_writer {
    const struct content *content;
    const struct domains *domains;
    uint32_t recipients; /* of a transaction */
    char *memory, *body;
    char *from; /* what is to be sent: n bytes */
    size_t n;
    bool body_there, chunked;
};

/* False where memory is out. chunked: messages are for BDAT. */
bool envelope_init(struct envelope_writer *writer, const struct content *content,
                   const struct domains *domains, uint32_t recipients, bool chunked);
void envelope_free(struct envelope_writer *writer);
/* Starts with nothing to send. */
void envelope_clear(struct envelope_writer *writer);
/* Starts with the message of `number` and its final dot. */
void envelope_message(struct envelope_writer *writer, uint64_t number);
/* Adds MAIL, RCPT for each number from `first` on, and DATA. */
void envelope_begin(struct envelope_writer *writer, uint64_t first);
/* Starts with a chunked transaction: MAIL, RCPT for each number from `first` on, BDAT, the message. */
void envelope_whole(struct envelope_writer *writer, uint64_t first);
/* Adds a command of at most 64 bytes, with its CRLF. */
void envelope_add(struct envelope_writer *writer, struct str command);

#endif
