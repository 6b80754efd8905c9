/* near.c - see near.h. */
#include "engine/base/near.h"

#include <stdio.h>

#define NEAR_MAX 40 /* longer names are never offered */

struct near_name near_name_of(struct str wrong)
{
    return (struct near_name){.wrong = wrong, .best = NULL, .distance = UINT32_MAX};
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Edit distance with swaps of neighbours (optimal string alignment), letters folded. */
static unsigned edit_distance(struct str a, struct str b)
{
    unsigned rows[3][NEAR_MAX + 1], *before = rows[0], *last = rows[1], *row = rows[2];
    for (unsigned j = 0; j <= b.n; j++)
        last[j] = before[j] = j;
    for (unsigned i = 1; i <= a.n; i++) {
        row[0] = i;
        for (unsigned j = 1; j <= b.n; j++) {
            char x = ascii_lower(a.p[i - 1]), y = ascii_lower(b.p[j - 1]);
            row[j] = least(least(last[j] + 1, row[j - 1] + 1), last[j - 1] + (x != y));
            if (i > 1 && j > 1 && x == ascii_lower(b.p[j - 2]) && y == ascii_lower(a.p[i - 2]))
                row[j] = least(row[j], before[j - 2] + 1);
        }
        unsigned *free_row = before;
        before = last;
        last = row;
        row = free_row;
    }
    return last[b.n];
}

void near_name_try(struct near_name *near, const char *name)
{
    struct str known = str_of(name);
    if (near->wrong.n > NEAR_MAX || known.n > NEAR_MAX)
        return;
    unsigned distance = edit_distance(near->wrong, known);
    if (distance < near->distance) {
        near->distance = distance;
        near->best = name;
    }
}

const char *near_name_text(const struct near_name *near, char text[NEAR_TEXT_MAX])
{
    /* A third of the letters may be wrong, and a word of three may have one wrong. */
    text[0] = '\0';
    if (near->best != NULL && near->distance <= (near->wrong.n + 2) / 3)
        snprintf(text, NEAR_TEXT_MAX, ", did you mean '%s'?", near->best);
    return text;
}
