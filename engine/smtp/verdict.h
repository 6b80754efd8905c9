/* verdict.h - what a reply, or the lack of one, means: the outcome, and how far it hurts.
 *
 * Pure. One place decides what failures mean: the table in verdict.c. Never empty: a verdict always has a
 * status and a text. */
#ifndef POSTRIDER_SMTP_VERDICT_H
#define POSTRIDER_SMTP_VERDICT_H

#include "engine/limits.h"
#include "queue/status.h"

struct rule; /* engine/rules/rules.h */

enum verdict_outcome { VERDICT_NONE, VERDICT_DELIVERED, VERDICT_DEFERRED, VERDICT_FAILED };

/* How far it hurts, narrow to wide. */
enum verdict_scope {
    SCOPE_RECIPIENT,
    SCOPE_TRANSACTION, /* this message at this host */
    SCOPE_SESSION, /* this connection: others may be fine; not the recipient's fault, attempt not counted */
    SCOPE_HOST,    /* this address of the host: try the next one at once */
    SCOPE_PATH,    /* this source to this site: pause */
};

struct verdict {
    enum verdict_outcome outcome;
    enum verdict_scope scope;
    bool greylisted; /* a 4xx that says so */
    bool again_now;  /* 4.5.3 too many recipients: at once in a new transaction */
    bool local;      /* decided here, no reply of the peer */
    bool blameless;  /* of ours, for the operator to put right: no recipient's attempt */
    uint16_t code;   /* 0 when local */
    struct status
        status;      /* given, else derived from code, step and words; its class is that of the outcome */
    uint32_t wait_s; /* a time the reply names ("try again in 300 seconds"), 0: none */
    const struct rule *rule; /* the owner's, which decided (session_handlers.judge); NULL: the table did */
    uint16_t text_size;
    char text[STORED_REPLY_MAX]; /* the reply's lines joined with a blank, printable UTF-8, with the enhanced
                                    status as received, not NUL-terminated; or our words */
};

enum smtp_step {
    STEP_CONNECT,
    STEP_GREETING,
    STEP_EHLO,
    STEP_STARTTLS,
    STEP_TLS,
    STEP_AUTH,
    STEP_MAIL,
    STEP_RCPT,
    STEP_DATA,
    STEP_BODY,
    STEP_END,
    STEP_RSET,
    STEP_QUIT
};

/* From a whole reply to the step: code (200 to 599), and its text with the lines joined (an enhanced status
 * is looked for at its start, whether the peer offers them or not). Where the reply is what the step hopes
 * for the outcome is VERDICT_NONE, at the end of data VERDICT_DELIVERED. */
void verdict_of_reply(struct verdict *verdict, enum smtp_step step, unsigned code, struct str text);
/* Of our own: status and words; outcome by the status' class. */
void verdict_local(struct verdict *verdict, enum verdict_scope scope, struct status status,
                   const char *format, ...) __attribute__((format(printf, 4, 5)));
/* Copies what is in use, without the unused end of the text. */
void verdict_copy(struct verdict *to, const struct verdict *from);

#endif
