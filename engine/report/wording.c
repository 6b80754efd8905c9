/* wording.c - see wording.h.
 *
 * A phrase is words with blanks between, in lower case. "exceed*" is any word that begins so, a lone "*" up
 * to three words of any kind. Of all phrases in a reply the one that stands first in the list decides, so
 * that what is narrow stands before what is wide: "sender domain" before "does not exist". A reply is cut
 * into words at everything but letters, digits and bytes beyond ASCII; apostrophes are dropped (doesn't:
 * doesnt). */
#include "engine/report/wording.h"

#include "engine/limits.h"

#include <pthread.h>

#define WORDS_MAX 160 /* of a reply; what comes behind is not looked at */
#define GAP_MAX   3   /* words that a lone star stands for */

struct phrase {
    const char *text;
    enum bounce_category category;
};

/* ---- words that leave no doubt ---- */

static const struct phrase certain[] = {
    /* the recipient's own choice, or the receiver's rules for this mailbox */
    {"envelope blocked", BOUNCE_POLICY_RELATED},
    {"blocked sender*", BOUNCE_POLICY_RELATED},
    {"recipient has blocked", BOUNCE_POLICY_RELATED},
    {"blocked by recipient", BOUNCE_POLICY_RELATED},
    {"only accepts mail from", BOUNCE_POLICY_RELATED},

    {"virus*", BOUNCE_VIRUS_RELATED},
    {"malware", BOUNCE_VIRUS_RELATED},
    {"infected", BOUNCE_VIRUS_RELATED},
    {"trojan", BOUNCE_VIRUS_RELATED},
    {"ransomware", BOUNCE_VIRUS_RELATED},

    /* what authentication found wrong, though the words may speak of spam too */
    {"dmarc", BOUNCE_POLICY_RELATED},
    {"spf", BOUNCE_POLICY_RELATED},
    {"dkim", BOUNCE_POLICY_RELATED},
    {"sender id", BOUNCE_POLICY_RELATED},
    {"ptr", BOUNCE_POLICY_RELATED},
    {"rdns", BOUNCE_POLICY_RELATED},
    {"reverse dns", BOUNCE_POLICY_RELATED},
    {"reverse host*", BOUNCE_POLICY_RELATED},
    {"reverse lookup", BOUNCE_POLICY_RELATED},
    {"required authentication level", BOUNCE_POLICY_RELATED},
    {"unauthenticated", BOUNCE_POLICY_RELATED},
    {"not authenticated", BOUNCE_POLICY_RELATED},
    {"greylist*", BOUNCE_POLICY_RELATED},
    {"graylist*", BOUNCE_POLICY_RELATED},
    {"grey listed", BOUNCE_POLICY_RELATED},

    {"spam*", BOUNCE_SPAM_RELATED},
    {"antispam", BOUNCE_SPAM_RELATED},
    {"unsolicited", BOUNCE_SPAM_RELATED},
    {"junk", BOUNCE_SPAM_RELATED},
    {"uce", BOUNCE_SPAM_RELATED},
    {"ube", BOUNCE_SPAM_RELATED},
    {"phish*", BOUNCE_SPAM_RELATED},
    {"blacklist*", BOUNCE_SPAM_RELATED},
    {"black list*", BOUNCE_SPAM_RELATED},
    {"blocklist*", BOUNCE_SPAM_RELATED},
    {"block list*", BOUNCE_SPAM_RELATED},
    {"denylist*", BOUNCE_SPAM_RELATED},
    {"deny list*", BOUNCE_SPAM_RELATED},
    {"blackhole*", BOUNCE_SPAM_RELATED},
    {"blocked using", BOUNCE_SPAM_RELATED},
    {"rbl*", BOUNCE_SPAM_RELATED},
    {"dnsbl*", BOUNCE_SPAM_RELATED},
    {"sorbs", BOUNCE_SPAM_RELATED},
    {"surbl", BOUNCE_SPAM_RELATED},
    {"uribl", BOUNCE_SPAM_RELATED},
    {"cloudmark", BOUNCE_SPAM_RELATED},
    {"senderscore", BOUNCE_SPAM_RELATED},
    {"reputation", BOUNCE_SPAM_RELATED},
    {"banned sending ip", BOUNCE_SPAM_RELATED},
    {"bulk mail", BOUNCE_SPAM_RELATED},
    {"dt spm", BOUNCE_SPAM_RELATED},
    {"hl rep", BOUNCE_SPAM_RELATED},
    {"unusual rate", BOUNCE_SPAM_RELATED},
    {"user complaints", BOUNCE_SPAM_RELATED},
    {"abuse * detected", BOUNCE_SPAM_RELATED},
    {"permanently deferred", BOUNCE_SPAM_RELATED},

    {"policy restrictions", BOUNCE_POLICY_RELATED},

    {"relay access", BOUNCE_RELAYING_ISSUES},
    {"relaying", BOUNCE_RELAYING_ISSUES},
    {"relay denied", BOUNCE_RELAYING_ISSUES},
    {"relay not permitted", BOUNCE_RELAYING_ISSUES},
    {"relay prohibited", BOUNCE_RELAYING_ISSUES},
    {"to relay", BOUNCE_RELAYING_ISSUES},
    {"not relay", BOUNCE_RELAYING_ISSUES},
    {"no relay", BOUNCE_RELAYING_ISSUES},
    {"not an open relay", BOUNCE_RELAYING_ISSUES},
    {"rcpthosts", BOUNCE_RELAYING_ISSUES},
    {"authentication required", BOUNCE_RELAYING_ISSUES},
    {"authentication is required", BOUNCE_RELAYING_ISSUES},
    {"must authenticate", BOUNCE_RELAYING_ISSUES},
    {"must be authenticated", BOUNCE_RELAYING_ISSUES},
    {"domain is not hosted here", BOUNCE_RELAYING_ISSUES},
    {"not a local domain", BOUNCE_RELAYING_ISSUES},

    {"sender address", BOUNCE_INVALID_SENDER},
    {"senders address", BOUNCE_INVALID_SENDER},
    {"sender domain", BOUNCE_INVALID_SENDER},
    {"senders domain", BOUNCE_INVALID_SENDER},
    {"domain of sender", BOUNCE_INVALID_SENDER},
    {"domain of the sender", BOUNCE_INVALID_SENDER},
    {"sender verif*", BOUNCE_INVALID_SENDER},
    {"sender verify", BOUNCE_INVALID_SENDER},
    {"verify sender", BOUNCE_INVALID_SENDER},
    {"verify the sender", BOUNCE_INVALID_SENDER},
    {"sender rejected", BOUNCE_INVALID_SENDER},
    {"sender denied", BOUNCE_INVALID_SENDER},
    {"sender invalid", BOUNCE_INVALID_SENDER},
    {"invalid sender", BOUNCE_INVALID_SENDER},
    {"bad sender*", BOUNCE_INVALID_SENDER},
    {"bogus sender", BOUNCE_INVALID_SENDER},
    {"fake sender", BOUNCE_INVALID_SENDER},
    {"sender is rejected", BOUNCE_INVALID_SENDER},
    {"return path", BOUNCE_INVALID_SENDER},
    {"return address", BOUNCE_INVALID_SENDER},
    {"return mx", BOUNCE_INVALID_SENDER},
    {"envelope sender", BOUNCE_INVALID_SENDER},
    {"unresolvable rfc *", BOUNCE_INVALID_SENDER},
    {"unresolvable * from", BOUNCE_INVALID_SENDER},
    {"null sender", BOUNCE_INVALID_SENDER},

    {"message size", BOUNCE_CONTENT_RELATED},
    {"message too large", BOUNCE_CONTENT_RELATED},
    {"message is too large", BOUNCE_CONTENT_RELATED},
    {"message too big", BOUNCE_CONTENT_RELATED},
    {"message is too big", BOUNCE_CONTENT_RELATED},
    {"message too long", BOUNCE_CONTENT_RELATED},
    {"message length", BOUNCE_CONTENT_RELATED},
    {"message exceeds", BOUNCE_CONTENT_RELATED},
    {"message file too big", BOUNCE_CONTENT_RELATED},
    {"exceeds maximum size", BOUNCE_CONTENT_RELATED},
    {"exceeds size limit", BOUNCE_CONTENT_RELATED},

    {"inactive", BOUNCE_INACTIVE_MAILBOX}, /* also where it is over quota as well: nobody will empty it */
    {"quota", BOUNCE_QUOTA_ISSUES},
    {"overquota", BOUNCE_QUOTA_ISSUES},
    {"mailbox full", BOUNCE_QUOTA_ISSUES},
    {"mailbox * full", BOUNCE_QUOTA_ISSUES},
    {"inbox * full", BOUNCE_QUOTA_ISSUES},
    {"mailfolder * full", BOUNCE_QUOTA_ISSUES},
    {"account * full", BOUNCE_QUOTA_ISSUES},
    {"user * full", BOUNCE_QUOTA_ISSUES},
    {"full mailbox", BOUNCE_QUOTA_ISSUES},
    {"disk full", BOUNCE_QUOTA_ISSUES},
    {"out of storage", BOUNCE_QUOTA_ISSUES},
    {"exceed* storage", BOUNCE_QUOTA_ISSUES},
    {"exceed* * storage", BOUNCE_QUOTA_ISSUES},
    {"storage * exceeded", BOUNCE_QUOTA_ISSUES},
    {"storage allocation", BOUNCE_QUOTA_ISSUES},
    {"insufficient * space", BOUNCE_QUOTA_ISSUES},
    {"insufficient * storage", BOUNCE_QUOTA_ISSUES},
    {"not enough * space", BOUNCE_QUOTA_ISSUES},
    {"not enough * storage", BOUNCE_QUOTA_ISSUES},
    {"mailbox size limit", BOUNCE_QUOTA_ISSUES},
    {"mailbox * exceeded", BOUNCE_QUOTA_ISSUES},
    {"over the maximum allowed mailbox", BOUNCE_QUOTA_ISSUES},

    {"account * disabled", BOUNCE_INACTIVE_MAILBOX},
    {"mailbox * disabled", BOUNCE_INACTIVE_MAILBOX},
    {"user * disabled", BOUNCE_INACTIVE_MAILBOX},
    {"recipient * disabled", BOUNCE_INACTIVE_MAILBOX},
    {"address * disabled", BOUNCE_INACTIVE_MAILBOX},
    {"disabled * account", BOUNCE_INACTIVE_MAILBOX},
    {"disabled * mailbox", BOUNCE_INACTIVE_MAILBOX},
    {"disabled * user", BOUNCE_INACTIVE_MAILBOX},
    {"disabled recipient", BOUNCE_INACTIVE_MAILBOX},
    {"deactivated", BOUNCE_INACTIVE_MAILBOX},
    {"account * suspended", BOUNCE_INACTIVE_MAILBOX},
    {"mailbox * suspended", BOUNCE_INACTIVE_MAILBOX},
    {"user * suspended", BOUNCE_INACTIVE_MAILBOX},
    {"account * expired", BOUNCE_INACTIVE_MAILBOX},
    {"mailbox * expired", BOUNCE_INACTIVE_MAILBOX},
    {"account * closed", BOUNCE_INACTIVE_MAILBOX},
    {"mailbox * closed", BOUNCE_INACTIVE_MAILBOX},
    {"account * terminated", BOUNCE_INACTIVE_MAILBOX},
    {"account * locked", BOUNCE_INACTIVE_MAILBOX},
    {"mailbox * locked", BOUNCE_INACTIVE_MAILBOX},
    {"account * blocked", BOUNCE_INACTIVE_MAILBOX},
    {"mailbox * blocked", BOUNCE_INACTIVE_MAILBOX},
    {"mailbox * frozen", BOUNCE_INACTIVE_MAILBOX},
    {"account * frozen", BOUNCE_INACTIVE_MAILBOX},
    {"no longer active", BOUNCE_INACTIVE_MAILBOX},
    {"no longer in use", BOUNCE_INACTIVE_MAILBOX},
    {"not active", BOUNCE_INACTIVE_MAILBOX},
    {"not activated", BOUNCE_INACTIVE_MAILBOX},
    {"discontinued", BOUNCE_INACTIVE_MAILBOX},
    {"dormant", BOUNCE_INACTIVE_MAILBOX},
    {"user hangup", BOUNCE_INACTIVE_MAILBOX},
    {"conta inativa", BOUNCE_INACTIVE_MAILBOX},

    {"domain not found", BOUNCE_BAD_DOMAIN},
    {"domain does not exist", BOUNCE_BAD_DOMAIN},
    {"domain doesnt exist", BOUNCE_BAD_DOMAIN},
    {"domain * not exist", BOUNCE_BAD_DOMAIN},
    {"domain unknown", BOUNCE_BAD_DOMAIN},
    {"unknown domain", BOUNCE_BAD_DOMAIN},
    {"no such domain", BOUNCE_BAD_DOMAIN},
    {"invalid domain", BOUNCE_BAD_DOMAIN},
    {"domain * expired", BOUNCE_BAD_DOMAIN},
    {"domain * suspended", BOUNCE_BAD_DOMAIN},
    {"domain does not accept mail", BOUNCE_BAD_DOMAIN},
    {"host unknown", BOUNCE_BAD_DOMAIN},
    {"unknown host", BOUNCE_BAD_DOMAIN},
    {"host not found", BOUNCE_BAD_DOMAIN},
    {"nxdomain", BOUNCE_BAD_DOMAIN},
    {"null mx", BOUNCE_BAD_DOMAIN},
    {"bad destination host", BOUNCE_BAD_DOMAIN},

    {"user unknown", BOUNCE_BAD_MAILBOX},
    {"unknown user", BOUNCE_BAD_MAILBOX},
    {"unknown recipient", BOUNCE_BAD_MAILBOX},
    {"recipient unknown", BOUNCE_BAD_MAILBOX},
    {"unknown address", BOUNCE_BAD_MAILBOX},
    {"address unknown", BOUNCE_BAD_MAILBOX},
    {"addressee unknown", BOUNCE_BAD_MAILBOX},
    {"unknown mailbox", BOUNCE_BAD_MAILBOX},
    {"mailbox unknown", BOUNCE_BAD_MAILBOX},
    {"unknown local part", BOUNCE_BAD_MAILBOX},
    {"unknown or illegal alias", BOUNCE_BAD_MAILBOX},
    {"no such user", BOUNCE_BAD_MAILBOX},
    {"no such mailbox", BOUNCE_BAD_MAILBOX},
    {"no such recipient", BOUNCE_BAD_MAILBOX},
    {"no such address", BOUNCE_BAD_MAILBOX},
    {"no such person", BOUNCE_BAD_MAILBOX},
    {"no such local user", BOUNCE_BAD_MAILBOX},
    {"no mailbox", BOUNCE_BAD_MAILBOX},
    {"no valid recipients", BOUNCE_BAD_MAILBOX},
    {"no account", BOUNCE_BAD_MAILBOX},
    {"user * not found", BOUNCE_BAD_MAILBOX},
    {"user not known", BOUNCE_BAD_MAILBOX},
    {"user isnt known", BOUNCE_BAD_MAILBOX},
    {"not a known user", BOUNCE_BAD_MAILBOX},
    {"not a valid mailbox", BOUNCE_BAD_MAILBOX},
    {"not a valid user", BOUNCE_BAD_MAILBOX},
    {"mailbox * not found", BOUNCE_BAD_MAILBOX},
    {"recipient * not found", BOUNCE_BAD_MAILBOX},
    {"account * not found", BOUNCE_BAD_MAILBOX},
    {"address * not found", BOUNCE_BAD_MAILBOX},
    {"recipnotfound", BOUNCE_BAD_MAILBOX},
    {"does not exist", BOUNCE_BAD_MAILBOX},
    {"doesnt exist", BOUNCE_BAD_MAILBOX},
    {"do not exist", BOUNCE_BAD_MAILBOX},
    {"not exist here", BOUNCE_BAD_MAILBOX},
    {"doesnt have a * account", BOUNCE_BAD_MAILBOX},
    {"does not have a * account", BOUNCE_BAD_MAILBOX},
    {"mailbox unavailable", BOUNCE_BAD_MAILBOX},
    {"user unavailable", BOUNCE_BAD_MAILBOX},
    {"invalid mailbox", BOUNCE_BAD_MAILBOX},
    {"invalid user", BOUNCE_BAD_MAILBOX},
    {"invalid recipient*", BOUNCE_BAD_MAILBOX},
    {"invalid address", BOUNCE_BAD_MAILBOX},
    {"recipient * invalid", BOUNCE_BAD_MAILBOX},
    {"mailbox * invalid", BOUNCE_BAD_MAILBOX},
    {"illegal alias", BOUNCE_BAD_MAILBOX},
    {"bad destination mailbox", BOUNCE_BAD_MAILBOX},
    {"not our customer", BOUNCE_BAD_MAILBOX},
    {"unrouteable address", BOUNCE_BAD_MAILBOX},
    {"unroutable address", BOUNCE_BAD_MAILBOX},

    {"too many hops", BOUNCE_ROUTING_ERRORS},
    {"hop count", BOUNCE_ROUTING_ERRORS},
    {"mail loop*", BOUNCE_ROUTING_ERRORS},
    {"routing loop", BOUNCE_ROUTING_ERRORS},
    {"loops back", BOUNCE_ROUTING_ERRORS},
    {"unable to route", BOUNCE_ROUTING_ERRORS},
    {"cannot route", BOUNCE_ROUTING_ERRORS},
    {"no route to", BOUNCE_ROUTING_ERRORS},

    {"content rejected", BOUNCE_CONTENT_RELATED},
    {"content denied", BOUNCE_CONTENT_RELATED},
    {"message content", BOUNCE_CONTENT_RELATED},
    {"content of this message", BOUNCE_CONTENT_RELATED},
    {"nature of the content", BOUNCE_CONTENT_RELATED},
    {"content filter*", BOUNCE_CONTENT_RELATED},
    {"attachment*", BOUNCE_CONTENT_RELATED},
    {"executable", BOUNCE_CONTENT_RELATED},
    {"rfc 5322", BOUNCE_CONTENT_RELATED},
    {"rfc5322", BOUNCE_CONTENT_RELATED},
    {"rfc 2822", BOUNCE_CONTENT_RELATED},
    {"rfc2822", BOUNCE_CONTENT_RELATED},
    {"message id header", BOUNCE_CONTENT_RELATED},
    {"duplicate header*", BOUNCE_CONTENT_RELATED},
    {"multiple * headers", BOUNCE_CONTENT_RELATED},
    {"header based", BOUNCE_CONTENT_RELATED},
    {"bare lf", BOUNCE_CONTENT_RELATED},
    {"bare linefeed*", BOUNCE_CONTENT_RELATED},
    {"line too long", BOUNCE_CONTENT_RELATED},

    {"bad sequence", BOUNCE_PROTOCOL_ERRORS},
    {"syntax error", BOUNCE_PROTOCOL_ERRORS},
    {"command not recognized", BOUNCE_PROTOCOL_ERRORS},
    {"command unrecognized", BOUNCE_PROTOCOL_ERRORS},
    {"unrecognized command", BOUNCE_PROTOCOL_ERRORS},
    {"unknown command", BOUNCE_PROTOCOL_ERRORS},
    {"command not implemented", BOUNCE_PROTOCOL_ERRORS},
    {"command rejected", BOUNCE_PROTOCOL_ERRORS},
    {"too many recipients", BOUNCE_PROTOCOL_ERRORS},

    {"local configuration", BOUNCE_BAD_CONFIGURATION},
    {"configuration error", BOUNCE_BAD_CONFIGURATION},
    {"configuration problem", BOUNCE_BAD_CONFIGURATION},
    {"misconfigur*", BOUNCE_BAD_CONFIGURATION},
    {"incorrectly configured", BOUNCE_BAD_CONFIGURATION},

    {"connection refused", BOUNCE_NO_ANSWER_FROM_HOST},
    {"connection timed out", BOUNCE_NO_ANSWER_FROM_HOST},
    {"host * unreachable", BOUNCE_NO_ANSWER_FROM_HOST},
    {"network * unreachable", BOUNCE_NO_ANSWER_FROM_HOST},
    {"lost connection", BOUNCE_BAD_CONNECTION},
    {"connection lost", BOUNCE_BAD_CONNECTION},
    {"connection reset", BOUNCE_BAD_CONNECTION},
    {"connection dropped", BOUNCE_BAD_CONNECTION},

    {"delivery time expired", BOUNCE_MESSAGE_EXPIRED},
    {"retry time* exceeded", BOUNCE_MESSAGE_EXPIRED},
    {"message expired", BOUNCE_MESSAGE_EXPIRED},
};

