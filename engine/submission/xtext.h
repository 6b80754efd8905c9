/* xtext.h - text that stands in SMTP parameters in hexadecimal where need be (RFC 3461 4), back to what it
 * is. Pure; any thread. */
#ifndef POSTRIDER_SUBMISSION_XTEXT_H
#define POSTRIDER_SUBMISSION_XTEXT_H

#include "engine/base/str.h"
#include "engine/limits.h"

/* Into out, with a NUL behind; false: malformed, empty, longer than max, or it stands for something that is
 * not printable ASCII. */
bool xtext_decode(struct str text, char *out, size_t max);
/* ORCPT: "rfc822;ada@example.com", or of type utf-8 as RFC 6533 3 writes it, which becomes UTF-8. */
bool orcpt_decode(struct str text, char out[ORCPT_MAX + 1], size_t *n);

#endif
