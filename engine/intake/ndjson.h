/* ndjson.h - a body in pieces to its lines, in bounded memory.
 *
 * A line ends with LF or CRLF, or with the body. A byte order mark before the first line and blank lines are
 * skipped (blank lines are counted). A line that lies within one piece is not copied. One thread. */
#ifndef POSTRIDER_INTAKE_NDJSON_H
#define POSTRIDER_INTAKE_NDJSON_H

#include "engine/base/buf.h"

struct ndjson {
    struct buf carry; /* the beginning of a line whose end is to come */
    uint64_t number;  /* of the line given last, from 1 */
    bool given;       /* carry holds the line given last, not a beginning */
};

enum ndjson_result { NDJSON_MORE, NDJSON_LINE, NDJSON_TOO_LONG, NDJSON_NO_MEMORY };

void ndjson_init(struct ndjson *ndjson, size_t line_max);
void ndjson_free(struct ndjson *ndjson);
/* The next line, without its end; valid until the next call or as long as the piece. Takes what it has read
 * off the front of *data. NDJSON_MORE: data is used up. After TOO_LONG (of line `number`) no more calls. */
enum ndjson_result ndjson_next(struct ndjson *ndjson, struct str *data, struct str *line);
/* The body is over: its last line, if it had no line end; then NDJSON_MORE. */
enum ndjson_result ndjson_last(struct ndjson *ndjson, struct str *line);
/* Bytes in memory of the line that is not whole yet. */
size_t ndjson_held(const struct ndjson *ndjson);

#endif
