/* await.c - see await.h. */
#include "engine/admin/await.h"

#include "engine/base/clock.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct await {
    pthread_mutex_t lock;
    pthread_cond_t come;
    bool here;
    atomic_uint holders;
    unsigned char what[AWAIT_SIZE];
};

struct await *await_create(void)
{
    pthread_condattr_t monotonic;
    struct await *await = calloc(1, sizeof *await);
    if (await == NULL)
        return NULL;
    pthread_mutex_init(&await->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&await->come, &monotonic);
    pthread_condattr_destroy(&monotonic);
    atomic_init(&await->holders, 2);
    return await;
}

static void drop(struct await *await)
{
    if (atomic_fetch_sub(&await->holders, 1) > 1)
        return;
    pthread_cond_destroy(&await->come);
    pthread_mutex_destroy(&await->lock);
    free(await);
}

void await_tell(struct await *await, const void *what, size_t n)
{
    assert(n <= AWAIT_SIZE);
    pthread_mutex_lock(&await->lock);
    memcpy(await->what, what, n);
    await->here = true;
    pthread_cond_signal(&await->come);
    pthread_mutex_unlock(&await->lock);
    drop(await);
}

bool await_take(struct await *await, void *what, size_t n)
{
    int64_t until_ns = clock_now().mono_ns + AWAIT_LAST_S * NS_PER_S;
    struct timespec until = {.tv_sec = until_ns / NS_PER_S, .tv_nsec = until_ns % NS_PER_S};
    assert(n <= AWAIT_SIZE);
    pthread_mutex_lock(&await->lock);
    while (!await->here && pthread_cond_timedwait(&await->come, &await->lock, &until) != ETIMEDOUT)
        continue;
    bool here = await->here;
    memcpy(what, await->what, n);
    pthread_mutex_unlock(&await->lock);
    drop(await);
    return here;
}