/* ---- words that give a hint ---- */

static const struct phrase hints[] = {
    {"recipient address rejected", BOUNCE_BAD_MAILBOX},
    {"recipient rejected", BOUNCE_BAD_MAILBOX},
    {"address rejected", BOUNCE_BAD_MAILBOX},
    {"user rejected", BOUNCE_BAD_MAILBOX},
    {"rcpt is rejected", BOUNCE_BAD_MAILBOX},
    {"no longer available", BOUNCE_INACTIVE_MAILBOX},
    {"no longer accept*", BOUNCE_INACTIVE_MAILBOX},
    {"no longer valid", BOUNCE_BAD_MAILBOX},
    {"not accepting messages", BOUNCE_INACTIVE_MAILBOX},
    {"blocked", BOUNCE_SPAM_RELATED},
    {"complaint*", BOUNCE_SPAM_RELATED},
    {"abuse", BOUNCE_SPAM_RELATED},
    {"abusive", BOUNCE_SPAM_RELATED},
    {"suspicious", BOUNCE_SPAM_RELATED},
    {"bulk", BOUNCE_SPAM_RELATED},
    {"content", BOUNCE_CONTENT_RELATED},
    {"malformed", BOUNCE_CONTENT_RELATED},
    {"header*", BOUNCE_CONTENT_RELATED},
    {"policy", BOUNCE_POLICY_RELATED},
    {"policies", BOUNCE_POLICY_RELATED},
    {"access denied", BOUNCE_POLICY_RELATED},
    {"prohibited", BOUNCE_POLICY_RELATED},
    {"not allowed", BOUNCE_POLICY_RELATED},
    {"not permitted", BOUNCE_POLICY_RELATED},
    {"not authorized", BOUNCE_POLICY_RELATED},
    {"not authorised", BOUNCE_POLICY_RELATED},
    {"rate limit*", BOUNCE_POLICY_RELATED},
    {"ratelimit*", BOUNCE_POLICY_RELATED},
    {"frequency limited", BOUNCE_POLICY_RELATED},
    {"too many connections", BOUNCE_POLICY_RELATED},
    {"too many messages", BOUNCE_POLICY_RELATED},
    {"limit exceeded", BOUNCE_POLICY_RELATED},
    {"restricted", BOUNCE_POLICY_RELATED},
    {"administrative*", BOUNCE_POLICY_RELATED},
};

