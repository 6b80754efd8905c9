/* loan.c - see loan.h. First what both ends share, then the owner's side, then the borrower's. */
#include "engine/route/loan.h"

#include "engine/route/handover.h"
#include "engine/route/host.h"
#include "engine/route/lane.h"
#include "engine/route/lane_held.h"
#include "engine/route/path.h"
#include "engine/route/path_learn.h"
#include "engine/route/pool.h"
#include "engine/route/settle.h"
#include "engine/setup.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

/* One struct for all kinds: they are few. */
struct loan_msg {
    struct inbox_node node;
    struct loan *loan;
    unsigned count; /* WANT, BATCH: recipients */
    bool over;      /* BATCH: there will be no more */
    bool paused;    /* NEWS: of a pause, for `reason`; else of a host */
    struct taken *list;
    uint64_t job; /* DROP; 0: the sender of the lesson */
    unsigned from;
    struct figures figures; /* BACK */
    struct sockaddr_storage address;
    struct host_state host;
    char reason[256];
    struct path_lesson lesson; /* LESSON */
};

static struct loan *loan_ref(struct loan *loan)
{
    atomic_fetch_add_explicit(&loan->refs, 1, memory_order_relaxed);
    return loan;
}

static void loan_unref(struct loan *loan)
{
    if (atomic_fetch_sub_explicit(&loan->refs, 1, memory_order_acq_rel) > 1)
        return;
    free(loan->back);
    dns_mx_unref(loan->hosts);
    setup_unref(loan->setup);
    free(loan);
}

static struct loan_msg *loan_msg(struct loan *loan, unsigned kind, unsigned from)
{
    struct loan_msg *msg = calloc(1, sizeof *msg);
    if (msg == NULL)
        return NULL;
    msg->node.kind = kind;
    msg->loan = loan_ref(loan);
    msg->from = from;
    return msg;
}

void loan_drop_message(struct inbox_node *node)
{
    struct loan_msg *msg = (struct loan_msg *)(void *)node;
    if (msg->list != NULL)
        store_taken_free(msg->list);
    loan_unref(msg->loan);
    free(msg);
}

unsigned loan_sessions(const struct loan *loan)
{
    return atomic_load_explicit(&loan->sessions, memory_order_relaxed);
}

/* ---- news, both ways ---- */

static void news_post(struct router *router, const struct loan_msg *news, struct loan *loan, unsigned to)
{
    struct loan_msg *msg = loan_msg(loan, HANDOVER_LOAN_NEWS, router->index);
    if (msg == NULL)
        return; /* the words in the ledger say the same, but for the host */
    msg->paused = news->paused;
    msg->address = news->address;
    msg->host = news->host;
    memcpy(msg->reason, news->reason, sizeof msg->reason);
    inbox_post(router->inboxes[to], &msg->node);
}

/* To all others that have sessions of the path, but not back to `from`. */
static void news_spread(struct path *path, const struct loan_msg *news, unsigned from)
{
    struct router *router = path->router;
    if (path->borrowed) {
        if (from == router->index)
            news_post(router, news, path->pools->loan, path->pools->loan->owner);
        return;
    }
    for (struct loan *loan = router->loans; loan != NULL; loan = loan->next)
        if (loan->pool->path == path && loan->borrower != from)
            news_post(router, news, loan, loan->borrower);
}

static bool loan_is_shared(const struct path *path)
{
    return path->borrowed ? path->pools != NULL : path->loans > 0;
}

void loan_tell_pause(struct path *path)
{
    if (!loan_is_shared(path))
        return;
    struct loan_msg news = {.paused = true};
    memcpy(news.reason, path->reason, sizeof news.reason);
    news_spread(path, &news, path->router->index);
}

void loan_tell_host(struct path *path, const struct sockaddr_storage *address)
{
    struct loan_msg news = {.address = *address};
    if (loan_is_shared(path) && host_get(path->router, address, &news.host))
        news_spread(path, &news, path->router->index);
}

