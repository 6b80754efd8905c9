/* wish.h - what a message itself asks of TLS (RFC 8689), and how that goes through the queue.
 *
 * Mail that asks differently takes different paths, so it lies in different lanes: the name of the source
 * pool, of which lanes are made, is followed by what is asked. Pools are looked up by what stands before it.
 * Any thread. */
#ifndef POSTRIDER_TLS_WISH_H
#define POSTRIDER_TLS_WISH_H

#include "engine/base/str.h"
#include "engine/limits.h"

enum tls_wish {
    TLS_WISH_NONE,
    TLS_WISH_REQUIRED, /* REQUIRETLS: only over verified TLS, to hosts that ask the same of the next */
    TLS_WISH_OPTIONAL, /* "TLS-Required: No": rather delivered than held up by the receiver's own policies */
};

#define WISH_NAME_MAX (NAME_MAX_BYTES + 16)

/* The pool's name with the wish; "" where it would be longer than NAME_MAX_BYTES. A view of pool, or of
 * room. */
struct str wish_add(struct str pool, enum tls_wish wish, char room[WISH_NAME_MAX]);
enum tls_wish wish_of(struct str name);
/* The pool's name alone. */
struct str wish_pool(struct str name);

#endif
