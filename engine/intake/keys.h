/* keys.h - idempotency keys whose first request is under way: those of finished ones are in the store. In
 * memory only: what was under way when the process ended left nothing. Any thread. */
#ifndef POSTRIDER_INTAKE_KEYS_H
#define POSTRIDER_INTAKE_KEYS_H

#include "engine/tls/digest.h"

#include <stdbool.h>

struct keys;

struct keys *keys_create(void); /* NULL: no memory */
void keys_destroy(struct keys *keys);
enum keys_result { KEYS_ENTERED, KEYS_UNDER_WAY, KEYS_NO_MEMORY };
/* KEYS_ENTERED is followed by one keys_leave. */
enum keys_result keys_enter(struct keys *keys, const uint8_t hash[DIGEST_SIZE]);
void keys_leave(struct keys *keys, const uint8_t hash[DIGEST_SIZE]);

#endif
