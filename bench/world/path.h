/* path.h - the arguments of MAIL and RCPT, taken as RFC 5321 4.1.2 writes them and no other way. Any thread.
 */
#ifndef POSTRIDER_WORLD_PATH_H
#define POSTRIDER_WORLD_PATH_H

#include "engine/base/str.h"

/* "FROM:<ada@a.test> SIZE=5": checks the keyword ("FROM:"), yields the address without <> and leaves in *args
 * the parameters. An empty address passes only with may_be_empty. False: a syntax error. */
bool path_take(struct str *args, struct str keyword, bool may_be_empty, struct str *address);
/* The next parameter, split at '='; false at the end. */
bool path_parameter(struct str *args, struct str *name, struct str *value);

#endif
