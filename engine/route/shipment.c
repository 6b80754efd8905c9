/* shipment.c - see shipment.h. Shipments and their buffers are kept for reuse, so that a message costs no
 * allocation here. */
#include "engine/route/shipment.h"

#include "engine/message/envelope.h"
#include "engine/route/downgrade.h"
#include "engine/route/lane.h"
#include "engine/route/opened.h"
#include "engine/route/path.h"
#include "engine/route/pool.h"
#include "engine/route/settle.h"
#include "engine/rules/rules.h"

#include <errno.h>
#include <stdlib.h>

#define RCPTS_KEPT 4 /* room for recipients that a spare shipment may keep */

struct shipment {
    struct session_transaction transaction;
    struct shipment *next;
    LIST_ENTRY(shipment) on_way; /* the pool's, while a session has it */
    struct lane *lane;
    struct taken *list;
    struct rendition rendition;
    struct downgrade downgrade; /* of use only for a host without 8BITMIME */
    struct session_rcpt *rcpts;
    size_t rcpts_room;
    const char *host, *tls;
    char from[ADDRESS_MAX];
    char rid[RID_TEXT_MAX]; /* begins with the job's id */
};

static struct shipment *shipment_new(struct router *router, size_t rcpts)
{
    struct shipment *shipment = router->free_shipments;
    if (shipment != NULL)
        router->free_shipments = shipment->next;
    else
        shipment = calloc(1, sizeof *shipment);
    if (shipment == NULL)
        return NULL;
    if (shipment->rcpts_room < rcpts) {
        struct session_rcpt *room = realloc(shipment->rcpts, rcpts * sizeof *room);
        if (room == NULL) {
            shipment->next = router->free_shipments;
            router->free_shipments = shipment;
            return NULL;
        }
        shipment->rcpts = room;
        shipment->rcpts_room = rcpts;
    }
    return shipment;
}

static void shipment_release(struct router *router, struct shipment *shipment)
{
    if (shipment->rcpts_room > RCPTS_KEPT) {
        free(shipment->rcpts);
        shipment->rcpts = NULL;
        shipment->rcpts_room = 0;
    }
    downgrade_free(&shipment->downgrade);
    shipment->list = NULL;
    shipment->next = router->free_shipments;
    router->free_shipments = shipment;
}

void shipment_free_spares(struct router *router)
{
    while (router->free_shipments != NULL) {
        struct shipment *shipment = router->free_shipments;
        router->free_shipments = shipment->next;
        rendition_free(&shipment->rendition);
        free(shipment->rcpts);
        free(shipment);
    }
}

static bool shipment_render(const struct pool *pool, struct shipment *shipment, const struct session *session,
                            struct err *err)
{
    struct router *router = pool->path->router;
    struct taken *taken = shipment->list;
    struct store_job *job = taken->job;
    struct session_transaction *transaction = &shipment->transaction;
    struct opened *opened = opened_get(job, router->dkim, err);
    if (opened == NULL)
        return false;
    struct render_args args = opened_args(taken, shipment->rid);
    args.first = opened_signature(opened, taken);
    args.unstuffed = session_chunking(session);
    if (opened->wants_signature && args.first.p == NULL)
        return err_set(err, ENOMEM, "no memory to have it signed");
    if (!template_render(&opened->template, &args, &shipment->rendition, err))
        return false;
    bool binary = opened->template.info.has_binary;
    bool lacks = (shipment->rendition.has_8bit && !session_offers(session)->eight_bit) ||
                 (binary && !(args.unstuffed && session_offers(session)->binary));
    if (lacks && !downgrade_render(router, &shipment->downgrade, opened, &args, &shipment->rendition, err))
        return false;
    size_t from = envelope_expand(job->from, args.rid, shipment->from);
    if (from == SIZE_MAX)
        return err_set(err, 0, "the envelope sender is too long once {{rid}} is replaced");
    transaction->from = str_make(shipment->from, from);
    transaction->rcpts = shipment->rcpts;
    transaction->body = shipment->rendition.parts;
    transaction->body_count = shipment->rendition.count;
    transaction->size = shipment->rendition.message_size;
    transaction->chunked = args.unstuffed;
    transaction->binary = binary && !lacks;
    transaction->eight_bit = shipment->rendition.has_8bit;
    transaction->utf8 = shipment->rendition.needs_smtputf8;
    transaction->require_tls = pool->tls.wish == TLS_WISH_REQUIRED;
    transaction->ret = job->ret == RET_FULL   ? SESSION_RET_FULL
                       : job->ret == RET_HDRS ? SESSION_RET_HDRS
                                              : SESSION_RET_NONE;
    transaction->envid = job->envid;
    transaction->owner = shipment;
    return true;
}