void loan_tell_lesson(struct path *path, const struct path_lesson *lesson)
{
    struct loan *loan = path->pools->loan;
    struct loan_msg *msg = loan_msg(loan, HANDOVER_LOAN_LESSON, path->router->index);
    if (msg == NULL)
        return; /* the next reply says it again */
    msg->lesson = *lesson;
    inbox_post(path->router->inboxes[loan->owner], &msg->node);
}

static void lesson_hear(const struct loan_msg *msg)
{
    if (msg->loan->pool != NULL)
        path_learn(msg->loan->pool->path, &msg->lesson);
}

static void news_hear(struct router *router, struct loan_msg *msg)
{
    struct loan *loan = msg->loan;
    struct pool *pool = loan->owner == router->index ? loan->pool : loan->shadow;
    if (!msg->paused)
        host_set(router, &msg->address, &msg->host);
    if (pool == NULL)
        return; /* given back meanwhile */
    struct path *path = pool->path;
    if (msg->paused) {
        memcpy(path->reason, msg->reason, sizeof path->reason);
        if (ledger_pause_until_ns(path->ledger) > router->now.mono_ns) {
            path_hold(path);
            path_learn_pause(path);
        }
    }
    news_spread(path, msg, msg->from);
}

/* ---- the owner: answering ---- */

/* How many recipients may be handed over at once: what the rate allows in a little while. */
static unsigned loan_quantum(const struct path *path)
{
    const struct limit *rate = &path->ledger->messages, *slowed = &path->ledger->slowed;
    if (!limit_is_set(rate) && !limit_is_set(slowed))
        return LOAN_TAKE_MAX;
    int64_t interval_ns = atomic_load_explicit(&rate->interval_ns, memory_order_relaxed);
    int64_t slowed_ns = atomic_load_explicit(&slowed->interval_ns, memory_order_relaxed);
    int64_t n = LOAN_AHEAD_MS * NS_PER_MS / (slowed_ns > interval_ns ? slowed_ns : interval_ns);
    return n < LOAN_TAKE_MAX ? (unsigned)n : LOAN_TAKE_MAX;
}

static void loan_answer(struct router *router, struct loan *loan, unsigned most)
{
    struct loan_msg *msg = loan_msg(loan, HANDOVER_LOAN_BATCH, router->index);
    if (msg == NULL)
        return; /* the next look tries again */
    if (most > 0)
        msg->list = pool_lend(loan->pool, most, &msg->count);
    msg->over = msg->count == 0;
    loan->over |= msg->over;
    loan->wanted = 0;
    inbox_post(router->inboxes[loan->borrower], &msg->node);
}

static void loan_serve(struct loan *loan)
{
    struct pool *pool = loan->pool;
    struct router *router = pool->path->router;
    if (loan->wanted == 0)
        return;
    if (loan->over || router->stopping || !pool_is_open(pool)) {
        loan_answer(router, loan, 0);
        return;
    }
    unsigned most = loan_quantum(pool->path), least = LOAN_LEAST;
    if (most > loan->wanted)
        most = loan->wanted;
    if (least > loan->wanted) /* at the borrower there is no room for more */
        least = loan->wanted;
    if (most > pool->backlog / 2) /* the rest is for the owner's own sessions */
        most = (unsigned)(pool->backlog / 2);
    bool waited = router->now.mono_ns - loan->wanted_ns >= LOAN_IDLE_MS * NS_PER_MS;
    if (most >= least || waited)
        loan_answer(router, loan, most >= least ? most : 0);
}

void loan_serve_pool(struct pool *pool)
{
    if (pool->loans == 0)
        return;
    for (struct loan *loan = pool->path->router->loans, *next; loan != NULL; loan = next) {
        next = loan->next;
        if (loan->pool == pool)
            loan_serve(loan);
    }
}

