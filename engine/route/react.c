/* react.c - see react.h.
 *
 *   kind            outcome and scope                        the recipient goes on
 *   slow, cap       deferred, session                        at once, by what the path (or the sender) may
 *   pause, stop     deferred, path                           when the pause is over
 *   fix             deferred, narrow; of a path: path        held
 *   job             held: deferred; else as the code says    held, or by its schedule
 *   rcpt            deferred, narrow                         by its own slow schedule; the attempt counts
 *   fail, suppress  failed, narrow                           -
 *   reconnect, tls  deferred, session                        at once, over another connection
 *   split           deferred, recipient                      at once, in a smaller transaction
 * narrow: recipient for RCPT, and where the reply is to the message of one alone; else transaction. Where
 * several share the message, what rcpt, fail and suppress say is about none of them: each is sent again at
 * once by itself. To MAIL nothing is said of a recipient, and nobody is suppressed. What cannot go on at once
 * any more waits for the site's `pause`, or as an operator's `retry` says. Before a session is ready there is
 * neither sender nor job nor recipient: `fix` then stops the path, and what is about those is left to the
 * table. */
#include "engine/route/react.h"

#include "engine/route/evidence.h"
#include "engine/route/hold.h"
#include "engine/route/loan.h"
#include "engine/route/path.h"
#include "engine/route/path_learn.h"
#include "engine/route/remember.h"
#include "engine/rules/rules.h"

#include <inttypes.h>
#include <stdio.h>

static unsigned rule_step(enum smtp_step step)
{
    switch (step) {
    case STEP_MAIL:
        return RULE_AT_MAIL;
    case STEP_RCPT:
        return RULE_AT_RCPT;
    case STEP_DATA:
    case STEP_BODY:
    case STEP_END:
        return RULE_AT_DATA;
    case STEP_RSET:
    case STEP_QUIT:
        return RULE_AT_OTHER;
    default:
        return RULE_AT_GREETING;
    }
}

static const struct rule *react_rule(const struct react_where *where, enum smtp_step step,
                                     const struct verdict *verdict)
{
    const struct rule_question question = {
        .site = str_of(path_site(where->path)),
        .mx = str_of(where->host),
        .step = rule_step(step),
        .code = verdict->code,
        .text = verdict->code != 0 ? str_make(verdict->text, verdict->text_size) : STR(""),
    };
    return rules_match(where->path->router->config->rules, &question);
}

/* ---- holds ---- */

/* The worker's own view at once; what it has in memory follows with the message. */
static void react_see_holds(struct router *router)
{
    hold_set_unref(router->held);
    router->held = holds_get(router->holds);
}

/* Told now and then: every reply would be one. */
static void react_full(const struct react_where *where, const struct verdict *verdict)
{
    struct router *router = where->path->router;
    if (router->now.wall_ms < router->full_told_ms + HOLDS_FULL_TOLD_MS)
        return;
    router->full_told_ms = router->now.wall_ms;
    remember_alert(router, str_of(path_site(where->path)), str_of(where->path->source.name),
                   where->job->tenant,
                   "mail that a reply asks to hold goes on: %u holds are there already, resume what may go "
                   "('postrider suspensions' lists them): %.*s",
                   HOLDS_MAX, (int)verdict->text_size, verdict->text);
}

