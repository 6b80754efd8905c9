/* reserve.h - memory kept for those who cannot do without: the store's threads, half-way through a change,
 * the tables of the queue and of the workers, what a worker has to be told, digests, and jansson, which does
 * not survive that there is none.
 *
 * They wait instead: at first the process's reserve is given up, MEMORY_RESERVE bytes, and then they look
 * again and again, for others free some. From then on until the reserve is taken again, whoever takes in new
 * jobs refuses them, and asks by reserve_take whether there is room. After MEMORY_WAIT_MS in vain the process
 * says so and ends, which loses nothing that was accepted: with less than it needs for a minute a new start
 * is the better way. Everybody else asks malloc, and copes with its NULL. The log is told when the reserve is
 * given up and when it is there again, of one time in MEMORY_TOLD_MS at most. Any thread. */
#ifndef POSTRIDER_BASE_RESERVE_H
#define POSTRIDER_BASE_RESERVE_H

#include <stdbool.h>
#include <stddef.h>

/* False: there is no memory for it. True when it is there already, or nobody has missed it for a second and
 * there is some memory. */
bool reserve_take(void);
/* False: it was given up before. */
bool reserve_give_up(void);
/* From when it is given up until it is taken. */
bool reserve_is_gone(void);
/* Before what found no memory is tried again, for the (tries + 1)th time. */
void reserve_wait(unsigned tries);
/* Never NULL; size above 0. */
void *reserve_must(size_t size);

#endif
