/* recorder.c - see recorder.h. */
#include "bench/world/recorder.h"

#include "bench/world/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define AHEAD                                                                                                \
    8 /* a transaction's numbers lie a domain count apart, so each slot is a cache line of its own */

static bool make_file(int fd, uint64_t bytes, uint64_t slots)
{
    struct record_header header = record_header_make(slots);
    errno = posix_fallocate(fd, 0, (off_t)bytes);
    return errno == 0 && pwrite(fd, &header, sizeof header, 0) == (ssize_t)sizeof header;
}

bool recorder_open(struct recorder *recorder, const char *path, uint64_t slots, struct err *err)
{
    recorder_close(recorder);
    if (slots == 0 || slots > WORLD_RECORD_SLOTS_MAX)
        return err_set(err, EINVAL, "a record has 1 to %d slots, not %llu", WORLD_RECORD_SLOTS_MAX,
                       (unsigned long long)slots);
    uint64_t bytes = record_bytes(slots);
    void *mapped = MAP_FAILED;
    unlink(path);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd >= 0 && make_file(fd, bytes, slots))
        mapped = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (mapped == MAP_FAILED)
        err_set(err, errno, "cannot make the record %s of %llu bytes: %s", path, (unsigned long long)bytes,
                strerror(errno));
    else
        *recorder = (struct recorder){mapped, slots};
    if (fd >= 0)
        close(fd);
    if (fd >= 0 && mapped == MAP_FAILED)
        unlink(path);
    return mapped != MAP_FAILED;
}

void recorder_close(struct recorder *recorder)
{
    if (recorder->header)
        munmap(recorder->header, record_bytes(recorder->slots));
    recorder->header = NULL;
}

void recorder_add(struct recorder *recorder, const uint64_t *numbers, size_t n,
                  const struct record_slot *slot)
{
    struct record_header *header = recorder->header;
    struct record_slot *slots = record_slots(header);
    for (size_t i = 0; i < n; i++) {
        if (i + AHEAD < n && numbers[i + AHEAD] < recorder->slots)
            __builtin_prefetch(&slots[numbers[i + AHEAD]], 1);
        if (numbers[i] >= recorder->slots) {
            header->outside++;
            continue;
        }
        struct record_slot *to = &slots[numbers[i]];
        to->delivered_ns = slot->delivered_ns;
        to->head_digest = slot->head_digest;
        to->body_digest = slot->body_digest;
        to->size = slot->size;
        __atomic_store_n(&to->count, to->count + 1, __ATOMIC_RELEASE);
    }
}
