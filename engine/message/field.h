/* field.h - writes one header field's body: folds it, encodes what is not ASCII, keeps control characters
 * out. Private to message/, but for sendmail's From.
 *
 * Lines are folded at white space before they pass FIELD_FOLD columns, where there is white space, and
 * anywhere before they pass TEXT_LINE_MAX. What is given piece by piece is one text: nothing is put between
 * pieces. */
#ifndef POSTRIDER_MESSAGE_FIELD_H
#define POSTRIDER_MESSAGE_FIELD_H

#include "engine/base/buf.h"
#include "engine/message/record.h"
#include "engine/message/scan.h"

#define FIELD_FOLD 76 /* RFC 5322 would take 78, RFC 2047 takes 76 */

struct field_writer {
    struct buf *out;
    struct buf *text; /* collected until TEXT_END or PHRASE_END */
    size_t before;    /* columns of the first line that are not in out */
    size_t line_at;   /* where the line begins in out */
    size_t fold_at;   /* last white space where it may be folded; SIZE_MAX: none */
    size_t begin;
    bool has_8bit, needs_smtputf8;
};

/* "Name:" is written elsewhere and took `columns`. */
void field_begin(struct field_writer *w, struct buf *out, struct buf *text, size_t columns);
/* As it is, but controls become spaces. */
void field_put(struct field_writer *w, struct str s);
/* A line break that the text had: what follows must begin with white space. */
void field_break(struct field_writer *w);
/* Does what a record's op of a header field says; text is the op's, or the variable's value. */
void field_step(struct field_writer *w, enum record_kind kind, unsigned flags, struct str text);
/* A sink for scan.h that writes each piece. */
struct field_sink {
    struct scan_sink sink;
    struct field_writer *w;
};
struct field_sink field_sink_of(struct field_writer *w);
/* Takes trailing white space away and ends the line. */
void field_end(struct field_writer *w);

#endif
