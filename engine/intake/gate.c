/* gate.c - see gate.h. */
#include "engine/intake/gate.h"

#include <stddef.h>

void gate_init(struct gate *gate, unsigned places)
{
    *gate = (struct gate){.places = places};
    gate->tail = &gate->head;
    pthread_mutex_init(&gate->lock, NULL);
}

void gate_destroy(struct gate *gate)
{
    pthread_mutex_destroy(&gate->lock);
}

bool gate_enter(struct gate *gate, struct gate_waiter *waiter)
{
    pthread_mutex_lock(&gate->lock);
    bool in = gate->places > 0 || gate->open;
    if (gate->places > 0) {
        gate->places--;
    } else if (!in) {
        waiter->next = NULL;
        *gate->tail = waiter;
        gate->tail = &waiter->next;
    }
    pthread_mutex_unlock(&gate->lock);
    return in;
}

void gate_leave(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    struct gate_waiter *waiter = gate->head;
    if (waiter != NULL) {
        gate->head = waiter->next;
        if (gate->head == NULL)
            gate->tail = &gate->head;
    } else {
        gate->places++;
    }
    pthread_mutex_unlock(&gate->lock);
    if (waiter != NULL)
        waiter->go(waiter);
}

void gate_open(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    gate->open = true;
    struct gate_waiter *waiter = gate->head;
    gate->head = NULL;
    gate->tail = &gate->head;
    pthread_mutex_unlock(&gate->lock);
    while (waiter != NULL) {
        struct gate_waiter *next = waiter->next;
        waiter->go(waiter);
        waiter = next;
    }
}
