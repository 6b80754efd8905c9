/* addresses.h - the addresses in a field of a header (RFC 5322 3.4): names, comments, groups and routes are
 * passed over. Forgiving; what it finds is checked by the daemon. */
#ifndef POSTRIDER_TOOLS_SENDMAIL_ADDRESSES_H
#define POSTRIDER_TOOLS_SENDMAIL_ADDRESSES_H

#include "engine/base/buf.h"

/* Calls `found` for each address of an unfolded field's value, or of a list on a command line. */
typedef void address_found(struct str address, void *user);
void addresses_in(struct str value, address_found *found, void *user);

#endif
