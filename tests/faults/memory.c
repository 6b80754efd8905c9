/* memory.c - LD_PRELOAD for a daemon that is short of memory: counts the allocations that found none, by who
 * asked for it.
 *
 * The counts stand in the file $POSTRIDER_MEMORY, shared with the test: how many calls have failed, and so
 * many of each place, which is the last FRAMES return addresses (0 where there are fewer); of more than
 * PLACES different ones the rest is only counted. Nothing is made to fail here: that is the kernel's, by a
 * limit. Any thread. */
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FRAMES 6
#define OWN    2 /* frames of this file */
#define PLACES 500

struct place {
    _Atomic uint64_t hash, count; /* hash: 0 while it is free */
    uint64_t frames[FRAMES];
};
struct failures {
    _Atomic uint64_t calls;
    struct place places[PLACES];
};
static struct failures *failures;

/* The C library's own, by the names that it has for those who put others in their place. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

__attribute__((constructor)) static void set_up(void)
{
    void *frames[1];
    const char *path = getenv("POSTRIDER_MEMORY");
    int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
    backtrace(frames, 1); /* loads a library, and so must not wait until there is no memory */
    void *shared = fd >= 0 && ftruncate(fd, sizeof *failures) == 0
                       ? mmap(NULL, sizeof *failures, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
                       : MAP_FAILED;
    if (shared != MAP_FAILED)
        failures = shared;
    if (fd >= 0)
        close(fd);
}

static void place_count(void *const *frames, int n)
{
    uint64_t hash = 1;
    for (int i = 0; i < n; i++)
        hash = (hash ^ (uintptr_t)frames[i]) * UINT64_C(0x100000001b3);
    for (unsigned at = 0; at < PLACES; at++) {
        struct place *place = &failures->places[(hash + at) % PLACES];
        uint64_t was = 0;
        if (atomic_compare_exchange_strong(&place->hash, &was, hash))
            for (int i = 0; i < n; i++)
                place->frames[i] = (uintptr_t)frames[i];
        if (was == 0 || was == hash) {
            atomic_fetch_add(&place->count, 1);
            return;
        }
    }
}

static __attribute__((noinline)) void *failed(void)
{
    void *frames[OWN + FRAMES];
    if (failures != NULL) {
        int n = backtrace(frames, OWN + FRAMES);
        atomic_fetch_add(&failures->calls, 1);
        place_count(frames + OWN, n > OWN ? n - OWN : 0);
    }
    errno = ENOMEM;
    return NULL;
}

void *malloc(size_t size)
{
    void *p = __libc_malloc(size);
    return p != NULL ? p : failed();
}

void *calloc(size_t n, size_t size)
{
    void *p = __libc_calloc(n, size);
    return p != NULL ? p : failed();
}

void *realloc(void *old, size_t size)
{
    void *p = __libc_realloc(old, size);
    return p != NULL || (old != NULL && size == 0) ? p : failed();
}

void *aligned_alloc(size_t alignment, size_t size)
{
    void *p = __libc_memalign(alignment, size);
    return p != NULL ? p : failed();
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    *memory = __libc_memalign(alignment, size);
    return *memory != NULL || failed() != NULL ? 0 : ENOMEM;
}