static void react_hold(const struct react_where *where, const struct verdict *verdict, enum hold_kind kind,
                       int64_t until_ms)
{
    struct path *path = where->path;
    struct router *router = path->router;
    const struct store_job *job = where->job;
    struct hold hold = {
        .kind = kind,
        .what.site = str_of(path_site(path)),
        .since_ms = router->now.wall_ms,
        .until_ms = until_ms,
        .code = verdict->code,
        .status = verdict->status,
        .reply = str_make(verdict->text, verdict->text_size),
        .rule = str_of(verdict->rule->name),
        .source = str_of(path->source.name),
    };
    if (kind == HOLD_JOB)
        hold.what.job = job->id;
    else
        hold.what.sender = str_domain(job->from);
    enum holds_result result = holds_add(router->holds, &hold, NULL, NULL);
    if (result == HOLDS_FULL)
        react_full(where, verdict);
    if (result != HOLDS_ADDED)
        return;
    react_see_holds(router);
    if (until_ms != 0)
        return;
    struct buf remedy;
    buf_init(&remedy, POLICY_VALUE_MAX);
    hold_remedy(&hold, &remedy);
    remember_alert(router, hold.what.site, hold.source, job->tenant,
                   "mail %s%.*s is held (%s) until '%.*s': %.*s", kind == HOLD_JOB ? "of a job" : "from ",
                   STR_ARG(hold.what.sender), hold_kind_name(kind), (int)remedy.len, remedy.data,
                   STR_ARG(hold.reply));
    buf_free(&remedy);
}

/* Whether the job is held here, by this reply or before. */
static bool react_job(const struct react_where *where, const struct verdict *verdict)
{
    struct router *router = where->path->router;
    struct str site = str_of(path_site(where->path));
    const struct store_job *job = where->job;
    const struct hold_filter subject = {.job = job->id, .site = site};
    if (hold_find(router->held, &subject) != NULL)
        return true;
    if (!evidence_bad(router->evidence, site, job->id, router->now.wall_ms))
        return false;
    react_hold(where, verdict, HOLD_JOB, 0);
    return hold_find(router->held, &subject) != NULL;
}

/* The path's owner hears what the reply teaches: of the sender domain, where that is what it speaks of. */
static void react_teach(const struct react_where *where, const struct verdict *verdict, bool of_sender)
{
    struct path_lesson lesson = {
        .reaction = verdict->rule->reaction,
        .started_ns = where->started_ns,
        .recipients = where->recipients,
        .wait_ms = (int64_t)verdict->wait_s * MS_PER_S,
        .code = verdict->code,
        .status = verdict->status,
        .of_sender = of_sender,
    };
    if (of_sender)
        snprintf(lesson.sender, sizeof lesson.sender, "%.*s", STR_ARG(str_domain(where->job->from)));
    snprintf(lesson.reason, sizeof lesson.reason, "%.*s", (int)verdict->text_size, verdict->text);
    if (where->path->borrowed)
        loan_tell_lesson(where->path, &lesson);
    else
        path_learn(where->path, &lesson);
}

/* Slow, pause or stop, for a sender domain at this site. */
static void react_sender(const struct react_where *where, const struct verdict *verdict)
{
    const struct reaction *reaction = &verdict->rule->reaction;
    struct path *path = where->path;
    int64_t ms = reaction->wait_ms ? reaction->wait_ms : path->settings->pause_ms;
    if (reaction->slow)
        react_teach(where, verdict, true);
    if (reaction->kind != REACTION_SLOW)
        react_hold(where, verdict, HOLD_SENDER,
                   reaction->kind == REACTION_STOP ? 0 : path->router->now.wall_ms + ms);
}

/* ---- the verdict ---- */

static enum verdict_scope narrow(const struct react_where *where, enum smtp_step step)
{
    bool alone = step == STEP_RCPT || (step > STEP_RCPT && where->undecided == 1);
    return alone ? SCOPE_RECIPIENT : SCOPE_TRANSACTION;
}

static void decide(struct verdict *verdict, enum verdict_outcome outcome, enum verdict_scope scope)
{
    verdict->outcome = outcome;
    verdict->scope = scope;
    verdict->again_now = false;
    if (verdict->status.class_ != 0)
        verdict->status.class_ = outcome == VERDICT_FAILED ? 5 : 4;
}

