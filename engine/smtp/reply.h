/* reply.h - reads SMTP replies (RFC 5321 4.2) as they arrive, in pieces of any size. Pure.
 *
 * What a hostile peer may make us keep is bounded: a line is at most REPLY_LINE_MAX, a reply at most
 * REPLY_LINES_MAX lines of which REPLY_TEXT_MAX bytes of text are kept; more is REPLY_BAD, after which the
 * parser must not be fed again. Tolerated, since real servers do it: a line that ends with LF alone, more
 * than one CR before it, no text, and any byte in the text (verdict.c makes it printable).
 *
 * A reply that comes in one piece, as they nearly all do, is not copied. Memory is taken only for what
 * arrives in pieces or on several lines, and given back by reply_release. */
#ifndef POSTRIDER_SMTP_REPLY_H
#define POSTRIDER_SMTP_REPLY_H

#include "engine/base/buf.h"
#include "engine/limits.h"

struct reply {
    unsigned code;   /* 200 to 599; of the reply under way or just read */
    struct str line; /* REPLY_LINE, REPLY_DONE: the text of this line, valid until the next feed */
    struct str text; /* REPLY_DONE: the lines' texts joined with a blank; an enhanced status that every line
                        repeats stands once. Valid as `line` is. */
    const char *why; /* REPLY_BAD: a phrase that says what is wrong */
    unsigned lines;  /* read of this reply */
    bool done, partial_used;
    struct buf partial; /* of a line, until its end comes */
    struct buf joined;
};

enum reply_result {
    REPLY_MORE, /* everything was taken, the reply goes on */
    REPLY_LINE, /* a line, not the last */
    REPLY_DONE, /* the last line */
    REPLY_BAD
};

void reply_init(struct reply *reply);
/* Frees its memory, unless a reply is under way; it may be used again. */
void reply_release(struct reply *reply);
/* Frees its memory at the end. */
void reply_free(struct reply *reply);
/* Takes from the front of *data, up to the end of one line. */
enum reply_result reply_feed(struct reply *reply, struct str *data);
/* Appends the line just read as whoever watches may see it: with its code, and of a challenge (334), which
 * is part of a login, only how long it is. */
void reply_show(const struct reply *reply, bool last, struct buf *out);
/* Whether a part of a reply has arrived. */
static inline bool reply_begun(const struct reply *reply)
{
    return !reply->done && (reply->lines > 0 || reply->partial.len > 0);
}

#endif
