/* reaction.c - see reaction.h. */
#include "engine/rules/reaction.h"

#include "engine/limits.h"

/* What a kind means without anything said beside it. */
static const struct kind {
    const char *name;
    enum reaction_fate fate;
    enum reaction_reach reach;
    bool alert;
} kinds[REACTION_KINDS] = {
    [REACTION_SLOW] = {"slow", FATE_KEEP, REACH_PATH, false},
    [REACTION_CAP] = {"cap", FATE_KEEP, REACH_PATH, false},
    [REACTION_PAUSE] = {"pause", FATE_KEEP, REACH_PATH, false},
    [REACTION_STOP] = {"stop", FATE_KEEP, REACH_PATH, true},
    [REACTION_FIX] = {"fix", FATE_KEEP, REACH_SENDER, true},
    [REACTION_JOB] = {"job", FATE_JOB, REACH_JOB, true},
    [REACTION_RCPT] = {"rcpt", FATE_RETRY, REACH_RECIPIENT, false},
    [REACTION_FAIL] = {"fail", FATE_FAIL, REACH_RECIPIENT, false},
    [REACTION_SUPPRESS] = {"suppress", FATE_FAIL, REACH_RECIPIENT, false},
    [REACTION_RECONNECT] = {"reconnect", FATE_KEEP, REACH_CONNECTION, false},
    [REACTION_SPLIT] = {"split", FATE_KEEP, REACH_CONNECTION, false},
    [REACTION_TLS] = {"tls", FATE_KEEP, REACH_CONNECTION, false},
};

static const char *const reaches[] = {
    [REACH_PATH] = "path",
    [REACH_SENDER] = "sender",
    [REACH_JOB] = "job",
    [REACH_CONNECTION] = "connection",
    [REACH_RECIPIENT] = "recipient",
};

const char *reaction_kind_name(enum reaction_kind kind)
{
    return kinds[kind].name;
}

const char *reaction_reach_name(enum reaction_reach reach)
{
    return reaches[reach];
}

/* ---- reading ---- */

struct clauses {
    struct reaction reaction;
    bool has_kind; /* one besides slow and cap */
    bool to_sender, to_path;
    const char *why;
};

static bool wrong(struct clauses *clauses, const char *why)
{
    clauses->why = why;
    return false;
}

static struct str next_word(struct str *text)
{
    *text = str_trim(*text);
    size_t space = str_find(*text, ' ', 0);
    struct str word = str_make(text->p, space == SIZE_MAX ? text->n : space);
    *text = str_trim(str_make(text->p + word.n, text->n - word.n));
    return word;
}

static bool take_duration(struct clauses *clauses, struct str text, int64_t *ms)
{
    if (!duration_parse(text, ms) || *ms < 1000 || *ms > REACTION_MS_MAX)
        return wrong(clauses, "a duration from 1s to 30d, such as 15m or 1h");
    return true;
}

/* What follows the word "after". */
static bool take_after(struct clauses *clauses, struct str text, unsigned *count)
{
    uint64_t number;
    if (!str_eq(next_word(&text), STR("after")) || !str_u64(text, REACTION_COUNT_MAX, &number) || number == 0)
        return wrong(clauses, "'after' and a number, such as 'suppress after 3' or 'reconnect after 20'");
    *count = (unsigned)number;
    return true;
}

static bool take_slow(struct clauses *clauses, struct str rest)
{
    struct reaction *reaction = &clauses->reaction;
    if (reaction->slow)
        return wrong(clauses, "'slow' once");
    reaction->slow = true;
    if (rest.n > 0 && (!rate_parse(rest, &reaction->rate) || reaction->rate.count == 0))
        return wrong(clauses, "a rate after 'slow', such as 10/min, or nothing");
    return true;
}

static bool take_cap(struct clauses *clauses, struct str rest)
{
    uint64_t number = 0;
    if (clauses->reaction.cap)
        return wrong(clauses, "'cap' once");
    clauses->reaction.cap = true;
    if (rest.n > 0 && (!str_u64(rest, REACTION_COUNT_MAX, &number) || number == 0))
        return wrong(clauses, "a number of connections after 'cap', or nothing");
    clauses->reaction.connections = (unsigned)number;
    return true;
}

