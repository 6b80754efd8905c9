/* daemon.h - postriderd in this thread: what its main does, with the steps of its threads taken one at a
 * time, in any order, each now and then late.
 *
 * Up and down as main has it: store, fleet, reporter. A crash keeps what the files hold at that moment, in a
 * copy, and throws the rest away: the old daemon is run to its end over its own files, deaf (sim.deaf), so
 * that its memory is freed by its own code; what it does meanwhile reaches nobody. */
#ifndef POSTRIDER_TESTS_SIM_DAEMON_H
#define POSTRIDER_TESTS_SIM_DAEMON_H

#include "engine/fleet.h"
#include "engine/inbound/inbound.h"

#include <stdbool.h>
#include <stdint.h>

/* In a new directory. */
void daemon_begin(void);
void daemon_end(void);
/* As SIGTERM does, and then up again. */
void daemon_restart(void);
/* Down, and not up again; fails where something is left. */
void daemon_stop(void);
void daemon_crash(void);
/* It runs and is not being stopped. */
bool daemon_is_steady(void);
struct store *daemon_store(void);
struct fleet *daemon_fleet(void);
struct inbound *daemon_inbound(void);

/* One step of one thread or one event; where there is none, time goes on to the next, but not beyond
 * until_ns. False: nothing will ever happen. */
bool daemon_go_on(int64_t until_ns);

/* ---- for the seams ---- */

/* Something was put into this inbox. */
void daemon_rouse(const struct inbox *inbox);
void daemon_rouse_workers(void);

#endif
