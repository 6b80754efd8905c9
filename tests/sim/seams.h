/* seams.h - what the daemon asks the system for, answered by the simulator: time, randomness, sockets, limits,
 * and the word that something was put into an inbox. The linker puts the __wrap_ functions in the place of
 * those they are named after; clock_now stands in for engine/base/clock.c. */
#ifndef POSTRIDER_TESTS_SIM_SEAMS_H
#define POSTRIDER_TESTS_SIM_SEAMS_H

#include "engine/base/inbox.h"

#include <fcntl.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/socket.h>

struct look;

#define SEAM_FD_BASE 1000000 /* of the sockets of net.h */

/* net.c's. */
int seam_socket(void);
int seam_bind(int fd, const struct sockaddr *address);
int seam_close(int fd);

uint64_t __wrap_prng_seed(void);
int __wrap_getrlimit(int resource, struct rlimit *limit);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t n);
int __wrap_socket(int family, int type, int protocol);
int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t n);
int __wrap_bind(int fd, const struct sockaddr *address, socklen_t n);
int __wrap_close(int fd);
void __wrap_inbox_post(struct inbox *inbox, struct inbox_node *node);
/* Runs the daemon until the answer is there, or the time is over. */
bool __wrap_look_wait(struct look *look, int64_t wait_ms);

#endif
