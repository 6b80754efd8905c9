/* progress.h - one line on a terminal that says how far something is: a bar, the rate, when it will be done.
 * Nothing where stderr is no terminal. */
#ifndef POSTRIDER_TOOLS_PROGRESS_H
#define POSTRIDER_TOOLS_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    bool shown;
    const char *label;
    bool bytes; /* figures are sizes */
    int64_t started_ns, drawn_ns;
};

void progress_start(struct progress *progress, const char *label, bool bytes);
/* total 0: not known. rate below 0: worked out from the start. note: more at the end, or "". */
void progress_draw(struct progress *progress, long long done, long long total, double rate, const char *note);
/* Wipes the line. */
void progress_end(struct progress *progress);

#endif