#define CERTAIN (sizeof certain / sizeof *certain)
#define HINTS   (sizeof hints / sizeof *hints)

/* Phrases by the letter they begin with: their numbers, in the order of the list, behind one another. */
struct by_letter {
    uint16_t start[27], number[CERTAIN + HINTS];
};

static struct by_letter certain_index, hints_index;
static pthread_once_t indexed = PTHREAD_ONCE_INIT;

static void index_make(const struct phrase *list, size_t n, struct by_letter *index)
{
    uint16_t at = 0;
    for (unsigned letter = 0; letter < 26; letter++) {
        index->start[letter] = at;
        for (size_t i = 0; i < n; i++) {
            if (list[i].text[0] == (char)('a' + letter))
                index->number[at++] = (uint16_t)i;
        }
    }
    index->start[26] = at;
}

static void indexes_make(void)
{
    index_make(certain, CERTAIN, &certain_index);
    index_make(hints, HINTS, &hints_index);
}

/* ---- the words of a reply ---- */

struct words {
    unsigned n;
    struct str word[WORDS_MAX];
    size_t used;
    char text[STORED_REPLY_MAX]; /* in lower case, one behind another */
};

static bool in_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c & '\x80') != 0;
}

/* The end of what stands without a blank from `at` on, and whether it is an address or a link. */
static size_t token_end(struct str reply, size_t at, bool *skip)
{
    size_t end = at;
    *skip = false;
    for (; end < reply.n && reply.p[end] != ' ' && reply.p[end] != '\t'; end++)
        *skip |= reply.p[end] == '@' ||
                 (reply.p[end] == ':' && reply.n - end > 2 && memcmp(reply.p + end, "://", 3) == 0);
    return end;
}

