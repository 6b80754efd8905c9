/* writer.h - the writer's round: collect what was posted, put it into one change, commit, complete. */
#ifndef POSTRIDER_QUEUE_WRITER_H
#define POSTRIDER_QUEUE_WRITER_H

#include "queue/store_internal.h"

void writer_init(struct store *store);
/* At the opening, before anything else: applies what had landed before the last end. */
void writer_recover(struct store *store, struct now now);
/* One round; store_write_step without that of the fresh writer. */
int64_t writer_step(struct store *store, struct now now);
/* Refuses what is still posted, gives up what is under way. After the thread has ended. */
void writer_free(struct store *store);
/* True when nothing that was posted waits, but for operations that go on at the next start. */
bool writer_idle(struct store *store);

#endif
