/* events.h - what happens at a time: bytes that arrive at a host, answers of the resolver, acts of people.
 *
 * In order of time, and of being asked for where the times are equal. */
#ifndef POSTRIDER_TESTS_SIM_EVENTS_H
#define POSTRIDER_TESTS_SIM_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef void event_run(void *owner, const void *bytes, size_t n);

/* Calls run(owner, bytes, n) at mono_ns; the bytes are copied. */
void events_at(int64_t mono_ns, event_run *run, void *owner, const void *bytes, size_t n);
/* When the next one is: INT64_MAX: none. */
int64_t events_next_ns(void);
/* Runs one that is due; false: none is. */
bool events_run_one(void);
/* Takes back those of an owner. */
void events_forget(const void *owner);
void events_end(void);

#endif
