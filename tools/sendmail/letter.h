/* letter.h - the message that a program gives to sendmail, who sends it and whom it is for: from standard
 * input, as Unix has it, to what SMTP takes. What is wrong ends as an exit code of sysexits.h, with a line on
 * standard error; 0 is good. */
#ifndef POSTRIDER_TOOLS_SENDMAIL_LETTER_H
#define POSTRIDER_TOOLS_SENDMAIL_LETTER_H

#include "engine/base/buf.h"

struct letter {
    const char *host;   /* the daemon's: of addresses without a domain */
    const char *notify; /* of every recipient; NULL: as usual */
    struct buf text;    /* the message, with CRLF */
    struct buf rcpts;   /* RCPT commands, a line each */
    unsigned rcpt_count;
    void *known; /* these, to find those that are named twice */
    bool has_from;
};

void letter_init(struct letter *letter);
void letter_free(struct letter *letter);
/* Standard input; a line that is a dot alone ends it, unless dot_is_text. */
int letter_read(struct letter *letter, bool dot_is_text);
/* A list of addresses. */
void letter_add_rcpts(struct letter *letter, struct str list);
/* Looks at the header; named: who stands in it is a recipient. */
int letter_read_header(struct letter *letter, bool named);
/* The address that `option` (-f; NULL: none) gives the sender, in angle brackets, appended. */
void letter_put_sender(const struct letter *letter, const char *option, struct buf *out);
/* A From field before all else, with this name, or the caller's. */
int letter_add_from(struct letter *letter, const char *option, const char *name);

#endif
