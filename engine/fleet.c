/* fleet.c - see fleet.h. */
#include "engine/fleet.h"

#include "engine/base/log.h"
#include "engine/route/evidence.h"
#include "engine/route/handover.h"
#include "engine/route/hold.h"
#include "engine/route/lane_sts.h"
#include "engine/route/loan.h"
#include "engine/route/look.h"
#include "engine/route/renew.h"
#include "engine/route/signers.h"
#include "engine/setup.h"
#include "engine/sts/keeper.h"
#include "engine/tlsrpt/rpt.h"
#include "engine/worker.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#define RENEW_WAIT_MS 10000
#define FILES_KEPT    128 /* descriptors for the store, listeners, clients, DNS */

struct member {
    struct fleet *fleet;
    unsigned index;
    pthread_t thread;
    bool started;
    _Atomic bool over;       /* it takes nothing from its inbox any more */
    struct inbox_node *stop; /* the word, made beforehand so that it can't fail; NULL once it was said */
    struct worker *worker;
    struct err err;
    sem_t up;
};

struct fleet {
    struct store *store;
    struct setup *setup; /* that workers start with */
    struct submission *submission;
    struct fetch_settings fetch;
    struct sts_keeper *sts;
    struct rpt_settings rpt_settings;
    struct rpt *rpt;
    struct signers *signers;
    struct holds *holds;
    struct evidence evidence;
    unsigned count, sessions_max;
    _Atomic unsigned sessions_all;
    struct lend_word *lend_words;
    struct inbox **inboxes;
    struct member *members;
};

/* As many sessions as descriptors allow; a session needs one, and so does whoever may come in. */
static unsigned fleet_sessions_max(const struct config *config)
{
    uint64_t kept = FILES_KEPT;
    for (size_t i = 0; i < config->submission_count; i++)
        kept += config->submission[i].max_connections;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 256;
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || getrlimit(RLIMIT_NOFILE, &limit) != 0)
            log_warn("cannot raise the limit of open files: %s", strerror(errno));
    }
    uint64_t files = limit.rlim_cur;
    files = files > 2 * kept ? files - kept : files / 2;
    return files < SESSIONS_MAX ? (unsigned)files : SESSIONS_MAX;
}

struct worker *fleet_open(struct fleet *fleet, unsigned index, struct now now, struct err *err)
{
    const struct worker_settings settings = {
        .store = fleet->store,
        .setup = fleet->setup,
        .holds = fleet->holds,
        .evidence = &fleet->evidence,
        .sts = fleet->sts,
        .rpt = fleet->rpt,
        .signers = fleet->signers,
        .index = index,
        .worker_count = fleet->count,
        .inboxes = fleet->inboxes,
        .sessions_max = fleet->sessions_max,
        .sessions_all = &fleet->sessions_all,
        .lend_words = fleet->lend_words,
        .submission = fleet->submission,
        .seed = prng_seed(),
    };
    fleet->members[index].worker = worker_create(&settings, now, err);
    return fleet->members[index].worker;
}

static void *member_run(void *arg)
{
    struct member *member = arg;
    struct worker *worker = fleet_open(member->fleet, member->index, clock_now(), &member->err);
    sem_post(&member->up);
    if (worker == NULL)
        return NULL;
    while (worker_step(worker, clock_now(), INT64_MAX))
        continue;
    atomic_store(&member->over, true);
    return NULL;
}

/* The worker is destroyed by fleet_destroy: others may still read its figures. */
static bool member_start(struct fleet *fleet, unsigned index, struct err *err)
{
    struct member *member = &fleet->members[index];
    member->fleet = fleet;
    member->index = index;
    sem_init(&member->up, 0, 0);
    int failed = pthread_create(&member->thread, NULL, member_run, member);
    if (failed != 0)
        return err_set(err, failed, "cannot start a worker thread: %s", strerror(failed));
    member->started = true;
    char name[20]; /* as top and perf show it */
    snprintf(name, sizeof name, "worker %u", index);
    pthread_setname_np(member->thread, name);
    while (sem_wait(&member->up) != 0) /* bounded: creating a ring either works or fails */
        continue;
    if (member->worker == NULL) {
        *err = member->err;
        return false;
    }
    return true;
}

