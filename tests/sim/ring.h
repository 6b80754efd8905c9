/* ring.h - the kernel's side of io_uring, for engine/io/io.c as it is: the functions of liburing that it
 * calls are defined here, over rings in plain memory.
 *
 * Operations take time and complete in any order; a cancelled one may complete all the same. Memory that the
 * kernel reads or writes is touched when the operation completes, as late as it may be, so that a sanitizer
 * sees what was freed too early. */
#ifndef POSTRIDER_TESTS_SIM_RING_H
#define POSTRIDER_TESTS_SIM_RING_H

#include <stdint.h>

/* When the worker with this ring wants to be stepped: it asked to be woken then, or something completes.
 * Rings are numbered as they are made. */
int64_t ring_next_ns(unsigned ring);
/* Makes the next ring the first again. */
void rings_begin(void);
/* All rings have ended with nothing under way; fails otherwise. */
void rings_end(void);

#endif
