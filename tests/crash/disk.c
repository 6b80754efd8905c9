/* disk.c - see disk.h. */
#include "tests/crash/disk_record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

struct disk disk;

_Noreturn void disk_die(const char *what, const char *path)
{
    fprintf(stderr, "disk: %s: %s\n", what, path);
    abort();
}

void *disk_must(void *p)
{
    if (p == NULL)
        disk_die("out of memory", disk.root);
    return p;
}

void disk_plant(enum disk_defect defect)
{
    disk.defect = defect;
}

size_t disk_at(void)
{
    return disk.op_n;
}

void disk_doing(unsigned doing)
{
    disk.doing = doing;
}

/* ---- objects ---- */

static void path_of(unsigned n, char path[DISK_PATH_BYTES])
{
    if (n == 0) {
        snprintf(path, DISK_PATH_BYTES, "%s", disk.root);
        return;
    }
    char above[DISK_PATH_BYTES];
    path_of(disk.objects[n].parent, above);
    if ((size_t)snprintf(path, DISK_PATH_BYTES, "%s/%s", above, disk.objects[n].name) >= DISK_PATH_BYTES)
        disk_die("a path is too long", above);
}

/* 0-based, -1: none of that path. */
static int object_find(const char *path)
{
    char own[DISK_PATH_BYTES];
    for (unsigned n = 0; n < disk.object_n; n++) {
        path_of(n, own);
        if ((n == 0 || disk.objects[n].name[0] != '\0') && strcmp(own, path) == 0)
            return (int)n;
    }
    return -1;
}

/* Whether the path is one that is recorded; its directory and its last part. */
static bool object_place(const char *path, unsigned *parent, char name[DISK_NAME_BYTES])
{
    static const char *const besides[] = {"lock.mdb", "postriderd.lock", "reserve"};
    char above[DISK_PATH_BYTES];
    const char *last = strrchr(path, '/');
    if (!disk.on || last == NULL || (size_t)(last - path) >= sizeof above)
        return false;
    snprintf(above, sizeof above, "%.*s", (int)(last - path), path);
    int n = object_find(above);
    for (size_t i = 0; i < sizeof besides / sizeof *besides; i++)
        if (strcmp(last + 1, besides[i]) == 0)
            return false;
    if (n < 0)
        return false;
    if ((size_t)snprintf(name, DISK_NAME_BYTES, "%s", last + 1) >= DISK_NAME_BYTES)
        disk_die("a name is too long", path);
    *parent = (unsigned)n;
    return true;
}

static unsigned object_make(unsigned parent, const char *name, bool directory)
{
    if (disk.object_n == DISK_OBJECTS)
        disk_die("too many files", name);
    struct disk_object *object = &disk.objects[disk.object_n];
    *object = (struct disk_object){.directory = directory, .parent = parent};
    snprintf(object->name, sizeof object->name, "%s", name);
    return disk.object_n++;
}

/* ---- the record ---- */

static struct disk_op *record(enum disk_op_kind kind, unsigned object)
{
    if (disk.op_n == disk.op_cap) {
        disk.op_cap = disk.op_cap ? 2 * disk.op_cap : 1024;
        disk.ops = disk_must(realloc(disk.ops, disk.op_cap * sizeof *disk.ops));
    }
    struct disk_op *op = &disk.ops[disk.op_n++];
    *op = (struct disk_op){.kind = kind, .object = object, .doing = disk.doing};
    return op;
}

static void record_name(unsigned object, const char *name)
{
    struct disk_op *op = record(DISK_NAME, object);
    snprintf(op->name, sizeof op->name, "%s", name);
    snprintf(disk.objects[object].name, sizeof op->name, "%s", name);
}

static void record_write(int fd, const void *bytes, size_t n, size_t offset)
{
    struct disk_op *op = record(DISK_WRITE, disk.fds[fd].object - 1);
    op->through = disk.fds[fd].through && disk.defect != DISK_META_NOT_THROUGH;
    op->offset = offset;
    op->size = n;
    if (!disk_is_zero(bytes, n))
        op->bytes = memcpy(disk_must(malloc(n)), bytes, n);
}

static bool recorded(int fd)
{
    return disk.on && fd >= 0 && fd < DISK_FDS && disk.fds[fd].object > 0;
}

