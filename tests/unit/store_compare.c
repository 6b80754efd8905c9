/* store_compare.c - see store_compare.h. */
#include "tests/unit/store_compare.h"

#include <stdio.h>
#include <stdlib.h>

#define LIST_MAX 4096

size_t compare_page(struct rig *rig)
{
    static const size_t sizes[] = {1, 2, 3, 7, 64, 100, 5000};
    return sizes[prng_below(&rig->prng, 7)];
}

/* ---- jobs ---- */

static void count_job(const struct model_job *job, uint64_t by_state[RCPT_STATES])
{
    memset(by_state, 0, RCPT_STATES * sizeof *by_state);
    for (size_t i = 0; i < job->count; i++)
        by_state[job->rcpts[i].state]++;
}

static bool compare_job(struct rig *rig, const struct model_job *job, const struct job_info *info)
{
    uint64_t by_state[RCPT_STATES];
    ll id = (ll)job->id;
    CHECK(info->id == job->id && info->state == job->state, "job %lld is in state %d, not %d", id,
          (int)info->state, (int)job->state);
    CHECK(info->class_ == job->class_ && info->bounces == job->bounces && info->is_dsn == job->is_dsn &&
              info->notify == job->notify && strcmp(info->tenant, job->tenant) == 0 &&
              strcmp(info->campaign, job->campaign) == 0 && strcmp(info->pool, job->pool) == 0 &&
              strcmp(info->from, job->from) == 0,
          "job %lld has another's options", id);
    CHECK(info->created_ms == job->created_ms && info->expires_ms == job->expires_ms &&
              info->not_before_ms == job->not_before_ms,
          "job %lld: created %lld, expires %lld, not %lld, %lld", id, (ll)info->created_ms,
          (ll)info->expires_ms, (ll)job->created_ms, (ll)job->expires_ms);
    CHECK((info->ended_ms != 0) == (job->ended_ms != 0), "job %lld: ended at %lld, not %lld", id,
          (ll)info->ended_ms, (ll)job->ended_ms);
    CHECK(info->total == job->count, "job %lld has %lld recipients, not %zu", id, (ll)info->total,
          job->count);
    count_job(job, by_state);
    for (unsigned s = 0; s < RCPT_STATES; s++)
        CHECK(info->by_state[s] == by_state[s], "job %lld counts %lld as %s, not %lld", id,
              (ll)info->by_state[s], rcpt_state_name((enum rcpt_state)s), (ll)by_state[s]);
    return true;
}

static bool compare_jobs(struct rig *rig)
{
    size_t page = compare_page(rig) % 200 + 1, at = rig->model.count, n;
    struct job_info *list = malloc(page * sizeof *list);
    uint64_t before = 0;
    bool good = list != NULL;
    do {
        n = good ? query_jobs(rig->store, before, list, page) : 0;
        for (size_t i = 0; i < n && good; i++) {
            before = list[i].id;
            if (at == 0 || rig->model.jobs[--at]->id != before)
                good = rig_complain(
                    rig, "job %lld is listed and should not be; it ended at %lld, expiry %lld, now %lld",
                    (ll)before, (ll)list[i].ended_ms, (ll)list[i].expires_ms, (ll)rig->now.wall_ms);
            else
                good = compare_job(rig, rig->model.jobs[at], &list[i]);
        }
    } while (n == page && good);
    free(list);
    CHECK(!good || at == 0, "job %lld is not listed", (ll)rig->model.jobs[at - 1]->id);
    return good;
}

/* ---- recipients ---- */