static void judge_kept(const struct react_where *where, enum smtp_step step, struct verdict *verdict)
{
    const struct reaction *reaction = &verdict->rule->reaction;
    bool path = reaction->reach == REACH_PATH;
    switch (reaction->kind) {
    case REACTION_PAUSE:
    case REACTION_STOP:
    case REACTION_FIX:
        decide(verdict, VERDICT_DEFERRED, path ? SCOPE_PATH : narrow(where, step));
        break;
    case REACTION_SLOW:
    case REACTION_CAP:
        decide(verdict, VERDICT_DEFERRED, SCOPE_SESSION);
        break;
    case REACTION_SPLIT:
        decide(verdict, VERDICT_DEFERRED, SCOPE_RECIPIENT);
        verdict->again_now = where->recipients > 1;
        break;
    case REACTION_RECONNECT:
    case REACTION_TLS:
        decide(verdict, VERDICT_DEFERRED, SCOPE_SESSION);
        break;
    default:
        decide(verdict, VERDICT_DEFERRED, narrow(where, step));
    }
}

/* What may be about one of several that share the message. Greylisting is about the lot of them. */
static bool is_of_one(const struct react_where *where, enum smtp_step step, const struct verdict *verdict)
{
    enum reaction_fate fate = verdict->rule->reaction.fate;
    return (fate == FATE_FAIL || fate == FATE_RETRY) && step > STEP_RCPT && where->undecided > 1 &&
           !verdict->greylisted;
}

static void judge_transaction(const struct react_where *where, enum smtp_step step, struct verdict *verdict)
{
    const struct reaction *reaction = &verdict->rule->reaction;
    bool of_one = is_of_one(where, step, verdict), fails = reaction->fate == FATE_FAIL && !of_one;
    if (reaction->fate == FATE_JOB)
        fails = !react_job(where, verdict) && verdict->code >= 500;
    if (reaction->reach == REACH_SENDER && reaction->kind == REACTION_FIX)
        react_hold(where, verdict, HOLD_FIX, 0);
    else if (reaction->reach == REACH_SENDER)
        react_sender(where, verdict);
    if (reaction->fate == FATE_KEEP)
        judge_kept(where, step, verdict);
    else
        decide(verdict, fails ? VERDICT_FAILED : VERDICT_DEFERRED, narrow(where, step));
    verdict->again_now |= of_one;
}

/* Before a session is ready only what is about the path or the connection means anything. */
static bool judge_before_ready(struct verdict *verdict)
{
    const struct reaction *reaction = &verdict->rule->reaction;
    bool stops = reaction->kind == REACTION_STOP || reaction->kind == REACTION_FIX;
    if (reaction->fate != FATE_KEEP || reaction->kind == REACTION_SPLIT)
        return false;
    decide(verdict, VERDICT_DEFERRED, stops || reaction->kind == REACTION_PAUSE ? SCOPE_PATH : SCOPE_HOST);
    return true;
}

/* What the path is to hear of. What is about a sender is not its fault, where there is one. */
static bool is_of_path(const struct reaction *reaction, bool has_job)
{
    if (has_job && reaction->reach == REACH_SENDER)
        return false;
    return reaction->fate == FATE_KEEP || reaction->slow || reaction->cap;
}

/* Hung up without a reply: whether a message was taken is not known, so that the table decides when it is
 * sent again, and that counts. The path alone may learn. */
static void judge_silence(const struct react_where *where, struct verdict *verdict)
{
    if (verdict->rule->reaction.kind == REACTION_RECONNECT && where->job != NULL)
        react_teach(where, verdict, false);
    verdict->rule = NULL;
}

void react_judge(const struct react_where *where, enum smtp_step step, struct verdict *verdict)
{
    verdict->rule = react_rule(where, step, verdict);
    if (verdict->rule == NULL)
        return;
    if (verdict->code == 0) {
        judge_silence(where, verdict);
        return;
    }
    if (where->job != NULL) {
        judge_transaction(where, step, verdict);
    } else if (step > STEP_AUTH || !judge_before_ready(verdict)) {
        verdict->rule = NULL;
        return;
    }
    if (is_of_path(&verdict->rule->reaction, where->job != NULL))
        react_teach(where, verdict, false);
}

/* ---- the recipient ---- */

static int64_t later(const struct path *path, struct prng *dice)
{
    return path->router->now.wall_ms + prng_jitter(dice, path->settings->pause_ms, RETRY_JITTER_PERCENT);
}

