/* env.c - see env.h. */
#include "queue/env.h"

#include "engine/base/log.h"
#include "engine/limits.h"
#include "queue/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define DATA_NAME    "data.mdb" /* as LMDB calls it */
#define LOCK_NAME    "postriderd.lock"
#define RESERVE_NAME "reserve"
#define AHEAD_BYTES  (UINT64_C(64) << 20) /* more than one transaction can write */

static const char *const table_names[TABLES] = {
    [T_META] = "meta",
    [T_JOBS] = "jobs",
    [T_CONTENT] = "content",
    [T_BATCHES] = "batches",
    [T_SLOTS] = "slots",
    [T_LANE_NAMES] = "lane_names",
    [T_LANES] = "lanes",
    [T_LANE_DELTAS] = "lane_deltas",
    [T_READY] = "ready",
    [T_DEFERRED] = "deferred",
    [T_DUE] = "due",
    [T_WAKE] = "wake",
    [T_BY_STATUS] = "by_status",
    [T_ENDED] = "ended",
    [T_TIMERS] = "timers",
    [T_UPLOADS] = "uploads",
    [T_OPS] = "ops",
    [T_EVENTS] = "events",
    [T_CURSORS] = "cursors",
    [T_DSN] = "dsn",
    [T_DSN_DUE] = "dsn_due",
    [T_KEYS] = "keys",
    [T_POLICY] = "policy",
    [T_SUPPRESSIONS] = "suppressions",
    [T_COUNTS] = "counts",
};

void env_die(const char *what, int rc)
{
    log_error("the queue cannot go on: %s: %s. Stopping, so that nothing is written on top of it; what was "
              "accepted is "
              "on disk up to the last commit. Check the disk, then start again",
              what, mdb_strerror(rc));
    abort();
}

bool env_is_no_space(int rc)
{
    return rc == ENOSPC || rc == EDQUOT || rc == MDB_MAP_FULL;
}

static void path_of(const struct env *env, const char *name, char path[4096])
{
    snprintf(path, 4096, "%s/%s", env->directory, name);
}

bool env_sync_names(const char *directory)
{
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

bool env_sync_above(const char *path)
{
    char above[4096];
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    while (n > 0 && path[n - 1] != '/')
        n--;
    while (n > 1 && path[n - 1] == '/')
        n--;
    snprintf(above, sizeof above, "%.*s", (int)n, path);
    return env_sync_names(n > 0 ? above : ".");
}

/* The directory itself: there, a directory, ours to write. */
static bool directory_ready(const char *directory, struct err *err)
{
    struct stat st;
    if (stat(directory, &st) != 0) {
        if (errno != ENOENT)
            return err_set(err, errno, "cannot use state_directory %s: %s", directory, strerror(errno));
        if (mkdir(directory, 0750) != 0)
            return err_set(
                err, errno,
                "cannot create state_directory %s: %s; create it (mkdir -p) for the user of the daemon",
                directory, strerror(errno));
        if (!env_sync_above(directory))
            return err_set(err, errno,
                           "cannot sync the directory above state_directory %s: %s; check the disk",
                           directory, strerror(errno));
    } else if (!S_ISDIR(st.st_mode)) {
        return err_set(err, ENOTDIR, "state_directory %s is not a directory; name one", directory);
    }
    if (access(directory, W_OK | X_OK) != 0)
        return err_set(err, errno,
                       "state_directory %s is not writable: %s; change its owner to the daemon's user",
                       directory, strerror(errno));
    return true;
}

/* LMDB itself admits two processes; this lock goes with ours. */
static bool lock_take(struct env *env, struct err *err)
{
    char path[4096], text[32];
    path_of(env, LOCK_NAME, path);
    env->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (env->lock_fd < 0)
        return err_set(err, errno, "cannot open %s: %s; change its owner to the daemon's user", path,
                       strerror(errno));
    if (flock(env->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        int reason = errno;
        ssize_t n = pread(env->lock_fd, text, sizeof text - 1, 0);
        text[n > 0 ? n : 0] = '\0';
        text[strcspn(text, "\n")] = '\0';
        close(env->lock_fd);
        env->lock_fd = -1;
        return err_set(err, reason,
                       "state_directory %s is in use by another postriderd (process %s); stop it, or name "
                       "another directory",
                       env->directory, text[0] ? text : "unknown");
    }
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(env->lock_fd, 0) != 0 || pwrite(env->lock_fd, text, (size_t)n, 0) != n)
        log_warn("cannot write the process number to %s: %s", path, strerror(errno));
    return true;
}

/* Takes disk space that space_give_up can give back. */
static void space_take(struct env *env)
{
    char path[4096];
    if (env->reserve == 0 || env->reserved)
        return;
    path_of(env, RESERVE_NAME, path);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0)
        return;
    int rc = posix_fallocate(fd, 0, (off_t)env->reserve);
    close(fd);
    env->reserved = rc == 0;
    if (rc != 0) {
        unlink(path);
        log_warn(
            "cannot reserve %llu bytes of disk in %s: %s; should the disk fill up, settling stops with it",
            (unsigned long long)env->reserve, env->directory, strerror(rc));
    }
}