bool compare_rcpt(struct rig *rig, const struct model_job *job, const struct model_rcpt *rcpt,
                  const struct rcpt_info *info)
{
    char text[RID_TEXT_MAX];
    rid_format(info->rid, text);
    CHECK(info->state == rcpt->state, "%s is %s, not %s", text, rcpt_state_name(info->state),
          rcpt_state_name(rcpt->state));
    CHECK(info->claimed == rcpt->claimed, "%s is claimed: %d, not %d", text, info->claimed, rcpt->claimed);
    CHECK(str_eq(info->to, str_of(rcpt->to)) && str_eq(info->domain, str_of(rcpt->domain)),
          "%s is %.*s at %.*s, not %s", text, STR_ARG(info->to), STR_ARG(info->domain), rcpt->to);
    CHECK(info->vars.n == rcpt->vars_size && info->notify == rcpt->notify, "%s has other variables", text);
    for (size_t i = 0; i < info->vars.n; i++)
        CHECK(info->vars.p[i] == model_vars_byte(job->id, rcpt->number), "%s has others' variables", text);
    if (rcpt->state != RCPT_DEFERRED && rcpt->state != RCPT_BOUNCED && rcpt->state != RCPT_EXPIRED)
        return true;
    bool untried = rcpt->attempts == 0 && rcpt->first_ms == 0; /* then the time is the writer's */
    CHECK(info->attempts == rcpt->attempts && info->first_ms == rcpt->first_ms &&
              (untried ? info->last_ms - rcpt->last_ms < MS_PER_S && info->last_ms >= rcpt->last_ms
                       : info->last_ms == rcpt->last_ms),
          "%s: %u attempts, first %lld, last %lld, not %u, %lld, %lld", text, info->attempts,
          (ll)info->first_ms, (ll)info->last_ms, rcpt->attempts, (ll)rcpt->first_ms, (ll)rcpt->last_ms);
    CHECK(status_number(info->status) == status_number(rcpt->status) && info->code == rcpt->code,
          "%s: status %d.%d.%d, not %d.%d.%d", text, info->status.class_, info->status.subject,
          info->status.detail, rcpt->status.class_, rcpt->status.subject, rcpt->status.detail);
    CHECK(str_eq(info->reply, str_of(rcpt->reply)) && str_eq(info->source, str_of(rcpt->source)),
          "%s: reply '%.*s' by %.*s, not '%s' by %s", text, STR_ARG(info->reply), STR_ARG(info->source),
          rcpt->reply, rcpt->source);
    /* A retry makes it due at the writer's time, which is within this second. */
    bool due = rcpt->next_ms <= rig->second_ms;
    CHECK(due ? info->next_ms <= rig->now.wall_ms : info->next_ms == rcpt->next_ms, "%s: next %lld, not %lld",
          text, (ll)info->next_ms, (ll)rcpt->next_ms);
    return true;
}

struct listing {
    struct rig *rig;
    const struct model_job *job;
    unsigned states;
    const struct store_filter *filter;
    struct rid last;
    size_t page, in_page, seen;
    bool good, learn;
};

static bool rid_above(struct rid a, struct rid b)
{
    if (a.job != b.job)
        return a.job > b.job;
    return a.batch != b.batch ? a.batch > b.batch : a.slot > b.slot;
}

static bool list_one(struct listing *list, const struct rcpt_info *info)
{
    struct rig *rig = list->rig;
    uint64_t number;
    char text[RID_TEXT_MAX];
    rid_format(info->rid, text);
    CHECK(list->seen++ == 0 || rid_above(info->rid, list->last), "%s is listed out of order", text);
    list->last = info->rid;
    CHECK(str_u64(info->id, UINT32_MAX, &number) && number < list->job->count, "%s has id %.*s", text,
          STR_ARG(info->id));
    if (list->learn)
        model_name(model_job(&rig->model, list->job->id), (uint32_t)number, info->rid);
    const struct model_rcpt *rcpt = &list->job->rcpts[number];
    CHECK(rid_eq(rcpt->rid, info->rid), "%s is listed as recipient %u, which has another rid", text,
          rcpt->number);
    CHECK(!list->states || list->states & 1u << rcpt->state, "%s is listed and does not match", text);
    CHECK(!list->filter || model_matches(list->job, rcpt, list->filter), "%s is listed and does not match",
          text);
    return compare_rcpt(rig, list->job, rcpt, info);
}

