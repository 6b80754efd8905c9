/* err.c - see err.h. */
#include "engine/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* What an error repeats of somebody's input must not move a terminal's cursor or split a log line. */
static void err_clean(struct err *err)
{
    for (char *c = err->text; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
}

bool err_set(struct err *err, int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    err->code = code;
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    err_clean(err);
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
    err_clean(err);
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