static void space_give_up(struct env *env)
{
    char path[4096];
    if (!env->reserved)
        return;
    path_of(env, RESERVE_NAME, path);
    unlink(path);
    env->reserved = false;
    log_warn(
        "no space left for %s: its reserve of %llu bytes is given up so that settling goes on; new jobs are "
        "refused. Free some disk, or raise queue.max_size",
        env->directory, (unsigned long long)env->reserve);
}

static bool tables_open(struct env *env, struct err *err)
{
    MDB_txn *txn = NULL;
    int rc = mdb_txn_begin(env->mdb, NULL, 0, &txn);
    for (unsigned n = 0; rc == 0 && n < TABLES; n++)
        rc = mdb_dbi_open(txn, table_names[n], MDB_CREATE, &env->dbi[n]);
    if (rc == 0) {
        rc = mdb_txn_commit(txn);
        txn = NULL;
    }
    if (txn != NULL)
        mdb_txn_abort(txn);
    return rc == 0 || err_set(err, rc, "cannot open the tables of the queue in %s: %s", env->directory,
                              mdb_strerror(rc));
}

/* `flags` besides those that are always meant. */
static bool mdb_ready(struct env *env, const char *path, unsigned flags, struct err *err)
{
    int rc = mdb_env_create(&env->mdb);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(env->mdb, TABLES);
    if (rc == 0)
        rc = mdb_env_set_maxreaders(env->mdb, READERS_MAX);
    if (rc == 0)
        rc = mdb_env_set_mapsize(env->mdb, env->max_size & ~(uint64_t)4095);
    if (rc == 0)
        rc = mdb_env_open(env->mdb, path, flags | MDB_NOTLS | MDB_NOMEMINIT | MDB_NORDAHEAD, 0640);
    if (rc == ENOMEM)
        return err_set(err, rc,
                       "cannot map %llu bytes for the queue: %s; lower queue.max_size or raise ulimit -v",
                       (unsigned long long)env->max_size, mdb_strerror(rc));
    if (rc != 0)
        return err_set(err, rc, "cannot open the queue in %s: %s", env->directory, mdb_strerror(rc));
    mdb_env_get_fd(env->mdb, &env->data_fd);
    return true;
}

/* A new database gets its name when its first pages are on disk: LMDB writes them without a sync, and refuses
 * for ever what a power cut has left of them. */
static bool data_make(struct env *env, struct err *err)
{
    char path[4096], unfinished[4096];
    path_of(env, DATA_NAME, path);
    path_of(env, DATA_NAME ".new", unfinished);
    if (access(path, F_OK) == 0)
        return true;
    if (unlink(unfinished) != 0 && errno != ENOENT)
        return err_set(err, errno, "cannot remove %s: %s; change its owner to the daemon's user", unfinished,
                       strerror(errno));
    bool ok = mdb_ready(env, unfinished, MDB_NOSUBDIR | MDB_NOLOCK, err) && tables_open(env, err);
    if (env->mdb != NULL)
        mdb_env_close(env->mdb);
    env->mdb = NULL;
    if (ok && (rename(unfinished, path) != 0 || !env_sync_names(env->directory)))
        ok = err_set(err, errno, "cannot name %s: %s; check the disk", path, strerror(errno));
    return ok;
}

