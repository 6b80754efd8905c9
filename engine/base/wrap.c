/* wrap.c - see wrap.h. */
#include "engine/base/wrap.h"

#include <string.h>

void wrap_print(FILE *out, size_t at, size_t indent, const char *text)
{
    for (;;) {
        size_t word = strcspn(text, " ");
        fwrite(text, 1, word, out);
        at += word;
        text += word;
        if (*text == '\0')
            break;
        size_t blanks = strspn(text, " ");
        text += blanks;
        if (at + blanks + strcspn(text, " ") > WRAP_COLUMNS) {
            fprintf(out, "\n%*s", (int)indent, "");
            at = indent;
        } else {
            fprintf(out, "%*s", (int)blanks, "");
            at += blanks;
        }
    }
    fputc('\n', out);
}