static bool list_visit(const struct rcpt_info *info, void *user)
{
    struct listing *list = user;
    list->good = list_one(list, info);
    return list->good && ++list->in_page < list->page;
}

static size_t count_matching(const struct model_job *job, unsigned states, const struct store_filter *filter)
{
    size_t count = 0;
    for (size_t i = 0; i < job->count; i++) {
        const struct model_rcpt *rcpt = &job->rcpts[i];
        if ((!states || states & 1u << rcpt->state) && (!filter || model_matches(job, rcpt, filter)))
            count++;
    }
    return count;
}

static bool list_job(struct rig *rig, const struct model_job *job, const struct rcpt_filter *filter,
                     const struct store_filter *same, size_t want)
{
    struct listing list = {.rig = rig, .job = job, .states = filter->states, .filter = same, .good = true};
    struct rid after = {0};
    list.page = compare_page(rig);
    list.learn = !job->by_rid;
    while (query_job_rcpts(rig->store, job->id, filter, &after, list_visit, &list) && list.good)
        list.in_page = 0;
    if (!list.good)
        return false;
    CHECK(list.seen == want, "job %lld lists %zu recipients, not %zu", (ll)job->id, list.seen, want);
    return true;
}

static struct status_pattern random_pattern(struct rig *rig)
{
    static const char *const texts[] = {"*", "4", "4.2", "4.7.*", "4.7.28", "5.1.1", "4.4.7", "5"};
    struct status_pattern pattern = {0};
    if (!status_pattern_parse(str_of(texts[prng_below(&rig->prng, 8)]), &pattern))
        abort();
    return pattern;
}

static bool compare_failures(struct rig *rig, const struct model_job *job)
{
    unsigned failed = 1u << RCPT_BOUNCED | 1u << RCPT_EXPIRED;
    struct listing list = {.rig = rig, .job = job, .states = failed, .good = true, .page = compare_page(rig)};
    struct rid after = {0};
    while (query_job_failures(rig->store, job->id, &after, list_visit, &list) && list.good)
        list.in_page = 0;
    if (!list.good)
        return false;
    size_t want = count_matching(job, failed, NULL);
    CHECK(list.seen == want, "job %lld lists %zu failures, not %zu", (ll)job->id, list.seen, want);
    return true;
}

static bool compare_job_statuses(struct rig *rig, const struct model_job *job)
{
    struct status_count list[256];
    size_t n = query_job_statuses(rig->store, job->id, list, 256);
    uint64_t sum = 0, want = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t count = 0;
        for (size_t k = 0; k < job->count; k++) {
            const struct model_rcpt *r = &job->rcpts[k];
            if ((r->state == RCPT_DEFERRED || r->state == RCPT_BOUNCED || r->state == RCPT_EXPIRED) &&
                status_number(r->status) == status_number(list[i].status))
                count++;
        }
        CHECK(count == list[i].count && count, "job %lld counts %lld of status %d.%d.%d, not %lld",
              (ll)job->id, (ll)list[i].count, list[i].status.class_, list[i].status.subject,
              list[i].status.detail, (ll)count);
        sum += count;
    }
    for (size_t k = 0; k < job->count; k++) {
        enum rcpt_state state = job->rcpts[k].state;
        want += state == RCPT_DEFERRED || state == RCPT_BOUNCED || state == RCPT_EXPIRED;
    }
    CHECK(sum == want, "job %lld counts %lld by status, not %lld", (ll)job->id, (ll)sum, (ll)want);
    return true;
}

bool compare_names(struct rig *rig)
{
    struct rcpt_filter all = {0};
    for (size_t i = 0; i < rig->model.count; i++) {
        struct model_job *job = rig->model.jobs[i];
        if (job->by_rid)
            continue;
        if (!list_job(rig, job, &all, NULL, job->count))
            return false;
        CHECK(model_named(job), "job %lld: some recipients have the same rid, or none", (ll)job->id);
    }
    return true;
}