static bool fleet_start_signers(struct fleet *fleet, struct setup *setup, struct err *err)
{
    unsigned count = fleet->count < SIGNERS_MAX ? fleet->count : SIGNERS_MAX;
    if (fleet->signers == NULL && dkim_identity(setup->dkim, 0) != NULL)
        fleet->signers = signers_start(setup, count, err);
    return fleet->signers != NULL || dkim_identity(setup->dkim, 0) == NULL;
}

/* The threads for MTA-STS and for reports about TLS, where they are wanted. */
static bool fleet_start_policies(struct fleet *fleet, struct err *err)
{
    const struct config *config = fleet->setup->config;
    const struct config_tls_reports *reports = &config->tls_reports;
    fleet->fetch = (struct fetch_settings){.timeout_ms = config->mta_sts.timeout_ms,
                                           .ca_file = config->mta_sts.ca_file,
                                           .port = config->mta_sts.port};
    fleet->rpt_settings = (struct rpt_settings){.hostname = config->hostname,
                                                .organization = reports->organization,
                                                .contact = reports->contact,
                                                .pool = config_tenant_of(config, STR("default"))->pool,
                                                .ca_file = reports->ca_file,
                                                .period_ms = reports->period_ms,
                                                .dns = worker_dns_settings(config)};
    if (reports->enabled && (fleet->rpt = rpt_start(fleet->store, &fleet->rpt_settings, err)) == NULL)
        return false;
    if (config->mta_sts.enabled)
        fleet->sts = sts_keeper_start(fleet->store, fleet->rpt, &fleet->fetch, err);
    return fleet->sts != NULL || !config->mta_sts.enabled;
}

/* Before the store stops, so that what was counted is written down. */
static void fleet_stop_policies(struct fleet *fleet)
{
    sts_keeper_stop(fleet->sts);
    rpt_stop(fleet->rpt);
    fleet->sts = NULL;
    fleet->rpt = NULL;
}

struct fleet *fleet_create(const struct fleet_parts *parts, struct err *err)
{
    struct store *store = parts->store;
    unsigned workers = parts->workers;
    struct fleet *fleet = calloc(1, sizeof *fleet);
    if (fleet == NULL || (fleet->members = calloc(workers, sizeof *fleet->members)) == NULL ||
        (fleet->inboxes = calloc(workers, sizeof(struct inbox *))) == NULL ||
        (fleet->lend_words = calloc(workers, sizeof *fleet->lend_words)) == NULL) {
        err_set(err, ENOMEM, "no memory for the workers");
        fleet_destroy(fleet);
        return NULL;
    }
    fleet->store = store;
    fleet->setup = setup_ref(parts->setup);
    fleet->submission = parts->submission;
    fleet->count = workers;
    fleet->sessions_max = fleet_sessions_max(parts->setup->config);
    store_set_job_closer(store, opened_close);
    for (unsigned i = 0; i < workers; i++) {
        struct inbox_node *stop = calloc(1, sizeof *stop);
        fleet->members[i].stop = stop;
        if (stop == NULL)
            err_set(err, ENOMEM, "no memory for the workers");
        if (stop == NULL || (fleet->inboxes[i] = inbox_create(err)) == NULL) {
            fleet_destroy(fleet);
            return NULL;
        }
        stop->kind = HANDOVER_STOP;
        store_attach_worker(store, i, fleet->inboxes[i]);
    }
    if ((fleet->holds = holds_create(store, fleet->inboxes, workers)) == NULL ||
        !evidence_init(&fleet->evidence, store)) {
        err_set(err, ENOMEM, "no memory for what was learnt of receivers");
        fleet_destroy(fleet);
        return NULL;
    }
    if (!fleet_start_signers(fleet, fleet->setup, err)) {
        fleet_destroy(fleet);
        return NULL;
    }
    return fleet;
}

bool fleet_start(struct fleet *fleet, struct err *err)
{
    bool good = fleet_start_policies(fleet, err);
    for (unsigned i = 0; good && i < fleet->count; i++)
        good = member_start(fleet, i, err);
    return good;
}

struct renewal {
    struct look look;
    struct setup *setup;
    struct signers *signers;
};

static void renewal_run(struct look *look, struct router *router)
{
    struct renewal *renewal = (struct renewal *)(void *)look;
    renew(router, renewal->setup, renewal->signers);
}

static void renewal_drop(struct look *look)
{
    setup_unref(((struct renewal *)(void *)look)->setup);
}

