/* gate.h - how many bodies with large lines may be in memory at once; the others wait, and with them their
 * clients. Any thread. */
#ifndef POSTRIDER_INTAKE_GATE_H
#define POSTRIDER_INTAKE_GATE_H

#include <pthread.h>
#include <stdbool.h>

struct gate_waiter {
    struct gate_waiter *next;
    void (*go)(struct gate_waiter *waiter); /* the place is the waiter's now; on the thread that left */
};

struct gate {
    pthread_mutex_t lock;
    unsigned places;
    bool open;
    struct gate_waiter *head, **tail;
};

void gate_init(struct gate *gate, unsigned places);
void gate_destroy(struct gate *gate);
/* True: it has a place. False: it is in the line, and `go` will be called (also before this returns). */
bool gate_enter(struct gate *gate, struct gate_waiter *waiter);
/* Gives the place to the next one. */
void gate_leave(struct gate *gate);
/* At the end: lets all in, now and later. */
void gate_open(struct gate *gate);

#endif