static void want_hear(struct router *router, struct loan_msg *msg)
{
    struct loan *loan = msg->loan;
    loan->wanted = msg->count;
    loan->wanted_ns = router->now.mono_ns;
    loan_serve(loan);
}

/* ---- the owner: lending ---- */

static void loan_count(struct loan *loan, unsigned sessions)
{
    struct path *path = loan->pool->path;
    path->lent += sessions - loan->counted; /* may wrap twice, and so be less */
    loan->counted = sessions;
    atomic_store_explicit(&loan->sessions, sessions, memory_order_relaxed);
}

static unsigned loan_share(const struct path *path, unsigned loans)
{
    return ledger_allows(path->ledger, path->settings->max_connections) / (loans + 1);
}

static void loan_forget(struct router *router, struct loan *loan)
{
    struct pool *pool = loan->pool;
    struct loan **link = &router->loans;
    while (*link != loan)
        link = &(*link)->next;
    *link = loan->next;
    router->loans_out--;
    loan_count(loan, 0);
    pool->path->loans--;
    pool->loans--;
    pool_touch(pool);
    path_serve(pool->path);
    loan->pool = NULL;
    loan_unref(loan);
}

static void back_hear(struct router *router, struct loan_msg *msg)
{
    if (msg->loan->pool == NULL)
        return; /* at the stop: the borrower was seen to have gone before this was read */
    path_add_figures(msg->loan->pool->path, &msg->figures);
    loan_forget(router, msg->loan);
}

static void loan_make(struct pool *pool, unsigned borrower)
{
    struct path *path = pool->path;
    struct router *router = path->router;
    struct loan *loan = calloc(1, sizeof *loan);
    if (loan == NULL)
        return; /* the owner goes on alone */
    loan_ref(loan);
    struct loan_msg *offer = loan_msg(loan, HANDOVER_LOAN_OFFER, router->index);
    loan->back = calloc(1, sizeof *loan->back);
    if (offer == NULL || loan->back == NULL) {
        free(loan->back);
        free(offer);
        free(loan);
        return;
    }
    loan->owner = router->index;
    loan->borrower = borrower;
    loan->ledger = path->ledger;
    loan->source = path->source.name;
    loan->hosts = dns_mx_ref(pool->hosts);
    loan->port = pool->port;
    loan->tls = pool->tls;
    loan->setup = setup_ref(router->setup);
    loan->route = pool->route;
    snprintf(loan->site, sizeof loan->site, "%s", path_site(path));
    loan->pool = pool;
    loan->next = router->loans;
    router->loans = loan;
    router->loans_out++;
    path->loans++;
    pool->loans++;
    loan_count(loan, loan_share(path, path->loans));
    inbox_post(router->inboxes[borrower], &offer->node);
}

static bool loan_exists(const struct pool *pool, unsigned borrower)
{
    for (const struct loan *loan = pool->path->router->loans; loan != NULL; loan = loan->next)
        if (loan->pool == pool && loan->borrower == borrower)
            return true;
    return false;
}

/* The least busy of the others that has time to spare; worker_count: none. */
static unsigned loan_choose(const struct pool *pool)
{
    const struct router *router = pool->path->router;
    unsigned best = router->worker_count, least = LEND_BUSY_MAX;
    if (router->config->lending == CONFIG_LENDING_ALWAYS)
        least = UINT32_MAX;
    for (unsigned i = 0; i < router->worker_count; i++) {
        const struct lend_word *word = &router->lend_words[i];
        unsigned busy = atomic_load_explicit(&word->busy, memory_order_relaxed);
        if (i == router->index || busy >= least || loan_exists(pool, i) ||
            atomic_load_explicit(&word->gone, memory_order_relaxed))
            continue;
        best = i;
        least = busy;
    }
    return best;
}

