/* loop.c - see loop.h. */
#include "bench/world/loop.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define EVENTS_A_ROUND 512

bool loop_init(struct loop *loop, struct err *err)
{
    *loop = (struct loop){.now = clock_now()};
    wheel_init(&loop->wheel, loop->now);
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll < 0)
        return err_set(err, errno, "cannot create an epoll set: %s", strerror(errno));
    return true;
}

void loop_free(struct loop *loop)
{
    close(loop->epoll);
}

bool loop_add(struct loop *loop, struct watch *watch, uint32_t events, struct err *err)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, watch->fd, &event) != 0)
        return err_set(err, errno, "cannot watch a socket: %s", strerror(errno));
    return true;
}

void loop_remove(struct loop *loop, struct watch *watch)
{
    epoll_ctl(loop->epoll, EPOLL_CTL_DEL, watch->fd, NULL);
}

void loop_after(struct loop *loop, struct wheel_timer *timer, int64_t delay_ns, wheel_fire *fire)
{
    wheel_set(&loop->wheel, timer, loop->now.mono_ns + delay_ns, fire);
}

static int wait_ms(const struct loop *loop)
{
    if (loop->deferred)
        return 0;
    int64_t next = wheel_next_ns(&loop->wheel);
    if (next == INT64_MAX)
        return 1000;
    int64_t wait = (next - clock_now().mono_ns + NS_PER_MS - 1) / NS_PER_MS;
    return wait < 0 ? 0 : wait > 1000 ? 1000 : (int)wait;
}

void loop_run(struct loop *loop)
{
    static struct epoll_event events[EVENTS_A_ROUND];
    while (!loop->stop) {
        bool waits = loop->deferred != NULL;
        int n = epoll_wait(loop->epoll, events, EVENTS_A_ROUND, wait_ms(loop));
        loop->now = clock_now();
        for (int i = 0; i < n; i++) {
            struct watch *watch = events[i].data.ptr;
            watch->ready(watch, events[i].events);
        }
        if (waits && n < EVENTS_A_ROUND) {
            void (*deferred)(struct loop *) = loop->deferred;
            loop->deferred = NULL;
            deferred(loop);
        }
        wheel_run(&loop->wheel, loop->now);
    }
}