bool env_open(struct env *env, const char *directory, uint64_t max_size, uint64_t reserve, struct err *err)
{
    *env = (struct env){.lock_fd = -1,
                        .data_fd = -1,
                        .max_size = max_size,
                        .reserve = reserve,
                        .can_allocate = true,
                        .directory = str_dup(str_of(directory))};
    if (env->directory == NULL)
        return err_set(err, ENOMEM, "no memory to open the queue");
    if (reserve > max_size / 2) {
        err_set(err, EINVAL, "queue.reserve (%llu bytes) must be at most half of queue.max_size (%llu bytes)",
                (unsigned long long)reserve, (unsigned long long)max_size);
    } else if (directory_ready(directory, err) && lock_take(env, err) && data_make(env, err) &&
               mdb_ready(env, env->directory, 0, err) && tables_open(env, err)) {
        space_take(env);
        return true;
    }
    env_close(env);
    return false;
}

void env_close(struct env *env)
{
    if (env->mdb != NULL)
        mdb_env_close(env->mdb);
    if (env->lock_fd >= 0)
        close(env->lock_fd); /* gives the lock back */
    free(env->directory);
    *env = (struct env){.lock_fd = -1, .data_fd = -1};
}

MDB_txn *env_read(struct env *env)
{
    MDB_txn *txn = NULL;
    int rc = mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, &txn);
    if (rc == 0)
        return txn;
    if (rc != MDB_READERS_FULL && rc != ENOMEM)
        env_die("a read of the queue failed", rc);
    log_warn("a read of the queue was refused: %s", mdb_strerror(rc));
    return NULL;
}

void env_read_reset(MDB_txn *txn)
{
    mdb_txn_reset(txn);
}

bool env_read_renew(MDB_txn *txn)
{
    int rc = mdb_txn_renew(txn);
    if (rc != 0 && rc != MDB_READERS_FULL && rc != ENOMEM)
        env_die("a read of the queue failed", rc);
    return rc == 0;
}

void env_read_end(MDB_txn *txn)
{
    if (txn != NULL)
        mdb_txn_abort(txn);
}

uint64_t env_bytes(struct env *env)
{
    MDB_envinfo info;
    mdb_env_info(env->mdb, &info);
    return ((uint64_t)info.me_last_pgno + 1) * 4096;
}

/* Allocates the file beyond what the next transaction can reach. */
static bool allocate_ahead(struct env *env)
{
    uint64_t want = env_bytes(env) + AHEAD_BYTES / 2;
    if (!env->can_allocate || want <= env->ahead)
        return true;
    uint64_t target = want + AHEAD_BYTES;
    for (;;) {
        if (fallocate(env->data_fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)target) == 0) {
            env->ahead = target;
            return true;
        }
        if (errno == EINTR)
            continue;
        if (errno != ENOSPC && errno != EDQUOT) {
            env->can_allocate = false; /* not known here: a full disk is then seen at the write */
            return true;
        }
        if (target > want) {
            target = want; /* the smallest step first */
            continue;
        }
        if (!env->reserved)
            return false;
        space_give_up(env);
    }
}

void env_lack(struct env *env, int rc, const char *what)
{
    if (rc == ENOMEM)
        reserve_give_up();
    else if (env_is_no_space(rc))
        space_give_up(env);
    else
        env_die(what, rc);
}

MDB_txn *env_write(struct env *env)
{
    MDB_txn *txn = NULL;
    if (!allocate_ahead(env))
        return NULL;
    int rc = mdb_txn_begin(env->mdb, NULL, 0, &txn);
    if (rc != 0)
        env_lack(env, rc, "a write transaction cannot begin");
    return txn;
}

