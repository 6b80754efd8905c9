/* verbs.h - what the program `load` can do. Each prints its result and returns the exit code; when it could
 * not be done, *err says why and the code is 1. */
#ifndef POSTRIDER_LOAD_VERBS_H
#define POSTRIDER_LOAD_VERBS_H

#include "bench/load/options.h"

int load_bulk(const struct options *options, struct err *err);
int load_jobs(const struct options *options, struct err *err);
int load_smtp(const struct options *options, struct err *err);
int load_check(const struct options *options, struct err *err);

#endif
