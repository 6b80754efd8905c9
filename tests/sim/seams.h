/* seams.h - what the daemon asks the system for, answered by the simulator: time, randomness, sockets,
 * limits, and the word that something was put into an inbox. The linker puts the __wrap_ functions of seams.c
 * in the place of those they are named after; clock_now stands in for engine/base/clock.c. */
#ifndef POSTRIDER_TESTS_SIM_SEAMS_H
#define POSTRIDER_TESTS_SIM_SEAMS_H

#include <sys/socket.h>

#define SEAM_FD_BASE 1000000 /* of the sockets of net.h */

/* net.c's. */
int seam_socket(void);
int seam_bind(int fd, const struct sockaddr *address);
int seam_close(int fd);

#endif
