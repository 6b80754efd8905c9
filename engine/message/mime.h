/* mime.h - reads the structure of a message: header fields, Content-Type, the parts of a multipart. For
 * message/ and inbound/. Forgiving: what is no header field ends the header. All results lie in the text that
 * was given. */
#ifndef POSTRIDER_MESSAGE_MIME_H
#define POSTRIDER_MESSAGE_MIME_H

#include "engine/base/buf.h"
#include "engine/base/err.h"
#include "engine/limits.h"
#include "engine/message/lines.h"

struct mime_field {
    struct str name;
    struct str value; /* behind the colon, with the line ends inside it but not the last */
};

struct mime_fields {
    struct mime_field *at;
    size_t count, capacity;
};

/* Reads the header at the beginning of entity; *body is what follows it. The caller frees fields->at, also
 * after false (too many fields, out of memory). */
bool mime_read_header(struct str entity, struct mime_fields *fields, struct str *body, struct err *err);
bool mime_is_field_name(struct str name);
/* Appends value without its line ends, and with other controls as spaces. */
bool mime_unfold(struct str value, struct buf *out);

/* Of an unfolded Content-Type. */
struct mime_type {
    struct str type, subtype; /* as written; empty if malformed */
    struct str charset;       /* without quotes; empty if there is none */
    struct str charset_whole; /* from the name to the end of the value, to be replaced */
    size_t boundary_n;
    char boundary[MIME_BOUNDARY_MAX];
};

void mime_parse_type(struct str value, struct mime_type *type);
/* The first word of a structured value (Content-Transfer-Encoding, Content-Disposition), without comments. */
struct str mime_token(struct str value);

/* Walks the parts of a multipart body. */
struct mime_parts {
    struct lines lines;
    struct str boundary;
    bool closed;
};

/* *preamble is what stands before the first delimiter. False if there is no delimiter at all. */
bool mime_parts_begin(struct mime_parts *parts, struct str body, struct str boundary, struct str *preamble);
/* The next part. False after the last: then lines_rest(&parts->lines) is the epilogue. */
bool mime_parts_next(struct mime_parts *parts, struct str *part);

#endif
