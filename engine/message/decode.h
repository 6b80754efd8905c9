/* decode.h - transfer encodings and encoded words back to bytes, forgiving what is malformed. For message/,
 * inbound/ and report/. All return false only when out's maximum is passed or memory is out. */
#ifndef POSTRIDER_MESSAGE_DECODE_H
#define POSTRIDER_MESSAGE_DECODE_H

#include "engine/base/buf.h"

/* Line ends stay as they are; white space before them goes, as RFC 2045 6.7 asks. */
bool qp_decode(struct str in, struct buf *out);
/* Skips what is not of the alphabet; ends at the padding. */
bool base64_decode(struct str in, struct buf *out);

/* Encoded words (RFC 2047) in a header value to UTF-8, the rest copied; white space between two of them goes.
 * With `quote` each run of them becomes a quoted string, for fields where decoded text could be taken for
 * syntax. *foreign is set when there is one in a charset other than UTF-8, US-ASCII or ISO-8859-1: it is
 * copied as is. */
bool words_decode(struct str in, bool quote, struct buf *out, bool *foreign);

#endif
