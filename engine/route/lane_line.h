/* lane_line.h - lanes that wait for room in memory: the worker's when that is used up, a path's when that has
 * its share.
 *
 * Transactional mail before bulk. Within a class tenants take turns, however many lanes each has there; a
 * tenant's lanes in the order they came. Whoever wants room while others wait for it must not pass them
 * (lane_line_waits): a lane whose recipients leave would have the room again before anybody else had a look,
 * and those in the line none until it is empty. The worker's thread. */
#ifndef POSTRIDER_ROUTE_LANE_LINE_H
#define POSTRIDER_ROUTE_LANE_LINE_H

#include "engine/route/model.h"

void lane_line_init(struct lane_line *line);
/* Whether anybody waits whom a lane of that class must let go first. */
bool lane_line_waits(const struct lane_line *line, enum job_class class_);
/* At the end; of its tenant's, when one of those waits. */
void lane_line_join(struct lane_line *line, struct lane *lane);
/* Whose turn it is; NULL: nobody waits. */
struct lane *lane_line_first(const struct lane_line *line);
/* Out of the line in which it waits, if it is in one. Its tenant's next turn is the last. */
void lane_line_leave(struct lane *lane);

#endif