static bool compare_job_rcpts(struct rig *rig, const struct model_job *job)
{
    struct rcpt_filter all = {0};
    if (!list_job(rig, job, &all, NULL, job->count))
        return false;
    struct rcpt_filter some = {.states = (unsigned)prng_below(&rig->prng, 1u << RCPT_STATES)};
    struct store_filter same = {0};
    if (prng_below(&rig->prng, 2)) {
        some.has_status = same.has_status = true;
        some.status = same.status = random_pattern(rig);
        some.states |= 1u << RCPT_DEFERRED | 1u << RCPT_BOUNCED | 1u << RCPT_EXPIRED;
        some.states &= 1u << RCPT_DEFERRED | 1u << RCPT_BOUNCED | 1u << RCPT_EXPIRED;
    }
    if (!list_job(rig, job, &some, &same, count_matching(job, some.states, &same)))
        return false;
    if (job->count) {
        struct rcpt_filter one = {.to = str_of(job->rcpts[prng_below(&rig->prng, job->count)].to)};
        size_t want = 0;
        for (size_t i = 0; i < job->count; i++)
            want += str_eq(one.to, str_of(job->rcpts[i].to));
        if (!list_job(rig, job, &one, NULL, want))
            return false;
    }
    return compare_failures(rig, job) && compare_job_statuses(rig, job);
}

/* ---- over all jobs ---- */

static bool compare_figures(struct rig *rig)
{
    const struct model *model = &rig->model;
    struct store_figures figures;
    uint64_t queued = 0, deferred = 0, claimed = 0, jobs = 0;
    store_figures(rig->store, &figures);
    for (size_t i = 0; i < model->count; i++) {
        jobs += model->jobs[i]->ended_ms == 0;
        for (size_t k = 0; k < model->jobs[i]->count; k++) {
            const struct model_rcpt *rcpt = &model->jobs[i]->rcpts[k];
            queued += !model_ended(rcpt->state);
            deferred += rcpt->state == RCPT_DEFERRED;
            claimed += rcpt->claimed;
        }
    }
    CHECK(figures.accepted == model->accepted, "%lld accepted, not %lld", (ll)figures.accepted,
          (ll)model->accepted);
    const uint64_t *ended = model->ended;
    CHECK(figures.delivered == ended[RCPT_DELIVERED] && figures.bounced == ended[RCPT_BOUNCED] &&
              figures.expired == ended[RCPT_EXPIRED] && figures.cancelled == ended[RCPT_CANCELLED] &&
              figures.suppressed == ended[RCPT_SUPPRESSED],
          "totals: %lld delivered, %lld bounced, %lld expired, %lld cancelled, not %lld, %lld, %lld, %lld",
          (ll)figures.delivered, (ll)figures.bounced, (ll)figures.expired, (ll)figures.cancelled,
          (ll)ended[RCPT_DELIVERED], (ll)ended[RCPT_BOUNCED], (ll)ended[RCPT_EXPIRED],
          (ll)ended[RCPT_CANCELLED]);
    CHECK(figures.queued == queued && figures.deferred == deferred && figures.claimed == claimed,
          "%lld queued, %lld deferred, %lld claimed, not %lld, %lld, %lld", (ll)figures.queued,
          (ll)figures.deferred, (ll)figures.claimed, (ll)queued, (ll)deferred, (ll)claimed);
    CHECK(figures.jobs == jobs, "%lld jobs not ended, not %lld", (ll)figures.jobs, (ll)jobs);
    CHECK(figures.events == store_event_seq(rig->store), "two numbers of the last event");
    CHECK(!figures.full, "the store says it is full");
    return true;
}

struct set {
    struct rig *rig;
    const struct store_filter *filter;
    enum rcpt_state state;
    size_t seen, page, in_page, mark;
    bool good;
    uint32_t last_status;
};

