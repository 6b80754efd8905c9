/* retry.c - see retry.h. */
#include "queue/retry.h"

#include <stdlib.h>

#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

#define ANY         -1
#define DELAYS(...) .delays_ms = {__VA_ARGS__}, .count = sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)

/* By class, subject and detail; the most specific decides. Chosen from what large receivers ask for. */
static const struct retry_rule builtin_rules[] = {
    {{4, 1, ANY}, DELAYS(15 * MINUTE, HOUR, 4 * HOUR, 8 * HOUR)},
    {{4, 2, 1}, DELAYS(30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR)},
    {{4, 2, 2}, DELAYS(2 * HOUR, 6 * HOUR, 12 * HOUR, 24 * HOUR), .give_up_ms = 3 * DAY},
    {{4, 3, ANY}, DELAYS(5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR)},
    {{4, 4, ANY}, DELAYS(MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR)},
    /* Too many recipients: a new transaction takes the rest at once. A host that says so ten times over, of a
     * transaction that holds this one alone at last, is treated as anything else. */
    {{4, 5, 3},
     DELAYS(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10 * MINUTE, 20 * MINUTE, 40 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR)},
    /* The path pauses for as long; attempts are not counted, so a recipient sees the first delay only. */
    {{4, 7, ANY}, DELAYS(MINUTE, 2 * MINUTE, 4 * MINUTE, 8 * MINUTE, 16 * MINUTE, 32 * MINUTE, HOUR)},
    {{4, ANY, ANY}, DELAYS(10 * MINUTE, 20 * MINUTE, 40 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR)},
};
#define BUILTIN_COUNT (sizeof builtin_rules / sizeof *builtin_rules)

static const struct retry_rule greylisting_rule = {{4, 7, ANY},
                                                   DELAYS(5 * MINUTE, 10 * MINUTE, 20 * MINUTE, HOUR)};

struct retry_table {
    size_t count;
    struct retry_rule rules[]; /* the operator's */
};

struct retry_table *retry_table_create(const struct retry_rule *rules, size_t count)
{
    struct retry_table *table = calloc(1, sizeof *table + count * sizeof *rules);
    if (table == NULL)
        return NULL;
    table->count = count;
    if (count > 0)
        memcpy(table->rules, rules, count * sizeof *rules);
    return table;
}

void retry_table_destroy(struct retry_table *table)
{
    free(table);
}

/* A subject says more than a detail without one. */
static int specificity(struct status_pattern pattern)
{
    return (pattern.class_ >= 0) + (pattern.detail >= 0) * 2 + (pattern.subject >= 0) * 4;
}

static const struct retry_rule *best_rule(const struct retry_rule *rules, size_t count, struct status status)
{
    const struct retry_rule *best = NULL;
    for (size_t i = 0; i < count; i++)
        if (status_matches(rules[i].status, status) &&
            (best == NULL || specificity(rules[i].status) > specificity(best->status)))
            best = &rules[i];
    return best;
}

/* What is deferred is temporary, whatever class a receiver wrote beside its 4xx code. */
static struct status as_temporary(struct status status)
{
    status.class_ = 4;
    return status;
}

const struct retry_rule *retry_find(const struct retry_table *table, struct status status,
                                    bool is_greylisting)
{
    status = as_temporary(status);
    const struct retry_rule *rule = best_rule(table->rules, table->count, status);
    if (rule != NULL)
        return rule;
    return is_greylisting ? &greylisting_rule : best_rule(builtin_rules, BUILTIN_COUNT, status);
}

struct retry_next retry_next(const struct retry_table *table, struct status status, bool is_greylisting,
                             uint32_t attempts_before, int64_t first_ms, int64_t now_ms, struct prng *prng)
{
    const struct retry_rule *rule = retry_find(table, status, is_greylisting);
    unsigned step = attempts_before < rule->count ? attempts_before : rule->count - 1;
    struct retry_next next = {false, now_ms + prng_jitter(prng, rule->delays_ms[step], RETRY_JITTER_PERCENT)};
    if (rule->give_up_ms > 0) {
        int64_t last_ms = (first_ms > 0 ? first_ms : now_ms) + rule->give_up_ms;
        next.give_up = now_ms >= last_ms;
        if (next.next_ms > last_ms)
            next.next_ms = last_ms;
    }
    return next;
}

struct prng retry_dice(struct rid rid, uint32_t lane, uint32_t attempts)
{
    struct prng prng = {rid.job};
    prng.state = prng_next(&prng) ^ ((uint64_t)rid.batch << 32 | lane);
    prng.state = prng_next(&prng) ^ attempts;
    return prng;
}

int64_t retry_round(int64_t next_ms, int64_t now_ms)
{
    int64_t grain_ms = 1;
    while (grain_ms < MINUTE / 2 && next_ms - now_ms >= grain_ms * 128)
        grain_ms *= 2;
    return next_ms > 0 ? (next_ms + grain_ms - 1) & ~(grain_ms - 1) : next_ms;
}

static bool contains_nocase(struct str text, struct str what)
{
    for (size_t at = 0; at + what.n <= text.n; at++)
        if (str_starts_nocase(str_make(text.p + at, text.n - at), what))
            return true;
    return false;
}

bool retry_is_greylisting(struct str reply)
{
    static const char *const words[] = {"greylist",  "graylist",  "grey-list",
                                        "gray-list", "grey list", "gray list"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (contains_nocase(reply, str_of(words[i])))
            return true;
    return false;
}

bool retry_is_operators(const struct retry_table *table, struct status status)
{
    return best_rule(table->rules, table->count, as_temporary(status)) != NULL;
}

struct status retry_slow_status(const struct retry_table *table, struct status status, bool is_greylisting)
{
    bool has_its_own = status.subject == 2 || is_greylisting || retry_is_operators(table, status);
    return has_its_own && status.class_ != 0 ? status : STATUS(4, 2, 1);
}

bool retry_pauses_path(const struct retry_table *table, struct status status, bool is_greylisting)
{
    const struct retry_rule *rule = best_rule(table->rules, table->count, as_temporary(status));
    return status.subject == 7 && status.class_ != 0 && !is_greylisting &&
           (rule == NULL || rule->status.subject < 0);
}

int64_t retry_pause_ms(int64_t first_ms, int64_t max_ms, unsigned before, struct prng *prng)
{
    int64_t pause_ms = first_ms;
    while (before-- > 0 && pause_ms < max_ms)
        pause_ms *= 2;
    return prng_jitter(prng, pause_ms < max_ms ? pause_ms : max_ms, RETRY_JITTER_PERCENT);
}
