/* reserve.c - see reserve.h. */
#include "engine/base/reserve.h"

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/limits.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#define LOOK_MS   10   /* between two tries */
#define REOPEN_MS 1000 /* after the last one in vain */

/* Its pages are never touched, so that only limits count it. */
static _Atomic(void *) reserve;
static atomic_bool taken_before;
static _Atomic int64_t lacked_ns; /* when it was given up, or somebody waited */
static _Atomic unsigned given_up; /* how often, since the log was told */

static pthread_mutex_t told_lock = PTHREAD_MUTEX_INITIALIZER;
static bool told_gone;
static struct log_gate told;

/* After a change, and now and then while there is none. On a machine at its limit it comes and goes many
 * times a second: that it is gone is said once in MEMORY_TOLD_MS at most, and that it is there again only
 * after that, but then always, so that the log never ends with a want that is over. */
static void tell(void)
{
    char often[64] = "";
    pthread_mutex_lock(&told_lock);
    bool gone = reserve_is_gone();
    if (!gone && told_gone) {
        told_gone = false;
        log_warn("there is memory again: new jobs are accepted");
    } else if (gone && !told_gone && log_gate_pass(&told, clock_now().mono_ns, MEMORY_TOLD_MS, NULL)) {
        unsigned times = atomic_exchange(&given_up, 0);
        told_gone = true;
        if (times > 1)
            snprintf(often, sizeof often, ". It was so %u times since this was last said", times);
        log_warn("memory is out: the reserve of %d KiB is given up so that settling goes on; new jobs are "
                 "refused until there is some. Give the daemon more, or lower the load%s",
                 MEMORY_RESERVE / 1024, often);
    }
    pthread_mutex_unlock(&told_lock);
}

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
    if (taken == MAP_FAILED) {
        bool serves = pieces_serve();
        if (!serves)
            tell();
        return serves;
    }
    if (!atomic_compare_exchange_strong(&reserve, &none, taken))
        munmap(taken, MEMORY_RESERVE);
    atomic_store(&taken_before, true);
    tell();
    return true;
}

bool reserve_give_up(void)
{
    void *taken = atomic_exchange(&reserve, NULL);
    atomic_store(&lacked_ns, clock_now().mono_ns);
    if (taken == NULL)
        return false;
    munmap(taken, MEMORY_RESERVE);
    atomic_fetch_add(&given_up, 1);
    tell();
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
