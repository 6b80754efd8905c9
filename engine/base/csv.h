/* csv.h - comma-separated values (RFC 4180), a record a line: written, and read leniently. Pure; any
 * thread. */
#ifndef POSTRIDER_BASE_CSV_H
#define POSTRIDER_BASE_CSV_H

#include "engine/base/buf.h"

/* Appends a value, quoted where it must be, and then `end`: a comma, or '\r' after the last of a record (the
 * line feed is the caller's). */
void csv_add(struct buf *out, struct str value, char end);

enum csv_result { CSV_GOOD, CSV_UNCLOSED, CSV_MANY };
/* The values of a line without its end: at most max of them. White space around a value goes, but within
 * quotes. The views are into the line, or into scratch, which is emptied first and must have room for the
 * line. */
enum csv_result csv_split(struct str line, struct str *values, unsigned max, unsigned *n,
                          struct buf *scratch);

#endif
