/* reserve.c - see reserve.h. */
#include "engine/base/reserve.h"

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/limits.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#define LOOK_MS   10   /* between two tries */
#define REOPEN_MS 1000 /* after the last one in vain */

/* Its pages are never touched, so that only limits count it. */
static _Atomic(void *) reserve;
static atomic_bool taken_before;
static _Atomic int64_t lacked_ns; /* when it was given up, or somebody waited */

/* What was freed may lie in pieces that never make up the whole again, but serve. */
static bool pieces_serve(void)
{
    if (clock_now().mono_ns < atomic_load(&lacked_ns) + REOPEN_MS * NS_PER_MS)
        return false;
    void *piece = malloc(MEMORY_RESERVE / 32);
    free(piece);
    return piece != NULL;
}

bool reserve_take(void)
{
    void *none = NULL;
    if (atomic_load(&reserve) != NULL)
        return true;
    void *taken = mmap(NULL, MEMORY_RESERVE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (taken == MAP_FAILED)
        return pieces_serve();
    if (!atomic_compare_exchange_strong(&reserve, &none, taken))
        munmap(taken, MEMORY_RESERVE);
    else if (atomic_exchange(&taken_before, true))
        log_warn("there is memory again: new jobs are accepted");
    return true;
}

bool reserve_give_up(void)
{
    void *taken = atomic_exchange(&reserve, NULL);
    atomic_store(&lacked_ns, clock_now().mono_ns);
    if (taken == NULL)
        return false;
    munmap(taken, MEMORY_RESERVE);
    log_warn(
        "memory is out: the reserve of %d KiB is given up so that settling goes on; new jobs are refused "
        "until there is some. Give the daemon more, or lower the load",
        MEMORY_RESERVE / 1024);
    return true;
}

bool reserve_is_gone(void)
{
    return atomic_load(&taken_before) && atomic_load(&reserve) == NULL;
}

void reserve_wait(unsigned tries)
{
    if (reserve_give_up())
        return;
    if (tries >= MEMORY_WAIT_MS / LOOK_MS) {
        log_error("there was no memory for what cannot do without, for %d s. Stopping; what was accepted is "
                  "on disk. Give the daemon more memory, or lower the load",
                  MEMORY_WAIT_MS / 1000);
        abort();
    }
    nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * NS_PER_MS}, NULL);
}

void *reserve_must(size_t size)
{
    void *p = malloc(size);
    for (unsigned tries = 0; p == NULL; tries++) {
        reserve_wait(tries);
        p = malloc(size);
    }
    return p;
}
