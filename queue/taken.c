/* taken.c - see taken.h; and what any worker calls to settle. */
#include "queue/taken.h"

#include "queue/live.h"
#include "queue/store_internal.h"

#include <stdlib.h>

static struct str put(char **at, struct str s)
{
    struct str copy = str_make(*at, s.n);
    if (s.n > 0)
        memcpy(*at, s.p, s.n);
    *at += s.n;
    return copy;
}

struct taken *taken_make(struct store_job *job, struct rid rid, uint32_t lane,
                         const struct rcpt_record *record, const struct fate *fate)
{
    struct str source = fate ? fate->source : (struct str){"", 0};
    struct taken_box *box =
        malloc(sizeof *box + record->to.n + record->vars.n + record->id.n + record->orcpt.n + source.n);
    if (box == NULL)
        return NULL;
    char *at = (char *)(box + 1);
    *box = (struct taken_box){.node.kind = WRITER_SETTLE,
                              .taken = {.job = job,
                                        .rid = rid,
                                        .lane = lane,
                                        .notify = record->notify ? record->notify : job->notify,
                                        .attempts = fate ? fate->attempts : 0,
                                        .first_ms = fate ? fate->first_ms : 0,
                                        .last_status = fate ? fate->status : (struct status){0}}};
    box->taken.to = put(&at, record->to);
    box->taken.vars = put(&at, record->vars);
    box->taken.id = put(&at, record->id);
    box->taken.orcpt = put(&at, record->orcpt);
    box->taken.last_source = put(&at, source);
    return &box->taken;
}

static struct taken_box *box_of(struct taken *taken)
{
    return (struct taken_box *)(void *)((char *)taken - offsetof(struct taken_box, taken));
}

struct taken *taken_of_node(struct inbox_node *node)
{
    return &((struct taken_box *)(void *)node)->taken;
}

void taken_free(struct taken *taken)
{
    free(taken->signature);
    slab_unref(taken->words);
    store_job_unref(taken->job);
    free(box_of(taken));
}

void store_taken_free(struct taken *list)
{
    for (struct taken *next; list != NULL; list = next) {
        next = list->next;
        taken_free(list);
    }
}

void store_settle(struct store *store, struct taken *list)
{
    uint64_t n = 0;
    for (const struct taken *taken = list; taken != NULL; taken = taken->next, n++)
        live_settled(taken->job);
    if (n == 0)
        return;
    atomic_fetch_add(&store->figures.settle_backlog, n);
    inbox_post(store->settle_inbox, &box_of(list)->node);
}

uint64_t store_settling(const struct store *store)
{
    return atomic_load_explicit(&store->figures.settle_backlog, memory_order_relaxed);
}
