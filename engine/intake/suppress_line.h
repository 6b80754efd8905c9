/* suppress_line.h - lines that name suppressed addresses, as clients send them, to suppressions.
 *
 * A line that begins with '{' is a JSON object with address, and perhaps scope, reason, source and time. Any
 * other is CSV: if the first line names a column "address" (or "email", "recipient") it is a header, which
 * says in which order the columns are; those with other names are passed over. Without a header they are
 * address,scope,reason,source,time, so that a plain list of addresses is understood. What a line does not
 * say comes from `standard`. One thread. */
#ifndef POSTRIDER_INTAKE_SUPPRESS_LINE_H
#define POSTRIDER_INTAKE_SUPPRESS_LINE_H

#include "engine/base/buf.h"
#include "engine/base/err.h"
#include "queue/edit.h"

#include <jansson.h>

#define SUPPRESS_LINE_MAX 8192
#define SUPPRESS_COLUMNS  64

struct suppress_reader {
    struct suppression standard; /* of what is not said; its address is of no use */
    bool bound;                  /* the scope is the standard's: no line may name another */
    bool begun;
    unsigned place[5]; /* of the columns; SUPPRESS_COLUMNS: there is none */
    struct buf scratch;
    json_t *root; /* the strings of the last one are its */
    char address[ADDRESS_MAX + 1];
};

enum suppress_line { SUPPRESS_GIVEN, SUPPRESS_HEADER, SUPPRESS_BAD };

void suppress_reader_init(struct suppress_reader *reader, const struct suppression *standard, bool bound);
void suppress_reader_free(struct suppress_reader *reader);
/* The views in *out are good until the next line, or until the line goes. SUPPRESS_BAD: err says why. */
enum suppress_line suppress_line_read(struct suppress_reader *reader, struct str line,
                                      struct suppression *out, struct err *err);
/* An address in the form in which recipients are kept: as written, its domain in A-labels. */
bool suppress_address(struct str text, char room[ADDRESS_MAX + 1], struct str *address, struct err *err);

#endif
