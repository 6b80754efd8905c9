/* confine.h - what the process gives up for good before it reads a byte from anybody: whoever found a way to
 * run code in it gets a process that can start no other and reach into none.
 *
 * No new privileges; of root's capabilities, where it is started with them, only those of files, sockets and
 * locked memory; and no system call that starts a program, looks into another process, or changes the system.
 * What goes through io_uring is not seen by the filter: reading, writing and sending is what the daemon is
 * for. The systemd unit (deploy/postriderd.service) confines further. */
#ifndef POSTRIDER_CONFINE_H
#define POSTRIDER_CONFINE_H

#include "engine/base/err.h"

/* Before the first thread: it holds for those started later. False: the kernel refused, and err says what. */
bool confine(struct err *err);

#endif
