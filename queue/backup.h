/* backup.h - a copy of the whole queue in a new directory, made while it works.
 *
 * A backup is the queue at one moment after it was asked for: all that was accepted before is in it. Small
 * jobs are brought into the tables first, so that one file, data.mdb, is all; the log of small jobs begins
 * anew beside it. It is written to DIRECTORY.part without the pages that are free, synced, and named at the
 * end: a directory of that name is whole. To restore is to start a daemon on a copy of it.
 *
 * The copy is one long read: as long as it takes, pages that come free are not used again, and the queue's
 * file grows by what changes meanwhile. It ends with an error, and leaves nothing, when the queue becomes
 * full, when the store stops, or when its own disk is full. What it has written is synced as it goes, so
 * that little waits to be. */
#ifndef POSTRIDER_QUEUE_BACKUP_H
#define POSTRIDER_QUEUE_BACKUP_H

#include "queue/store.h"

#include <stdatomic.h>

struct backup_progress {
    _Atomic uint64_t bytes; /* written */
    atomic_bool cancelled;  /* whoever sets it ends the copy */
};
/* Makes one, on the caller's thread, beside a thread that reads. The path is absolute, and nothing is there
 * yet. False: err says why, and nothing is left. One at a time. */
bool backup_make(struct store *store, const char *directory, struct backup_progress *progress,
                 struct err *err);

/* The daemon's: a thread of its own makes it. */
struct backup;
enum backup_state { BACKUP_NONE, BACKUP_RUNNING, BACKUP_DONE, BACKUP_FAILED };
struct backup_info {
    enum backup_state state;
    char directory[BACKUP_PATH_MAX + 1];
    uint64_t bytes, total; /* written, of about so many */
    int64_t begun_ms, ended_ms;
    struct err err; /* FAILED: why */
};
/* NULL: no memory. */
struct backup *backup_create(struct store *store);
/* False: err; its code is EBUSY when one is running. Any thread. */
bool backup_start(struct backup *backup, const char *directory, struct now now, struct err *err);
/* The one that runs, or else the last one since the start. Any thread. */
void backup_look(struct backup *backup, struct backup_info *info);
/* Ends one that runs, and begins no other; before the store is stopped. */
void backup_stop(struct backup *backup);
void backup_destroy(struct backup *backup); /* the same, and frees; NULL is fine */

#endif
