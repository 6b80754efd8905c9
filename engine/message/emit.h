/* emit.h - builds a content record: literals, dot-stuffed as they come, and ops between them. Private to
 * message/.
 *
 * A message is built in two halves, the header and what follows it, since fields are still added to the one
 * when the other is known. Appends may fail when CONTENT_MAX is passed; the buffers remember it and
 * record_write says so. */
#ifndef POSTRIDER_MESSAGE_EMIT_H
#define POSTRIDER_MESSAGE_EMIT_H

#include "engine/base/buf.h"
#include "engine/base/err.h"
#include "engine/limits.h"
#include "engine/message/record.h"

struct emit {
    struct buf ops, bytes;
    size_t literal_at; /* where the literal that is being written begins in bytes */
    uint8_t literal_flags;
    bool line_start;  /* the next byte begins a line */
    bool after_value; /* the literal follows a variable of a body */
};

#define NAME_SLOTS 2048
static_assert(NAME_SLOTS >= 2 * (TEMPLATE_NAMES_MAX + NAME_BUILTINS), "the hash table is never full");

struct names {
    struct record_name at[TEMPLATE_NAMES_MAX + NAME_BUILTINS]; /* `at` of a name: in bytes here */
    size_t count;
    struct buf bytes;
    uint16_t slots[NAME_SLOTS];
};

/* size: about how many bytes there will be, or 0. */
void emit_init(struct emit *e, size_t size);
void emit_free(struct emit *e);
/* Text without line ends. */
void emit_text(struct emit *e, struct str s);
void emit_line_end(struct emit *e);
/* After e->bytes was appended to by an encoder whose lines never begin with a dot. */
void emit_encoded(struct emit *e);
void emit_op(struct emit *e, struct record_op op);
/* An op with text of its own, kept in bytes. */
void emit_text_op(struct emit *e, struct record_op op, struct str text);
/* A text in a base64 body, whose place among the threes is not known. */
void emit_base64_text(struct emit *e, struct str text);

void names_init(struct names *names);
void names_free(struct names *names);
/* The index of a name, added if it is new; SIZE_MAX when there are too many. */
size_t names_add(struct names *names, struct str name, bool required);

/* Appends the record to out. */
bool record_write(struct emit *head, struct emit *body, const struct names *names, unsigned flags,
                  struct buf *out, struct err *err);

#endif
