/* filter.h - the options by which commands say which of the queue they mean. */
#ifndef POSTRIDER_TOOLS_FILTER_H
#define POSTRIDER_TOOLS_FILTER_H

#include "engine/base/buf.h"
#include "tools/cli.h"

#define FILTER_OPTIONS                                                                                       \
    {"tenant", "NAME", "of this tenant"}, {"campaign", "NAME", "of this campaign"},                          \
        {"job", "JOB", "of this job"}, {"domain", "DOMAIN", "at this domain"},                               \
        {"site", "SITE", "that goes to this site now"},                                                      \
        {"status", "PATTERN", "whose last enhanced status is this, such as 4.2.2 or '4.7.*'"},               \
    {                                                                                                        \
        "age", "'>TIME'", "accepted longer ago, such as '>2h'; '<30m': not so long ago"                      \
    }

/* Adds those given to the path, and `all` where the command has it. False: none was given. */
bool filter_path(const struct cli *cli, struct buf *path);

#endif
