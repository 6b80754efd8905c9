/* members.h - strict reading of JSON members, for job and recipient lines. Errors name the field and what was
 * expected. Views are valid as long as the JSON value. Pure; any thread. */
#ifndef POSTRIDER_INTAKE_MEMBERS_H
#define POSTRIDER_INTAKE_MEMBERS_H

#include "engine/base/err.h"
#include "engine/base/js.h"

#include <jansson.h>

/* "expected a string, and this is a number"; always false. */
bool member_wrong_type(const char *name, const char *expected, const json_t *value, struct err *err);
/* A string of at most max bytes. */
bool member_string(const char *name, const json_t *value, size_t max, struct str *out, struct err *err);
/* The same, without control characters. */
bool member_name(const char *name, const json_t *value, size_t max, struct str *out, struct err *err);
bool member_bool(const char *name, const json_t *value, bool *out, struct err *err);
/* ["failure","delay","success"] or ["never"] as bits (queue/store.h). */
bool member_notify(const char *name, const json_t *value, uint8_t *out, struct err *err);
/* An object of strings, as compact JSON text in `text`, at most METADATA_MAX bytes. */
bool member_metadata(const json_t *value, struct buf *text, struct err *err);
/* A number or boolean as text: "3", "2.5", "true". False: it is neither. */
#define MEMBER_NUMBER_MAX 40
bool member_scalar(const json_t *value, char text[MEMBER_NUMBER_MAX], size_t *n);

#endif
