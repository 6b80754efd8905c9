/* canon.h - relaxed canonicalisation (RFC 6376 3.4.2, 3.4.4). Private to dkim/. Pure. */
#ifndef POSTRIDER_DKIM_CANON_H
#define POSTRIDER_DKIM_CANON_H

#include "engine/base/buf.h"
#include "engine/tls/digest.h"

#include <sys/uio.h>

/* Appends "name:value" without its line end: name in lower case, runs of white space as one blank, none
 * around the value. `field` is a whole field, with the line ends within and after it. */
bool canon_field(struct buf *out, struct str field);
/* The SHA-256 of a body in pieces, the first `skip` bytes left out, whose lines end in CRLF. False: no
 * memory. */
bool canon_body_hash(const struct iovec *parts, size_t count, size_t skip, uint8_t out[DIGEST_SIZE]);

#endif
