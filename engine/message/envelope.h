/* envelope.h - the envelope sender of a job, which may hold {{rid}} so that every recipient has a return path
 * of its own (VERP): bounce-{{rid}}@example.com. Pure; any thread. */
#ifndef POSTRIDER_MESSAGE_ENVELOPE_H
#define POSTRIDER_MESSAGE_ENVELOPE_H

#include "engine/base/err.h"
#include "engine/base/str.h"
#include "engine/limits.h"

/* Whether `from` is a job's envelope sender: empty (the null sender), or an address once {{rid}} is replaced
 * by a text of up to rid_max letters and digits. No other variable may stand there. *per_recipient tells that
 * {{rid}} does; *utf8 that the local part needs SMTPUTF8. */
bool envelope_check(struct str from, size_t rid_max, bool *per_recipient, bool *utf8, struct err *err);
/* Writes `from` with every {{rid}} replaced into out, without a NUL; returns its length, or SIZE_MAX when it
 * would pass ADDRESS_MAX or `from` was not checked. */
size_t envelope_expand(struct str from, struct str rid, char out[ADDRESS_MAX]);

#endif
