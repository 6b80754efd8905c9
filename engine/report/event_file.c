/* event_file.c - see event_file.h. */
#include "engine/report/event_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE (64 * 1024) /* read at once, from the end, to find where the last line ends */

void event_file_init(struct event_file *file, const struct event_file_settings *settings)
{
    *file = (struct event_file){.settings = *settings, .fd = -1};
}

void event_file_close(struct event_file *file)
{
    if (file->fd >= 0)
        close(file->fd);
    file->fd = -1;
}

static bool failed(const struct event_file *file, const char *what, struct err *err)
{
    int code = errno;
    return err_set(err, code, "%s: cannot %s: %s", file->settings.path, what, strerror(code));
}

/* A name that was made or moved is there after a crash only when its directory is synced. */
static bool sync_directory(const struct event_file *file, struct err *err)
{
    char path[PATH_MAX];
    const char *slash = strrchr(file->settings.path, '/');
    size_t n = slash != NULL && slash > file->settings.path ? (size_t)(slash - file->settings.path) : 1;
    snprintf(path, sizeof path, "%.*s", (int)n, slash != NULL ? file->settings.path : ".");
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool synced = fd >= 0 && fsync(fd) == 0;
    if (!synced)
        failed(file, "sync its directory", err);
    if (fd >= 0)
        close(fd);
    return synced;
}

/* Where the last whole line ends. False: it cannot be read. */
static bool find_end(int fd, uint64_t size, uint64_t *end)
{
    char piece[PIECE];
    for (*end = size; *end > 0;) {
        uint64_t from = *end > PIECE ? *end - PIECE : 0;
        ssize_t n = pread(fd, piece, (size_t)(*end - from), (off_t)from);
        if (n != (ssize_t)(*end - from))
            return false;
        const char *newline = memrchr(piece, '\n', (size_t)n);
        *end = newline != NULL ? from + (uint64_t)(newline - piece) + 1 : from;
        if (newline != NULL)
            return true;
    }
    return true;
}

/* When the file was begun, where its file system knows; else when it was last written. */
static int64_t birth_ms(int fd, const struct stat *stat)
{
    struct statx more;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &more) == 0 && (more.stx_mask & STATX_BTIME))
        return (int64_t)more.stx_btime.tv_sec * MS_PER_S + more.stx_btime.tv_nsec / NS_PER_MS;
    return (int64_t)stat->st_mtim.tv_sec * MS_PER_S + stat->st_mtim.tv_nsec / NS_PER_MS;
}

static bool file_adopt(struct event_file *file, struct err *err)
{
    struct stat stat;
    uint64_t end;
    if (fstat(file->fd, &stat) != 0)
        return failed(file, "look at it", err);
    if (!S_ISREG(stat.st_mode))
        return err_set(err, EINVAL, "%s: is no ordinary file; name another one", file->settings.path);
    if (!find_end(file->fd, (uint64_t)stat.st_size, &end))
        return failed(file, "read its end", err);
    if (end < (uint64_t)stat.st_size && ftruncate(file->fd, (off_t)end) != 0)
        return failed(file, "take off the line that was cut short", err);
    file->size = end;
    file->device = stat.st_dev;
    file->inode = stat.st_ino;
    file->begun_ms = birth_ms(file->fd, &stat);
    return sync_directory(file, err);
}

static bool file_open(struct event_file *file, struct err *err)
{
    file->fd = open(file->settings.path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0640);
    if (file->fd < 0)
        return failed(file, "open it", err);
    if (file_adopt(file, err))
        return true;
    event_file_close(file);
    return false;
}

/* It is still what is at its path. */
static bool in_place(const struct event_file *file)
{
    struct stat stat_now;
    return stat(file->settings.path, &stat_now) == 0 && stat_now.st_dev == file->device &&
           stat_now.st_ino == file->inode;
}

static bool move(const struct event_file *file, unsigned from, struct err *err)
{
    char old[PATH_MAX], new[PATH_MAX];
    snprintf(old, sizeof old, from ? "%s.%u" : "%s", file->settings.path, from);
    snprintf(new, sizeof new, "%s.%u", file->settings.path, from + 1);
    if (rename(old, new) == 0 || errno == ENOENT)
        return true;
    return failed(file, "put it aside", err);
}

static bool rotate(struct event_file *file, struct err *err)
{
    event_file_close(file);
    for (unsigned n = file->settings.keep; n-- > 0;)
        if (!move(file, n, err)) /* the oldest is overwritten */
            return false;
    return file_open(file, err);
}

static bool is_due(const struct event_file *file, size_t more, struct now now)
{
    const struct event_file_settings *settings = &file->settings;
    if (file->size == 0)
        return false;
    return (settings->rotate_size > 0 && file->size + more > settings->rotate_size) ||
           (settings->rotate_age_ms > 0 && now.wall_ms - file->begun_ms >= settings->rotate_age_ms);
}

static bool write_all(int fd, struct str data)
{
    while (data.n > 0) {
        ssize_t n = write(fd, data.p, data.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        data = str_make(data.p + n, data.n - (size_t)n);
    }
    return true;
}

bool event_file_append(struct event_file *file, struct str lines, struct now now, struct err *err)
{
    if (file->fd >= 0 && !in_place(file))
        event_file_close(file);
    if (file->fd < 0 && !file_open(file, err))
        return false;
    if (is_due(file, lines.n, now) && !rotate(file, err))
        return false;
    if (write_all(file->fd, lines) && fdatasync(file->fd) == 0) {
        file->size += lines.n;
        return true;
    }
    failed(file, "write to it", err);
    if (ftruncate(file->fd, (off_t)file->size) != 0) /* else the next opening finds the line that is cut */
        err->code = errno;
    event_file_close(file);
    return false;
}
