/* http_route.c - see http_route.h. */
#include "engine/admin/http_route.h"

static bool match_path(struct http_match *match, const char *pattern, const char *path)
{
    match->segment_count = 0;
    while (*pattern != '\0' && *path != '\0') {
        if (*pattern == '*') {
            size_t n = strcspn(path, "/");
            if (n == 0 || match->segment_count == HTTP_SEGMENTS_MAX)
                return false;
            match->segments[match->segment_count++] = str_make(path, n);
            path += n;
            pattern++;
        } else if (*pattern++ != *path++) {
            return false;
        }
    }
    return *pattern == '\0' && *path == '\0';
}

static unsigned method_bit(const char *method)
{
    if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0)
        return HTTP_GET;
    return strcmp(method, "POST") == 0 ? HTTP_POST : strcmp(method, "PUT") == 0 ? HTTP_PUT : 0;
}

void http_route_find(const struct http_route *routes, size_t count, const char *path, const char *method,
                     struct http_match *match)
{
    unsigned wanted = method_bit(method);
    *match = (struct http_match){0};
    for (size_t i = 0; i < count && !match->method; i++) {
        if (!match_path(match, routes[i].pattern, path))
            continue;
        match->route = &routes[i];
        match->method = (routes[i].methods & wanted) != 0;
    }
}

const char *http_route_methods(const struct http_route *route)
{
    static const char *const names[] = {"",    "GET, HEAD",      "POST",      "GET, HEAD, POST",
                                        "PUT", "GET, HEAD, PUT", "POST, PUT", "GET, HEAD, POST, PUT"};
    return names[route->methods & 7];
}

bool http_route_knows(const struct http_route *route, const char *parameter)
{
    size_t n = strlen(parameter);
    const char *words = route->parameters;
    for (const char *at = words; n > 0 && (at = strstr(at, parameter)) != NULL; at += n) {
        if ((at == words || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0'))
            return true;
    }
    return false;
}
