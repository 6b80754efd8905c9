/* answer.h - replies: a code, an enhanced status (RFC 2034, 3463), words; one line each. */
#ifndef POSTRIDER_SUBMISSION_ANSWER_H
#define POSTRIDER_SUBMISSION_ANSWER_H

#include "engine/base/buf.h"

/* Appends the line and CRLF. False, always: "return answer(…)" refuses. */
bool answer(struct buf *out, const char *line);
/* The same, composed; what is not printable ASCII becomes `?`, and it is cut to ANSWER_MAX. */
#define ANSWER_MAX 480
bool answer_with(struct buf *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
