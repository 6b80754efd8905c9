/* loop.h - one thread's rounds: epoll, timers, and work that waits for a whole round.
 *
 * A watch is embedded in its owner; `ready` may free the owner, since an owner has one descriptor and appears
 * once in a round. It must not free other owners. Closing the descriptor ends the watch. */
#ifndef POSTRIDER_WORLD_LOOP_H
#define POSTRIDER_WORLD_LOOP_H

#include "engine/base/clock.h"
#include "engine/base/err.h"
#include "engine/base/wheel.h"

#include <stdint.h>
#include <sys/epoll.h>

struct watch {
    int fd; /* -1: none */
    void (*ready)(struct watch *watch, uint32_t events);
};

struct loop {
    int epoll;
    bool stop;
    struct now now; /* of this round */
    struct wheel wheel;
    /* Called once, after a round that began after it was set has handled all that was ready. */
    void (*deferred)(struct loop *loop);
};

bool loop_init(struct loop *loop, struct err *err);
void loop_free(struct loop *loop);
/* events as for epoll_ctl. */
bool loop_add(struct loop *loop, struct watch *watch, uint32_t events, struct err *err);
void loop_remove(struct loop *loop, struct watch *watch);
/* Until `stop` is set. */
void loop_run(struct loop *loop);
void loop_after(struct loop *loop, struct wheel_timer *timer, int64_t delay_ns, wheel_fire *fire);

#define OWNER_OF(member_ptr, type, member) ((type *)(void *)((char *)(member_ptr)-offsetof(type, member)))

#endif