bool fleet_renew(struct fleet *fleet, struct setup *setup, struct err *err)
{
    bool good = fleet_start_signers(fleet, setup, err);
    int64_t wait_ms = RENEW_WAIT_MS;
    if (fleet->signers != NULL)
        signers_change(fleet->signers, setup);
    for (unsigned i = 0; i < fleet->count; i++) {
        struct renewal *renewal =
            (struct renewal *)(void *)look_create(sizeof *renewal, renewal_run, renewal_drop);
        if (renewal == NULL) { /* the others all the same: else they hand lanes to and fro */
            good = err_set(err, ENOMEM, "no memory to tell a worker: reload again");
            continue;
        }
        renewal->setup = setup_ref(setup);
        renewal->signers = fleet->signers;
        fleet_ask(fleet, i, &renewal->look);
        if (!look_wait(&renewal->look, wait_ms)) {
            good = err_set(err, ETIMEDOUT, "a worker is busy: it follows in a while");
            wait_ms = 0; /* one wait is enough: the daemon may be stopping, and then none answers */
        }
        look_let_go(&renewal->look);
    }
    return good;
}

void fleet_tell_stop(struct fleet *fleet)
{
    for (unsigned i = 0; i < fleet->count; i++) {
        struct member *member = &fleet->members[i];
        if (member->stop == NULL || member->worker == NULL)
            continue;
        inbox_post(fleet->inboxes[i], member->stop);
        member->stop = NULL;
    }
    signers_hurry(fleet->signers); /* each worker knows why what comes back is not signed */
}

void fleet_stop(struct fleet *fleet)
{
    fleet_tell_stop(fleet);
    for (unsigned i = 0; i < fleet->count; i++)
        if (fleet->members[i].started)
            pthread_join(fleet->members[i].thread, NULL);
    fleet_stop_policies(fleet);
}

void fleet_destroy(struct fleet *fleet)
{
    if (fleet == NULL)
        return;
    signers_stop(fleet->signers);
    fleet_stop_policies(fleet);
    for (unsigned i = 0; i < fleet->count; i++) {
        worker_destroy(fleet->members[i].worker);
        free(fleet->members[i].stop);
        if (fleet->inboxes[i] == NULL)
            continue;
        for (struct inbox_node *node = inbox_take(fleet->inboxes[i]), *next; node != NULL; node = next) {
            next = node->next;
            if (node->kind == HANDOVER_LANE) {
                dns_mx_unref(((struct lane_handover *)(void *)node)->mx);
                store_taken_free(((struct lane_handover *)(void *)node)->given);
            }
            if (node->kind == HANDOVER_SIGNED)
                store_taken_free(((struct sign_request *)(void *)node)->taken);
            if (node->kind == STORE_GIVEN)
                store_taken_free(((struct store_given_msg *)(void *)node)->taken);
            if (node->kind == STORE_BOUNCE)
                store_bounce_free(((struct store_bounce_msg *)(void *)node)->bounce);
            if (node->kind == HANDOVER_STS)
                lane_sts_drop_message(node);
            else if (node->kind == HANDOVER_LOOK)
                look_let_go((struct look *)(void *)node);
            else if (node->kind >= HANDOVER_LOAN_OFFER && node->kind <= HANDOVER_LOAN_DROP)
                loan_drop_message(node);
            else
                free(node);
        }
        inbox_destroy(fleet->inboxes[i]);
    }
    holds_destroy(fleet->holds);
    evidence_free(&fleet->evidence);
    setup_unref(fleet->setup);
    free(fleet->lend_words);
    free(fleet->inboxes);
    free(fleet->members);
    free(fleet);
}

struct holds *fleet_holds(const struct fleet *fleet)
{
    return fleet->holds;
}

struct store *fleet_store(const struct fleet *fleet)
{
    return fleet->store;
}

unsigned fleet_size(const struct fleet *fleet)
{
    return fleet->count;
}

void fleet_ask(const struct fleet *fleet, unsigned worker, struct look *look)
{
    if (atomic_load(&fleet->members[worker].over))
        look_refuse(look);
    else
        look_post(look, fleet->inboxes[worker]);
}

struct inbox *fleet_inbox(const struct fleet *fleet, unsigned worker)
{
    return fleet->inboxes[worker];
}

const struct worker *fleet_worker(const struct fleet *fleet, unsigned worker)
{
    return fleet->members[worker].worker;
}

unsigned fleet_home(const struct fleet *fleet, struct str name)
{
    return (unsigned)(str_hash(name) % fleet->count);
}
