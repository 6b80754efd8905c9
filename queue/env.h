/* env.h - the LMDB environment: opening, locking, transactions, space. The only place with mdb_env_*.
 *
 * A failed commit ends in one of two ways. No space (ENOSPC, MDB_MAP_FULL) or no memory (ENOMEM): the
 * transaction is undone, the reserve file, or that of memory (reserve.h), is given up, and env_commit returns
 * false so that the caller can refuse admits and try what must not be lost again. Anything else (EIO, a
 * failed sync or meta page): a sentence to the log, and abort(): nothing may be committed on top of it. The
 * file is allocated some way ahead of its use, so that a full disk is seen before a write and never as a
 * short one. */
#ifndef POSTRIDER_QUEUE_ENV_H
#define POSTRIDER_QUEUE_ENV_H

#include "engine/base/err.h"
#include "queue/schema.h"

#include <lmdb.h>

struct env {
    MDB_env *mdb;
    MDB_dbi dbi[TABLES];
    char *directory;
    int lock_fd, data_fd;
    uint64_t max_size, reserve, ahead; /* ahead: bytes of the file allocated so far */
    bool reserved;                     /* the reserve file is there */
    bool can_allocate;                 /* the file system knows fallocate */
};

/* Creates the directory when its parent is there; locks, opens, opens all tables. */
bool env_open(struct env *env, const char *directory, uint64_t max_size, uint64_t reserve, struct err *err);
void env_close(struct env *env);

/* Read transactions. Any thread; NULL (with a line in the log) only when reader slots or memory are out. */
MDB_txn *env_read(struct env *env);
/* Waits for them, as reserve.h says. */
MDB_txn *env_read_must(struct env *env);
MDB_cursor *env_cursor(const struct env *env, MDB_txn *txn, enum table table);
/* Between uses, so that pages can be reused, and again. Renewing sees what was committed before it. */
void env_read_reset(MDB_txn *txn);
bool env_read_renew(MDB_txn *txn);
void env_read_end(MDB_txn *txn); /* NULL is fine */

/* The writer's thread only. env_write returns NULL when there is no space, or no memory, even
 * to begin. */
MDB_txn *env_write(struct env *env);
bool env_commit(struct env *env, MDB_txn *txn);
/* After an error of LMDB within a write transaction: gives up the reserve of what was missing, space or
 * memory; any other error does not return. `what`: for the log. */
void env_lack(struct env *env, int rc, const char *what);
bool env_is_no_space(int rc);
void env_die(const char *what, int rc) __attribute__((noreturn));

/* Looks at map and disk; true when admits must be refused, else room: bytes until then. Takes the reserve
 * again when there is room. About once a second, more often where little is left, and after a failed
 * commit. */
bool env_check_full(struct env *env, uint64_t *room);
/* No directory names the file any more: what it holds ends with the process. */
bool env_is_deleted(const struct env *env);
/* Bytes of the file in use, free pages included. */
uint64_t env_bytes(struct env *env);
/* The same without them; walks LMDB's list of them. */
uint64_t env_used_bytes(struct env *env);
/* Writes a copy without free pages to the descriptor, which may be a pipe. Any thread; 0 or LMDB's error. */
int env_copy(struct env *env, int fd);

/* Syncs a directory: names made or changed in it, which the files' own syncs need not write. */
bool env_sync_names(const char *directory);
/* The directory above that of this path. */
bool env_sync_above(const char *path);

/* How many rows a table has, as the transaction sees it. */
uint64_t env_entries(const struct env *env, MDB_txn *txn, enum table table);
/* Bytes of the pages that a table takes. */
uint64_t env_table_bytes(const struct env *env, MDB_txn *txn, enum table table);

/* A row, or false. The view is valid until the transaction ends (in a write transaction: until its next
 * write). */
bool env_get(const struct env *env, MDB_txn *txn, enum table table, const void *key, size_t key_size,
             struct str *row);

#endif
