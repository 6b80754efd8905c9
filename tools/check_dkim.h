/* check_dkim.h - the keys of a configuration, and what DNS publishes of them. */
#ifndef POSTRIDER_TOOLS_CHECK_DKIM_H
#define POSTRIDER_TOOLS_CHECK_DKIM_H

#include "engine/config.h"

/* Reads the keys; with dns, asks for the record of each, some seconds at most, and prints a line for it.
 * Returns an exit code, after cli_fail for 1. */
int check_dkim(const struct config *config, bool dns);

#endif
