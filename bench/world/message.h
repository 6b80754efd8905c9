/* message.h - a message whose bytes are all there: judged, refused or taken, logged and recorded. */
#ifndef POSTRIDER_WORLD_MESSAGE_H
#define POSTRIDER_WORLD_MESSAGE_H

#include "bench/world/session.h"

/* Says what becomes of it. False: it was refused. */
bool message_came(struct session *s);
/* "" where there is none. */
struct str first_recipient(const struct session *s);

#endif
