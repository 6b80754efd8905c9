/* message_field.h - the "message" of a job line: {"raw"}, {"raw_base64"} or the fields of a message, to what
 * template_compile wants. Pure; any thread. */
#ifndef POSTRIDER_INTAKE_MESSAGE_FIELD_H
#define POSTRIDER_INTAKE_MESSAGE_FIELD_H

#include "engine/message/template.h"

#include <jansson.h>

/* What a message_spec points into, besides the JSON it was read from. */
struct message_storage {
    struct message_header *headers;
    struct message_attachment *attachments;
    struct message_list *list;
    struct buf bytes; /* decoded base64 */
    struct buf texts; /* lists of strings, joined */
};

void message_storage_init(struct message_storage *storage);
void message_storage_free(struct message_storage *storage);

/* Fills what the object says and leaves the rest of *out. Views are into the object and the storage, which
 * must be fresh; what it holds after a failure is of no use. */
bool message_field_read(const json_t *object, struct message_spec *out, struct message_storage *storage,
                        struct err *err);

#endif