static void add_words(struct words *words, struct str token)
{
    bool within = false;
    for (size_t i = 0; i < token.n && words->used < sizeof words->text; i++) {
        char c = ascii_lower(token.p[i]);
        if (c == '\'' && within)
            continue;
        if (!in_word(c)) {
            within = false;
            continue;
        }
        if (!within) {
            if (words->n == WORDS_MAX)
                return;
            words->word[words->n++] = str_make(words->text + words->used, 0);
        }
        within = true;
        words->text[words->used++] = c;
        words->word[words->n - 1].n++;
    }
}

static void words_of(struct str reply, struct words *words)
{
    bool skip;
    words->n = 0;
    words->used = 0;
    for (size_t at = 0, end; at < reply.n; at = end + 1) {
        end = token_end(reply, at, &skip);
        if (!skip)
            add_words(words, str_make(reply.p + at, end - at));
    }
}

/* ---- phrases in words ---- */

static bool word_matches(const char *pattern, size_t n, struct str word)
{
    if (pattern[n - 1] == '*')
        return word.n >= n - 1 && memcmp(word.p, pattern, n - 1) == 0;
    return word.n == n && memcmp(word.p, pattern, n) == 0;
}

/* Whether the phrase stands at word `at`. A lone star is tried with as few words as do; the rest of a phrase
 * behind it is short, so that this recursion is two or three deep. */
