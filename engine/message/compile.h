/* compile.h - what the two ways to compile a message share: raw (raw.c) and from fields (compose.c). Private
 * to message/. */
#ifndef POSTRIDER_MESSAGE_COMPILE_H
#define POSTRIDER_MESSAGE_COMPILE_H

#include "engine/message/emit.h"
#include "engine/message/scan.h"
#include "engine/message/template.h"

/* Transfer encodings that a part may come in. */
enum encoding {
    ENCODING_NONE,
    ENCODING_7BIT,
    ENCODING_8BIT,
    ENCODING_BINARY,
    ENCODING_QP,
    ENCODING_BASE64,
    ENCODING_UNKNOWN
};

/* What a part that has no parts goes out as. */
enum leaf_form { LEAF_KEPT, LEAF_BINARY, LEAF_QP, LEAF_BASE64, LEAF_MERGED_QP, LEAF_MERGED_BASE64 };

struct leaf {
    struct str body; /* as it came */
    enum encoding encoding;
    bool text, html, attachment;
    bool may_be_binary; /* all that it is in is declared so */
    struct str charset; /* empty: none declared */
    /* Planned by leaf_plan. */
    enum leaf_form form;
    struct str content; /* to be encoded, unless kept */
    bool declare_utf8;  /* the charset must be declared as UTF-8 */
};

struct compiler {
    const struct message_spec *spec;
    struct err *err;
    bool merge;
    unsigned flags; /* of the record */
    unsigned seen;  /* bits by enum field_id: fields of the top header */
    size_t parts, variables;
    struct emit head, body;
    struct str source; /* the raw message, for line numbers */
    struct buf value, decoded, marked, text, queue,
        content;        /* scratch, each valid until the next field or part */
    struct names names; /* the last: it is large, and makes itself ready */
};

/* Writes a field whose value is UTF-8 without line ends: encodes, or records it if it holds variables.
 * `where` is its place in the source, or NULL. */
bool compile_field(struct compiler *c, struct emit *e, struct str name, enum field_kind kind,
                   struct str value, bool strict, const char *where);
/* A field of fixed text that is known to be right. */
void compile_plain_field(struct emit *e, const char *line);

/* Decides what becomes of a part. `where` as above. */
bool leaf_plan(struct compiler *c, struct leaf *leaf, const char *where);
/* The name of the encoding that goes into the part's header; NULL when kept. */
const char *leaf_encoding(const struct leaf *leaf);
/* Writes what was planned. */
bool leaf_write(struct compiler *c, struct emit *e, const struct leaf *leaf, const char *where);
/* The line without NUL and, if nothing 8-bit may be left, with `?` instead: for what can't be encoded,
 * between parts and in fields of no known charset. Valid until `value` is next used. */
struct str compile_clean_line(struct compiler *c, struct str line);
/* Whole lines that no one merges or encodes; long ones are cut. */
void compile_lines(struct compiler *c, struct emit *e, struct str text);

bool compile_raw(struct compiler *c);
/* An embedded message, header and all, into the body. */
bool compile_embedded(struct compiler *c, struct str message);

bool compile_composed(struct compiler *c);
/* A field of one line of UTF-8, with its variables; controls in it become spaces. */
bool compose_field(struct compiler *c, struct str name, struct str value, enum field_kind kind,
                   enum field_id id);
/* The fields of `list`, `unsubscribe` and `priority`. */
bool compose_list(struct compiler *c);
/* Whether compose_list writes a field of that name. */
bool compose_list_has(const struct message_spec *spec, struct str name);
/* The parts: the rest of the header too. */
bool compose_parts(struct compiler *c);

/* False, with "line 12: …" or, when `where` is not in the source, the sentence alone. */
bool compile_fail(struct compiler *c, const char *where, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
