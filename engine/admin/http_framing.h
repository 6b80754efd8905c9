/* http_framing.h - whether it is beyond doubt where a request ends (RFC 9112 6.3), and whether there is room
 * to answer it: of its header fields, as libmicrohttpd tells them. Pure; any thread.
 *
 * The library takes one of two lengths, and with a coding that it does not know, everything until the client
 * closes for the body: one that was cut short would look whole. It keeps the fields of a request and of its
 * answer in HTTP_MEMORY_MAX, and closes where the latter don't fit any more: what can't be answered must not
 * be accepted either. */
#ifndef POSTRIDER_ADMIN_HTTP_FRAMING_H
#define POSTRIDER_ADMIN_HTTP_FRAMING_H

#include <stdbool.h>
#include <stddef.h>

#define HTTP_FRAMING_ANSWER 1024 /* bytes that an answer's fields take, at most */

struct http_framing { /* begins as {0} */
    unsigned lengths, codings, fields;
    bool chunked; /* that is the last coding */
    bool blank;   /* a field's name holds one */
};

void http_framing_note(struct http_framing *framing, const char *name, const char *value);
bool http_framing_certain(const struct http_framing *framing);
/* size: of the header. */
bool http_framing_answerable(const struct http_framing *framing, size_t size);

#endif
