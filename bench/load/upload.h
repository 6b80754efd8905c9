/* upload.h - what the uploads of `load bulk` and `load jobs` have in common: the job line and HTTP's head. */
#ifndef POSTRIDER_LOAD_UPLOAD_H
#define POSTRIDER_LOAD_UPLOAD_H

#include "bench/load/options.h"
#include "engine/base/buf.h"

#define UPLOAD_HEAD_MAX 256 /* bytes of HTTP's head, and of a chunk's */

/* The job line up to where the message's text begins: {…,"message":{"raw":" */
bool upload_job(struct buf *to, const struct options *options, const char *default_class);
/* The request's head; without a length the body comes in chunks. Returns its length, no NUL. */
size_t upload_head(char to[UPLOAD_HEAD_MAX], const uint64_t *length);
/* The line before a chunk of n bytes; after the chunk comes CRLF, after the last one "0" and two CRLF. */
size_t upload_chunk(char to[UPLOAD_HEAD_MAX], size_t n);

#endif