bool env_commit(struct env *env, MDB_txn *txn)
{
    int rc = mdb_txn_commit(txn);
    if (rc == 0)
        return true;
    env_lack(env, rc, "a commit failed");
    return false;
}

/* Pages on LMDB's own free list: a record a transaction, its first word their number. */
static uint64_t free_pages(struct env *env)
{
    MDB_txn *txn = env_read(env);
    MDB_cursor *cursor = NULL;
    MDB_val key, value;
    uint64_t pages = 0;
    if (txn != NULL && mdb_cursor_open(txn, 0, &cursor) == 0) {
        while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
            size_t n;
            memcpy(&n, value.mv_data, sizeof n);
            pages += n;
        }
        mdb_cursor_close(cursor);
    }
    env_read_end(txn);
    return pages;
}

uint64_t env_used_bytes(struct env *env)
{
    uint64_t all = env_bytes(env), unused = free_pages(env) * 4096;
    return all > unused ? all - unused : 0;
}

int env_copy(struct env *env, int fd)
{
    return mdb_env_copyfd2(env->mdb, fd, MDB_CP_COMPACT);
}

bool env_check_full(struct env *env, uint64_t *room)
{
    struct statvfs fs;
    uint64_t used = env_bytes(env), limit = env->max_size - env->reserve;
    if (used > limit)
        used = env_used_bytes(env);
    *room = used < limit ? limit - used : 0;
    bool full = used > limit;
    if (fstatvfs(env->data_fd, &fs) == 0) {
        uint64_t disk = (uint64_t)fs.f_bavail * fs.f_frsize;
        if (!env->reserved && disk > 2 * env->reserve)
            space_take(env);
        else
            full |= disk < env->reserve;
        disk = disk > env->reserve ? disk - env->reserve : 0;
        *room = disk < *room ? disk : *room;
    }
    return full;
}

bool env_is_deleted(const struct env *env)
{
    struct stat st;
    return fstat(env->data_fd, &st) == 0 && st.st_nlink == 0;
}

MDB_txn *env_read_must(struct env *env)
{
    MDB_txn *txn;
    for (unsigned tries = 0; (txn = env_read(env)) == NULL; tries++)
        reserve_wait(tries);
    return txn;
}

MDB_cursor *env_cursor(const struct env *env, MDB_txn *txn, enum table table)
{
    MDB_cursor *cursor;
    int rc;
    for (unsigned tries = 0; (rc = mdb_cursor_open(txn, env->dbi[table], &cursor)) == ENOMEM; tries++)
        reserve_wait(tries);
    if (rc != 0)
        env_die("a cursor cannot be opened", rc);
    return cursor;
}

static MDB_stat table_stat(const struct env *env, MDB_txn *txn, enum table table)
{
    MDB_stat stat;
    int rc = mdb_stat(txn, env->dbi[table], &stat);
    if (rc != 0)
        env_die("a table cannot be counted", rc);
    return stat;
}

uint64_t env_entries(const struct env *env, MDB_txn *txn, enum table table)
{
    return table_stat(env, txn, table).ms_entries;
}

uint64_t env_table_bytes(const struct env *env, MDB_txn *txn, enum table table)
{
    MDB_stat stat = table_stat(env, txn, table);
    return (stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages) * stat.ms_psize;
}

bool env_get(const struct env *env, MDB_txn *txn, enum table table, const void *key, size_t key_size,
             struct str *row)
{
    union {
        const void *in;
        void *out;
    } key_bytes = {.in = key}; /* LMDB does not write to it */
    MDB_val k = {key_size, key_bytes.out}, v;
    int rc = mdb_get(txn, env->dbi[table], &k, &v);
    if (rc == 0) {
        *row = str_make(v.mv_data, v.mv_size);
        return true;
    }
    if (rc != MDB_NOTFOUND)
        env_die("a read of the queue failed", rc);
    return false;
}
