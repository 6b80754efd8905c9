/* wording.h - what the words of a reply say of a bounce's category: the phrases that receivers use.
 *
 * Words that leave no doubt ("mailbox is full", "relay access denied") and words that give a hint ("policy",
 * "blocked"); category.h says how far each counts. Costs a walk over the words of the reply, each compared
 * with the phrases that begin with its letter. Pure; any thread. */
#ifndef POSTRIDER_REPORT_WORDING_H
#define POSTRIDER_REPORT_WORDING_H

#include "engine/report/category.h"

struct wording {
    enum bounce_category certain, hint; /* BOUNCE_CATEGORIES: no such words */
};
struct wording wording_of(struct str reply);

#endif
