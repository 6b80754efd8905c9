/* notice_parts.h - what the files that read a notice share. Private to inbound/. */
#ifndef POSTRIDER_INBOUND_NOTICE_PARTS_H
#define POSTRIDER_INBOUND_NOTICE_PARTS_H

#include "engine/inbound/notice.h"
#include "engine/message/mime.h"

/* A message on its way into a notice. */
struct reading {
    struct notice *notice;
    struct mime_fields header; /* of the whole message */
    struct str subject;        /* encoded words decoded */
    struct str text;           /* the first part for people, decoded */
    bool text_is_html;
    struct str status;   /* message/delivery-status, decoded */
    struct str feedback; /* message/feedback-report, decoded */
    struct str returned; /* the message that was sent, or its header alone */
    bool receipt;        /* there is a message/disposition-notification */
    unsigned parts;
};

/* A copy in the notice's memory; empty when that is full. */
struct str reading_keep(struct reading *reading, struct str text);
/* The unfolded value of the first field of this name; empty where there is none. */
struct str reading_field(struct reading *reading, const struct mime_fields *fields, const char *name);
/* The next recipient to be filled, or NULL when there are NOTICE_RCPTS_MAX. */
struct notice_rcpt *reading_add_rcpt(struct reading *reading, enum notice_kind kind);
/* Takes reply from the words, and code and status as far as they are not known. */
void reading_set_reply(struct reading *reading, struct notice_rcpt *rcpt, struct str words);

/* The parts for machines: add recipients, and what is said of the message as a whole. notice_fields.c */
void read_delivery_status(struct reading *reading);
void read_feedback(struct reading *reading);

/* A bounce in words: adds recipients from `text`, and sets `returned` where a copy of the message stands
 * behind them. False: these words name nobody who failed. notice_words.c */
bool read_words(struct reading *reading);
/* What `text` says of a recipient whose delivery status says no more than that it failed: OpenSMTPD keeps the
 * reply for people. */
void read_words_of(struct reading *reading, struct notice_rcpt *rcpt);

/* What a machine sends of its own accord, told by header and subject. autoreply.c */
bool is_autoreply(struct reading *reading);
bool subject_of_receipt(struct str subject);
bool subject_of_bounce(struct str subject);
bool subject_of_delay(struct str subject);

/* The first address at or after *at, of ASCII or UTF-8, which is then behind it. False: none. */
bool address_find(struct str text, size_t *at, struct str *address);
/* Does text hold the phrase, which is in lower case? ASCII case is folded. */
bool text_has(struct str text, const char *phrase);

#endif
