/* fresh_env.h - where small jobs land: a second, small LMDB environment, one file beside the main one.
 *
 * One table, sequence number and part to bytes (VALUE_MAX a part); rows come in order at its end and go in
 * order at its front, so that its free list never scatters and a commit is some dozen pages in a row. Its
 * file is written ahead with zeros in steps: the sync of a commit into blocks that were written before takes
 * half the time of one that has to convert an extent (140 against 295 us on the two-core machine).
 *
 * A commit that finds no space is undone, and says so; any other failure ends the process as in env.h. One
 * thread at a time. */
#ifndef POSTRIDER_QUEUE_FRESH_ENV_H
#define POSTRIDER_QUEUE_FRESH_ENV_H

#include "queue/env.h"

struct fresh_env {
    MDB_env *mdb;
    MDB_dbi dbi;
    int fd;
    uint64_t written; /* bytes of the file that were written, if only with zeros */
    MDB_txn *txn;
    MDB_cursor *cursor; /* of the transaction: where rows are deleted */
    int rc;             /* of the transaction: why it cannot be committed */
};

bool fresh_env_open(struct fresh_env *env, const char *directory, struct err *err);
void fresh_env_close(struct fresh_env *env);

/* One transaction: begin, rows, commit. `bytes`: of the rows that follow. A failure within it for want of space
 * shows at the commit. */
bool fresh_env_begin(struct fresh_env *env, uint64_t bytes);
void fresh_env_put(struct fresh_env *env, uint64_t seq, struct str row);
/* Deletes rows with numbers up to `seq`, at most `most` of them. */
void fresh_env_delete(struct fresh_env *env, uint64_t seq, unsigned most);
/* False: nothing was written, for there is no space. */
bool fresh_env_commit(struct fresh_env *env);

/* Every row with a number above `after`, in order, its parts joined; the view is valid during the visit.
 * Returns the last number there is, 0: none. */
typedef void fresh_env_visit(uint64_t seq, struct str row, void *user);
uint64_t fresh_env_read(struct fresh_env *env, uint64_t after, fresh_env_visit *visit, void *user);

#endif