static void shipment_address(struct shipment *shipment)
{
    struct session_transaction *transaction = &shipment->transaction;
    size_t n = 0;
    transaction->utf8 |= !str_is_ascii(transaction->from);
    for (struct taken *taken = shipment->list; taken != NULL; taken = taken->next, n++) {
        struct session_rcpt *rcpt = &shipment->rcpts[n];
        rcpt->to = taken->to;
        rcpt->notify = taken->notify ? taken->notify : taken->job->notify;
        rcpt->orcpt = taken->orcpt;
        rcpt->owner = taken;
    }
    transaction->rcpt_count = n;
}

/* What was pulled together is of one job: has all of it outlived that? Then it is ended here. */
static bool shipment_expired(struct pool *pool, struct lane *lane, struct taken *list)
{
    struct router *router = pool->path->router;
    if (list->job->expires_ms > router->now.wall_ms)
        return false;
    while (list != NULL) {
        struct taken *taken = list;
        list = taken->next;
        pool_arrived(pool, lane, 1);
        settle_expired(router, taken);
    }
    return true;
}

/* Cannot be rendered: damaged on disk, or no memory. Another try later costs little and loses nothing. */
static void shipment_broken(struct pool *pool, struct lane *lane, struct taken *list, const struct err *err)
{
    struct verdict why;
    verdict_local(&why, SCOPE_TRANSACTION, STATUS(4, 3, 0), "the message cannot be made: %s", err->text);
    settle_tell_broken(pool->path->router, list->job->id, err);
    struct settle_where where = {.path = pool->path};
    while (list != NULL) {
        struct taken *taken = list;
        list = taken->next;
        pool_arrived(pool, lane, 1);
        settle_verdict(pool->path->router, taken, &why, &where);
    }
}

struct session_transaction *shipment_next(struct pool *pool, const char *host, const struct session *session)
{
    struct router *router = pool->path->router;
    struct err err;
    unsigned rcpts_max = path_rcpts_max(pool->path), told = session_offers(session)->rcpt_max;
    if (told > 0 && told < rcpts_max)
        rcpts_max = told;
    for (;;) {
        struct strand *strand;
        unsigned count;
        struct taken *list = pool_pull(pool, rcpts_max, &strand, &count);
        if (list == NULL)
            return NULL;
        struct lane *lane = strand->lane;
        if (shipment_expired(pool, lane, list))
            continue;
        struct shipment *shipment = shipment_new(router, count);
        if (shipment == NULL) {
            err_set(&err, ENOMEM, "no memory");
            shipment_broken(pool, lane, list, &err);
            continue;
        }
        shipment->lane = lane;
        shipment->list = list;
        shipment->host = host;
        shipment->tls = session_tls_text(session);
        if (!shipment_render(pool, shipment, session, &err)) {
            shipment_release(router, shipment);
            shipment_broken(pool, lane, list, &err);
            continue;
        }
        shipment_address(shipment);
        shipment->transaction.wary = path_refuses_often(pool->path);
        LIST_INSERT_HEAD(&pool->on_way, shipment, on_way);
        return &shipment->transaction;
    }
}

struct str shipment_domain(const struct session_transaction *transaction)
{
    const struct shipment *shipment = transaction->owner;
    struct str domain = str_of(shipment->lane->domain);
    return domain.n > 0 ? domain : str_domain(shipment->list->to); /* it was lent */
}

