/* accepts.h - the accepts file (bench/record.h): when the answer that accepted each number had been read.
 *
 * A file that exists is kept and extended, so that several loads after one another fill one; it is mapped,
 * so that a stamp is a store. Without a path nothing is written. One thread. */
#ifndef POSTRIDER_LOAD_ACCEPTS_H
#define POSTRIDER_LOAD_ACCEPTS_H

#include "bench/record.h"
#include "engine/base/err.h"

struct accepts {
    struct record_header *header; /* NULL: none is kept */
    size_t bytes;
};

/* With room for the numbers below `slots`. */
bool accepts_open(struct accepts *accepts, const char *path, uint64_t slots, struct err *err);
void accepts_close(struct accepts *accepts);
/* The numbers from `first` on, `count` of them, were accepted at `ns`. */
void accepts_mark(struct accepts *accepts, uint64_t first, uint64_t count, int64_t ns);

/* Maps a file of either kind for reading, or (writable) with at least `bytes`, which are added as zeros.
 * The mapping's size goes to *bytes. */
void *file_map(const char *path, bool writable, size_t *bytes, struct err *err);

#endif