static bool phrase_at(const char *phrase, const struct words *words, unsigned at)
{
    for (;;) {
        size_t n = strcspn(phrase, " ");
        const char *rest = phrase + n + (phrase[n] == ' ');
        if (n == 0)
            return true;
        if (n == 1 && phrase[0] == '*') {
            for (unsigned gap = 0; gap <= GAP_MAX && at + gap <= words->n; gap++) {
                if (phrase_at(rest, words, at + gap))
                    return true;
            }
            return false;
        }
        if (at >= words->n || !word_matches(phrase, n, words->word[at]))
            return false;
        at++;
        phrase = rest;
    }
}

/* The first phrase of the list that stands anywhere. */
static void find_phrase(const struct phrase *list, const struct by_letter *index, const struct words *words,
                        enum bounce_category *category)
{
    unsigned best = UINT16_MAX;
    for (unsigned at = 0; at < words->n; at++) {
        unsigned letter = (unsigned char)words->word[at].p[0] - 'a';
        if (letter >= 26)
            continue;
        for (unsigned i = index->start[letter]; i < index->start[letter + 1] && index->number[i] < best;
             i++) {
            if (phrase_at(list[index->number[i]].text, words, at))
                best = index->number[i];
        }
    }
    if (best < UINT16_MAX)
        *category = list[best].category;
}

struct wording wording_of(struct str reply)
{
    struct wording wording = {BOUNCE_CATEGORIES, BOUNCE_CATEGORIES};
    struct words words;
    pthread_once(&indexed, indexes_make);
    words_of(reply, &words);
    find_phrase(certain, &certain_index, &words, &wording.certain);
    find_phrase(hints, &hints_index, &words, &wording.hint);
    return wording;
}
