/* edits.h - edits from inside: how the writer carries out what edit.h gathers. Writer's thread. */
#ifndef POSTRIDER_QUEUE_EDITS_H
#define POSTRIDER_QUEUE_EDITS_H

#include "queue/edit.h"
#include "queue/store_internal.h"

void edits_init(struct writer *writer);
/* WRITER_EDIT: takes a post over. */
void edits_collect(struct writer *writer, struct inbox_node *node);
/* Writes posts, each whole, in their order: at least one, and while the change is not spent. Their rows are
 * beside those that others may use, so that an import does not hold up operations and timers. */
void edits_write(struct writer *writer, struct change *c);
/* Takes out of the queue what the change held, for edits_complete; all of it, if there was no space even to
 * begin the change. */
struct edits *edits_take(struct store *store, bool committed);
/* Calls `done` of each and frees it. */
void edits_complete(struct edits *list, enum edit_result result);

#endif