static bool queued_one(struct set *set, const struct rcpt_info *info)
{
    struct rig *rig = set->rig;
    char text[RID_TEXT_MAX];
    rid_format(info->rid, text);
    struct model_rcpt *rcpt = model_rcpt(&rig->model, info->rid);
    const struct model_job *job = model_job(&rig->model, info->rid.job);
    CHECK(rcpt && rcpt->state == set->state && model_matches(job, rcpt, set->filter),
          "%s is listed as %s and should not be", text, rcpt_state_name(set->state));
    CHECK(rcpt->seen != set->mark, "%s is listed twice", text);
    CHECK(status_number(info->status) >= set->last_status, "%s is listed out of the order of status", text);
    set->last_status = status_number(info->status);
    rcpt->seen = set->mark;
    set->seen++;
    return compare_rcpt(rig, job, rcpt, info);
}

static bool queued_visit(const struct rcpt_info *info, void *user)
{
    struct set *set = user;
    set->good = queued_one(set, info);
    return set->good && ++set->in_page < set->page;
}

/* The strings are of the model; domains: room for two. */
static void random_filter(struct rig *rig, struct str *domains, struct store_filter *filter)
{
    const struct model *model = &rig->model;
    *filter = (struct store_filter){0};
    if (model->count == 0 || prng_below(&rig->prng, 2))
        return;
    const struct model_job *job = model->jobs[prng_below(&rig->prng, model->count)];
    const char *domain = job->count ? job->rcpts[job->count / 2].domain : "";
    switch (prng_below(&rig->prng, 7)) {
    case 0:
        filter->job = job->id;
        break;
    case 1:
        filter->tenant = str_of(job->tenant);
        break;
    case 2:
        filter->campaign = str_of(job->campaign);
        break;
    case 3:
        filter->accepted_after_ms = job->created_ms + (int64_t)prng_below(&rig->prng, 2);
        break;
    case 4:
        filter->accepted_before_ms = job->created_ms + (int64_t)prng_below(&rig->prng, 2);
        break;
    case 5:
        filter->job = prng_below(&rig->prng, 2) ? job->id : 0;
        filter->domain = str_of(domain);
        break;
    default:
        domains[0] = domains[1] = str_of(domain);
        filter->domains = domains;
        filter->domain_count = 2;
    }
}

/* Who waits for a retry, by status, and who was never tried. */
static bool compare_queued(struct rig *rig, enum rcpt_state state)
{
    static size_t mark;
    struct store_filter filter;
    struct str domains[2];
    random_filter(rig, domains, &filter);
    if (state == RCPT_DEFERRED && prng_below(&rig->prng, 2)) {
        filter.has_status = true;
        filter.status = random_pattern(rig);
    }
    mark++;
    struct set set = {
        .rig = rig, .filter = &filter, .state = state, .good = true, .page = compare_page(rig), .mark = mark};
    struct buf after;
    size_t want = 0;
    buf_init(&after, 64);
    while ((state == RCPT_DEFERRED ? query_deferred : query_ready)(rig->store, &filter, &after, queued_visit,
                                                                   &set) &&
           set.good)
        set.in_page = 0;
    buf_free(&after);
    for (size_t i = 0; i < rig->model.count; i++)
        want += count_matching(rig->model.jobs[i], 1u << state, &filter);
    CHECK(!set.good || set.seen == want, "%zu %s are listed, not %zu", set.seen, rcpt_state_name(state),
          want);
    return set.good;
}

static bool compare_queue_statuses(struct rig *rig)
{
    struct status_count list[256];
    size_t n = query_queue_statuses(rig->store, list, 256);
    uint64_t sum = 0, want = 0;
    for (size_t i = 0; i < n; i++) {
        struct status s = list[i].status;
        struct store_filter filter = {.has_status = true, .status = {s.class_, s.subject, s.detail}};
        uint64_t count = 0;
        for (size_t k = 0; k < rig->model.count; k++)
            count += count_matching(rig->model.jobs[k], 1u << RCPT_DEFERRED, &filter);
        CHECK(count && count == list[i].count, "%lld wait with status %d.%d.%d, not %lld", (ll)list[i].count,
              s.class_, s.subject, s.detail, (ll)count);
        sum += count;
    }
    for (size_t k = 0; k < rig->model.count; k++)
        want += count_matching(rig->model.jobs[k], 1u << RCPT_DEFERRED, NULL);
    CHECK(sum == want, "%lld wait by status, not %lld", (ll)sum, (ll)want);
    return true;
}

