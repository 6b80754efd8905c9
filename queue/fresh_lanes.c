/* fresh_lanes.c - fresh jobs in the lists of their lanes, from which the taker serves them. */
#include "queue/admit.h"
#include "queue/fresh.h"

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

void fresh_groups_offer(struct store *store, struct admit *admit, struct now now)
{
    const struct job_row *job = &admit->row;
    if (admit->fresh.applied || job->not_before_ms > now.wall_ms)
        return;
    for (unsigned n = 0; n < admit->fresh.group_n; n++) {
        struct fresh_group *group = &admit->fresh.groups[n];
        struct lane_row row = {.class_ = job->class_, .tenant = job->tenant, .pool = job->pool};
        row.domain = admit->window.list[admit->window.order[n]]->name;
        if (lane_announce(store, group->lane, &row)) /* no room: its application will come back to it */
            group_in(group, lane_find(store, group->lane));
    }
}
