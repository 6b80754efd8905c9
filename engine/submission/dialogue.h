/* dialogue.h - the server's side of one SMTP connection (RFC 5321, 6409): what the client says to replies.
 *
 * Pure: no sockets, no clock, no store. The owner feeds what came in and sends what was appended to its
 * buffer. Now and then the dialogue stops before all is taken, for something that only the owner can do; it
 * says what, and goes on when the owner has told it how that ended, with one of the functions named there.
 * Meanwhile nothing may be fed: replies come in the order of the commands. All of it is one thread's.
 *
 * Who may send mail on is decided here: a user who has logged in, or whoever the owner says may (by network
 * or by uid). Nobody else gets further than RCPT, which is 550 5.7.1, except to a return domain. */
#ifndef POSTRIDER_SUBMISSION_DIALOGUE_H
#define POSTRIDER_SUBMISSION_DIALOGUE_H

#include "engine/config.h"
#include "engine/submission/data.h"
#include "engine/submission/parcel.h"

/* What holds for all connections of a listener; outlives them. */
struct dialogue_rules {
    const char *hostname;
    const struct config_submission *config;
    bool has_tls;   /* there is a certificate, and TLS does not begin with the connection */
    bool has_users; /* AUTH is known */
};

enum dialogue_state {
    DIALOGUE_COMMAND,
    DIALOGUE_AUTH,    /* lines of an AUTH */
    DIALOGUE_DATA,    /* lines of a message */
    DIALOGUE_CHUNK,   /* octets of a BDAT */
    DIALOGUE_WAITING, /* for the owner */
    DIALOGUE_OVER
};

enum dialogue_event {
    DIALOGUE_MORE,    /* all is taken; or so much is to be sent that this comes first: feed the rest then */
    DIALOGUE_TLS,     /* send what there is, shake hands, call dialogue_secured */
    DIALOGUE_LOGIN,   /* look at user and password, call dialogue_login */
    DIALOGUE_MESSAGE, /* take the parcel, call dialogue_taken */
    DIALOGUE_RETRY,   /* ETRN: try the domain's queue now, call dialogue_retried */
    DIALOGUE_CLOSE,   /* send what there is, close */
};

/* A login under way. Allocated for it, and wiped. */
struct dialogue_login {
    enum { LOGIN_PLAIN, LOGIN_USER, LOGIN_PASSWORD } awaits;
    char user[SUBMISSION_USER_MAX + 1], password[SUBMISSION_PASSWORD_MAX + 1];
};

struct dialogue {
    const struct dialogue_rules *rules;
    enum dialogue_state state;
    bool extended, secured, overlong; /* EHLO; TLS; the rest of a line that is too long is skipped */
    bool trusted;                     /* set by the owner: it may send mail on without a user */
    bool full, crowded;         /* set by the owner: intake is stopped; too many messages are under way */
    bool chunked, last, broken; /* BDAT has begun; this chunk is the last; this one is only skipped */
    unsigned errors, commands, messages; /* commands since the last message or recipient that was accepted */
    uint64_t steps; /* lines that came whole, and pieces of messages: who makes none is idle, bytes or not */
    char *helo;     /* what it calls itself; NULL: it has not said */
    char *user;     /* logged in as; NULL: not */
    struct dialogue_login *login; /* while AUTH is under way */
    struct buf line;              /* one that is not whole yet */
    struct parcel parcel;
    struct data_reader data;
    uint64_t chunk_left;
    char domain[DOMAIN_MAX + 1]; /* of an ETRN */
};

/* secured: TLS is there already. Appends the greeting. */
void dialogue_begin(struct dialogue *dialogue, const struct dialogue_rules *rules, bool trusted, bool secured,
                    struct buf *out);
void dialogue_free(struct dialogue *dialogue);
/* Takes bytes off the front of *in. */
enum dialogue_event dialogue_feed(struct dialogue *dialogue, struct str *in, struct buf *out, struct now now);

/* After DIALOGUE_TLS: as if the client had just connected (RFC 3207 4.2), but for the greeting. */
void dialogue_secured(struct dialogue *dialogue);
enum login_result { LOGIN_GOOD, LOGIN_WRONG, LOGIN_FAILED /* can't tell now */ };
enum dialogue_event dialogue_login(struct dialogue *dialogue, enum login_result result, struct buf *out);
/* `reply` is a whole one without its CRLF. The parcel is empty again. */
enum dialogue_event dialogue_taken(struct dialogue *dialogue, bool accepted, const char *reply,
                                   struct buf *out);
/* started: an operation runs. */
enum dialogue_event dialogue_retried(struct dialogue *dialogue, bool started, struct buf *out);
/* The owner ends it, with a reply without its CRLF ("421 4.4.2 …"). */
void dialogue_end(struct dialogue *dialogue, const char *reply, struct buf *out);

/* May mail be sent on? */
static inline bool dialogue_authorised(const struct dialogue *dialogue)
{
    return dialogue->trusted || dialogue->user != NULL;
}

#endif
