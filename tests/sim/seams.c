/* seams.c - see seams.h. */
#include "tests/sim/seams.h"

#include "engine/route/look.h"
#include "engine/route/secure.h"
#include "tests/sim/daemon.h"
#include "tests/sim/plan.h"
#include "tests/sim/sim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>

int __real_close(int fd);
void __real_inbox_post(struct inbox *inbox, struct inbox_node *node);
struct trusts *__real_secure_load(const struct config *config, struct err *err);
uint64_t __wrap_prng_seed(void);
int __wrap_getrlimit(int resource, struct rlimit *limit);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t n);
int __wrap_socket(int family, int type, int protocol);
int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t n);
int __wrap_bind(int fd, const struct sockaddr *address, socklen_t n);
int __wrap_close(int fd);
void __wrap_inbox_post(struct inbox *inbox, struct inbox_node *node);
/* Runs the daemon until the answer is there, or the time is over. */
bool __wrap_look_wait(struct look *look, int64_t wait_ms);

/* What the daemon warns of, faults and receivers have done: for who looks on. */
void __wrap_log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
struct trusts *__wrap_secure_load(const struct config *config, struct err *err);
void __wrap_trusts_destroy(struct trusts *trusts);

struct now clock_now(void)
{
    return sim.now;
}

uint64_t __wrap_prng_seed(void)
{
    return prng_next(&sim.dice[DICE_SYSTEM]);
}

int __wrap_getrlimit(int resource, struct rlimit *limit)
{
    (void)resource; /* RLIMIT_NOFILE is the only one asked for */
    *limit = (struct rlimit){.rlim_cur = plan.files, .rlim_max = plan.files};
    return 0;
}

int __wrap_fallocate(int fd, int mode, off_t offset, off_t n)
{
    (void)fd;
    (void)mode;
    (void)offset;
    (void)n;
    errno = EOPNOTSUPP; /* taking 64 MiB of memory a run would be most of its time */
    return -1;
}

int __wrap_socket(int family, int type, int protocol)
{
    (void)family;
    (void)type;
    (void)protocol;
    return seam_socket();
}

int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t n)
{
    (void)fd;
    (void)level;
    (void)name;
    (void)value;
    (void)n;
    return 0;
}

int __wrap_bind(int fd, const struct sockaddr *address, socklen_t n)
{
    (void)n;
    return seam_bind(fd, address);
}

int __wrap_close(int fd)
{
    return fd >= SEAM_FD_BASE ? seam_close(fd) : __real_close(fd);
}

void __wrap_inbox_post(struct inbox *inbox, struct inbox_node *node)
{
    __real_inbox_post(inbox, node);
    daemon_rouse(inbox);
}

bool __wrap_look_wait(struct look *look, int64_t wait_ms)
{
    int64_t until_ns = sim.now.mono_ns + wait_ms * NS_PER_MS;
    while (!look->answered) /* by this very thread */
        if (look->refused || sim.now.mono_ns >= until_ns || !daemon_go_on(until_ns))
            return false;
    return true;
}

/* Which authorities are trusted, of all runs: nobody asks, but to read the system's takes 50 ms. */
struct trusts *__wrap_secure_load(const struct config *config, struct err *err)
{
    static struct trusts *all;
    if (all == NULL)
        all = __real_secure_load(config, err);
    return all;
}

void __wrap_trusts_destroy(struct trusts *trusts)
{
    (void)trusts;
}

void __wrap_log_warn(const char *format, ...)
{
    va_list args;
    if (!sim.telling)
        return;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}
