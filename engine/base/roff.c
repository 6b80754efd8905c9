/* roff.c - see roff.h. */
#include "engine/base/roff.h"

static void add_char(struct buf *out, char c, bool first)
{
    if (c == '\\')
        buf_add_z(out, "\\e");
    else if (c == '-')
        buf_add_z(out, "\\-");
    else if (c == '"')
        buf_add_z(out, "\\(dq");
    else if (first && (c == '.' || c == '\''))
        buf_printf(out, "\\&%c", c);
    else
        buf_add_char(out, c);
}

void roff_text(struct buf *out, const char *text)
{
    for (const char *p = text; *p != '\0'; p++)
        add_char(out, *p, p == text);
}

void roff_line(struct buf *out, const char *text)
{
    bool first = true;
    for (const char *p = text; *p != '\0'; p++) {
        bool ends = p > text && p[-1] == '.' && *p == ' ' && p[1] >= 'A' && p[1] <= 'Z';
        if (ends)
            buf_add_char(out, '\n');
        else
            add_char(out, *p, first);
        first = ends;
    }
    buf_add_char(out, '\n');
}
