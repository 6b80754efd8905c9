/* character.h - how a receiving host behaves: what it delays, refuses, breaks, and in which words.
 *
 * One table (character.c) gives each key its name, type and help; a scenario, the control socket and --help
 * read it. Hosts of one pattern share a character by reference count and get a copy of their own when one is
 * changed. Durations in milliseconds, odds as a share of 2^32. One thread. */
#ifndef POSTRIDER_WORLD_CHARACTER_H
#define POSTRIDER_WORLD_CHARACTER_H

#include "bench/world/yaml.h"

#include <stdint.h>
#include <stdio.h>

enum stage {
    STAGE_NONE,
    STAGE_CONNECT,
    STAGE_EHLO,
    STAGE_STARTTLS,
    STAGE_MAIL,
    STAGE_RCPT,
    STAGE_DATA,
    STAGE_DOT,
    STAGE_RSET,
    STAGE_QUIT,
};

enum starttls { STARTTLS_ABSENT, STARTTLS_GOOD, STARTTLS_BROKEN, STARTTLS_REFUSED };
enum over_cap { OVER_CAP_REPLY, OVER_CAP_CLOSE };

enum rule_action {
    ACTION_REPLY,      /* code and text */
    ACTION_CLOSE,      /* the connection ends without a reply */
    ACTION_LOSE_REPLY, /* at dot: the message is accepted and logged, then the connection ends */
    ACTION_SILENCE     /* nothing is ever said again */
};

struct rule {
    enum stage at;
    enum rule_action action;
    uint32_t odds;     /* of 2^32 - 1 */
    bool by_recipient; /* the same recipient always draws the same */
    uint32_t code, times;
    char *match; /* glob for the local part, or NULL */
    char *text;  /* lines split by \n; holds the enhanced status, if any */
};

#define ODDS_ALWAYS UINT32_MAX

struct character {
    uint32_t references;
    uint32_t reply_delay_ms, latency_ms, banner_delay_ms, greylist_ms;
    uint32_t full_odds, unknown_odds, close_odds, lose_reply_odds;
    char *full, *unknown; /* globs for the local part */
    uint32_t messages_per_connection, max_connections, max_rate, max_recipients;
    uint32_t over_cap, starttls, close_at, silent_at, reject_at;
    uint32_t size; /* 0: offered without a number */
    bool no_size, no_pipelining, no_ehlo, no_8bitmime, no_enhanced, chunking, binary, refuse, no_resumption;
    char *banner;
    struct rule *rules;
    uint32_t rules_used;
};

/* One reference; all that is not set is that of a prompt, well-behaved host. */
struct character *character_create(void);
struct character *character_copy(const struct character *from);
struct character *character_share(struct character *character);
void character_drop(struct character *character);
/* Does `key` belong here? */
bool character_knows(const char *key);
/* node->key and its value; the caller asked character_knows. */
bool character_set(struct character *character, const struct yaml *node, struct err *err);
void character_help(FILE *out);

#endif