static bool compare_address(struct rig *rig)
{
    const struct model *model = &rig->model;
    static struct rid list[LIST_MAX];
    if (!model->count)
        return true;
    const struct model_job *any = model->jobs[prng_below(&rig->prng, model->count)];
    if (!any->count)
        return true;
    const char *to = any->rcpts[prng_below(&rig->prng, any->count)].to;
    size_t n = query_address(rig->store, str_of(to), list, LIST_MAX), want = 0;
    for (size_t i = 0; i < model->count; i++)
        for (size_t k = 0; k < model->jobs[i]->count; k++) {
            const struct model_rcpt *rcpt = &model->jobs[i]->rcpts[k];
            want += !model_ended(rcpt->state) && strcmp(rcpt->to, to) == 0;
        }
    CHECK(n == want, "%s is found %zu times in the queue, not %zu", to, n, want);
    for (size_t i = 0; i < n; i++) {
        const struct model_rcpt *rcpt = model_rcpt(model, list[i]);
        CHECK(rcpt && strcmp(rcpt->to, to) == 0 && !model_ended(rcpt->state), "%s is found as another", to);
        for (size_t k = 0; k < i; k++)
            CHECK(!rid_eq(list[i], list[k]), "%s is found twice at one rid", to);
    }
    return true;
}

/* One in limbo. The store's own times count: it may have ended, and its job be purged, a while ago. */
static bool limbo_one(struct rig *rig, struct model_job *job, struct model_rcpt *rcpt, struct rcpt_info *info)
{
    struct job_info now;
    int64_t until_ms = rcpt->limbo_ms + MODEL_LIMBO_MS;
    if (!query_rcpt(rig->store, rcpt->rid, info)) {
        CHECK(rig->second_ms >= rcpt->limbo_ms + rig->model.retain_ms, "a recipient is gone after a crash");
        model_adopt(&rig->model, rcpt->rid, rcpt->limbo_ms);
    } else if (info->state == RCPT_CANCELLED || info->state == RCPT_EXPIRED) {
        model_adopt(&rig->model, rcpt->rid, rig->second_ms);
        if (job->ended_ms && query_job(rig->store, job->id, &now))
            job->ended_ms = now.ended_ms;
    } else {
        CHECK(rig->second_ms <= until_ms, "recipient %u of job %lld was lost by a worker and never ended",
              rcpt->number, (ll)job->id);
    }
    return true;
}

bool compare_limbo(struct rig *rig)
{
    struct rcpt_info info;
    bool good = true;
    rcpt_info_init(&info);
    for (size_t i = 0; i < rig->model.count && good; i++)
        for (size_t k = 0; k < rig->model.jobs[i]->count && good; k++)
            if (rig->model.jobs[i]->rcpts[k].limbo)
                good = limbo_one(rig, rig->model.jobs[i], &rig->model.jobs[i]->rcpts[k], &info);
    rcpt_info_free(&info);
    model_time(&rig->model, rig->second_ms);
    return good;
}

bool compare_all(struct rig *rig)
{
    if (!compare_names(rig) || !compare_limbo(rig) || !compare_jobs(rig))
        return false;
    for (size_t i = 0; i < rig->model.count; i++)
        if (!compare_job_rcpts(rig, rig->model.jobs[i]))
            return false;
    return compare_lanes(rig) && compare_figures(rig) && compare_queued(rig, RCPT_DEFERRED) &&
           compare_queued(rig, RCPT_READY) && compare_queue_statuses(rig) && compare_address(rig);
}