static bool take_kind(struct clauses *clauses, enum reaction_kind kind, struct str rest)
{
    struct reaction *reaction = &clauses->reaction;
    if (kind == REACTION_SLOW)
        return take_slow(clauses, rest);
    if (kind == REACTION_CAP)
        return take_cap(clauses, rest);
    if (clauses->has_kind)
        return wrong(clauses, "one of pause, stop, fix, job, rcpt, fail, suppress, reconnect, split and tls");
    clauses->has_kind = true;
    reaction->kind = kind;
    if (kind == REACTION_SUPPRESS)
        reaction->count = 1;
    if (rest.n == 0)
        return true;
    switch (kind) {
    case REACTION_PAUSE:
    case REACTION_RCPT:
        return take_duration(clauses, rest, &reaction->wait_ms);
    case REACTION_SUPPRESS:
        return take_after(clauses, rest, &reaction->count);
    case REACTION_RECONNECT:
        return take_after(clauses, rest, &reaction->messages);
    default:
        return wrong(clauses, "a comma, or nothing, after this word");
    }
}

static bool take_clause(struct clauses *clauses, struct str clause)
{
    struct str rest = clause, word = next_word(&rest);
    if (str_eq(word, STR("for")))
        return take_duration(clauses, rest, &clauses->reaction.for_ms);
    clauses->to_sender |= str_eq(clause, STR("sender"));
    clauses->to_path |= str_eq(clause, STR("path"));
    if (str_eq(clause, STR("sender")) || str_eq(clause, STR("path")))
        return true;
    for (unsigned kind = 0; kind < REACTION_KINDS; kind++)
        if (str_eq(word, str_of(kinds[kind].name)))
            return take_kind(clauses, (enum reaction_kind)kind, rest);
    return wrong(clauses, "slow, cap, pause, stop, fix, job, rcpt, fail, suppress, reconnect, split or tls");
}

/* What the clauses say together. */
static bool complete(struct clauses *clauses)
{
    struct reaction *reaction = &clauses->reaction;
    if (!clauses->has_kind && !reaction->slow && !reaction->cap)
        return wrong(clauses, "what to do, such as 'pause 1h'");
    if (reaction->for_ms > 0 && reaction->rate.count == 0 && reaction->connections == 0)
        return wrong(clauses,
                     "'for' only beside a rate or a number of connections: 'slow 1/min, cap 1, for 90m'");
    if (!clauses->has_kind)
        reaction->kind = reaction->slow ? REACTION_SLOW : REACTION_CAP;
    const struct kind *kind = &kinds[reaction->kind];
    if ((reaction->slow || reaction->cap) && kind->fate != FATE_KEEP)
        return wrong(clauses, "slow and cap alone, or beside pause: they are about the path");
    reaction->fate = kind->fate;
    reaction->reach = kind->reach;
    reaction->alert = kind->alert;
    if (clauses->to_sender) {
        if (kind->reach != REACH_PATH || reaction->cap)
            return wrong(clauses, "'sender' only beside slow, pause or stop");
        reaction->reach = REACH_SENDER;
    }
    if (clauses->to_path) {
        if (reaction->kind != REACTION_FIX)
            return wrong(clauses, "'path' only beside fix");
        reaction->reach = REACH_PATH;
    }
    return true;
}

bool reaction_parse(struct str text, struct reaction *reaction, const char **why)
{
    struct clauses clauses = {.why = ""};
    for (size_t from = 0; from <= text.n;) {
        size_t comma = str_find(text, ',', from);
        size_t end = comma == SIZE_MAX ? text.n : comma;
        if (!take_clause(&clauses, str_trim(str_make(text.p + from, end - from)))) {
            *why = clauses.why;
            return false;
        }
        from = end + 1;
    }
    if (!complete(&clauses)) {
        *why = clauses.why;
        return false;
    }
    *reaction = clauses.reaction;
    return true;
}

/* ---- writing ---- */

static void format_ms(struct buf *out, const char *before, int64_t ms)
{
    char text[UNITS_TEXT_MAX];
    duration_format(ms, text);
    buf_printf(out, "%s%s", before, text);
}

static void format_rate(struct buf *out, const char *before, struct rate rate)
{
    char text[UNITS_TEXT_MAX];
    rate_format(rate, text);
    buf_printf(out, "%s%s", before, text);
}

