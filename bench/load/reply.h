/* reply.h - SMTP replies, just far enough for an injector: where one ends and what its code is. Pure. */
#ifndef POSTRIDER_LOAD_REPLY_H
#define POSTRIDER_LOAD_REPLY_H

#include "engine/base/str.h"

enum reply_state { REPLY_MORE, REPLY_WHOLE, REPLY_BROKEN };

struct reply {
    int code;
    struct str text; /* all its lines, the last one's line end apart */
};

/* The next reply of *in, with all its lines; it is taken off *in. REPLY_MORE: *in has only a part of one. */
enum reply_state reply_next(struct str *in, struct reply *reply);
/* Does a reply to EHLO offer the extension? */
bool reply_offers(struct str text, struct str keyword);

#endif
