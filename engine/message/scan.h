/* scan.h - a header field's value to pieces, by what kind of field it is. Private to message/.
 *
 * The value is unfolded UTF-8 without controls, except that SCAN_MARK stands for each variable. The pieces
 * are kinds and flags of record.h, handed to a sink in order: it writes them (field.h) or records them as
 * ops. A *_VALUE piece stands for the next mark and has no text. */
#ifndef POSTRIDER_MESSAGE_SCAN_H
#define POSTRIDER_MESSAGE_SCAN_H

#include "engine/base/err.h"
#include "engine/message/record.h"

#define SCAN_MARK '\x01'

enum field_kind {
    FIELD_TEXT,      /* unstructured */
    FIELD_ADDRESSES, /* mailboxes and groups */
    FIELD_LIST_ID,   /* a phrase and an id in <> */
    FIELD_IDS,       /* message ids */
    FIELD_URIS,      /* List-Unsubscribe and its like */
    FIELD_RAW,       /* any other syntax */
    FIELD_FIXED,     /* decides how the message is built: no variables */
};

/* Fields that the compiler treats each in its own way. */
enum field_id {
    ID_OTHER,
    ID_DATE,
    ID_FROM,
    ID_SENDER,
    ID_TO,
    ID_CC,
    ID_REPLY_TO,
    ID_MESSAGE_ID,
    ID_IN_REPLY_TO,
    ID_REFERENCES,
    ID_SUBJECT,
    ID_MIME_VERSION,
    ID_CONTENT_TYPE,
    ID_ENCODING,
    ID_DISPOSITION,
    ID_BCC,
    ID_RETURN_PATH,
    ID_RECEIVED,
    ID_DKIM_SIGNATURE,
    ID_FEEDBACK_ID,
    ID_TLS_REQUIRED,
};

struct field_type {
    enum field_kind kind;
    enum field_id id;
};

struct field_type field_type_of(struct str name);

struct scan_sink {
    void (*piece)(struct scan_sink *sink, enum record_kind kind, unsigned flags, struct str text);
};

/* `strict`: every address without a variable must be one (address.h), and there must be one; otherwise what
 * is malformed goes through as it is. False only then. */
bool field_scan(enum field_kind kind, struct str value, bool strict, struct scan_sink *sink, struct err *err);

/* How many mailboxes a value of FIELD_ADDRESSES names. */
size_t field_mailboxes(struct str value);

#endif
