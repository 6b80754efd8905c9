/* record.h - the layout of a content record; private to message/.
 *
 * struct record, then op_count ops, name_count names, slot_count hash slots (uint16_t), then bytes_n bytes of
 * literals, texts and names. All in this machine's byte order: `magic` tells a record of another. The block
 * is read aligned, so the tables are used in place.
 *
 * Ops are run in order. A header field with variables is a group: FIELD, then texts and raw pieces,
 * FIELD_END; the name and its colon stand in the literal before. TEXT and TEXT_VALUE collect, and TEXT_END or
 * PHRASE_END encodes what was collected; RAW and RAW_VALUE go out as they are (within what their flags
 * allow). VALUE is a variable in a quoted-printable body. A base64 body with variables is a literal, as far
 * as it is known, then BASE64_TEXT and BASE64_VALUE, and BASE64_END. */
#ifndef POSTRIDER_MESSAGE_RECORD_H
#define POSTRIDER_MESSAGE_RECORD_H

#include "engine/base/str.h"

#include <assert.h>

#define RECORD_MAGIC   UINT32_C(0x31545250)
#define RECORD_VERSION 2 /* 1 had no BASE64_… and is read too */

enum record_flags {
    RECORD_HAS_8BIT = 1,
    RECORD_NEEDS_SMTPUTF8 = 2,
    RECORD_REMOVED_BCC = 4,
    RECORD_REMOVED_RETURN_PATH = 8,
    RECORD_REMOVED_RECEIVED = 16,
    RECORD_LACKS_FROM = 32,
    RECORD_RECODED = 64,
    RECORD_REQUIRE_DKIM = 128,
    RECORD_HAS_SIGNATURE = 256,
    RECORD_TLS_OPTIONAL = 512,
    RECORD_HAS_BINARY = 1024,
};

struct record {
    uint32_t magic, version;
    uint64_t checksum; /* str_hash of all that follows this field */
    uint32_t op_count, body_op, name_count, slot_count;
    uint32_t bytes_n;
    uint32_t flags;
};

enum record_kind {
    RECORD_LITERAL,
    RECORD_VALUE,
    RECORD_FIELD, /* n: columns that the name and its colon take */
    RECORD_TEXT,
    RECORD_TEXT_VALUE,
    RECORD_TEXT_END,
    RECORD_PHRASE_END,
    RECORD_RAW,
    RECORD_RAW_VALUE,
    RECORD_FIELD_END,
    RECORD_BASE64_TEXT, /* at: its forms (base64_merge.h); n: bytes of the text */
    RECORD_BASE64_VALUE,
    RECORD_BASE64_END,
    RECORD_KINDS
};

enum record_op_flags {
    /* LITERAL */
    OP_DOT = 1,    /* its first byte is the dot that stuffing added */
    OP_BREAKS = 2, /* holds a CRLF: `last` is the column at its end, else it adds its length to the column */
    /* *_VALUE */
    OP_DEFAULT = 4, /* at, n: the default */
    OP_HTML = 8,    /* escaped */
    /* RAW_VALUE: where it stands. None: anywhere else in a structured field. */
    OP_ADDRESS = 16, /* within <>, or part of an address or message id */
    OP_MAILBOX = 32, /* a whole mailbox, or list of them */
    OP_URI = 64,     /* a URI or its beginning; with QUOTED, inside of one */
    OP_QUOTED = 128, /* in a quoted string */
    OP_URL = 1,      /* *_VALUE: percent-encoded before anything else */
    /* TEXT_END */
    OP_COMMENT = 1, /* the text of a comment: parentheses go around it */
};

struct record_op {
    uint8_t kind, flags;
    uint16_t name;  /* *_VALUE: index into names */
    uint32_t at, n; /* LITERAL, TEXT, RAW: bytes; *_VALUE: the default */
    uint16_t
        first; /* LITERAL after VALUE: columns up to its first CRLF, that and a soft break's `=` included */
    uint16_t last;
};

/* The first names are the recipient's own. */
enum record_builtin { NAME_TO, NAME_RID, NAME_ID, NAME_JOB, NAME_BUILTINS };

struct record_name {
    uint32_t at;
    uint16_t n;
    uint16_t required; /* somewhere it stands without a default */
};

/* Not one of them, since it is worked out only where it is asked for. */
#define NAME_HASH "recipient_hash"

#define RECORD_SLOT_EMPTY UINT16_MAX

static_assert(sizeof(struct record) == 40 && sizeof(struct record_op) == 16 &&
                  sizeof(struct record_name) == 8,
              "the tables follow one another without padding");

/* FNV-1a: the names are short. */
static inline uint32_t record_hash(struct str name)
{
    uint32_t h = UINT32_C(2166136261);
    for (size_t i = 0; i < name.n; i++)
        h = (h ^ (uint8_t)name.p[i]) * UINT32_C(16777619);
    return h ^ h >> 15;
}

#endif
