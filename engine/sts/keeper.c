/* keeper.c - see keeper.h.
 *
 * request -> the domain's entry -> answered, or waits there for a fetch
 *                               -> a fetch begins, or waits in line for its turn
 *                                  -> over: the entry has a policy, or remembers the failure; who waits is
 *                                     answered */
#include "engine/sts/keeper.h"

#include "engine/base/buf.h"
#include "engine/base/clock.h"
#include "engine/base/codec.h"
#include "engine/base/log.h"
#include "engine/tls/sts.h"
#include "engine/tlsrpt/rpt.h"
#include "queue/edit.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>
#include <utlist.h>

#define VERSION 1
#define WAIT_MS 1000 /* at most, until it looks up */

struct known {
    UT_hash_handle hh; /* by name; the oldest use first */
    int64_t fetched_ms, expires_ms;
    int64_t retry_ms; /* a fetch has failed: not before */
    char *policy;     /* NULL: none */
    char id[STS_ID_MAX + 1];
    /* While it is fetched, or in line for it: */
    bool fetching;
    char id_asked[STS_ID_MAX + 1], addresses[STS_ADDRESSES_MAX];
    struct sts_request *waiting;
    struct known *line_next;
    char domain[];
};

struct sts_keeper {
    struct store *store;
    struct rpt *rpt;
    const struct fetch_settings *settings;
    struct inbox *inbox;
    struct fetcher *fetcher;
    pthread_t thread;
    _Atomic bool stop;
    struct known *table;
    struct known *line; /* those that wait for their turn to be fetched */
    struct edits *edits;
};

/* ---- entries ---- */

static struct known *known_find(struct sts_keeper *keeper, const char *domain)
{
    struct known *known;
    HASH_FIND_STR(keeper->table, domain, known);
    return known;
}

static void known_free(struct sts_keeper *keeper, struct known *known)
{
    HASH_DEL(keeper->table, known); /* NOLINT(clang-analyzer-core.NullDereference): it is in the table */
    free(known->policy);
    free(known);
}

static void forget_row(struct sts_keeper *keeper, struct str domain)
{
    if (keeper->edits == NULL)
        keeper->edits = edits_create();
    if (keeper->edits != NULL)
        edits_policy(keeper->edits, POLICY_STS, domain, STR(""));
}

/* The oldest that is of no use to anybody now. */
static void known_evict(struct sts_keeper *keeper)
{
    struct known *known = keeper->table;
    for (int looks = 0; looks < 64 && known != NULL; looks++, known = known->hh.next)
        if (!known->fetching) {
            if (known->policy != NULL)
                forget_row(keeper, str_of(known->domain));
            known_free(keeper, known);
            return;
        }
}

static struct known *known_make(struct sts_keeper *keeper, struct str domain)
{
    if (HASH_COUNT(keeper->table) >= STS_POLICIES_MAX)
        known_evict(keeper);
    struct known *known = calloc(1, sizeof *known + domain.n + 1);
    if (known == NULL)
        return NULL;
    memcpy(known->domain, domain.p, domain.n);
    HASH_ADD_STR(keeper->table, domain, known);
    if (known->hh.tbl != NULL)
        return known;
    free(known);
    return NULL;
}

/* To the end: used last. */
static void known_touch(struct sts_keeper *keeper, struct known *known)
{
    HASH_DEL(keeper->table, known);
    HASH_ADD_STR(keeper->table, domain, known);
}

/* ---- on disk ---- */

static void known_save(struct sts_keeper *keeper, const struct known *known)
{
    struct buf row;
    buf_init(&row, POLICY_VALUE_MAX);
    buf_add_char(&row, VERSION);
    buf_add_varint(&row, (uint64_t)known->fetched_ms);
    buf_add_varint(&row, (uint64_t)known->expires_ms);
    buf_add_field(&row, str_of(known->id));
    buf_add_field(&row, str_of(known->policy));
    if (keeper->edits == NULL)
        keeper->edits = edits_create();
    if (keeper->edits == NULL || row.failed ||
        !edits_policy(keeper->edits, POLICY_STS, str_of(known->domain), buf_str(&row)))
        log_warn("the MTA-STS policy of %s is kept in memory only", known->domain);
    buf_free(&row);
}

static void keeper_flush(struct sts_keeper *keeper)
{
    struct edits *edits = keeper->edits;
    keeper->edits = NULL;
    if (edits != NULL && edits_count(edits) > 0)
        store_edit(keeper->store, edits, NULL, NULL);
    else
        edits_free(edits);
}

