/* accepts.c - see accepts.h. */
#include "bench/load/accepts.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static bool stretch(int fd, bool writable, size_t *bytes)
{
    struct stat stat;
    if (fstat(fd, &stat) != 0)
        return false;
    if (writable && (uint64_t)stat.st_size < *bytes)
        return ftruncate(fd, (off_t)*bytes) == 0;
    *bytes = (size_t)stat.st_size;
    return true;
}

void *file_map(const char *path, bool writable, size_t *bytes, struct err *err)
{
    int fd = open(path, (writable ? O_RDWR | O_CREAT : O_RDONLY) | O_CLOEXEC, 0644);
    if (fd < 0 || !stretch(fd, writable, bytes)) {
        err_set(err, errno, "cannot open %s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    bool whole = *bytes >= RECORD_HEADER_SIZE;
    int access = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    void *map = whole ? mmap(NULL, *bytes, access, MAP_SHARED, fd, 0) : MAP_FAILED;
    int code = errno;
    close(fd);
    if (map != MAP_FAILED)
        return map;
    if (whole)
        err_set(err, code, "cannot map %s: %s", path, strerror(code));
    else
        err_set(err, EINVAL, "%s is too short for a record or accepts file", path);
    return NULL;
}

bool accepts_open(struct accepts *accepts, const char *path, uint64_t slots, struct err *err)
{
    *accepts = (struct accepts){0};
    if (path == NULL)
        return true;
    accepts->bytes = accepts_bytes(slots);
    accepts->header = file_map(path, true, &accepts->bytes, err);
    if (accepts->header == NULL)
        return false;
    static const char fresh[sizeof accepts->header->magic];
    struct record_header made = accepts_header_make((accepts->bytes - RECORD_HEADER_SIZE) / sizeof(uint64_t));
    if (memcmp(accepts->header->magic, fresh, sizeof fresh) != 0)
        accepts->header->slots = made.slots; /* it may have grown */
    else
        *accepts->header = made;
    if (accepts_header_sound(accepts->header, accepts->bytes))
        return true;
    accepts_close(accepts);
    return err_set(err, EINVAL, "%s exists and is no accepts file; remove it or name another", path);
}

void accepts_close(struct accepts *accepts)
{
    if (accepts->header)
        munmap(accepts->header, accepts->bytes);
    *accepts = (struct accepts){0};
}

void accepts_mark(struct accepts *accepts, uint64_t first, uint64_t count, int64_t ns)
{
    if (accepts->header == NULL)
        return;
    uint64_t *slots = accepts_slots(accepts->header);
    for (uint64_t i = 0; i < count; i++)
        slots[first + i] = (uint64_t)ns;
}