void reaction_format(const struct reaction *reaction, struct buf *out)
{
    const char *comma = "";
    if (reaction->slow) {
        buf_add_z(out, "slow");
        if (reaction->rate.count > 0)
            format_rate(out, " ", reaction->rate);
        comma = ", ";
    }
    if (reaction->cap) {
        buf_printf(out, "%scap", comma);
        if (reaction->connections > 0)
            buf_printf(out, " %u", reaction->connections);
        comma = ", ";
    }
    if (reaction->kind != REACTION_SLOW && reaction->kind != REACTION_CAP) {
        buf_printf(out, "%s%s", comma, kinds[reaction->kind].name);
        if (reaction->wait_ms > 0)
            format_ms(out, " ", reaction->wait_ms);
        if (reaction->count > 1)
            buf_printf(out, " after %u", reaction->count);
        if (reaction->messages > 0)
            buf_printf(out, " after %u", reaction->messages);
    }
    if (reaction->for_ms > 0)
        format_ms(out, ", for ", reaction->for_ms);
    if (reaction->reach != kinds[reaction->kind].reach)
        buf_printf(out, ", %s", reaches[reaction->reach]);
}

/* ---- in words ---- */

static const char *held(const struct reaction *reaction)
{
    return reaction->reach == REACH_SENDER ? "the sender domain at this site, from every source,"
                                           : "the path (this source to this site)";
}

static void describe_kind(const struct reaction *reaction, struct buf *out)
{
    switch (reaction->kind) {
    case REACTION_SLOW:
    case REACTION_CAP:
        break;
    case REACTION_PAUSE:
        buf_printf(out, "hold %s", held(reaction));
        if (reaction->wait_ms > 0)
            format_ms(out, " for ", reaction->wait_ms);
        else
            buf_add_z(out, " for the site's pause");
        break;
    case REACTION_STOP:
        buf_printf(out, "hold %s until an operator resumes it, and raise an alert", held(reaction));
        break;
    case REACTION_FIX:
        buf_printf(out,
                   "hold %s until an operator resumes it, and raise an alert: our own set-up is at fault",
                   held(reaction));
        break;
    case REACTION_JOB:
        buf_add_z(out,
                  "count it against the job's content; after several, hold the job at this site until an "
                  "operator resumes it, and raise an alert");
        break;
    case REACTION_RCPT:
        buf_add_z(out, "try this recipient alone again");
        if (reaction->wait_ms > 0)
            format_ms(out, ", twice as long each time, first after ", reaction->wait_ms);
        else
            buf_add_z(out, ", by the schedule of its status");
        break;
    case REACTION_FAIL:
        buf_add_z(out, "fail the recipient, without suppressing the address");
        break;
    case REACTION_SUPPRESS:
        buf_add_z(out, "fail the recipient and suppress the address");
        if (reaction->count > 1)
            buf_printf(out, " at the %s such reply for it",
                       reaction->count == 2   ? "second"
                       : reaction->count == 3 ? "third"
                                              : "last of several");
        break;
    case REACTION_RECONNECT:
        buf_add_z(out, "open a new connection at once, backing off only if that goes on");
        if (reaction->messages > 0)
            buf_printf(out, ", and send no more than %u messages on one", reaction->messages);
        break;
    case REACTION_SPLIT:
        buf_add_z(out, "send again at once with fewer recipients in a transaction");
        break;
    case REACTION_TLS:
        buf_add_z(out, "send again, with TLS only");
        break;
    }
}

static void describe_fate(const struct reaction *reaction, struct buf *out)
{
    if (reaction->fate == FATE_KEEP)
        buf_add_z(out, "; the recipient is kept and its attempt not counted");
    else if (reaction->fate == FATE_JOB)
        buf_add_z(out, "; the recipient is kept if its job is held, and never suppressed");
}

void reaction_describe(const struct reaction *reaction, struct buf *out)
{
    size_t start = out->len;
    describe_kind(reaction, out);
    if (reaction->slow) {
        if (out->len > start)
            buf_add_z(out, ", and slow it down");
        else
            buf_printf(out, "slow %s down", held(reaction));
        if (reaction->rate.count > 0)
            format_rate(out, " to ", reaction->rate);
    }
    if (reaction->cap && reaction->connections > 0)
        buf_printf(out, "%suse at most %u connection%s", out->len > start ? ", and " : "",
                   reaction->connections, reaction->connections == 1 ? "" : "s");
    else if (reaction->cap)
        buf_printf(out, "%suse one connection less", out->len > start ? ", and " : "");
    if (reaction->for_ms > 0)
        format_ms(out, " for ", reaction->for_ms);
    describe_fate(reaction, out);
}
