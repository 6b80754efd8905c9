/* rules.h - reply rules: which reaction a receiver's reply asks for.
 *
 * A rule is a condition (site or receiver, step, code, enhanced status, words as a PCRE2 expression) and a
 * reaction. The operator's (`replies:` in the configuration) come first, in their order, then the built-in
 * ones (deploy/replies.yaml, compiled in); the first that matches decides. The rule comes before the table of
 * smtp/verdict.h: what no rule knows is decided there, by code, status and the words that all servers share.
 *
 * A *receiver* is a name for patterns of MX hosts, such as "gmail". A built-in rule for a receiver is for
 * those hosts alone, whatever the site is called. An operator's `site` matches the name of the site (with *
 * and ?) or names a receiver.
 *
 * The words are matched without case, in the reply's joined text without its enhanced status, up to
 * REPLY_TEXT_MAX bytes. A match that takes more than RULE_MATCH_MAX steps counts as none, so that neither a
 * careless expression nor a hostile reply can hold a worker.
 *
 * A `struct rules` is immutable after creation; any thread may ask. An answer takes an allocation of some
 * hundred bytes and, with the 102 built-in rules, 1 to 4 us on the 2-core machine: good replies never
 * come here. Rules and what they point to live as long as the set. */
#ifndef POSTRIDER_RULES_RULES_H
#define POSTRIDER_RULES_RULES_H

#include "engine/base/err.h"
#include "engine/rules/condition.h"
#include "engine/rules/reaction.h"

struct rules;

struct rule {
    const char *name;  /* stable: for events, explain, metrics. The operator's: as given, else "replies.3" */
    const char *where; /* "postrider.yaml:31", or "built-in (replies.yaml:31)" */
    bool built_in;
    unsigned index;    /* in the order of matching, from 0: to count by */
    const char *site;  /* "": any */
    const char *match; /* the expression; "": any words */
    struct rule_codes codes;
    struct rule_statuses statuses;
    unsigned steps; /* RULE_AT_ bits; 0: any */
    struct reaction reaction;
};

/* A name for mail hosts. Several of one name add up. */
struct rule_receiver {
    const char *name;
    const char *const *mx; /* patterns for str_glob_nocase */
    size_t mx_count;
};

struct rule_list {
    const struct rule *rules; /* name "": one is made; where, index and built_in are filled in on creation */
    size_t rule_count;
    const struct rule_receiver *receivers;
    size_t receiver_count;
};

/* Both lists, with all they point to, must outlive it; either may be NULL. NULL with err: an expression that
 * PCRE2 refuses (rules_check_match finds it earlier), or memory is out. */
struct rules *rules_create(const struct rule_list *operators, const struct rule_list *built_in,
                           struct err *err);
void rules_destroy(struct rules *rules);
size_t rules_count(const struct rules *rules);
const struct rule *rules_at(const struct rules *rules, size_t index);

struct rule_question {
    struct str site; /* the site's name */
    struct str mx;   /* the host that spoke, as the MX record has it; empty: no receiver */
    unsigned step;   /* one RULE_AT_ bit; 0: not known, matches any */
    unsigned code;   /* 200 to 599; 0: the connection was closed without a reply */
    struct str
        text; /* the reply's lines joined, as struct reply has it; its enhanced status stands in front */
};

/* The first rule that matches, or NULL: none. rules may be NULL: none. */
const struct rule *rules_match(const struct rules *rules, const struct rule_question *question);

/* Why a rule does not match: the first condition that fails, in this order. found (may be NULL) is the part
 * of the question's text that the expression matches, empty where there is none. */
enum rule_miss {
    RULE_MATCHES,
    RULE_OTHER_SITE,
    RULE_OTHER_WORDS,
    RULE_OTHER_STEP,
    RULE_OTHER_CODE,
    RULE_OTHER_STATUS
};
enum rule_miss rules_compare(const struct rules *rules, const struct rule *rule,
                             const struct rule_question *question, struct str *found);

/* The receiver that a host belongs to, or NULL. */
const char *rules_receiver_of(const struct rules *rules, struct str mx);
/* A host that the pattern matches, with a final NUL ("*.google.com": mx.google.com), and one that belongs to
 * the receiver of this name. Its length; 0: there is none, or no room. */
size_t rules_example_host(struct str pattern, char *host, size_t room);
size_t rules_host_of(const struct rules *rules, struct str receiver, char *host, size_t room);

/* Whether PCRE2 takes the expression; else what is wrong with it and at which byte. */
bool rules_check_match(struct str expression, size_t *at, struct err *err);

#endif
