/* words.c - see words.h. */
#include "engine/smtp/words.h"

#include "engine/limits.h"

struct phrase {
    enum words means;
    const char *text; /* lower case */
};

/* In the order in which they are looked for: what is said of the sender or of policy comes before what sounds
 * like an unknown user ("sender domain does not exist"), so that nobody is taken off a list for our fault. */
static const struct phrase phrases[] = {
    {WORDS_CONNECTION_SPENT, "per connection"},
    {WORDS_CONNECTION_SPENT, "per session"},
    {WORDS_CONNECTION_SPENT, "in this connection"},
    {WORDS_CONNECTION_SPENT, "in this session"},
    {WORDS_CONNECTION_SPENT, "on this connection"},
    {WORDS_TOO_MANY_RCPTS, "too many recipients"},
    {WORDS_TOO_MANY_RCPTS, "too much recipients"},
    {WORDS_GREYLIST, "greylist"},
    {WORDS_GREYLIST, "graylist"},
    {WORDS_GREYLIST, "grey-list"},
    {WORDS_GREYLIST, "gray-list"},
    {WORDS_GREYLIST, "grey list"},
    {WORDS_GREYLIST, "gray list"},
    {WORDS_MAILBOX_FULL, "mailbox full"},
    {WORDS_MAILBOX_FULL, "mailbox is full"},
    {WORDS_MAILBOX_FULL, "over quota"},
    {WORDS_MAILBOX_FULL, "quota exceeded"},
    {WORDS_MAILBOX_FULL, "exceeded quota"},
    {WORDS_MAILBOX_FULL, "out of storage"},
    {WORDS_POLICY, "spam"},
    {WORDS_POLICY, "blocked"},
    {WORDS_POLICY, "blacklist"},
    {WORDS_POLICY, "blocklist"},
    {WORDS_POLICY, "block list"},
    {WORDS_POLICY, "dnsbl"},
    {WORDS_POLICY, "reputation"},
    {WORDS_POLICY, "rate limit"},
    {WORDS_POLICY, "throttl"},
    {WORDS_POLICY, "too many connections"},
    {WORDS_POLICY, "too many messages"},
    {WORDS_POLICY, "policy"},
    {WORDS_POLICY, "relay"},
    {WORDS_POLICY, "denied"},
    {WORDS_POLICY, "prohibited"},
    {WORDS_POLICY, "sender"},
    {WORDS_DISABLED, "mailbox disabled"},
    {WORDS_DISABLED, "mailbox is disabled"},
    {WORDS_DISABLED, "account disabled"},
    {WORDS_DISABLED, "account is disabled"},
    {WORDS_DISABLED, "inactive"},
    {WORDS_UNKNOWN_USER, "user unknown"},
    {WORDS_UNKNOWN_USER, "unknown user"},
    {WORDS_UNKNOWN_USER, "recipient unknown"},
    {WORDS_UNKNOWN_USER, "unknown recipient"},
    {WORDS_UNKNOWN_USER, "no such"},
    {WORDS_UNKNOWN_USER, "no mailbox"},
    {WORDS_UNKNOWN_USER, "mailbox not found"},
    {WORDS_UNKNOWN_USER, "user not found"},
    {WORDS_UNKNOWN_USER, "mailbox unavailable"},
    {WORDS_UNKNOWN_USER, "invalid mailbox"},
    {WORDS_UNKNOWN_USER, "invalid recipient"},
    {WORDS_UNKNOWN_USER, "does not exist"},
    {WORDS_UNKNOWN_USER, "doesn't exist"},
    {WORDS_UNKNOWN_USER, "not our customer"},
};
#define PHRASES (sizeof phrases / sizeof *phrases)

/* A lower-case copy to search in. */
struct folded {
    size_t n;
    char p[REPLY_TEXT_MAX];
};

static void fold(struct folded *folded, struct str text)
{
    folded->n = text.n < sizeof folded->p ? text.n : sizeof folded->p;
    str_lower(str_make(text.p, folded->n), folded->p);
}

static bool folded_has(const struct folded *folded, const char *phrase)
{
    return memmem(folded->p, folded->n, phrase, strlen(phrase)) != NULL;
}

enum words words_about(struct str text)
{
    struct folded folded;
    fold(&folded, text);
    for (size_t i = 0; i < PHRASES; i++)
        if (folded_has(&folded, phrases[i].text))
            return phrases[i].means;
    return WORDS_NONE;
}

/* ---- "try again in 5 minutes" ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return c >= 'a' && c <= 'z';
}

/* The next run of letters or of digits at or after *at; empty at the end. */
static struct str next_word(struct str text, size_t *at)
{
    while (*at < text.n && !is_digit(text.p[*at]) && !is_letter(text.p[*at]))
        (*at)++;
    size_t from = *at;
    while (*at < text.n && (is_digit(text.p[from]) ? is_digit(text.p[*at]) : is_letter(text.p[*at])))
        (*at)++;
    return str_make(text.p + from, *at - from);
}

static uint64_t unit_s(struct str word)
{
    static const struct {
        struct str word;
        unsigned seconds;
    } units[] = {
        {{"s", 1}, 1},    {{"sec", 3}, 1},   {{"secs", 4}, 1},   {{"second", 6}, 1},  {{"seconds", 7}, 1},
        {{"m", 1}, 60},   {{"min", 3}, 60},  {{"mins", 4}, 60},  {{"minute", 6}, 60}, {{"minutes", 7}, 60},
        {{"h", 1}, 3600}, {{"hr", 2}, 3600}, {{"hrs", 3}, 3600}, {{"hour", 4}, 3600}, {{"hours", 5}, 3600},
    };
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (str_eq(word, units[i].word))
            return units[i].seconds;
    return 0;
}

/* A number with its unit among the next few words. */
static uint32_t wait_after(struct str text, size_t at)
{
    for (int words = 0; words < 6; words++) {
        struct str word = next_word(text, &at);
        if (word.n == 0)
            return 0;
        uint64_t number;
        if (!str_u64(word, WAIT_NAMED_MAX_S, &number))
            continue;
        size_t behind = at;
        uint64_t unit = unit_s(next_word(text, &behind));
        if (unit > 0 && number * unit <= WAIT_NAMED_MAX_S)
            return (uint32_t)(number * unit);
    }
    return 0;
}

uint32_t words_wait_s(struct str text)
{
    static const char *const cues[] = {"again",    "retry",    "wait", "come back",
                                       "greylist", "graylist", "delay"};
    struct folded folded;
    fold(&folded, text);
    for (size_t i = 0; i < sizeof cues / sizeof *cues; i++) {
        const char *hit = memmem(folded.p, folded.n, cues[i], strlen(cues[i]));
        if (hit == NULL)
            continue;
        size_t at = (size_t)(hit - folded.p) + strlen(cues[i]);
        uint32_t wait_s = wait_after(str_make(folded.p, folded.n), at);
        if (wait_s > 0)
            return wait_s;
    }
    return 0;
}