/* What it has lent is fitted to what the path may have now, and ends when it does not pay any more. */
static void loan_tend(struct router *router)
{
    bool pays = router->config->lending == CONFIG_LENDING_ALWAYS || router->spare_looks < LEND_SPARE_LOOKS;
    for (struct loan *loan = router->loans, *next; loan != NULL; loan = next) {
        next = loan->next;
        struct path *path = loan->pool->path;
        unsigned share = loan_share(path, path->loans);
        loan->over |= share == 0 || !pays;
        if (!loan->over || share == 0)
            loan_count(loan, share); /* else it sends what it has, over the sessions it has */
        loan_serve(loan);
        if (router->stopping && atomic_load(&router->lend_words[loan->borrower].gone))
            loan_forget(router, loan); /* it never heard of it */
    }
}

static bool loan_pays(const struct router *router, const struct pool *pool)
{
    bool always = router->config->lending == CONFIG_LENDING_ALWAYS;
    return pool != NULL && pool->backlog >= LEND_BACKLOG && pool_is_open(pool) &&
           (always || router->busy_looks >= LEND_BUSY_LOOKS) && router->loans_out < LOANS_MAX &&
           loan_share(pool->path, pool->path->loans + 1) > 0 && loan_quantum(pool->path) >= LOAN_LEAST;
}

/* How much of the time since the last look this worker did not sleep. */
static void loan_weigh(struct router *router, int64_t passed_ns)
{
    int64_t used_ns = router->awake_ns;
    router->awake_ns = 0;
    unsigned busy = (unsigned)(used_ns * 1000 / passed_ns);
    atomic_store_explicit(&router->lend_words[router->index].busy, busy, memory_order_relaxed);
    router->busy_looks = busy >= LEND_BUSY_MIN ? router->busy_looks + 1 : 0;
    router->spare_looks = busy < LEND_BUSY_MAX ? router->spare_looks + 1 : 0;
}

void loan_look(struct router *router)
{
    int64_t passed_ns = router->now.mono_ns - router->looked_ns;
    if (passed_ns < LEND_LOOK_MS * NS_PER_MS || router->worker_count == 1)
        return;
    router->looked_ns = router->now.mono_ns;
    loan_weigh(router, passed_ns);
    loan_tend(router);
    struct pool *pool = router->lend_pool;
    router->lend_pool = NULL;
    router->lend_votes = 0;
    if (router->config->lending == CONFIG_LENDING_NEVER || router->stopping || !loan_pays(router, pool))
        return;
    unsigned borrower = loan_choose(pool);
    if (borrower < router->worker_count)
        loan_make(pool, borrower);
}

void loan_drop_job(struct router *router, uint64_t job)
{
    for (struct loan *loan = router->loans; loan != NULL; loan = loan->next) {
        struct loan_msg *msg = loan_msg(loan, HANDOVER_LOAN_DROP, router->index);
        if (msg == NULL)
            return; /* the borrower has heard it from the store; only what was on its way then is sent */
        msg->job = job;
        inbox_post(router->inboxes[loan->borrower], &msg->node);
    }
}

void loan_return_sender(struct path *path, struct str sender)
{
    struct router *router = path->router;
    for (struct loan *loan = router->loans; loan != NULL; loan = loan->next) {
        struct loan_msg *msg = strcmp(loan->site, path_site(path)) == 0
                                   ? loan_msg(loan, HANDOVER_LOAN_DROP, router->index)
                                   : NULL;
        if (msg == NULL)
            continue; /* of another site; or no memory: it sends what it has, no more */
        snprintf(msg->lesson.sender, sizeof msg->lesson.sender, "%.*s", STR_ARG(sender));
        inbox_post(router->inboxes[loan->borrower], &msg->node);
    }
}

/* ---- the borrower ---- */

void loan_want(struct loan *loan, unsigned want)
{
    struct router *router = loan->shadow->path->router;
    struct loan_msg *msg = loan_msg(loan, HANDOVER_LOAN_WANT, router->index);
    if (msg == NULL) { /* as if the owner had nothing */
        lane_lent(loan->lane, NULL, 0, true);
        return;
    }
    msg->count = want;
    inbox_post(router->inboxes[loan->owner], &msg->node);
}