static int record_sync(int fd)
{
    if (!recorded(fd))
        return 0;
    unsigned n = disk.fds[fd].object - 1;
    const struct disk_object *object = &disk.objects[n];
    bool queue = strcmp(disk.objects[object->parent].name, "queue") == 0;
    enum disk_defect defect = object->directory                            ? DISK_NO_NAME_SYNC
                              : !queue                                     ? DISK_NO_COPY_SYNC
                              : strncmp(object->name, "fresh.log", 9) == 0 ? DISK_NO_FRESH_SYNC
                                                                           : DISK_NO_DATA_SYNC;
    if (disk.defect != defect)
        record(DISK_SYNC, n);
    return 0;
}

static void record_forget(void)
{
    for (size_t n = 0; n < disk.op_n; n++)
        free(disk.ops[n].bytes);
    for (unsigned n = 0; n < disk.object_n; n++) {
        free(disk.objects[n].bytes);
        free(disk.objects[n].pending);
    }
    disk.op_n = disk.reached = disk.object_n = 0;
}

static void file_load(struct disk_object *object, const char *path)
{
    FILE *file = fopen(path, "re");
    struct stat st;
    if (file == NULL || fstat(fileno(file), &st) != 0)
        disk_die("cannot read", path);
    object->size = (size_t)st.st_size;
    object->bytes = disk_must(malloc(object->size + 1));
    if (fread(object->bytes, 1, object->size, file) != object->size)
        disk_die("cannot read", path);
    fclose(file);
}

static void directory_load(unsigned parent)
{
    char path[DISK_PATH_BYTES], name[DISK_NAME_BYTES];
    path_of(parent, path);
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, alphasort);
    if (count < 0)
        disk_die("cannot list", path);
    for (int i = 0; i < count; i++) {
        char below[DISK_PATH_BYTES + DISK_NAME_BYTES];
        struct stat st;
        unsigned place;
        snprintf(below, sizeof below, "%s/%.60s", path, entries[i]->d_name);
        bool ours =
            entries[i]->d_name[0] != '.' && object_place(below, &place, name) && stat(below, &st) == 0;
        free(entries[i]);
        if (!ours)
            continue;
        unsigned n = object_make(parent, name, S_ISDIR(st.st_mode));
        snprintf(disk.objects[n].named, DISK_NAME_BYTES, "%s", name);
        if (disk.objects[n].directory)
            directory_load(n);
        else
            file_load(&disk.objects[n], below);
    }
    free(entries);
}

void disk_begin(const char *directory)
{
    record_forget();
    memset(disk.fds, 0, sizeof disk.fds);
    snprintf(disk.root, sizeof disk.root, "%s", directory);
    disk.on = true;
    object_make(0, "", true);
    directory_load(0);
}

void disk_end(void)
{
    disk.on = false;
}

/* ---- the calls ---- */

int __real_open(const char *path, int flags, ...);
int __real_close(int fd);
int __real_mkdir(const char *path, mode_t mode);
int __real_rename(const char *from, const char *to);
int __real_unlink(const char *path);
int __real_ftruncate(int fd, off_t size);
ssize_t __real_pwrite(int fd, const void *bytes, size_t n, off_t offset);
ssize_t __real_write(int fd, const void *bytes, size_t n);
ssize_t __real_writev(int fd, const struct iovec *parts, int n);
void *__real_mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset);
int __wrap_open(const char *path, int flags, ...);
int __wrap_close(int fd);
int __wrap_mkdir(const char *path, mode_t mode);
int __wrap_rename(const char *from, const char *to);
int __wrap_unlink(const char *path);
int __wrap_ftruncate(int fd, off_t size);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t size);
int __wrap_fsync(int fd);
int __wrap_fdatasync(int fd);
ssize_t __wrap_pwrite(int fd, const void *bytes, size_t n, off_t offset);
ssize_t __wrap_write(int fd, const void *bytes, size_t n);
ssize_t __wrap_writev(int fd, const struct iovec *parts, int n);
void *__wrap_mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset);

