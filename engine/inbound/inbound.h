/* inbound.h - what is done about a notice: the recipient of ours it speaks of, an event, a suppression.
 *
 * Flow. inbound_read reads a message (notice.h), looks in the store for whom it means, and decides; nothing
 * is changed by it. inbound_post writes what was decided in one commit. Any thread; inbound_read waits
 * for the writer, up to 2 s, where a job is named that was accepted just before, inbound_post not at all. The
 * HTTP call uses it, and listeners that take mail for return domains do.
 *
 * Who is meant. A recipient is found by its rid: in the address the notice came to, where it is what {{rid}}
 * became in the envelope sender of that very job; in the Message-ID, Return-Path or another field of the
 * returned message; or, where the job's envelope id (RFC 3461) comes back, by the address within that job.
 * Numbers of that kind can be guessed, so a rid alone proves nothing: it counts as far as the notice names
 * the address that goes with it.
 *   exact    the notice names this address, as final or original recipient or as the returned message's To:
 *            all is done that is due
 *   domain   it names another address of the same domain (an alias behind it), or
 *   unnamed  none, or one made unreadable, and the rid was not just in some field: the event is written, and
 *            nothing suppressed, unless the input is trusted: those who pass complaints on often hide it
 *   mismatch it names somebody elsewhere: noted, and nothing is done
 *
 * What is due. A bounce of a recipient that was delivered is an event (bounced, late), and suppresses the
 * address for its tenant when the status says that there is no such mailbox any more (5.1.1, 5.1.3, 5.1.6,
 * 5.1.10, 5.2.1) and the words nothing else, or when the words leave no doubt of it (report/wording.h). A
 * complaint is an event whatever the recipient's state, and suppresses. A recipient that is
 * still queued is not ended by a bounce: what its own host answers will; one that has failed has had its
 * event. The same notice handed over twice gives two events.
 *
 * When it is too early. A host may bounce a message some milliseconds after it took it: before the worker has
 * read the reply, or while the outcome waits to be written down. Such a recipient is *under way*: with a
 * worker, or of a job that the tables do not show yet; what a bounce of it means is known only later. Nothing
 * is written then, and whoever handed the notice over reads it again in a moment, or has it sent again.
 * Mostly that is over in milliseconds; who waits with a worker for his turn is under way until he has it. */
#ifndef POSTRIDER_INBOUND_INBOUND_H
#define POSTRIDER_INBOUND_INBOUND_H

#include "engine/base/clock.h"
#include "engine/base/err.h"
#include "engine/inbound/notice.h"
#include "queue/edit.h"

struct inbound;

/* The store outlives it. NULL: no memory. */
struct inbound *inbound_create(struct store *store);
void inbound_destroy(struct inbound *inbound);

enum inbound_agreement {
    AGREEMENT_NONE, /* no recipient of ours was found */
    AGREEMENT_EXACT,
    AGREEMENT_DOMAIN,
    AGREEMENT_UNNAMED,
    AGREEMENT_MISMATCH,
    AGREEMENTS
};
const char *inbound_agreement_name(enum inbound_agreement agreement); /* "exact", …; static */

/* What is made of one recipient of the notice. */
enum inbound_action {
    ACTION_IGNORED, /* a delay, a success, feedback that is no complaint */
    ACTION_UNMATCHED,
    ACTION_MISMATCH,
    ACTION_UNDER_WAY, /* it is too early to say */
    ACTION_QUEUED,    /* a bounce of one that waits in the queue */
    ACTION_ENDED,     /* a bounce of one that had failed, or was never sent */
    ACTION_EVENT,
    ACTION_SUPPRESS, /* an event, and the address is suppressed */
    ACTIONS
};
const char *inbound_action_name(enum inbound_action action); /* "event", …; static */

struct inbound_finding { /* goes with the notice's recipient of the same index */
    enum inbound_action action;
    enum inbound_agreement agreement;
    struct rid rid; /* where agreement is not NONE, and what follows */
    enum rcpt_state state;
    bool claimed; /* with a worker */
    char to[ADDRESS_MAX + 1], tenant[NAME_MAX_BYTES + 1];
};

struct inbound_input {
    struct str message;
    struct str envelope_rcpt; /* to whom it came, or empty */
    struct str tenant;        /* only jobs of this one are looked at; empty: all */
    bool trusted;             /* it came to an address that only those know who may be believed */
};

struct inbound_result {
    struct notice notice;
    struct inbound_finding *findings; /* notice.rcpt_count of them */
    bool under_way;                   /* one of them is: not to be posted */
};

/* False: no memory. inbound_result_free in any case. */
bool inbound_read(struct inbound *inbound, const struct inbound_input *input, struct inbound_result *result);
void inbound_result_free(struct inbound_result *result);
/* It is to be handed over again: only counts it. */
void inbound_put_off(struct inbound *inbound, const struct inbound_result *result);
/* Writes what was decided, and counts it; `done` as in edit.h, also where there is nothing to write. False:
 * no memory, and `done` is not called. */
bool inbound_post(struct inbound *inbound, const struct inbound_result *result, struct now now,
                  edits_done *done, void *user);

struct inbound_figures {
    uint64_t notices[NOTICE_KINDS]; /* messages posted, by what they were */
    uint64_t actions[ACTIONS];      /* their recipients, by what was made of them */
};
void inbound_figures(struct inbound *inbound, struct inbound_figures *figures);

#endif
