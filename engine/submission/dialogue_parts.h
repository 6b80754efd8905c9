/* dialogue_parts.h - what the files of the dialogue share. Private to dialogue*.c.
 *
 *  dialogue.c           lines, the table of commands, the small ones
 *  dialogue_mail.c      MAIL, RCPT, DATA, BDAT: a transaction
 *  dialogue_auth.c      AUTH and its lines */
#ifndef POSTRIDER_SUBMISSION_DIALOGUE_PARTS_H
#define POSTRIDER_SUBMISSION_DIALOGUE_PARTS_H

#include "engine/submission/answer.h"
#include "engine/submission/dialogue.h"

/* One event of a dialogue. */
struct turn {
    struct dialogue *dialogue;
    struct str *in; /* what follows the line at hand */
    struct buf *out;
    struct now now;
    enum dialogue_event event; /* what the owner must do; DIALOGUE_MORE: nothing */
};

/* The line is refused: a reply, and it counts. False, always. */
bool turn_refuse(struct turn *turn, const char *line);
/* The same, where the reply is there already. */
bool turn_count_error(struct turn *turn);
/* The last reply. False, always. */
bool turn_close(struct turn *turn, const char *line);
/* The owner does something, then tells. */
void turn_wait(struct turn *turn, enum dialogue_event event);

/* The transaction ends. */
void dialogue_reset(struct dialogue *dialogue);

/* ---- dialogue_mail.c: true: done, false: refused ---- */
bool mail_command(struct turn *turn, struct str text);
bool rcpt_command(struct turn *turn, struct str text);
bool data_command(struct turn *turn, struct str text);
bool bdat_command(struct turn *turn, struct str text);
void data_take(struct turn *turn);
void chunk_take(struct turn *turn);

/* ---- dialogue_auth.c ---- */
bool auth_command(struct turn *turn, struct str text);
void auth_line(struct turn *turn, struct str line);
void auth_forget(struct dialogue *dialogue);
/* Whether it can be used now, in the clear or not. */
bool auth_offered(const struct dialogue *dialogue);

#endif
