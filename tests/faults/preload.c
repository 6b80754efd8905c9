/* preload.c - LD_PRELOAD for the daemon under test: writes that find no space, threads that can't be started,
 * and a wall clock that jumps.
 *
 * What is wanted stands in the file $POSTRIDER_FAULTS, shared with the test, as four words of 64 bits: how
 * many writes to the queue's files are still to succeed (-1: all; at 0 each fails with ENOSPC, and so does
 * fallocate); by how many milliseconds the wall clock is ahead; how many calls have failed so far; how many
 * threads may still be started (-1: all; the next fails after 0.3 s, in which the others go on). The meta
 * pages of LMDB overwrite what is there and need no space: they go through a descriptor with O_DSYNC and
 * never fail. Any thread. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct faults {
    _Atomic long long writes_left, clock_ms, failed, threads_left;
};
static struct faults nothing = {.writes_left = -1, .threads_left = -1}, *faults = &nothing;

/* The C library's own. */
static __typeof__(pwrite) *real_pwrite;
static __typeof__(writev) *real_writev;
static __typeof__(fallocate) *real_fallocate;
static __typeof__(clock_gettime) *real_clock_gettime;
static __typeof__(pthread_create) *real_pthread_create;

__attribute__((constructor)) static void set_up(void)
{
    const char *path = getenv("POSTRIDER_FAULTS");
    int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *shared =
        fd >= 0 ? mmap(NULL, sizeof *faults, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (shared != MAP_FAILED)
        faults = shared;
    if (fd >= 0)
        close(fd);
}

/* Whether the file is the queue's: its database or its log of small jobs. */
static bool is_queue(int fd)
{
    char link[64] = "/proc/self/fd/", path[4096];
    char *end = link + strlen(link);
    for (int n = fd, power = 1000000; power > 0; power /= 10)
        if (fd >= power || power == 1)
            *end++ = (char)('0' + n / power % 10);
    *end = '\0';
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
    return strstr(path, "/data.mdb") != NULL || strstr(path, "/fresh.log") != NULL;
}

/* Whether this call is to fail. */
static bool strikes(int fd)
{
    long long left = atomic_load(&faults->writes_left);
    if (left < 0 || !is_queue(fd) || (fcntl(fd, F_GETFL) & O_DSYNC))
        return false;
    if (left > 0) {
        atomic_fetch_sub(&faults->writes_left, 1);
        return false;
    }
    atomic_fetch_add(&faults->failed, 1);
    errno = ENOSPC;
    return true;
}

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t offset)
{
    if (real_pwrite == NULL)
        real_pwrite = dlsym(RTLD_NEXT, "pwrite");
    return strikes(fd) ? -1 : real_pwrite(fd, bytes, n, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int n)
{
    if (real_writev == NULL)
        real_writev = dlsym(RTLD_NEXT, "writev");
    return strikes(fd) ? -1 : real_writev(fd, parts, n);
}

int fallocate(int fd, int mode, off_t offset, off_t size)
{
    if (real_fallocate == NULL)
        real_fallocate = dlsym(RTLD_NEXT, "fallocate");
    return strikes(fd) ? -1 : real_fallocate(fd, mode, offset, size);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *user)
{
    if (real_pthread_create == NULL)
        real_pthread_create = dlsym(RTLD_NEXT, "pthread_create");
    long long left = atomic_load(&faults->threads_left);
    if (left > 0)
        atomic_fetch_sub(&faults->threads_left, 1);
    if (left == 0) {
        usleep(300000);
        return EAGAIN;
    }
    return real_pthread_create(thread, attributes, run, user);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    if (real_clock_gettime == NULL) /* other libraries ask before this one is set up */
        real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    int rc = real_clock_gettime(clock, now);
    long long ahead_ms = atomic_load(&faults->clock_ms);
    if (rc == 0 && clock == CLOCK_REALTIME && ahead_ms != 0) {
        long long ms = now->tv_sec * 1000LL + now->tv_nsec / 1000000 + ahead_ms;
        now->tv_sec = ms / 1000;
        now->tv_nsec = ms % 1000 * 1000000 + now->tv_nsec % 1000000;
    }
    return rc;
}
