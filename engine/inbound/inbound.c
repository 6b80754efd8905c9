/* inbound.c - see inbound.h. */
#include "engine/inbound/inbound.h"

#include "engine/inbound/match.h"
#include "engine/report/wording.h"

#include <stdatomic.h>
#include <stdlib.h>

struct inbound {
    struct store *store;
    atomic_uint_fast64_t notices[NOTICE_KINDS], actions[ACTIONS];
};

_Static_assert(2 * NOTICE_RCPTS_MAX <= EDITS_MAX, "an event and a suppression for each fit one post");

const char *inbound_agreement_name(enum inbound_agreement agreement)
{
    static const char *const names[AGREEMENTS] = {"none", "exact", "domain", "unnamed", "mismatch"};
    return names[agreement];
}

const char *inbound_action_name(enum inbound_action action)
{
    static const char *const names[ACTIONS] = {"ignored", "unmatched", "mismatch", "under_way",
                                               "queued",  "ended",     "event",    "suppress"};
    return names[action];
}

struct inbound *inbound_create(struct store *store)
{
    struct inbound *inbound = calloc(1, sizeof *inbound);
    if (inbound != NULL)
        inbound->store = store;
    return inbound;
}

void inbound_destroy(struct inbound *inbound)
{
    free(inbound);
}

/* ---- what is due ---- */

static bool is_gone(enum bounce_category category)
{
    return category == BOUNCE_BAD_MAILBOX || category == BOUNCE_INACTIVE_MAILBOX;
}

/* There is no such mailbox, and it will not come back: by the status where the words do not say something
 * else ("5.1.1 … blocked as spam"), or by words that leave no doubt where the status says nothing. */
static bool is_hard(const struct notice_rcpt *rcpt)
{
    static const struct status hard[] = {{5, 1, 1}, {5, 1, 3}, {5, 1, 6}, {5, 1, 10}, {5, 2, 1}};
    enum bounce_category said = wording_of(rcpt->reply).certain;
    if (rcpt->status.class_ != 5)
        return false;
    for (size_t i = 0; i < sizeof hard / sizeof *hard; i++)
        if (status_number(rcpt->status) == status_number(hard[i]))
            return said == BOUNCE_CATEGORIES || is_gone(said) || said == BOUNCE_BAD_DOMAIN;
    return is_gone(said);
}

static enum inbound_action bounce_action(const struct notice_rcpt *rcpt,
                                         const struct inbound_finding *finding, bool sure)
{
    if (finding->state == RCPT_READY || finding->state == RCPT_DEFERRED)
        return finding->claimed ? ACTION_UNDER_WAY : ACTION_QUEUED;
    if (finding->state != RCPT_DELIVERED)
        return ACTION_ENDED;
    return sure && is_hard(rcpt) ? ACTION_SUPPRESS : ACTION_EVENT;
}

static enum inbound_action action_of(const struct notice_rcpt *rcpt, const struct inbound_finding *finding,
                                     bool trusted, bool behind)
{
    bool sure = trusted || finding->agreement == AGREEMENT_EXACT;
    if (rcpt->kind != NOTICE_BOUNCE && rcpt->kind != NOTICE_COMPLAINT)
        return ACTION_IGNORED;
    if (finding->agreement == AGREEMENT_NONE)
        return behind ? ACTION_UNDER_WAY : ACTION_UNMATCHED;
    if (finding->agreement == AGREEMENT_MISMATCH)
        return ACTION_MISMATCH;
    if (rcpt->kind == NOTICE_BOUNCE)
        return bounce_action(rcpt, finding, sure);
    return sure ? ACTION_SUPPRESS : ACTION_EVENT;
}

/* Fills the findings. True: a job is named that is not in the tables, and one who was not found may be of it.
 */
static bool find(struct inbound *inbound, const struct notice *notice, struct str tenant,
                 struct candidates *candidates, struct inbound_finding *findings)
{
    bool missed = false;
    match_candidates(inbound->store, notice, tenant, candidates);
    for (size_t i = 0; i < notice->rcpt_count; i++) {
        match_rcpt(inbound->store, notice, &notice->rcpts[i], tenant, candidates, &findings[i]);
        missed |= findings[i].agreement == AGREEMENT_NONE;
    }
    return missed && (candidates->unknown || notice->envid.n > 0);
}

