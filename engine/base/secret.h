/* secret.h - secrets in files of their own: passwords, tokens, signing keys of webhooks. Any thread. */
#ifndef POSTRIDER_BASE_SECRET_H
#define POSTRIDER_BASE_SECRET_H

#include "engine/base/buf.h"
#include "engine/base/err.h"

/* Appends the file's first line without white space at its ends; waits for nothing but the disk. False with
 * err, which names the file: it cannot be read, is no regular file, its line is longer than out takes, or
 * empty. */
bool secret_read(const char *path, struct buf *out, struct err *err);
/* Overwrites and frees. */
void secret_free(struct buf *secret);

#endif
