/* http_route.c - see http_route.h. */
#include "engine/admin/http_route.h"

#include <stdio.h>

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

static const struct {
    unsigned bit;
    const char *name;
} methods[] = {
    {HTTP_GET, "GET"}, {HTTP_GET, "HEAD"}, {HTTP_POST, "POST"}, {HTTP_PUT, "PUT"}, {HTTP_DELETE, "DELETE"},
};
#define METHODS (sizeof methods / sizeof *methods)

static unsigned method_bit(const char *name)
{
    for (size_t i = 0; i < METHODS; i++)
        if (strcmp(name, methods[i].name) == 0)
            return methods[i].bit;
    return 0;
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
        match->methods |= routes[i].methods;
    }
}

const char *http_methods_text(unsigned bits, char text[HTTP_METHODS_MAX])
{
    size_t n = 0;
    text[0] = '\0';
    for (size_t i = 0; i < METHODS; i++)
        if (bits & methods[i].bit)
            n += (size_t)snprintf(text + n, HTTP_METHODS_MAX - n, "%s%s", n > 0 ? ", " : "", methods[i].name);
    return text;
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

bool http_is_foreign(const char *origin, const char *host)
{
    const char *named = origin != NULL ? strstr(origin, "://") : NULL;
    return origin != NULL && (named == NULL || host == NULL || strcmp(named + 3, host) != 0);
}
