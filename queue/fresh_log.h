/* fresh_log.h - the file in which small jobs land: a ring of frames, one for each group commit.
 *
 * A commit is one write of pages in a row and one fdatasync; nothing is ever deleted, a frame's place is free
 * once the main environment has all its rows. Measured beside an LMDB environment that is appended to and
 * deleted from in order (16 rows of 2.4 KB a commit, two-core machine, busy disk): 0.09 against 0.3 ms of CPU
 * and half the time, for that writes and syncs a tree, a free list and a meta page as well.
 *
 * fresh.log: a head of one block (magic, version, seed), then frames, each from a block's start: magic, number of
 * its first row, rows, bytes, checksum (XXH3 of all of that and the rows, with the file's seed), then the rows
 * behind their lengths, then zeros. The seed is random and never leaves the file, so that no message can hold
 * what looks like a frame of it. A start looks at every block: frames whose rows are all applied are old, in
 * whatever state; the others follow each other without a gap, and a torn one can only be the last, of which
 * nobody was told. The file is written ahead with zeros, for a sync into blocks that were written before takes
 * half the time of one that has to convert an extent. It grows to what was in it at most, within FRESH_FILE_MAX.
 *
 * A commit that finds no space returns false and has written nothing that counts; a failed write or sync ends the
 * process as in env.h. One thread at a time. */
#ifndef POSTRIDER_QUEUE_FRESH_LOG_H
#define POSTRIDER_QUEUE_FRESH_LOG_H

#include "engine/base/err.h"
#include "engine/base/str.h"

#include <stddef.h>

struct fresh_frame { /* one that is still needed */
    uint64_t offset, size, last_seq;
};
struct fresh_log {
    int fd;
    uint64_t seed, size;        /* size: of the file, all of it written */
    uint64_t at;                /* behind the last frame */
    struct fresh_frame *frames; /* those needed, oldest first: [first .. end-1] */
    size_t first, end, cap;
    uint8_t *frame; /* the one being made */
    size_t used;
    uint64_t first_seq;
    uint32_t rows;
};

bool fresh_log_open(struct fresh_log *log, const char *directory, struct err *err);
void fresh_log_close(struct fresh_log *log);

/* A frame: begin with the number of its first row, add rows (FRESH_COMMIT_BYTES together, or one that is
 * larger), commit. `applied`: up to here the main environment has them. */
void fresh_log_begin(struct fresh_log *log, uint64_t first_seq);
void fresh_log_add(struct fresh_log *log, struct str row);
bool fresh_log_commit(struct fresh_log *log, uint64_t applied);

/* Once, at the start: every row above `after`, in order; the view is valid during the visit. Returns the number
 * of the last row, or `after`. *lost: rows are missing between. */
typedef void fresh_log_visit(uint64_t seq, struct str row, void *user);
uint64_t fresh_log_read(struct fresh_log *log, uint64_t after, fresh_log_visit *visit, void *user,
                        bool *lost);

#endif
