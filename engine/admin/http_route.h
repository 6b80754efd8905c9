/* http_route.h - which route a path and a method mean. Pure; any thread. */
#ifndef POSTRIDER_ADMIN_HTTP_ROUTE_H
#define POSTRIDER_ADMIN_HTTP_ROUTE_H

#include "engine/admin/http.h"
#include "engine/limits.h"

struct http_match {
    const struct http_route *route; /* of the path, also where it does not know the method; NULL: none */
    bool method;                    /* it knows the method */
    unsigned methods;               /* that the path knows, by whatever route */
    struct str segments[HTTP_SEGMENTS_MAX]; /* views into the path: what the stars stand for */
    unsigned segment_count;
};

void http_route_find(const struct http_route *routes, size_t count, const char *path, const char *method,
                     struct http_match *match);
/* "GET, HEAD, POST", as Allow wants it. */
#define HTTP_METHODS_MAX 32
const char *http_methods_text(unsigned methods, char text[HTTP_METHODS_MAX]);
/* Is this one of the route's query parameters? */
bool http_route_knows(const struct http_route *route, const char *parameter);

/* A browser says from which page a request comes: no page of anybody else's may change a thing here, where an
 * operator has the socket forwarded to a port. NULL: the field is absent. */
bool http_is_foreign(const char *origin, const char *host);

#endif
