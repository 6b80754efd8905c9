/* roff.h - plain text as a line of a man page: nothing in it is taken as markup. Pure. */
#ifndef POSTRIDER_BASE_ROFF_H
#define POSTRIDER_BASE_ROFF_H

#include "engine/base/buf.h"

/* Adds text and a newline; each sentence begins a line, as mdoc wants it. */
void roff_line(struct buf *out, const char *text);
/* Adds text as an argument of a macro, or as a part of a line. */
void roff_text(struct buf *out, const char *text);

#endif
