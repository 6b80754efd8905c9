/* fresh_lanes.c - fresh jobs in the lists of their lanes, from which the taker serves them. */
#include "queue/admit.h"
#include "queue/fresh.h"
#include "queue/live.h"
#include "queue/suppress.h"
#include "queue/taken.h"

#include <stdlib.h>

/* The lane of each domain, known from here on also to who writes its rows. */
static bool lanes_name(struct store *store, struct admit *admit)
{
    const struct job_row *row = &admit->row;
    for (size_t n = 0; n < admit->window.domain_n; n++) {
        struct window_domain *domain = admit->window.list[n];
        struct lane_row fields = {
            .class_ = row->class_, .tenant = row->tenant, .pool = row->pool, .domain = domain->name};
        domain->lane = lane_names_find(&store->lane_names, &store->env, store->fresh.main, &fields);
        if (domain->lane == 0)
            return false;
    }
    return true;
}

struct fresh_group *fresh_groups_make(struct store *store, struct admit *admit, unsigned *n)
{
    const struct window *window = &admit->window;
    const struct packed_batch *packed = &window->batches[0];
    uint8_t *at = (uint8_t *)window->packed.data + packed->offset + BATCH_HEAD_SIZE;
    struct fresh_group *groups = lanes_name(store, admit) ? calloc(packed->groups, sizeof *groups) : NULL;
    *n = groups != NULL ? packed->groups : 0;
    for (unsigned i = 0; i < *n; i++, at += BATCH_GROUP_SIZE) {
        uint16_t first = get_be16(at + 4), count = get_be16(at + 6);
        groups[i] = (struct fresh_group){.admit = admit,
                                         .lane = window->list[window->order[i]]->lane,
                                         .slot = first,
                                         .end = (uint16_t)(first + count)};
        if (packed_open(packed, first, count) == 0)
            groups[i].slot = groups[i].end;
        put_be32(at, groups[i].lane);
    }
    return groups;
}

static void group_in(struct fresh_group *group, struct lane_live *live)
{
    group->live = live;
    group->next = NULL;
    group->prev = live->groups_last;
    *(group->prev ? &group->prev->next : &live->groups) = group;
    live->groups_last = group;
}

void fresh_group_out(struct fresh_group *group)
{
    struct lane_live *live = group->live;
    if (live == NULL)
        return;
    *(group->prev ? &group->prev->next : &live->groups) = group->next;
    *(group->next ? &group->next->prev : &live->groups_last) = group->prev;
    group->live = NULL;
}

/* Its one recipient to the worker at once, which spares announcement, request and answer: when the lane has
 * nothing else to take, so that nobody is passed over, and the worker has credit. */
static bool give(struct store *store, struct admit *admit, struct now now)
{
    struct fresh_group *group = admit->fresh.groups;
    struct str domain = admit->window.list[0]->name, at;
    struct batch batch;
    struct rcpt_record record;
    if (admit->count != 1 || suppress_again(store, admit->job) || admit->fresh.group_n != 1 ||
        admit->row.content_size > GIVEN_CONTENT_MAX || admit->row.expires_ms <= now.wall_ms ||
        lane_find(store, group->lane) != NULL || atomic_load(&store->given_unfreed) >= GIVEN_UNFREED_MAX)
        return false;
    struct rid rid = {admit->job, 0, group->slot};
    if (claims_has(&store->shared.claims,
                   rid)) /* from the tables, before the writer has said that it is there */
        return false;
    unsigned worker = store_worker_of(store, group->lane, domain);
    if (store->workers[worker] == NULL || atomic_load(&store->given[worker]) >= store->settings.give_max ||
        !batch_decode_head(buf_str(&admit->window.packed), &batch))
        return false;
    at = batch.records;
    struct store_given_msg *msg = batch_next(&at, &record) ? malloc(sizeof *msg) : NULL;
    struct store_job *job = msg ? live_give(store, admit, &store->given[worker]) : NULL;
    struct taken *taken = job ? taken_make(job, rid, group->lane, &record, NULL) : NULL;
    if (taken == NULL) {
        if (job != NULL) {
            live_settled(job);
            store_job_unref(job);
        }
        free(msg);
        return false;
    }
    bool was_free = claims_set(&store->shared.claims, rid);
    QUEUE_ASSERT(was_free);
    group->slot = group->end;
    *msg = (struct store_given_msg){
        .node.kind = STORE_GIVEN, .lane = group->lane, .domain = domain, .taken = taken};
    inbox_post(store->workers[worker], &msg->node);
    return true;
}

void fresh_groups_offer(struct store *store, struct admit *admit, struct now now)
{
    const struct job_row *job = &admit->row;
    if (admit->fresh.applied || job->not_before_ms > now.wall_ms)
        return;
    if (admit->suppressed < admit->count && give(store, admit, now))
        return;
    for (unsigned n = 0; n < admit->fresh.group_n; n++) {
        struct fresh_group *group = &admit->fresh.groups[n];
        if (group->slot == group->end) /* all of it is suppressed */
            continue;
        struct lane_row row = {.class_ = job->class_, .tenant = job->tenant, .pool = job->pool};
        row.domain = admit->window.list[admit->window.order[n]]->name;
        if (lane_announce(store, group->lane, &row)) /* no room: its application will come back to it */
            group_in(group, lane_find(store, group->lane));
    }
}
