/* encode.h - transfer encodings (RFC 2045): quoted-printable and base64. Private to message/, but for
 * base64.
 *
 * The encoder of quoted-printable is the same for what is compiled and for what a variable brings, so that
 * the pieces fit together: whatever lies at a piece's border is written so that it is right beside
 * anything. */
#ifndef POSTRIDER_MESSAGE_ENCODE_H
#define POSTRIDER_MESSAGE_ENCODE_H

#include "engine/base/buf.h"

#define QP_LINE_MAX 76
/* Most bytes that n may become, in HTML too. */
#define QP_ROOM(n) (7 * (n) + 16)

/* Writes text to out (room for QP_ROOM(text.n)) and returns the end. *col is the column before and after;
 * never above QP_LINE_MAX - 1, so that a soft break fits. Line ends of any kind become CRLF, NUL goes away. A
 * space or tab at the end of a line or of the text is encoded, and so is a dot, a hyphen or "From " at the
 * start of a line (and, with `guard`, of the text): no line needs a second dot, none can be taken for a MIME
 * boundary. `html` escapes & < > " '. */
char *qp_encode(char *out, struct str text, bool html, bool guard, unsigned *col);
bool buf_add_qp(struct buf *buf, struct str text, bool guard, unsigned *col);
/* Appends text as it is before it becomes base64: line ends of any kind as CRLF, no NUL. `html` as above. */
bool buf_add_text(struct buf *buf, struct str text, bool html);
/* Percent-encodes all but letters, digits and -._~ (RFC 3986 2.3); returns the end. Room: 3 for each byte. */
char *percent_encode(char *out, struct str text);
/* Whether base64 would make less of a text than quoted-printable. */
bool base64_is_shorter(struct str text);
/* Lines of 76 with CRLF, the last one too. */
bool buf_add_base64(struct buf *buf, struct str bytes);

/* Without lines; returns the end. Room: 4 bytes for each 3 begun. */
char *base64_encode(char *out, struct str bytes);

#endif