static bool load_one(struct str name, struct str value, void *user)
{
    struct sts_keeper *keeper = user;
    struct reader reader = reader_of(value.p, value.n);
    if (read_u8(&reader) != VERSION)
        return true;
    int64_t fetched_ms = (int64_t)read_varint(&reader), expires_ms = (int64_t)read_varint(&reader);
    struct str id = read_field(&reader), policy = read_field(&reader);
    if (reader.bad || id.n > STS_ID_MAX || name.n > DOMAIN_MAX || expires_ms <= clock_now().wall_ms) {
        forget_row(keeper, name);
        return true;
    }
    struct known *known = known_make(keeper, name);
    if (known == NULL)
        return false;
    known->fetched_ms = fetched_ms;
    known->expires_ms = expires_ms;
    memcpy(known->id, id.p, id.n);
    known->policy = str_dup(policy);
    return !atomic_load(&keeper->stop);
}

/* ---- answers ---- */

static void answer(struct sts_request *request, const char *policy)
{
    request->policy = policy ? str_dup(str_of(policy)) : NULL;
    request->node.kind = request->kind;
    inbox_post(request->back, &request->node);
}

static void answer_waiting(struct known *known, const char *policy)
{
    while (known->waiting != NULL) {
        struct sts_request *request = known->waiting;
        known->waiting = (struct sts_request *)(void *)request->node.next;
        answer(request, policy);
    }
}

static const char *known_policy(const struct known *known, int64_t now_ms)
{
    return known->policy != NULL && known->expires_ms > now_ms ? known->policy : NULL;
}

/* ---- fetching ---- */

static void known_failed(struct sts_keeper *keeper, struct known *known, enum rpt_result result,
                         const struct err *err, int64_t now_ms)
{
    const char *old = known_policy(known, now_ms);
    struct rpt_event event = {.policy = RPT_STS, .result = result, .count = 1};
    memcpy(event.domain, known->domain, strlen(known->domain)); /* at most DOMAIN_MAX */
    rpt_count(keeper->rpt, &event);
    known->fetching = false;
    known->retry_ms = now_ms + STS_RETRY_MS;
    log_warn("the MTA-STS policy of %s cannot be had: %s; %s", known->domain, err->text,
             old ? "the one that is known holds" : "mail goes as if there were none");
    answer_waiting(known, old);
}

static void known_begin(struct sts_keeper *keeper, struct known *known, int64_t now_ms)
{
    struct err err;
    if (!fetcher_begin(keeper->fetcher, known->domain, known->addresses, known, &err))
        known_failed(keeper, known, RPT_FETCH_ERROR, &err, now_ms);
}

static void known_want(struct sts_keeper *keeper, struct known *known, const struct sts_request *request,
                       int64_t now_ms)
{
    known->fetching = true;
    memcpy(known->id_asked, request->id, sizeof known->id_asked);
    memcpy(known->addresses, request->addresses, sizeof known->addresses);
    if (fetcher_count(keeper->fetcher) < STS_FETCHES_MAX)
        known_begin(keeper, known, now_ms);
    else
        LL_APPEND2(keeper->line, known, line_next);
}

static void known_take(struct sts_keeper *keeper, struct known *known, struct str body, int64_t now_ms)
{
    static struct sts_policy policy; /* the keeper's thread alone */
    struct err err;
    if (!sts_policy_parse(body, &policy, &err)) {
        known_failed(keeper, known, RPT_POLICY_INVALID, &err, now_ms);
        return;
    }
    size_t room = 128 + policy.mx_count * (DOMAIN_MAX + 8);
    char *text = malloc(room);
    if (text == NULL) {
        err_set(&err, ENOMEM, "no memory");
        known_failed(keeper, known, RPT_FETCH_ERROR, &err, now_ms);
        return;
    }
    sts_policy_format(&policy, text, room);
    int64_t age_ms = (int64_t)policy.max_age_s * MS_PER_S;
    free(known->policy);
    known->policy = text;
    known->fetching = false;
    known->fetched_ms = now_ms;
    known->expires_ms = now_ms + (age_ms > STS_AGE_MIN_MS ? age_ms : STS_AGE_MIN_MS);
    memcpy(known->id, known->id_asked, sizeof known->id);
    known_save(keeper, known);
    answer_waiting(known, known->policy);
}

