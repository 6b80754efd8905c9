/* answer.c - see answer.h. */
#include "engine/submission/answer.h"

#include <stdio.h>

bool answer(struct buf *out, const char *line)
{
    buf_add_z(out, line);
    buf_add(out, "\r\n", 2);
    return false;
}

bool answer_with(struct buf *out, const char *format, ...)
{
    char line[ANSWER_MAX + 1];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    for (char *p = line; *p != '\0'; p++)
        if (*p < ' ' || *p == 0x7f) /* 8-bit ones are negative */
            *p = '?';
    return answer(out, line);
}
