/* data.h - the bytes after DATA: lines without SMTP's dots, up to the line that is a dot alone (RFC 5321
 * 4.1.1.4, 4.5.2).
 *
 * Only CRLF ends a line, and only CRLF . CRLF the message. A CR or LF alone is data, and noted: no message
 * with one is accepted, since some server behind this one might take it for an end of line, and what follows
 * for commands (2.3.8, smuggling). Pure; any pieces. */
#ifndef POSTRIDER_SUBMISSION_DATA_H
#define POSTRIDER_SUBMISSION_DATA_H

#include "engine/base/buf.h"

enum data_at { DATA_LINE_START, DATA_DOT, DATA_DOT_CR, DATA_IN_LINE, DATA_CR };

/* Zeroed to begin. */
struct data_reader {
    enum data_at at;
    bool bare, nul;     /* it holds a CR or LF alone, a NUL */
    uint64_t lines;     /* ended so far */
    uint64_t bare_line; /* the first line with a CR or LF alone */
    uint64_t size;      /* octets of the message, CRLFs included */
};

/* Takes bytes off the front of *in and appends what they are to out, or only counts them once `size` passes
 * max or out is full. True: the final dot was read, and *in is what follows it. */
bool data_read(struct data_reader *reader, struct str *in, struct buf *out, uint64_t max);
/* The same check of a message that came by BDAT, whole. */
void data_check(struct data_reader *reader, struct str message);

#endif
