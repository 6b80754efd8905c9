/* bounces.h - the bounce report of a job or a tenant, onto stdout. One thread. */
#ifndef POSTRIDER_TOOLS_BOUNCES_H
#define POSTRIDER_TOOLS_BOUNCES_H

#include "tools/cli.h"

/* GET START/NAME/bounces in the format that --csv, --html or --json asks for, else as text; with --since
 * where the command has it. Returns the exit code. */
int bounces_show(struct cli *cli, const char *start, const char *name);

#endif
