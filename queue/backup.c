/* backup.c - see backup.h.
 *
 * LMDB writes its copy into a pipe, from a thread that does nothing else; this side takes it out and writes
 * it to the file, so that the copy can be counted, and ended between any two pieces. */
#include "queue/backup.h"

#include "engine/base/log.h"
#include "queue/store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE_BYTES ((size_t)1 << 20)
#define DATA_FILE   "data.mdb"

struct place {
    char part[BACKUP_PATH_MAX + 8], data[BACKUP_PATH_MAX + 32];
};

/* ---- where ---- */

static void place_remove(const struct place *place)
{
    unlink(place->data);
    rmdir(place->part);
}

/* The directory it is written to, new and empty; what a crash left of an earlier one goes. */
static bool place_make(const char *directory, struct place *place, struct err *err)
{
    struct stat st;
    size_t n = strlen(directory);
    while (n > 1 && directory[n - 1] == '/')
        n--;
    if (directory[0] != '/' || n < 2 || n > BACKUP_PATH_MAX)
        return err_set(err, EINVAL,
                       "a backup goes to a new directory, by its whole path from / on, not to \"%s\"",
                       directory);
    snprintf(place->part, sizeof place->part, "%.*s.part", (int)n, directory);
    snprintf(place->data, sizeof place->data, "%s/" DATA_FILE, place->part);
    if (lstat(directory, &st) == 0)
        return err_set(err, EEXIST, "%s is there already: name a directory that is not", directory);
    place_remove(place);
    if (mkdir(place->part, 0700) == 0)
        return true;
    if (errno == EEXIST)
        return err_set(err, EEXIST, "%s is in the way, and no backup's: move it away, or name another place",
                       place->part);
    return err_set(err, errno,
                   "cannot create %s: %s; the directory above must be there, and writable for the daemon's "
                   "user",
                   place->part, strerror(errno));
}

static bool place_name(const char *directory, const struct place *place, struct err *err)
{
    bool named = env_sync_names(place->part) && rename(place->part, directory) == 0;
    if (named && env_sync_above(directory))
        return true;
    err_set(err, errno, "cannot name the backup %s: %s; the directory above must be readable, its disk well",
            directory, strerror(errno));
    if (named) /* a crash might undo it: it goes as all else does */
        (void)rename(directory, place->part);
    return false;
}

/* ---- the copy ---- */

struct copy {
    struct env *env;
    int ends[2]; /* of the pipe: the thread writes to the second */
    int rc;      /* of LMDB's copy, once the thread has ended */
};

static void *copy_main(void *arg)
{
    struct copy *copy = arg;
    copy->rc = env_copy(copy->env, copy->ends[1]);
    close(copy->ends[1]);
    return NULL;
}

static bool say_stopping(struct err *err)
{
    return err_set(err, ECANCELED, "postriderd is shutting down: make the backup again later");
}

/* Why the copy is not to go on. */
static bool may_go_on(struct store *store, struct backup_progress *progress, struct err *err)
{
    if (atomic_load(&progress->cancelled) || atomic_load(&store->stopping))
        return say_stopping(err);
    if (atomic_load(&store->full))
        return err_set(
            err, ENOSPC,
            "the queue is full, and a backup lets it grow: free space, then make the backup again");
    return true;
}

static bool piece_write(int fd, const char *piece, size_t n, const struct place *place, struct err *err)
{
    for (size_t at = 0; at < n;) {
        ssize_t w = write(fd, piece + at, n - at);
        if (w < 0 && errno != EINTR)
            return err_set(err, errno, "cannot write %s: %s; name a directory on a disk with room",
                           place->data, strerror(errno));
        at += w > 0 ? (size_t)w : 0;
    }
    return true;
}

static bool file_sync(int fd, const struct place *place, struct err *err)
{
    return fsync(fd) == 0 ||
           err_set(err, errno, "cannot sync %s: %s; check the disk", place->data, strerror(errno));
}

