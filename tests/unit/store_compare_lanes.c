/* store_compare_lanes.c - lanes and their counters; see store_compare.h. */
#include "tests/unit/store_compare.h"

/* ---- lanes ---- */

struct lane_listing {
    struct rig *rig;
    uint32_t last;
    size_t seen, page, in_page;
    bool good;
};

struct lane_counts {
    uint64_t ready, deferred;
    int64_t due_ms;
};

static struct lane_counts count_lane(const struct model *model, const struct model_lane *lane)
{
    struct lane_counts counts = {0};
    for (size_t i = 0; i < model->count; i++) {
        const struct model_job *job = model->jobs[i];
        if (job->class_ != lane->class_ || strcmp(job->tenant, lane->tenant) != 0 ||
            strcmp(job->pool, lane->pool) != 0)
            continue;
        for (size_t k = 0; k < job->count; k++) {
            const struct model_rcpt *rcpt = &job->rcpts[k];
            if (model_ended(rcpt->state) || strcmp(rcpt->domain, lane->domain) != 0)
                continue;
            counts.ready += rcpt->state == RCPT_READY;
            counts.deferred += rcpt->state == RCPT_DEFERRED;
            if (rcpt->state == RCPT_DEFERRED && (!counts.due_ms || rcpt->next_ms < counts.due_ms))
                counts.due_ms = rcpt->next_ms;
        }
    }
    return counts;
}

static const struct model_lane *lane_find(const struct model *model, const struct lane_info *info)
{
    for (size_t i = 0; i < model->lane_count; i++) {
        const struct model_lane *lane = &model->lanes[i];
        if (lane->class_ == info->class_ && strcmp(lane->domain, info->domain) == 0 &&
            strcmp(lane->tenant, info->tenant) == 0 && strcmp(lane->pool, info->pool) == 0)
            return lane;
    }
    return NULL;
}

static bool lane_one(struct lane_listing *list, const struct lane_info *info)
{
    struct rig *rig = list->rig;
    CHECK(info->lane > list->last, "lane %u comes after %u", info->lane, list->last);
    list->last = info->lane;
    const struct model_lane *lane = lane_find(&rig->model, info);
    if (!lane) {
        /* An upload that was given up may have made one. */
        CHECK(info->deferred + info->delivered + info->bounced + info->expired + info->cancelled == 0 &&
                  (rig->uploads || info->ready == 0),
              "lane %u of %s counts something of no job", info->lane, info->domain);
        return true;
    }
    list->seen++;
    struct lane_counts counts = count_lane(&rig->model, lane);
    CHECK(rig->uploads ? info->ready >= counts.ready : info->ready == counts.ready,
          "lane %u of %s has %lld ready, not %lld", info->lane, info->domain, (ll)info->ready,
          (ll)counts.ready);
    CHECK(info->deferred == counts.deferred, "lane %u of %s has %lld deferred, not %lld", info->lane,
          info->domain, (ll)info->deferred, (ll)counts.deferred);
    CHECK(info->delivered == lane->ended[RCPT_DELIVERED] && info->bounced == lane->ended[RCPT_BOUNCED] &&
              info->expired == lane->ended[RCPT_EXPIRED] && info->cancelled == lane->ended[RCPT_CANCELLED],
          "lane %u of %s: %lld delivered, %lld bounced, %lld expired, %lld cancelled, not %lld, %lld, %lld, "
          "%lld",
          info->lane, info->domain, (ll)info->delivered, (ll)info->bounced, (ll)info->expired,
          (ll)info->cancelled, (ll)lane->ended[RCPT_DELIVERED], (ll)lane->ended[RCPT_BOUNCED],
          (ll)lane->ended[RCPT_EXPIRED], (ll)lane->ended[RCPT_CANCELLED]);
    bool due = counts.due_ms && counts.due_ms <= rig->second_ms;
    CHECK(due ? info->next_due_ms && info->next_due_ms <= rig->now.wall_ms
              : info->next_due_ms == counts.due_ms,
          "lane %u is due next at %lld, not %lld", info->lane, (ll)info->next_due_ms, (ll)counts.due_ms);
    return true;
}

static bool lane_listed(const struct lane_info *info, void *user)
{
    struct lane_listing *list = user;
    list->good = lane_one(list, info);
    return list->good && ++list->in_page < list->page;
}

bool compare_lanes(struct rig *rig)
{
    struct lane_listing list = {.rig = rig, .good = true, .page = compare_page(rig)};
    uint32_t after = 0, lanes[64];
    while (query_lanes(rig->store, &after, lane_listed, &list) && list.good)
        list.in_page = 0;
    if (!list.good)
        return false;
    CHECK(list.seen == rig->model.lane_count, "%zu lanes are listed, not %zu", list.seen,
          rig->model.lane_count);
    if (rig->model.lanes && rig->model.lane_count) {
        const struct model_lane *lane = &rig->model.lanes[prng_below(&rig->prng, rig->model.lane_count)];
        size_t n = query_domain_lanes(rig->store, str_of(lane->domain), lanes, 64);
        CHECK(n > 0, "%s has no lane", lane->domain);
        for (size_t i = 0; i < n; i++) {
            struct lane_info info;
            CHECK(query_lane(rig->store, lanes[i], &info) && strcmp(info.domain, lane->domain) == 0,
                  "lane %u is not of %s", lanes[i], lane->domain);
        }
    }
    return true;
}

bool compare_lanes_ready(struct rig *rig)
{
    if (rig_crowded(rig))
        return true;
    for (size_t i = 0; i < rig->model.count; i++) {
        const struct model_job *job = rig->model.jobs[i];
        for (size_t k = 0; k < job->count; k++) {
            const struct model_rcpt *rcpt = &job->rcpts[k];
            bool ready = !model_takeable(job, rcpt, rig->second_ms);
            for (size_t n = 0; n < rig->lane_count && !ready; n++) {
                const struct rig_lane *lane = &rig->lanes[n];
                ready = lane->ready && lane->class_ == job->class_ &&
                        strcmp(lane->domain, rcpt->domain) == 0 && strcmp(lane->tenant, job->tenant) == 0 &&
                        strcmp(lane->pool, job->pool) == 0;
            }
            CHECK(ready, "job %lld has work for %s (%s, next %lld, now %lld) and its lane was not announced",
                  (ll)job->id, rcpt->domain, rcpt_state_name(rcpt->state), (ll)rcpt->next_ms,
                  (ll)rig->second_ms);
        }
    }
    return true;
}