const struct store_job *shipment_job(const struct session_transaction *transaction)
{
    const struct shipment *shipment = transaction->owner;
    return shipment->list->job;
}

unsigned shipment_count_lane(const struct pool *pool, uint32_t lane)
{
    unsigned n = 0;
    const struct shipment *shipment;
    LIST_FOREACH(shipment, &pool->on_way, on_way)
    {
        if (shipment->list->lane == lane)
            n += (unsigned)shipment->transaction.rcpt_count;
    }
    return n;
}

void shipment_count_sender(const struct pool *pool, struct str sender, unsigned *all, unsigned *own)
{
    const struct shipment *shipment;
    LIST_FOREACH(shipment, &pool->on_way, on_way)
    {
        ++*all;
        *own += str_eq_nocase(str_domain(shipment->list->job->from), sender);
    }
}

void shipment_drop_job(struct router *router, uint64_t job)
{
    for (const struct path *path = router->paths; path != NULL; path = path->hh.next)
        for (const struct pool *pool = path->pools; pool != NULL; pool = pool->hh.next) {
            const struct shipment *shipment;
            LIST_FOREACH(shipment, &pool->on_way, on_way)
            for (size_t i = 0; i < shipment->transaction.rcpt_count && shipment->list->job->id == job; i++) {
                struct taken *taken = shipment->rcpts[i].owner;
                taken->worker = (void *)((uintptr_t)taken->worker | TAKEN_DROPPED);
            }
        }
}

/* A recipient whose connection was lost before anything of its message was sent, or that was one too many for
 * its transaction, goes to the next session at once, some times; one that a reply to all of a transaction may
 * be about goes by itself. */
static bool shipment_again(const struct session_transaction *transaction, struct taken *taken,
                           const struct verdict *why, bool others_passed)
{
    if (why->outcome != VERDICT_DEFERRED)
        return false;
    if (why->again_now && why->rule != NULL && why->rule->reaction.kind != REACTION_SPLIT)
        taken->worker = (void *)((uintptr_t)taken->worker | TAKEN_ALONE);
    if (why->again_now)
        return others_passed || (why->rule != NULL && transaction->rcpt_count > 1);
    bool refused = why->rule != NULL && why->code != 0; /* in words: it was not taken */
    if (why->scope != SCOPE_SESSION || (transaction->body_sent && !refused))
        return false;
    if (transaction->started_ns != 0)
        taken->worker = (void *)((uintptr_t)taken->worker + 1);
    return ((uintptr_t)taken->worker & TAKEN_LOSSES) <= REQUEUE_MAX;
}

void shipment_done(struct session_transaction *transaction, struct pool *pool)
{
    struct shipment *shipment = transaction->owner;
    struct router *router = pool->path->router;
    bool delivered = false;
    LIST_REMOVE(shipment, on_way);
    for (size_t i = 0; i < transaction->rcpt_count; i++)
        delivered |= transaction->rcpts[i].verdict->outcome == VERDICT_DELIVERED;
    struct settle_where where = {
        .path = pool->path,
        .mx = str_of(shipment->host),
        .tls = str_of(shipment->tls),
        .delay_ms = transaction->started_ns
                        ? (int32_t)((router->now.mono_ns - transaction->started_ns) / NS_PER_MS)
                        : 0,
        .peer_dsn = transaction->peer_dsn,
    };
    path_note_refused(pool->path, transaction->nobody);
    pool_arrived(pool, shipment->lane, (unsigned)transaction->rcpt_count);
    for (size_t i = 0; i < transaction->rcpt_count; i++) {
        struct session_rcpt *rcpt = &transaction->rcpts[i];
        struct taken *taken = rcpt->owner;
        if (!shipment_again(transaction, taken, rcpt->verdict, delivered))
            settle_verdict(router, taken, rcpt->verdict, &where);
        else if (((uintptr_t)taken->worker & TAKEN_DROPPED) != 0)
            settle_release(router, taken);
        else
            lane_put_back(shipment->lane, taken);
    }
    shipment_release(router, shipment);
    if (delivered)
        path_worked(pool->path);
}
