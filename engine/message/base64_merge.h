/* base64_merge.h - base64 of a text with variables in it (RFC 2045 6.8). Private to message/.
 *
 * Base64 takes bytes by threes, so that the characters of a text depend on how many bytes before it wait for
 * their third: none, one or two, as the values of variables will have it. A text that follows a variable is
 * therefore encoded once a job in three forms, each less the bytes that make up three with what waits, and
 * less those that are left over. For a recipient the form that fits is referenced; encoded are only values
 * and the bytes at the seams. Lines may end anywhere, so that a form begins a new one where it doesn't fit on
 * the old.
 *
 * Pure; any thread. */
#ifndef POSTRIDER_MESSAGE_BASE64_MERGE_H
#define POSTRIDER_MESSAGE_BASE64_MERGE_H

#include "engine/base/buf.h"

#define BASE64_LINE_MAX 76
/* Most characters that n bytes become, with those that waited, in lines. */
#define BASE64_ROOM(n) ((n) / 3 * 4 + (n) / 57 * 2 + 16)

/* Bytes that wait for their third. Zero it to begin. */
struct base64_rest {
    uint8_t n;
    char bytes[2];
};

/* Encodes bytes behind those that wait, as far as they are threes, and returns the end. Room:
 * BASE64_ROOM(bytes.n). *col is the column before and after. */
char *base64_put(char *out, struct str bytes, struct base64_rest *rest, unsigned *col);
/* What still waits, padded. Room: BASE64_ROOM(0). */
char *base64_finish(char *out, struct base64_rest *rest, unsigned *col);

/* A text as one of its forms has it: the middle is encoded, in lines, the others are bytes. */
struct base64_form {
    struct str head, middle, tail;
    unsigned first, last; /* columns of the middle's first line, and of its last */
};

/* Appends the forms of a text that is not empty. */
bool buf_add_base64_forms(struct buf *buf, struct str text);
/* How many bytes that appends for a text of n. */
uint64_t base64_forms_size(uint64_t n);
/* The form behind so many bytes that wait (less than three), of a text of n; valid as long as `forms`. */
struct base64_form base64_form(const char *forms, size_t n, unsigned waiting);

#endif