int __wrap_open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    char name[DISK_NAME_BYTES];
    unsigned parent;
    if (flags & O_CREAT) {
        va_list args;
        va_start(args, flags);
        mode = va_arg(args, mode_t);
        va_end(args);
    }
    bool through = (flags & O_DSYNC) != 0;
    int fd = __real_open(path, flags & ~(O_DSYNC | O_SYNC | O_DIRECT), mode);
    int n = disk.on && fd >= 0 ? object_find(path) : -1;
    if (n < 0 && disk.on && fd >= 0 && (flags & O_CREAT) && object_place(path, &parent, name)) {
        n = (int)object_make(parent, name, false);
        record_name((unsigned)n, name);
    }
    if (n >= 0 && (fd >= DISK_FDS || flags & (O_TRUNC | O_APPEND)))
        disk_die("cannot follow", path);
    if (n >= 0) {
        disk.fds[fd].object = (unsigned)n + 1;
        disk.fds[fd].through = through;
    }
    return fd;
}

int __wrap_close(int fd)
{
    if (fd >= 0 && fd < DISK_FDS)
        disk.fds[fd].object = 0;
    return __real_close(fd);
}

int __wrap_mkdir(const char *path, mode_t mode)
{
    char name[DISK_NAME_BYTES];
    unsigned parent;
    int rc = __real_mkdir(path, mode);
    if (rc == 0 && object_place(path, &parent, name))
        record_name(object_make(parent, name, true), name);
    return rc;
}

int __wrap_rename(const char *from, const char *to)
{
    char name[DISK_NAME_BYTES];
    unsigned parent;
    int n = disk.on ? object_find(from) : -1, there = disk.on ? object_find(to) : -1;
    if (n > 0 && (there >= 0 || !object_place(to, &parent, name) || parent != disk.objects[n].parent))
        disk_die("cannot follow the renaming of", from);
    int rc = __real_rename(from, to);
    if (rc == 0 && n > 0)
        record_name((unsigned)n, name);
    return rc;
}

int __wrap_unlink(const char *path)
{
    int n = disk.on ? object_find(path) : -1;
    int rc = __real_unlink(path);
    if (rc == 0 && n > 0)
        record_name((unsigned)n, "");
    return rc;
}

int __wrap_ftruncate(int fd, off_t size)
{
    if (recorded(fd))
        disk_die("cannot follow ftruncate", disk.objects[disk.fds[fd].object - 1].name);
    return __real_ftruncate(fd, size);
}

int __wrap_fallocate(int fd, int mode, off_t offset, off_t size)
{
    (void)fd;
    (void)mode;
    (void)offset;
    (void)size;
    errno = EOPNOTSUPP; /* as some file systems say; it writes nothing anyhow */
    return -1;
}

int __wrap_fsync(int fd)
{
    return record_sync(fd);
}

int __wrap_fdatasync(int fd)
{
    return record_sync(fd);
}

ssize_t __wrap_pwrite(int fd, const void *bytes, size_t n, off_t offset)
{
    ssize_t w = __real_pwrite(fd, bytes, n, offset);
    if (w > 0 && recorded(fd))
        record_write(fd, bytes, (size_t)w, (size_t)offset);
    return w;
}

ssize_t __wrap_write(int fd, const void *bytes, size_t n)
{
    off_t offset = recorded(fd) ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t w = __real_write(fd, bytes, n);
    if (w > 0 && recorded(fd))
        record_write(fd, bytes, (size_t)w, (size_t)offset);
    return w;
}

ssize_t __wrap_writev(int fd, const struct iovec *parts, int n)
{
    size_t offset = recorded(fd) ? (size_t)lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t w = __real_writev(fd, parts, n);
    size_t left = w > 0 && recorded(fd) ? (size_t)w : 0;
    for (int i = 0; i < n && left > 0; i++) { /* each may be torn for itself */
        size_t size = parts[i].iov_len < left ? parts[i].iov_len : left;
        record_write(fd, parts[i].iov_base, size, offset);
        offset += size;
        left -= size;
    }
    return w;
}

void *__wrap_mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset)
{
    if (recorded(fd) && prot & PROT_WRITE && flags & MAP_SHARED)
        disk_die("cannot follow a shared map of", disk.objects[disk.fds[fd].object - 1].name);
    return __real_mmap(at, n, prot, flags, fd, offset);
}