static void back_post(struct router *router, struct loan *loan, const struct figures *figures)
{
    struct loan_msg *msg = loan->back;
    loan->back = NULL;
    msg->node.kind = HANDOVER_LOAN_BACK;
    msg->loan = loan_ref(loan);
    if (figures != NULL)
        msg->figures = *figures;
    inbox_post(router->inboxes[loan->owner], &msg->node);
}

static void offer_hear(struct router *router, struct loan_msg *msg)
{
    struct loan *loan = msg->loan;
    struct path *path = router->stopping ? NULL : path_borrow(router, loan);
    struct pool_tls tls = loan->tls; /* by the files of this worker's setup */
    tls.trust = trusts_same(router->trusts, tls.trust);
    bool knows = path != NULL && (tls.trust != NULL || loan->tls.trust == NULL);
    struct pool *pool = knows ? pool_get(path, loan->hosts, loan->port, &tls, loan->route) : NULL;
    if (pool != NULL && pool->loan == NULL) {
        loan->next_borrowed = router->borrowed;
        router->borrowed = loan;
        loan->shadow = pool;
        pool->loan = loan;
        loan->lane = lane_borrow(loan);
        if (loan->lane != NULL)
            lane_want(loan->lane);
        else
            pool_touch(pool); /* it is of no use: given back when it is looked at */
        return;
    }
    if (path != NULL && path->pools == NULL)
        path_free(path);
    back_post(router, loan, NULL);
}

static void batch_hear(struct router *router, struct loan_msg *msg)
{
    (void)router;
    lane_lent(msg->loan->lane, msg->list, msg->count, msg->over); /* waited for, so it is still there */
    msg->list = NULL;
}

void loan_return(struct router *router, struct loan *loan, struct path *path)
{
    struct loan **link = &router->borrowed;
    while (*link != loan)
        link = &(*link)->next_borrowed;
    *link = loan->next_borrowed;
    loan->shadow = NULL;
    struct figures figures = path->figures;
    bool last = path->pools == NULL;
    if (last)
        path_free(path); /* before the owner may free the ledger */
    back_post(router, loan, last ? &figures : NULL);
}

void loan_end(struct loan *loan)
{
    loan->ending = true;
    if (loan->lane == NULL)
        return;
    loan->lane->idle = true;
    lane_check(loan->lane);
}

void loan_stop(struct router *router)
{
    for (struct loan *loan = router->borrowed; loan != NULL; loan = loan->next_borrowed)
        loan_end(loan);
}

bool loan_none_left(struct router *router)
{
    loan_tend(router);
    return router->loans == NULL && router->borrowed == NULL;
}

void loan_free_all(struct router *router)
{
    while (router->loans != NULL)
        loan_forget(router, router->loans);
}

void loan_hear(struct router *router, struct inbox_node *node)
{
    struct loan_msg *msg = (struct loan_msg *)(void *)node;
    switch (node->kind) {
    case HANDOVER_LOAN_OFFER:
        offer_hear(router, msg);
        break;
    case HANDOVER_LOAN_WANT:
        want_hear(router, msg);
        break;
    case HANDOVER_LOAN_BATCH:
        batch_hear(router, msg);
        break;
    case HANDOVER_LOAN_BACK:
        back_hear(router, msg);
        break;
    case HANDOVER_LOAN_DROP:
        if (msg->job != 0)
            lane_release_job(router, msg->job); /* who lends to each other would tell each other for ever */
        else
            lane_return_sender(router, msg->loan->site, str_of(msg->lesson.sender));
        break;
    case HANDOVER_LOAN_LESSON:
        lesson_hear(msg);
        break;
    default:
        news_hear(router, msg);
    }
    loan_unref(msg->loan);
}
