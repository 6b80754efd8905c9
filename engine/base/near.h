/* near.h - which known name somebody who mistyped one may have meant, for options, commands and names. Pure.
 */
#ifndef POSTRIDER_BASE_NEAR_H
#define POSTRIDER_BASE_NEAR_H

#include "engine/base/str.h"

#define NEAR_TEXT_MAX 160

/* The nearest so far: by the least number of letters changed, added, left out or swapped. */
struct near_name {
    struct str wrong;
    const char *best;
    unsigned distance;
};
struct near_name near_name_of(struct str wrong);
void near_name_try(struct near_name *near, const char *name);
/* ", did you mean 'x'?" where one is near enough, else "". Returns text. */
const char *near_name_text(const struct near_name *near, char text[NEAR_TEXT_MAX]);

#endif
