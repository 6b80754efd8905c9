/* downgrade.h - a message with 8-bit content for a host that does not offer 8BITMIME, or with binary content
 * for one without BINARYMIME: its parts are encoded (RFC 6152 3, RFC 3030 3), and it is signed after that.
 *
 * Rare: text that the engine encodes is never 8-bit, nor is what it signs (job_line.c), so that this is for
 * 8-bit parts of raw messages, and for those accepted before their domain had a key. It is done where it is
 * needed, on the worker, signature and all. */
#ifndef POSTRIDER_ROUTE_DOWNGRADE_H
#define POSTRIDER_ROUTE_DOWNGRADE_H

#include "engine/route/model.h"
#include "engine/route/opened.h"

/* What the rendition then points into; zero it, keep it as long as the rendition is used. */
struct downgrade {
    struct template template;
    struct buf record, fields;
};

/* Renders the recipient's message anew into *message, with nothing 8-bit but what its header may hold. */
bool downgrade_render(struct router *router, struct downgrade *down, const struct opened *opened,
                      const struct render_args *args, struct rendition *message, struct err *err);
void downgrade_free(struct downgrade *down);

#endif
