/* local.h - the configuration as a command reads it, where no daemon does. */
#ifndef POSTRIDER_TOOLS_LOCAL_H
#define POSTRIDER_TOOLS_LOCAL_H

#include "engine/config.h"

#define CONFIG_FILE "/etc/postrider/postrider.yaml"

/* Loads it (NULL: the defaults), or shows on stderr everything that is wrong with it and returns NULL. */
struct config *local_config(const char *path);

#endif