/* From the pipe to the file, until its other end is closed. */
static bool pour(struct store *store, int from, int fd, const struct place *place,
                 struct backup_progress *progress, struct err *err)
{
    char *piece = malloc(PIECE_BYTES);
    uint64_t bytes = 0, synced = 0;
    bool ok = piece != NULL || err_set(err, ENOMEM, "no memory to make a backup");
    while (ok) {
        ssize_t n = read(from, piece, PIECE_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        ok = may_go_on(store, progress, err) && piece_write(fd, piece, (size_t)n, place, err);
        bytes += (uint64_t)n;
        atomic_store(&progress->bytes, bytes);
        if (ok && bytes - synced >= BACKUP_SYNC_BYTES) {
            ok = file_sync(fd, place, err); /* what fails is told once: the last sync need not fail again */
            synced = bytes;
        }
    }
    free(piece);
    return ok;
}

static bool copy_to(struct store *store, int fd, const struct place *place, struct backup_progress *progress,
                    struct err *err)
{
    struct copy copy = {.env = &store->env};
    pthread_t thread;
    if (pipe2(copy.ends, O_CLOEXEC) != 0)
        return err_set(err, errno, "cannot make a pipe for a backup: %s", strerror(errno));
    int rc = pthread_create(&thread, NULL, copy_main, &copy);
    if (rc != 0) {
        close(copy.ends[0]);
        close(copy.ends[1]);
        return err_set(err, rc, "cannot start a thread for a backup: %s", strerror(rc));
    }
    bool ok = pour(store, copy.ends[0], fd, place, progress, err);
    close(copy.ends[0]); /* ends a copy that is not whole */
    pthread_join(thread, NULL);
    if (ok && copy.rc != 0)
        ok = err_set(err, copy.rc, "the queue in %s cannot be copied: %s; check its disk",
                     store->env.directory, mdb_strerror(copy.rc));
    return ok && file_sync(fd, place, err);
}

/* What has landed is brought into the tables. */
static bool all_applied(struct store *store, struct err *err)
{
    return fresh_barrier(store) ||
           err_set(err, EAGAIN, "the queue is too busy to be copied just now: try again");
}

bool backup_make(struct store *store, const char *directory, struct backup_progress *progress,
                 struct err *err)
{
    struct place place;
    if (!may_go_on(store, progress, err) || !all_applied(store, err) || !place_make(directory, &place, err))
        return false;
    int fd = open(place.data, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool ok = fd >= 0 || err_set(err, errno, "cannot create %s: %s", place.data, strerror(errno));
    ok = ok && copy_to(store, fd, &place, progress, err);
    if (fd >= 0)
        close(fd);
    ok = ok && place_name(directory, &place, err);
    if (!ok)
        place_remove(&place);
    return ok;
}

/* ---- the daemon's ---- */

struct backup {
    struct store *store;
    pthread_mutex_t lock;
    pthread_t thread;
    bool has_thread; /* to be joined */
    struct backup_info info;
    struct backup_progress progress;
};

static void *backup_main(void *arg)
{
    struct backup *backup = arg;
    struct err err = {0};
    bool ok = backup_make(backup->store, backup->info.directory, &backup->progress, &err);
    if (!ok)
        log_warn("no backup: %s", err.text);
    pthread_mutex_lock(&backup->lock);
    backup->info.state = ok ? BACKUP_DONE : BACKUP_FAILED;
    backup->info.err = err;
    backup->info.ended_ms = clock_now().wall_ms;
    pthread_mutex_unlock(&backup->lock);
    return NULL;
}

struct backup *backup_create(struct store *store)
{
    struct backup *backup = calloc(1, sizeof *backup);
    if (backup == NULL)
        return NULL;
    backup->store = store;
    pthread_mutex_init(&backup->lock, NULL);
    return backup;
}

bool backup_start(struct backup *backup, const char *directory, struct now now, struct err *err)
{
    pthread_mutex_lock(&backup->lock);
    struct backup_info *info = &backup->info;
    bool ok = info->state != BACKUP_RUNNING ||
              err_set(err, EBUSY, "a backup to %s is under way: wait until it is done", info->directory);
    ok = ok && (!atomic_load(&backup->progress.cancelled) || say_stopping(err));
    if (ok && strlen(directory) > BACKUP_PATH_MAX)
        ok = err_set(err, EINVAL, "the path of a backup has at most %d bytes", BACKUP_PATH_MAX);
    if (ok) {
        if (backup->has_thread)
            pthread_join(backup->thread, NULL);
        *info = (struct backup_info){
            .state = BACKUP_RUNNING, .begun_ms = now.wall_ms, .total = env_used_bytes(&backup->store->env)};
        snprintf(info->directory, sizeof info->directory, "%s", directory);
        atomic_store(&backup->progress.bytes, 0);
        int rc = pthread_create(&backup->thread, NULL, backup_main, backup);
        backup->has_thread = rc == 0;
        if (rc != 0) {
            info->state = BACKUP_FAILED;
            ok = err_set(&info->err, rc, "cannot start a thread for a backup: %s", strerror(rc));
            *err = info->err;
        }
    }
    pthread_mutex_unlock(&backup->lock);
    return ok;
}

void backup_look(struct backup *backup, struct backup_info *info)
{
    pthread_mutex_lock(&backup->lock);
    *info = backup->info;
    info->bytes = atomic_load(&backup->progress.bytes);
    pthread_mutex_unlock(&backup->lock);
}

void backup_stop(struct backup *backup)
{
    atomic_store(&backup->progress.cancelled, true);
    pthread_mutex_lock(&backup->lock);
    bool has_thread = backup->has_thread;
    pthread_t thread = backup->thread;
    backup->has_thread = false;
    pthread_mutex_unlock(&backup->lock);
    if (has_thread)
        pthread_join(thread, NULL);
}

void backup_destroy(struct backup *backup)
{
    if (backup == NULL)
        return;
    backup_stop(backup);
    pthread_mutex_destroy(&backup->lock);
    free(backup);
}
