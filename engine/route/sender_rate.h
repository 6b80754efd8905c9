/* sender_rate.h - how fast mail of one sender domain may go to a site, from all its sources together.
 *
 * Made by a reply that speaks of a sender domain (a rule's `slow, sender`); cut again by each that follows,
 * recovering as the rate of a path does, and gone when it is back (learnt.h). Mail of such a sender waits
 * apart from that of others (aside.h), whose turns ask `limit`. At most SENDER_RATES_MAX a worker; each is a
 * row of the store's policies, so that a restart does not begin again.
 *
 * The worker that owns the site has them; one to which sessions are lent tells it what it hears
 * (loan_tell_lesson), and is lent nothing of such a sender. One worker's thread. */
#ifndef POSTRIDER_ROUTE_SENDER_RATE_H
#define POSTRIDER_ROUTE_SENDER_RATE_H

#include "engine/route/model.h"

struct aside;
TAILQ_HEAD(aside_list, aside);

struct sender_rate {
    UT_hash_handle hh; /* by key */
    struct limit limit;
    struct learnt learnt;         /* its rate, and the last reply */
    int64_t cut_ns;               /* when it was cut last */
    bool dirty, over;             /* to be written down; faded: goes with the last of its asides */
    bool missed;                  /* mail of it was passed over of a lane that no worker has any more */
    unsigned buffered;            /* recipients that wait in its asides */
    struct aside_list open, full; /* those that take more, and those that have enough */
    size_t key_size;
    char key[]; /* the site's name, a NUL, the sender domain in lower case, a NUL */
};

/* That of mail from this address to the site; NULL: none. */
struct sender_rate *sender_rate_find(const struct router *router, const char *site, struct str from);
/* The names in its key. */
const char *sender_rate_site(const struct sender_rate *rate);
const char *sender_rate_sender(const struct sender_rate *rate);

/* A reply to mail of lesson->sender: cuts. What of it waits in memory goes apart. At the site's owner. */
struct path_lesson;
void sender_rate_learn(struct path *path, const struct path_lesson *lesson);
/* An operator: at full rate again, all that are slowed at this site. */
void sender_rates_end(struct router *router, const char *site);

/* Once a second: what recovers, and what is to be written down. */
void sender_rates_tick(struct router *router);
/* At the start: those of this worker's sites. */
void sender_rates_load(struct router *router);
/* At the end, when there are no lanes any more. */
void sender_rates_free(struct router *router);

#endif
