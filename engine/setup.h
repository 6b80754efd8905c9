/* setup.h - what the configuration comes to at run time: its options, the keys, authorities and
 * certificates, the retry table and the tenants' rates, as one thing that a reload replaces.
 *
 * A setup is immutable, but for the words of the rates, and reference counted: who keeps anything that points
 * into it holds a reference. A worker keeps those of before until no session is left that began under them
 * (route/renew.h). The one that holds now is in a `struct setups`; any thread. */
#ifndef POSTRIDER_SETUP_H
#define POSTRIDER_SETUP_H

#include "engine/config.h"

struct dkim;
struct limit;
struct trusts;

struct setup {
    _Atomic unsigned refs;
    struct config *config;
    struct dkim *dkim;
    struct trusts *trusts;
    struct retry_table *retry;
    struct limit *tenant_limits; /* one for each of config->tenants */
};

/* Takes the configuration over, also when it fails, and reads the files that it names. before: whose tenants'
 * rates go on where they were; NULL: none. NULL with err: a file can't be used, or no memory. */
struct setup *setup_create(struct config *config, const struct setup *before, struct err *err);
struct setup *setup_ref(struct setup *setup);
void setup_unref(struct setup *setup); /* NULL is fine */

struct setups;
/* Takes the reference. NULL: no memory. */
struct setups *setups_create(struct setup *first);
void setups_destroy(struct setups *setups);
struct setup *setups_get(struct setups *setups);            /* a reference */
void setups_put(struct setups *setups, struct setup *next); /* takes the reference */

#endif