static void decide(struct inbound *inbound, const struct inbound_input *input, struct candidates *candidates,
                   struct inbound_result *result)
{
    const struct notice *notice = &result->notice;
    bool behind = query_is_behind(inbound->store);
    behind = find(inbound, notice, input->tenant, candidates, result->findings) && behind;
    if (behind) { /* one wait for all that it names: a writer that is stuck is not waited for each time */
        bool caught_up = query_catch_up(inbound->store);
        behind = find(inbound, notice, input->tenant, candidates, result->findings) && !caught_up;
    }
    for (size_t i = 0; i < notice->rcpt_count; i++) {
        struct inbound_finding *finding = &result->findings[i];
        finding->action = action_of(&notice->rcpts[i], finding, input->trusted, behind);
        result->under_way |= finding->action == ACTION_UNDER_WAY;
    }
}

bool inbound_read(struct inbound *inbound, const struct inbound_input *input, struct inbound_result *result)
{
    struct candidates *candidates = malloc(sizeof *candidates);
    const struct notice *notice = &result->notice;
    result->findings = NULL;
    result->under_way = false;
    bool done = notice_read(input->message, input->envelope_rcpt, &result->notice) && candidates != NULL;
    if (done && notice->rcpt_count > 0) {
        result->findings = calloc(notice->rcpt_count, sizeof *result->findings);
        done = result->findings != NULL;
        if (done)
            decide(inbound, input, candidates, result);
    }
    free(candidates);
    return done;
}

void inbound_result_free(struct inbound_result *result)
{
    free(result->findings);
    result->findings = NULL;
    notice_free(&result->notice);
}

/* ---- writing it ---- */

static bool add_event(struct edits *edits, const struct notice_rcpt *rcpt,
                      const struct inbound_finding *finding, struct now now)
{
    struct late_event event = {
        .type = rcpt->kind == NOTICE_COMPLAINT ? EVENT_COMPLAINED : EVENT_BOUNCED_LATE,
        .rid = finding->rid,
        .code = rcpt->code,
        .status = rcpt->status,
        .mx = rcpt->mx,
        .reply = rcpt->reply,
        .time_ms = now.wall_ms,
    };
    return edits_late_event(edits, &event);
}

static bool add_suppression(struct edits *edits, const struct notice_rcpt *rcpt,
                            const struct inbound_finding *finding, struct now now)
{
    struct suppression suppression = {
        .scope = str_of(finding->tenant),
        .address = str_of(finding->to),
        .reason = rcpt->reply,
        .source = rcpt->kind == NOTICE_COMPLAINT ? STR("complaint") : STR("bounce"),
        .added_ms = now.wall_ms,
    };
    if (suppression.reason.n > SUPPRESSION_REASON_MAX)
        suppression.reason.n = SUPPRESSION_REASON_MAX;
    return edits_suppress(edits, &suppression);
}

static void count_result(struct inbound *inbound, const struct inbound_result *result)
{
    atomic_fetch_add_explicit(&inbound->notices[result->notice.kind], 1, memory_order_relaxed);
    for (size_t i = 0; i < result->notice.rcpt_count; i++)
        atomic_fetch_add_explicit(&inbound->actions[result->findings[i].action], 1, memory_order_relaxed);
}

void inbound_put_off(struct inbound *inbound, const struct inbound_result *result)
{
    for (size_t i = 0; i < result->notice.rcpt_count; i++)
        if (result->findings[i].action == ACTION_UNDER_WAY)
            atomic_fetch_add_explicit(&inbound->actions[ACTION_UNDER_WAY], 1, memory_order_relaxed);
}

bool inbound_post(struct inbound *inbound, const struct inbound_result *result, struct now now,
                  edits_done *done, void *user)
{
    struct edits *edits = edits_create();
    bool fits = edits != NULL;
    for (size_t i = 0; fits && i < result->notice.rcpt_count; i++) {
        const struct notice_rcpt *rcpt = &result->notice.rcpts[i];
        const struct inbound_finding *finding = &result->findings[i];
        if (finding->action == ACTION_EVENT || finding->action == ACTION_SUPPRESS)
            fits = add_event(edits, rcpt, finding, now);
        if (fits && finding->action == ACTION_SUPPRESS)
            fits = add_suppression(edits, rcpt, finding, now);
    }
    if (!fits) {
        edits_free(edits);
        return false;
    }
    count_result(inbound, result);
    if (edits_count(edits) > 0) {
        store_edit(inbound->store, edits, done, user);
    } else {
        edits_free(edits);
        done(EDIT_OK, 0, user);
    }
    return true;
}

void inbound_figures(struct inbound *inbound, struct inbound_figures *figures)
{
    for (size_t i = 0; i < NOTICE_KINDS; i++)
        figures->notices[i] = atomic_load_explicit(&inbound->notices[i], memory_order_relaxed);
    for (size_t i = 0; i < ACTIONS; i++)
        figures->actions[i] = atomic_load_explicit(&inbound->actions[i], memory_order_relaxed);
}
