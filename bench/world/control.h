/* control.h - the world asked and changed while it runs: a Unix stream socket, a line in, a line of JSON out.
 *
 *     stats                     see report.h; the delivery log is written out first
 *     totals                    the same without hosts, groups and DNS names: cheap however many there are
 *     ports                     see report.h
 *     reset                     all counts from 0, greylists and such forgotten
 *     host NAME KEY VALUE       sets one key of its character (character.h); NAME may be a glob or a group;
 *                               VALUE is YAML; `host NAME prompt true` makes it a good host again
 *     domain NAME {KEY: …}      replaces the domain, or makes it
 *     record FILE SLOTS         from now on recipients are recorded in that file (bench/record.h), made anew
 *     record off
 *     quit
 *
 * Answers are {"ok": …} or {"error": "…"}. */
#ifndef POSTRIDER_WORLD_CONTROL_H
#define POSTRIDER_WORLD_CONTROL_H

#include "bench/world/world.h"

struct control;

struct control *control_create(struct world *world, const char *path, struct err *err);
/* Closes all and removes the socket. NULL is allowed. */
void control_free(struct control *control);

#endif
