/* consumers.c - see consumers.h. */
#include "engine/report/consumers.h"

#include "engine/base/log.h"
#include "engine/report/webhook.h"
#include "queue/edit.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#define REGISTER_MAX_S 10 /* the store always answers; a guard all the same */

struct consumers {
    size_t count;
    struct consumer *list[CONSUMERS_MAX];
};

/* ---- registering ---- */

struct registration {
    const struct config *config;
    bool known[CONSUMERS_MAX]; /* has a cursor, which is: */
    uint64_t cursors[CONSUMERS_MAX];
    struct consumer_totals totals[CONSUMERS_MAX];
    struct edits *edits;
    bool failed;
    pthread_mutex_t lock;
    pthread_cond_t come;
    int result; /* -1: not here */
};

static size_t index_of(const struct config *config, struct str name)
{
    size_t i = 0;
    while (i < config->consumer_count && !str_eq(name, str_of(config->consumers[i].name)))
        i++;
    return i;
}

static bool on_cursor(struct str name, uint64_t seq, void *user)
{
    struct registration *registration = user;
    size_t i = index_of(registration->config, name);
    if (i < registration->config->consumer_count) {
        registration->known[i] = true;
        registration->cursors[i] = seq;
        return true;
    }
    log_info("consumer \"%.*s\" is no longer configured: forgotten; it had read up to %" PRIu64,
             STR_ARG(name), seq);
    registration->failed |= !edits_cursor_delete(registration->edits, name) ||
                            !edits_policy(registration->edits, POLICY_CONSUMER, name, STR(""));
    return true;
}

static bool on_totals(struct str name, struct str value, void *user)
{
    struct registration *registration = user;
    size_t i = index_of(registration->config, name);
    if (i < registration->config->consumer_count)
        consumer_totals_decode(value, &registration->totals[i]);
    return true;
}

static bool on_first(const struct event *event, void *user)
{
    *(uint64_t *)user = event->seq;
    return false;
}

static uint64_t start_of(struct store *store, const struct config_consumer *consumer)
{
    uint64_t first = 0;
    if (consumer->start == CONFIG_START_NOW)
        return store_event_seq(store);
    query_events(store, 0, on_first, &first);
    return first > 0 ? first - 1 : store_event_seq(store);
}

static void add_new(struct store *store, struct registration *registration)
{
    const struct config *config = registration->config;
    for (size_t i = 0; i < config->consumer_count; i++) {
        if (registration->known[i])
            continue;
        registration->cursors[i] = start_of(store, &config->consumers[i]);
        registration->failed |=
            !edits_cursor(registration->edits, str_of(config->consumers[i].name), registration->cursors[i]);
        log_info("consumer \"%s\" is new: it gets the events after %" PRIu64, config->consumers[i].name,
                 registration->cursors[i]);
    }
}

static void on_registered(enum edit_result result, unsigned changed, void *user)
{
    struct registration *registration = user;
    (void)changed;
    pthread_mutex_lock(&registration->lock);
    registration->result = (int)result;
    pthread_cond_signal(&registration->come);
    pthread_mutex_unlock(&registration->lock);
}

/* Durable before a thread starts: from then on nothing goes that it has not read. */
static bool commit(struct store *store, struct registration *registration, struct err *err)
{
    if (edits_count(registration->edits) == 0) {
        edits_free(registration->edits);
        return true;
    }
    store_edit(store, registration->edits, on_registered, registration);
    pthread_mutex_lock(&registration->lock);
    while (registration->result < 0) {
        int64_t until_ns = clock_now().mono_ns + REGISTER_MAX_S * NS_PER_S;
        struct timespec until = {.tv_sec = until_ns / NS_PER_S, .tv_nsec = until_ns % NS_PER_S};
        if (pthread_cond_timedwait(&registration->come, &registration->lock, &until) == ETIMEDOUT)
            log_warn("the consumers of the event log wait for the queue to keep them");
    }
    pthread_mutex_unlock(&registration->lock);
    if (registration->result ==
        EDIT_FULL) { /* they begin where they would, and keep their place once it can be
                                                written; the start must not hang on that */
        log_error("there is no space to keep the consumers of the event log: events may go unread by those "
                  "that are new, and those that are gone go on holding the log, until some is free and the "
                  "daemon is started again");
        return true;
    }
    return registration->result == EDIT_OK ||
           err_set(err, ESHUTDOWN, "the queue closed before it could keep the consumers of the event log");
}

static bool register_all(struct store *store, struct registration *registration, struct err *err)
{
    pthread_condattr_t monotonic;
    registration->result = -1;
    registration->edits = edits_create();
    if (registration->edits == NULL)
        return err_set(err, ENOMEM, "no memory for the consumers of the event log");
    query_cursors(store, on_cursor, registration);
    query_policy(store, POLICY_CONSUMER, on_totals, registration);
    add_new(store, registration);
    if (registration->failed) {
        edits_free(registration->edits);
        return err_set(err, ENOMEM, "no memory for the consumers of the event log");
    }
    pthread_mutex_init(&registration->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&registration->come, &monotonic);
    pthread_condattr_destroy(&monotonic);
    bool done = commit(store, registration, err);
    pthread_cond_destroy(&registration->come);
    pthread_mutex_destroy(&registration->lock);
    return done;
}

/* ---- all of them ---- */

struct consumers *consumers_start(struct store *store, const struct config *config, struct err *err)
{
    struct consumers *consumers = calloc(1, sizeof *consumers);
    struct registration registration = {.config = config};
    if (consumers == NULL) {
        err_set(err, ENOMEM, "no memory for the consumers of the event log");
        return NULL;
    }
    bool ready = webhook_prepare(err) && register_all(store, &registration, err);
    for (size_t i = 0; ready && i < config->consumer_count; i++) {
        const struct consumer_begin begin = {
            .store = store,
            .config = &config->consumers[i],
            .hostname = config->hostname,
            .state_directory = config->state_directory,
            .cursor = registration.cursors[i],
            .totals = registration.totals[i],
        };
        consumers->list[i] = consumer_start(&begin, err);
        ready = consumers->list[i] != NULL;
        consumers->count += ready;
    }
    if (ready)
        return consumers;
    consumers_stop(consumers);
    consumers_destroy(consumers);
    return NULL;
}

void consumers_stop(struct consumers *consumers)
{
    for (size_t i = 0; i < consumers->count; i++)
        consumer_ask_to_stop(consumers->list[i]);
    for (size_t i = 0; i < consumers->count; i++)
        consumer_end(consumers->list[i]);
}

void consumers_destroy(struct consumers *consumers)
{
    for (size_t i = 0; consumers != NULL && i < consumers->count; i++)
        consumer_destroy(consumers->list[i]);
    free(consumers);
}

size_t consumers_count(const struct consumers *consumers)
{
    return consumers->count;
}

void consumers_info(const struct consumers *consumers, size_t n, struct now now, struct consumer_info *info)
{
    consumer_info(consumers->list[n], now, info);
}
