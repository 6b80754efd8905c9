/* scenario_domain.h - one domain of a scenario (the keys stand in scenario.h). */
#ifndef POSTRIDER_WORLD_SCENARIO_DOMAIN_H
#define POSTRIDER_WORLD_SCENARIO_DOMAIN_H

#include "bench/world/yaml.h"
#include "bench/world/zone.h"

/* Adds, or replaces, the domain; `name` stands in for a missing name key, or NULL. */
bool scenario_read_domain(struct zone *zone, const struct yaml *node, const struct str *name,
                          struct err *err);

#endif
