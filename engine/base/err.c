/* err.c - see err.h. */
#include "engine/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool err_set(struct err *err, int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    err->code = code;
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    return false;
}

bool err_prefix(struct err *err, const char *format, ...)
{
    char old[ERR_TEXT_MAX];
    memcpy(old, err->text, sizeof old);
    old[sizeof old - 1] = '\0';
    va_list args;
    va_start(args, format);
    int n = vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    size_t at = n < 0 ? 0 : (size_t)n;
    if (at + 3 >= sizeof err->text)
        return false;
    memcpy(err->text + at, ": ", 2);
    size_t n_old = strlen(old), room = sizeof err->text - at - 3;
    if (n_old > room)
        n_old = room;
    memcpy(err->text + at + 2, old, n_old);
    err->text[at + 2 + n_old] = '\0';
    return false;
}
