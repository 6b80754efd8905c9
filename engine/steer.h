/* steer.h - what operators do to what the workers hold: suspend and resume mail, slow and speed up sites.
 *
 * Any thread but a worker's. Durable when a call returns STEER_OK. */
#ifndef POSTRIDER_STEER_H
#define POSTRIDER_STEER_H

#include "engine/base/clock.h"
#include "engine/limits.h"
#include "queue/query.h"

struct fleet;

enum steer_result {
    STEER_OK,
    STEER_FULL,     /* no space to write it down: it holds until a restart */
    STEER_BUSY,     /* no answer in time: it may be done all the same */
    STEER_FAILED,   /* no memory */
    STEER_TOO_MANY, /* HOLDS_MAX is reached: it is not suspended */
};

/* Which mail; p NULL: any. */
struct steer_filter {
    bool all;     /* resume: whatever is held */
    uint64_t job; /* 0: any */
    struct str tenant, campaign, domain, site, sender;
};
/* *changed: 0 when it was suspended already. */
enum steer_result steer_suspend(struct fleet *fleet, const struct steer_filter *filter, struct now now,
                                unsigned *changed);
/* Ends holds and suspensions that say what the filter says, and the stops of its site where it names no more.
 */
enum steer_result steer_resume(struct fleet *fleet, const struct steer_filter *filter, unsigned *changed);

enum steer_site { STEER_BACK_OFF, STEER_NORMAL, STEER_RESET };
/* *changed: how many paths there are. */
enum steer_result steer_site(struct fleet *fleet, const char *site, enum steer_site how, unsigned *changed);

/* From this source nothing new leaves, until it is enabled again. */
enum steer_result steer_source(struct fleet *fleet, const char *source, bool drain);
/* What the workers know from DNS is forgotten; connections and holds stay. */
enum steer_result steer_flush_dns(struct fleet *fleet);

/* ---- what is held ---- */

struct held_info {
    const char *kind; /* "stop", "drain", "fix", "job", "sender", "suspension" */
    uint64_t job;
    char tenant[NAME_MAX_BYTES + 1], campaign[NAME_MAX_BYTES + 1], domain[DOMAIN_MAX + 1],
        site[DOMAIN_MAX + 1], source[NAME_MAX_BYTES + 1]; /* "": any */
    char sender[DOMAIN_MAX + 1];
    bool has_sender;            /* "" is the null sender's */
    int64_t since_ms, until_ms; /* until 0: for an operator */
    uint16_t code;
    struct status status;
    char reply[STORED_REPLY_MAX + 1], rule[NAME_MAX_BYTES + 1];
    char remedy[1024]; /* what to type */
    struct held_count count;
};
struct held_of_lane {
    uint32_t lane;
    struct held_count count;
};
struct held_list {
    struct held_info *list;
    size_t count;
    struct held_of_lane *lanes; /* by lane */
    size_t lane_count;
    struct held_count total;
    bool complete;
};
/* Everything that is held, and how much each hold holds: what two hold is counted once, with the first. Walks
 * the lanes where anything is held. The caller calls steer_held_free. */
void steer_held(struct fleet *fleet, struct held_list *out);
void steer_held_free(struct held_list *held);
/* The hold that holds such a recipient, of lane's domain and site ("": not known); false: none does. */
bool steer_held_find(struct fleet *fleet, const struct steer_filter *recipient, struct held_info *info);

#endif
