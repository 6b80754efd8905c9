/* disk.h - a disk that remembers: each name, write and sync below one directory, in order, and what a power
 * cut at any of them may leave.
 *
 * The program is linked so that open, pwrite, write, writev, fsync and the like of all its parts, liblmdb.a
 * among them, come here first (ld --wrap). The page cache then holds what it always does; nothing is synced
 * in truth, for a cut is made of the record alone, in another directory.
 *
 * What a cut leaves. A write is on the platter for certain when a sync of its file that began after it has
 * returned, or when it went through a descriptor with O_DSYNC and has returned; a name, or its change, when
 * its directory has been synced after it. Each other write, and the one under way, is kept, dropped or torn
 * at the borders of 512-byte sectors, in any order; what lengthened the file may have done so without its
 * bytes. Changes of names come to the platter in their order, and the last ones may be missing. A call
 * outside of this model (ftruncate, a shared map to write to) ends the process. Lock files and the reserve
 * are no part of it.
 *
 * One disk a process, one thread. */
#ifndef POSTRIDER_TESTS_CRASH_DISK_H
#define POSTRIDER_TESTS_CRASH_DISK_H

#include "engine/base/prng.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DISK_DOINGS_MAX 16

enum disk_place { DISK_PAGE, DISK_META, DISK_HEAD, DISK_ZEROS, DISK_FRAME, DISK_COPY, DISK_PLACES };
enum disk_fate { DISK_KEPT, DISK_DROPPED, DISK_TORN, DISK_FATES };
const char *disk_place_name(enum disk_place place);

struct disk_tally { /* what was injected */
    uint64_t cuts, doing[DISK_DOINGS_MAX];
    uint64_t writes[DISK_PLACES][DISK_FATES];
    uint64_t names_kept, names_lost, lengthened;
};

/* A defect to plant: syncs of this kind are not done. */
enum disk_defect {
    DISK_SOUND,
    DISK_NO_FRESH_SYNC,
    DISK_NO_DATA_SYNC,
    DISK_META_NOT_THROUGH,
    DISK_NO_NAME_SYNC,
    DISK_NO_COPY_SYNC
};
void disk_plant(enum disk_defect defect);

/* Records from now on. What is below the directory now is on the platter; what was recorded is forgotten. */
void disk_begin(const char *directory);
void disk_end(void); /* the record stays, for cuts */
/* How many operations there have been: what is told to anybody now was told after them. */
size_t disk_at(void);
/* What the program is about, by a number of its own; each operation keeps it. */
void disk_doing(unsigned doing);

/* Fills the empty directory `into` with what a cut may leave that comes when `at` operations are done and the
 * next one is under way. Cuts of one record come in rising order. */
void disk_cut(size_t at, struct prng *prng, const char *into, struct disk_tally *tally);

#endif
