/* zone.h - the names of the Internet, in the place of engine/dns/dns_ares.c: questions of the resolver's
 * logic answered late, wrongly, or not at all, and an MX that points elsewhere from now on. */
#ifndef POSTRIDER_TESTS_SIM_ZONE_H
#define POSTRIDER_TESTS_SIM_ZONE_H

#include "engine/base/str.h"

#include <stdint.h>

void zone_begin(void);
/* The domain's mail goes to other hosts from now on. */
void zone_change(unsigned domain);
/* No question is answered for so long, or until all is calm. */
void zone_go_away(int64_t ns);
/* Whether it ever looked as if the domain took no mail. */
bool zone_was_gone(struct str domain);
/* How many questions are under way. */
unsigned zone_asks(void);
/* Nothing is asked any more; fails otherwise. */
void zone_end(void);

#endif
