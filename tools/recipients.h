/* recipients.h - lists of recipients, which several commands print alike. */
#ifndef POSTRIDER_TOOLS_RECIPIENTS_H
#define POSTRIDER_TOOLS_RECIPIENTS_H

#include "tools/cli.h"

/* `job JOB recipients`, with the options of `job`. Returns the exit code. */
int recipients_of_job(struct cli *cli);

#endif
