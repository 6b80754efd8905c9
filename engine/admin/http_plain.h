/* http_plain.h - reads the head of a plain HTTP/1.1 request (RFC 9112), and of nothing else. Pure; any
 * thread.
 *
 * Plain is what programs that send jobs one after another write: POST or PUT, a path of letters, digits and
 * "/-_.", HTTP/1.1, one Host, one Content-Length, a head that is whole within HTTP_PLAIN_HEAD_MAX bytes,
 * lines that end with CRLF, and no field that alters how the rest is to be read (Transfer-Encoding, Expect,
 * Upgrade, TE, Trailer, Connection unless it says keep-alive). What is not plain is not judged here, good or
 * bad: it is libmicrohttpd's to read. So whatever this accepts means the same to every reader of HTTP. */
#ifndef POSTRIDER_ADMIN_HTTP_PLAIN_H
#define POSTRIDER_ADMIN_HTTP_PLAIN_H

#include "engine/base/str.h"
#include "engine/limits.h"

struct plain_field {
    struct str name, value; /* value: without the blanks around it */
};
struct plain_head { /* views into the bytes */
    struct str method, path;
    struct plain_field fields[HTTP_PLAIN_FIELDS];
    unsigned field_count;
    size_t size;   /* of the head, its empty line too */
    uint64_t body; /* Content-Length */
};

/* False: it is not plain, or not all there. */
bool plain_head_read(struct str bytes, struct plain_head *head);

#endif
