/* content.h - the messages of a bench: for each number the exact bytes its recipient is to get, in the forms
 * that injectors need. The one place that knows them; `load check` compares with it what receivers read.
 *
 *   merged    one template for all, with {{to}}, {{name}} and {{number}} in header and body
 *   unmerged  the same bytes for all
 *   distinct  a message of its own for each number: address, number, and a word of eight letters derived
 *             from the number in every line of the body
 *
 * All bring From, To, Subject, Date, Message-ID and MIME headers, so that no engine has to add one; all but
 * merged have a line that begins with a dot, so that stuffing is tested. A message is within 30 bytes of
 * `size`, a merged one within 2% more. Postrider sends a text with variables as quoted-printable
 * (postrider-api(7)): merged says so itself, and is written so that the encoding changes nothing: no `=`, no
 * space before a variable, no dot at the start of a line.
 *
 * A rendition is a head (up to and with the CRLF of the last header line) and a body (the blank line and the
 * rest), as a record's digests are. Where a body's length is the same for all numbers (not merged) it can be
 * kept and brought to another number in place, which writes a few hundred bytes instead of all.
 * The struct is immutable once made; any thread. */
#ifndef POSTRIDER_LOAD_CONTENT_H
#define POSTRIDER_LOAD_CONTENT_H

#include "bench/load/address.h"

#define CONTENT_HEAD_MAX 2048 /* bytes of a head in any form */
#define CONTENT_SIZE_MIN 640
#define CONTENT_SIZE_MAX (32 * 1024 * 1024)
#define CONTENT_NAME_MAX 8 /* of {{name}} */
#define CONTENT_SENDER   "bounce@bench.test"

enum content_kind { CONTENT_MERGED, CONTENT_UNMERGED, CONTENT_DISTINCT };

enum content_form {
    CONTENT_PLAIN,    /* as it is meant, before dot stuffing */
    CONTENT_WIRE,     /* for SMTP's DATA: dots doubled, without the final dot */
    CONTENT_JSON,     /* inside a JSON string */
    CONTENT_TEMPLATE, /* that, with {{variables}} where numbers differ: merged and unmerged only */
    CONTENT_FORMS
};

struct content;

/* *domains must outlive it. NULL where the size is out of bounds or memory is out. */
struct content *content_create(enum content_kind kind, const struct domains *domains, uint64_t size,
                               struct err *err);
void content_free(struct content *content);
bool content_kind_parse(const char *text, enum content_kind *kind, struct err *err);

/* Writes the head, at most CONTENT_HEAD_MAX bytes, and returns its length. */
size_t content_head(const struct content *content, enum content_form form, uint64_t number, char *to);
/* How many bytes a body takes at most; it is the length of each where content_fixed. */
size_t content_body_max(const struct content *content, enum content_form form);
bool content_fixed(const struct content *content);
/* Writes the whole body and returns its length. */
size_t content_body(const struct content *content, enum content_form form, uint64_t number, char *to);
/* `to` holds a body in this form for any number: makes it this number's. Only where content_fixed. */
void content_patch(const struct content *content, enum content_form form, uint64_t number, char *to);
/* The value of {{name}}: letters, no NUL. Returns its length. */
size_t content_name(uint64_t number, char *to);

#endif
