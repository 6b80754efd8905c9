/* words.h - what the words of a reply say, where codes don't: greylisting, a full mailbox, a time to wait.
 * Pure.
 *
 * Private to verdict.c. These are phrases that many servers share; one receiver's own have no place here. */
#ifndef POSTRIDER_SMTP_WORDS_H
#define POSTRIDER_SMTP_WORDS_H

#include "engine/base/str.h"

enum words {
    WORDS_NONE,
    WORDS_CONNECTION_SPENT, /* so many messages a connection: a new one will do */
    WORDS_TOO_MANY_RCPTS,
    WORDS_GREYLIST,
    WORDS_MAILBOX_FULL,
    WORDS_POLICY,
    WORDS_DISABLED,
    WORDS_UNKNOWN_USER,
};

/* The first of the kinds above, in their order, that the text speaks of. ASCII case is folded. */
enum words words_about(struct str text);
/* Seconds to wait that the text names ("try again in 5 minutes", "retry after 300s"); 0: none, or more than
 * WAIT_NAMED_MAX_S. */
uint32_t words_wait_s(struct str text);

#endif
