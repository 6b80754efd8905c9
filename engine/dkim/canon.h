/* canon.h - relaxed canonicalisation (RFC 6376 3.4.2, 3.4.4). Private to dkim/. Pure. */
#ifndef POSTRIDER_DKIM_CANON_H
#define POSTRIDER_DKIM_CANON_H

#include "engine/base/buf.h"
#include "engine/tls/digest.h"

#include <sys/uio.h>

/* Appends "name:value" without its line end: name in lower case, runs of white space as one blank, none
 * around the value. `field` is a whole field, with the line ends within and after it. */
bool canon_field(struct buf *out, struct str field);

/* The SHA-256 of a body, whose lines end in CRLF, that comes piece by piece. White space and line ends wait
 * until something follows. */
struct canon_body {
    struct digest *digest;
    bool blank, any;
    size_t line_ends;
    size_t n;
    char bytes[4096];
};

/* False: no memory, and nothing to be ended. */
bool canon_body_begin(struct canon_body *body);
/* What has the same beginning goes on from there. */
bool canon_body_copy(struct canon_body *body, const struct canon_body *from);
/* The bytes from `from` up to, not with, `to` of what the parts hold together. */
void canon_body_add(struct canon_body *body, const struct iovec *parts, size_t count, size_t from, size_t to);
/* out: NULL if nobody wants to know. */
void canon_body_end(struct canon_body *body, uint8_t out[DIGEST_SIZE]);

#endif
