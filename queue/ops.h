/* ops.h - operations: what an operator asks of many recipients, done in slices between other work.
 *
 * An operation that ends within its first slice leaves no row. A longer one has a row with its cursor in
 * every commit that moves it, goes on after a crash, and is kept for a while after its end for who asks how
 * it went. Those that the store starts itself (sweep of an upload, expiry and purge of large jobs) have no
 * row: a timer or T_UPLOADS brings them back. Writer's thread. */
#ifndef POSTRIDER_QUEUE_OPS_H
#define POSTRIDER_QUEUE_OPS_H

#include "queue/close.h"

struct op_msg { /* WRITER_OPERATE: freed by the writer */
    struct inbox_node node;
    struct op *op;
};

void ops_add(struct store *store, struct op *op);
/* Behind all others. */
void ops_append(struct store *store, struct op *op);
/* Those that came since the last round begin when what had landed before them is applied. */
void ops_wait_for_fresh(struct store *store);
/* One that the store itself starts, unless it is under way. */
void ops_start(struct store *store, enum op_kind kind, uint64_t job);
/* One slice of the one whose turn it is. */
void ops_write(struct store *store, struct change *c);
/* After the commit (committed) or after a change that was undone: moves the cursor, or does not; answers. */
void ops_after(struct store *store, struct now now, bool committed);
/* At the start: those that were under way. */
void ops_load(struct store *store);
/* The clock was set back: what timers would look at again shortly (close_again) is far ahead now. */
void ops_close_again(struct store *store);
/* Whether all that are under way would go on after a restart. */
bool ops_safe(const struct store *store);
/* At the end: answers those still under way, and frees all. */
void ops_free(struct store *store);
bool op_rows_delete(struct change *c, uint64_t op);

#endif
