/* condition.h - what a reply rule asks of a reply besides its words: code, enhanced status, step.
 *
 * Pure; any thread. */
#ifndef POSTRIDER_RULES_CONDITION_H
#define POSTRIDER_RULES_CONDITION_H

#include "engine/base/buf.h"
#include "queue/status.h"

#define RULE_CODES_MAX    8
#define RULE_STATUSES_MAX 12

/* Of one rule: 421, 4xx, 450-459, or `closed`: the connection was closed without a reply (code 0). */
struct rule_codes {
    unsigned count; /* 0: any reply, but not `closed` */
    struct {
        uint16_t low, high;
    } list[RULE_CODES_MAX];
};
bool rule_code_add(struct rule_codes *codes, struct str text);
bool rule_codes_match(const struct rule_codes *codes, unsigned code);
void rule_codes_format(const struct rule_codes *codes, struct buf *out);

/* 4.7.28, x.7.24, 4.7.*, 4.7, 5, 4.7.500-699; `none`: the reply gives none. */
struct rule_statuses {
    unsigned count; /* 0: whatever it is */
    struct rule_status {
        int class_, subject; /* -1: any; class_ 0: none is given */
        int low, high;       /* of the detail; -1: any */
    } list[RULE_STATUSES_MAX];
};
bool rule_status_add(struct rule_statuses *statuses, struct str text);
/* class_ 0: the reply gave none. */
bool rule_statuses_match(const struct rule_statuses *statuses, struct status status);
void rule_statuses_format(const struct rule_statuses *statuses, struct buf *out);

/* Where in the dialogue it came, a bit each. */
enum rule_step {
    RULE_AT_GREETING = 1, /* connecting to STARTTLS: before the session is ready */
    RULE_AT_MAIL = 2,
    RULE_AT_RCPT = 4,
    RULE_AT_DATA = 8,   /* DATA or BDAT to the reply after the end of the message */
    RULE_AT_OTHER = 16, /* RSET, QUIT, idle */
};
/* 0 where the word is none of greeting, mail, rcpt, data. */
unsigned rule_step_of(struct str word);
const char *rule_step_name(unsigned step);

#endif