static void keeper_collect(struct sts_keeper *keeper, int64_t now_ms)
{
    for (struct fetch *fetch; (fetch = fetcher_next(keeper->fetcher)) != NULL;) {
        struct known *known = fetch_user(fetch);
        struct str body;
        struct err err;
        enum fetch_result result = fetch_result(fetch, &body, &err);
        if (result == FETCH_FINE)
            known_take(keeper, known, body, now_ms);
        else
            known_failed(keeper, known, result == FETCH_UNTRUSTED ? RPT_WEBPKI_INVALID : RPT_FETCH_ERROR,
                         &err, now_ms);
        fetch_free(fetch);
    }
    while (keeper->line != NULL && fetcher_count(keeper->fetcher) < STS_FETCHES_MAX) {
        struct known *known = keeper->line;
        LL_DELETE2(keeper->line, known, line_next);
        known_begin(keeper, known, now_ms);
    }
}

/* ---- requests ---- */

static void keeper_hear(struct sts_keeper *keeper, struct sts_request *request, int64_t now_ms)
{
    struct known *known = known_find(keeper, request->domain);
    if (known == NULL && request->id[0] != '\0')
        known = known_make(keeper, str_of(request->domain));
    if (known == NULL) {
        answer(request, NULL);
        return;
    }
    known_touch(keeper, known);
    const char *policy = known_policy(known, now_ms);
    bool same = strcmp(known->id, request->id) == 0;
    bool due =
        request->id[0] != '\0' && (policy == NULL || !same || now_ms - known->fetched_ms >= STS_REFRESH_MS);
    if (due && !known->fetching && request->addresses[0] != '\0' && now_ms >= known->retry_ms) {
        request->node.next = NULL;
        known_want(keeper, known, request, now_ms);
        policy = known_policy(known, now_ms);
    }
    if (known->fetching && due && (policy == NULL || !same)) {
        request->node.next = known->waiting ? &known->waiting->node : NULL;
        known->waiting = request;
        return;
    }
    answer(request, policy);
}

static void *keeper_run(void *user)
{
    struct sts_keeper *keeper = user;
    query_policy(keeper->store, POLICY_STS, load_one, keeper);
    while (!atomic_load(&keeper->stop)) {
        int64_t now_ms = clock_now().wall_ms;
        for (struct inbox_node *node = inbox_take(keeper->inbox), *next; node != NULL; node = next) {
            next = node->next;
            keeper_hear(keeper, (struct sts_request *)(void *)node, now_ms);
        }
        keeper_collect(keeper, clock_now().wall_ms);
        keeper_flush(keeper);
        if (inbox_sleep(keeper->inbox))
            fetcher_wait(keeper->fetcher, inbox_fd(keeper->inbox), WAIT_MS);
        inbox_wake(keeper->inbox);
    }
    return NULL;
}

/* ---- life ---- */

struct sts_keeper *sts_keeper_start(struct store *store, struct rpt *rpt,
                                    const struct fetch_settings *settings, struct err *err)
{
    struct sts_keeper *keeper = calloc(1, sizeof *keeper);
    if (keeper == NULL) {
        err_set(err, ENOMEM, "no memory for the policies of MTA-STS");
        return NULL;
    }
    keeper->store = store;
    keeper->rpt = rpt;
    keeper->settings = settings;
    keeper->inbox = fetch_prepare(err) ? inbox_create(err) : NULL;
    keeper->fetcher = keeper->inbox ? fetcher_create(settings, err) : NULL;
    int failed = 0;
    if (keeper->fetcher != NULL &&
        (failed = pthread_create(&keeper->thread, NULL, keeper_run, keeper)) == 0) {
        pthread_setname_np(keeper->thread, "mta-sts");
        return keeper;
    }
    if (failed != 0)
        err_set(err, failed, "cannot start the thread for MTA-STS: %s", strerror(failed));
    fetcher_destroy(keeper->fetcher);
    if (keeper->inbox != NULL)
        inbox_destroy(keeper->inbox);
    free(keeper);
    return NULL;
}

void sts_keeper_ask(struct sts_keeper *keeper, struct sts_request *request)
{
    inbox_post(keeper->inbox, &request->node);
}

void sts_keeper_stop(struct sts_keeper *keeper)
{
    if (keeper == NULL)
        return;
    atomic_store(&keeper->stop, true);
    fetcher_wake(keeper->fetcher);
    pthread_join(keeper->thread, NULL);
    for (struct inbox_node *node = inbox_take(keeper->inbox), *next; node != NULL; node = next) {
        next = node->next;
        answer((struct sts_request *)(void *)node, NULL);
    }
    struct known *known, *next_known;
    HASH_ITER(hh, keeper->table, known, next_known)
    {
        answer_waiting(known, NULL);
        known_free(keeper, known);
    }
    edits_free(keeper->edits);
    fetcher_destroy(keeper->fetcher);
    inbox_destroy(keeper->inbox);
    free(keeper);
}
