/* events.c - see events.h. A binary heap. */
#include "tests/sim/events.h"

#include "tests/sim/sim.h"

#include <stdlib.h>
#include <string.h>

struct event_slot {
    int64_t at_ns;
    uint64_t number;
    event_run *run; /* NULL: taken back */
    void *owner;
    char *bytes;
    size_t n;
};

static struct event_slot *heap;
static size_t heap_n, heap_cap;
static uint64_t numbers;

static bool before(const struct event_slot *a, const struct event_slot *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->number < b->number;
}

static void swap(size_t a, size_t b)
{
    struct event_slot kept = heap[a];
    heap[a] = heap[b];
    heap[b] = kept;
}

void events_at(int64_t mono_ns, event_run *run, void *owner, const void *bytes, size_t n)
{
    if (heap_n == heap_cap) {
        heap_cap = heap_cap ? 2 * heap_cap : 256;
        heap = realloc(heap, heap_cap * sizeof *heap);
        if (heap == NULL)
            abort();
    }
    struct event_slot slot = {mono_ns, numbers++, run, owner, NULL, n};
    if (n > 0) {
        slot.bytes = sim_alloc(n);
        memcpy(slot.bytes, bytes, n);
    }
    size_t at = heap_n++;
    heap[at] = slot;
    for (; at > 0 && before(&heap[at], &heap[(at - 1) / 2]); at = (at - 1) / 2)
        swap(at, (at - 1) / 2);
}

int64_t events_next_ns(void)
{
    return heap_n > 0 ? heap[0].at_ns : INT64_MAX;
}

static struct event_slot take_first(void)
{
    struct event_slot first = heap[0];
    heap[0] = heap[--heap_n];
    for (size_t at = 0;;) {
        size_t least = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < heap_n; child++)
            if (before(&heap[child], &heap[least]))
                least = child;
        if (least == at)
            return first;
        swap(at, least);
        at = least;
    }
}

bool events_run_one(void)
{
    if (heap_n == 0 || heap[0].at_ns > sim.now.mono_ns)
        return false;
    struct event_slot event = take_first();
    if (event.run != NULL)
        event.run(event.owner, event.bytes, event.n);
    free(event.bytes);
    return true;
}

void events_forget(const void *owner)
{
    for (size_t i = 0; i < heap_n; i++)
        if (heap[i].owner == owner)
            heap[i].run = NULL;
}

void events_end(void)
{
    for (size_t i = 0; i < heap_n; i++)
        free(heap[i].bytes);
    free(heap);
    heap = NULL;
    heap_n = heap_cap = 0;
    numbers = 0;
}