/* The end of the path's pause; the next seconds are shared out so that not all come at once. */
static int64_t after_pause(struct path *path, struct prng *dice)
{
    const struct router *router = path->router;
    int64_t until_ns = ledger_pause_until_ns(path->ledger);
    if (until_ns == LEDGER_STOPPED || until_ns <= router->now.mono_ns)
        return later(path, dice);
    return router->now.wall_ms + (until_ns - router->now.mono_ns) / NS_PER_MS +
           (int64_t)prng_below(dice, 5 * MS_PER_S);
}

/* By the operator's schedule for the status, or that of greylisting; else after the time that the rule names,
 * twice as long each time; else slowly. */
static void defer_slowly(struct path *path, struct taken *taken, const struct verdict *why, struct prng *dice)
{
    struct router *router = path->router;
    int64_t wait_ms = why->rule->reaction.wait_ms, now_ms = router->now.wall_ms;
    if (wait_ms > 0 && !why->greylisted && !retry_is_operators(router->retry, why->status)) {
        wait_ms <<= taken->attempts < 4 ? taken->attempts : 4;
        taken->next_ms = now_ms + prng_jitter(dice, wait_ms, RETRY_JITTER_PERCENT);
        return;
    }
    struct retry_next next =
        retry_next(router->retry, retry_slow_status(router->retry, why->status, why->greylisted),
                   why->greylisted, taken->attempts, taken->first_ms, now_ms, dice);
    if (next.give_up)
        taken->outcome = OUTCOME_BOUNCED;
    taken->next_ms = next.next_ms;
}

void react_defer(struct path *path, struct taken *taken, const struct verdict *why, struct prng *dice)
{
    const struct reaction *reaction = &why->rule->reaction;
    struct router *router = path->router;
    if (reaction->kind == REACTION_RCPT && why->wait_s > 0) {
        taken->next_ms =
            router->now.wall_ms + prng_jitter(dice, (int64_t)why->wait_s * MS_PER_S, RETRY_JITTER_PERCENT);
    } else if (reaction->kind == REACTION_RCPT) {
        defer_slowly(path, taken, why, dice);
    } else if (reaction->fate == FATE_JOB) {
        const struct hold_filter subject = {.job = taken->job->id, .site = str_of(path_site(path))};
        taken->attempt_free = hold_find(router->held, &subject) != NULL;
        if (taken->attempt_free)
            taken->next_ms = later(path, dice);
        else
            defer_slowly(path, taken, why, dice);
    } else {
        taken->attempt_free = true;
        taken->next_ms = after_pause(path, dice);
        bool paused = ledger_pause_until_ns(path->ledger) > router->now.mono_ns;
        if (!paused && retry_is_operators(router->retry, why->status))
            taken->next_ms = retry_next(router->retry, why->status, why->greylisted, taken->attempts,
                                        taken->first_ms, router->now.wall_ms, dice)
                                 .next_ms;
    }
}

void react_fail(struct path *path, const struct taken *taken, const struct verdict *why)
{
    const struct reaction *reaction = &why->rule->reaction;
    struct router *router = path->router;
    if (reaction->kind != REACTION_SUPPRESS || why->scope != SCOPE_RECIPIENT)
        return;
    char reason[SUPPRESSION_REASON_MAX];
    int n = snprintf(reason, sizeof reason, "%s: %.*s", why->rule->name, (int)why->text_size, why->text);
    struct edits *edits = remember_edits(router);
    if (edits == NULL || n < 0)
        return;
    const struct suppression suppression = {
        .scope = taken->job->tenant,
        .address = taken->to,
        .reason = str_make(reason, (size_t)n < sizeof reason ? (size_t)n : sizeof reason - 1),
        .source = STR("rule"),
        .added_ms = router->now.wall_ms,
    };
    if (reaction->count > 1)
        edits_strike(edits, str_of(why->rule->name), reaction->count, &suppression);
    else
        edits_suppress(edits, &suppression);
}
