/* message_field.h - the "message" of a job line: {"raw"}, {"raw_base64"} or the fields of a message, to what
 * template_compile wants. Pure; any thread. */
#ifndef POSTRIDER_INTAKE_MESSAGE_FIELD_H
#define POSTRIDER_INTAKE_MESSAGE_FIELD_H

#include "engine/message/template.h"

#include <jansson.h>

/* Fills what the object says and leaves the rest of *out. Views are into the object, *headers (malloc'ed,
 * the caller frees it also after a failure), raw (the decoded raw_base64) and texts. */
bool message_field_read(const json_t *object, struct message_spec *out, struct message_header **headers,
                        struct buf *raw, struct buf *texts, struct err *err);

#endif
