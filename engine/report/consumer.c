/* consumer.c - see consumer.h. A round gathers, hands on what is due, and posts the cursor; then it waits for
 * the first of: more events, a lingering batch, the end of a wait after a failure. */
#include "engine/report/consumer.h"

#include "engine/base/codec.h"
#include "engine/base/js.h"
#include "engine/base/log.h"
#include "engine/report/backoff.h"
#include "engine/report/event_file.h"
#include "engine/report/gather.h"
#include "engine/report/shape.h"
#include "engine/report/webhook.h"
#include "queue/edit.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define POLL_NS       (100 * NS_PER_MS) /* new events are not announced: they are asked for */
#define CURSOR_EVERY  (100 * NS_PER_MS) /* a commit of the store each */
#define EDIT_AGAIN_NS NS_PER_S          /* after one that found no space */
#define NICE          10
#define ROW_VERSION_1 1

struct consumer {
    struct consumer_begin begin;
    const struct config_consumer *config;
    struct gather gather;
    struct event_file file, dead_letters;
    char dead_path[CONFIG_PATH_MAX];
    struct webhook *webhook;
    struct buf body;
    struct prng prng;
    size_t limit;           /* events sent at once: less than a batch while a refused one is searched */
    size_t trying;          /* of them, what failed last: the same again; 0: nothing failed */
    unsigned letters;       /* dead letters since the start, */
    unsigned refused;       /* and since something was taken */
    int64_t first_ns;       /* since when the batch waits for company; 0: there is none */
    int64_t try_ns;         /* nothing is sent before */
    int64_t cursor_ns;      /* when the cursor was posted last */
    int64_t stop_by_ns;     /* what is under way may take until then; 0: it need not stop */
    uint64_t said_missed;   /* of gather.missed, what is in the totals */
    bool committing_failed; /* the last post found no space */
    pthread_t thread;
    pthread_mutex_t lock; /* for all below */
    pthread_cond_t wake;
    bool ending, committing;
    uint64_t cursor;    /* what is safe */
    uint64_t posted;    /* of that, with the store */
    uint64_t committed; /* and on disk */
    int64_t oldest_ms;  /* the time of the first event behind the cursor; 0: not known */
    struct consumer_totals totals;
    unsigned failures;
    int64_t error_ms, next_ms;
    struct err error;
};

/* ---- totals ---- */

size_t consumer_totals_encode(const struct consumer_totals *totals, char row[CONSUMER_ROW_MAX])
{
    uint8_t *at = (uint8_t *)row;
    *at++ = ROW_VERSION_1;
    at += put_varint(at, totals->sent);
    at += put_varint(at, totals->dropped);
    at += put_varint(at, totals->dead);
    return (size_t)(at - (uint8_t *)row);
}

bool consumer_totals_decode(struct str row, struct consumer_totals *totals)
{
    struct reader r = reader_of(row.p, row.n);
    if (read_u8(&r) != ROW_VERSION_1)
        return false;
    totals->sent = read_varint(&r);
    totals->dropped = read_varint(&r);
    totals->dead = read_varint(&r);
    return !r.bad;
}

/* ---- the cursor ---- */

static void on_committed(enum edit_result result, unsigned changed, void *user)
{
    struct consumer *consumer = user;
    (void)changed;
    pthread_mutex_lock(&consumer->lock);
    consumer->committing = false;
    consumer->committing_failed = result != EDIT_OK;
    if (result == EDIT_OK)
        consumer->committed = consumer->posted;
    pthread_cond_signal(&consumer->wake);
    pthread_mutex_unlock(&consumer->lock);
}

/* One post at a time, unless there is nothing to say. */
static void post_cursor(struct consumer *consumer, struct now now)
{
    struct str name = str_of(consumer->config->name);
    char row[CONSUMER_ROW_MAX];
    pthread_mutex_lock(&consumer->lock);
    int64_t every_ns = consumer->committing_failed ? EDIT_AGAIN_NS : CURSOR_EVERY;
    bool due = !consumer->committing && consumer->cursor != consumer->committed &&
               (consumer->ending || now.mono_ns - consumer->cursor_ns >= every_ns);
    uint64_t cursor = consumer->cursor;
    size_t n = consumer_totals_encode(&consumer->totals, row);
    pthread_mutex_unlock(&consumer->lock);
    if (!due)
        return;
    struct edits *edits = edits_create();
    if (edits == NULL || !edits_cursor(edits, name, cursor) ||
        !edits_policy(edits, POLICY_CONSUMER, name, str_make(row, n))) {
        edits_free(edits); /* no memory: tried again */
        return;
    }
    consumer->cursor_ns = now.mono_ns;
    pthread_mutex_lock(&consumer->lock);
    consumer->committing = true;
    consumer->posted = cursor;
    pthread_mutex_unlock(&consumer->lock);
    store_edit(consumer->begin.store, edits, on_committed, consumer);
}

/* ---- what became of a batch ---- */

static void on_safe(struct consumer *consumer, size_t n, struct now now, bool dead)
{
    struct gather *gather = &consumer->gather;
    uint64_t cursor = gather_read(gather, n);
    gather_drop(gather, n);
    consumer->trying = 0;
    consumer->first_ns = gather->count > 0 ? now.mono_ns : 0;
    pthread_mutex_lock(&consumer->lock);
    consumer->cursor = cursor;
    consumer->totals.sent += dead ? 0 : n;
    consumer->totals.dead += dead ? n : 0;
    if (!dead) {
        consumer->failures = 0;
        consumer->next_ms = 0;
    }
    pthread_mutex_unlock(&consumer->lock);
}

/* Waits longer each time; says so in the log the first time, and when it has lasted. */
static void on_failure(struct consumer *consumer, const struct err *err, unsigned failures, int64_t asked_ms,
                       struct now now)
{
    const struct config_consumer *config = consumer->config;
    int64_t wait_ms = backoff_ms(failures, config->retry_ms, config->retry_max_ms, asked_ms, &consumer->prng);
    if ((failures & (failures - 1)) == 0) /* 1, 2, 4, 8, … */
        log_warn("consumer \"%s\": %s; trying again, %u times so far", config->name, err->text, failures);
    consumer->try_ns = now.mono_ns + wait_ms * NS_PER_MS;
    pthread_mutex_lock(&consumer->lock);
    consumer->failures = failures;
    consumer->error_ms = now.wall_ms;
    consumer->next_ms = now.wall_ms + wait_ms;
    consumer->error = *err;
    pthread_mutex_unlock(&consumer->lock);
}

/* ---- a file ---- */

static bool join_lines(struct consumer *consumer, size_t n)
{
    const struct str *texts = gather_texts(&consumer->gather);
    buf_clear(&consumer->body);
    for (size_t i = 0; i < n; i++) {
        buf_add_str(&consumer->body, texts[i]);
        buf_add_char(&consumer->body, '\n');
    }
    return !consumer->body.failed;
}

static void to_file(struct consumer *consumer, size_t n, struct now now)
{
    struct err err;
    consumer->trying = n;
    if (!join_lines(consumer, n))
        err_set(&err, ENOMEM, "no memory for the events");
    else if (event_file_append(&consumer->file, buf_str(&consumer->body), now, &err)) {
        on_safe(consumer, n, now, false);
        return;
    }
    on_failure(consumer, &err, consumer->failures + 1, 0, now);
}

/* ---- a webhook ---- */

static bool must_stop(void *user)
{
    struct consumer *consumer = user;
    struct now now = clock_now();
    pthread_mutex_lock(&consumer->lock);
    if (consumer->ending && consumer->stop_by_ns == 0)
        consumer->stop_by_ns = now.mono_ns + CONSUMER_STOP_MS * NS_PER_MS;
    bool stop = consumer->stop_by_ns != 0 && now.mono_ns >= consumer->stop_by_ns;
    pthread_mutex_unlock(&consumer->lock);
    return stop;
}

/* A line: {"time","consumer","status","error","events":[…]}. */
static bool bury(struct consumer *consumer, size_t n, const struct webhook_answer *answer, struct now now,
                 struct err *err)
{
    const struct str *texts = gather_texts(&consumer->gather);
    struct buf *line = &consumer->body;
    json_t *root = json_object();
    js_set(root, "time", js_time(now.wall_ms));
    js_set(root, "consumer", json_string(consumer->config->name));
    js_set_int(root, "status", answer->status);
    js_set(root, "error", js_text(str_of(answer->err.text)));
    buf_clear(line);
    js_write(line, root);
    if (line->len > 0)
        line->len--; /* its closing brace */
    buf_add_z(line, ",\"events\":[");
    for (size_t i = 0; i < n; i++) {
        buf_add_z(line, i > 0 ? "," : "");
        buf_add_str(line, texts[i]);
    }
    buf_add_z(line, "]}\n");
    if (line->failed)
        return err_set(err, ENOMEM, "no memory for the dead letters");
    return event_file_append(&consumer->dead_letters, buf_str(line), now, err);
}

static void on_refused(struct consumer *consumer, size_t n, const struct webhook_answer *answer,
                       struct now now)
{
    bool of_content = answer->status == 400 || answer->status == 413 || answer->status == 422;
    struct err err;
    if (of_content && n > 1) {
        consumer->limit = n / 2;
        consumer->trying = 0;
        return;
    }
    if (!bury(consumer, n, answer, now, &err)) {
        on_failure(consumer, &err, consumer->failures + 1, 0, now);
        return;
    }
    unsigned letters = ++consumer->letters;
    if ((letters & (letters - 1)) == 0)
        log_warn("consumer \"%s\": %s; %zu events, %" PRIu64
                 " the first, are put into %s, letter %u of this run",
                 consumer->config->name, answer->err.text, n, consumer->gather.records[0].seq,
                 consumer->dead_letters.settings.path, letters);
    on_safe(consumer, n, now, true);
    if (++consumer->refused > 1)
        on_failure(consumer, &answer->err, consumer->refused, answer->retry_after_ms, now);
}

static void to_webhook(struct consumer *consumer, size_t n, struct now now)
{
    struct gather *gather = &consumer->gather;
    char headers[SHAPE_HEADERS_MAX][SHAPE_HEADER_SIZE], id[NAME_MAX_BYTES + 64];
    uint64_t first = gather->records[0].seq, last = gather->records[n - 1].seq;
    struct shape_context context = {consumer->config, webhook_secret(consumer->webhook), now.wall_ms};
    struct webhook_request request = {.id = id, .headers = headers};
    struct webhook_answer answer = {.result = WEBHOOK_LATER};
    snprintf(id, sizeof id, "%s-%" PRIu64 "-%" PRIu64, consumer->config->name, first, last);
    buf_clear(&consumer->body);
    request.header_count = shape_headers(&context, first, headers);
    if (shape_body(&context, first, gather_texts(gather), n, &consumer->body)) {
        request.body = buf_str(&consumer->body);
        webhook_post(consumer->webhook, &request, now, must_stop, consumer, &answer);
    } else {
        err_set(&answer.err, ENOMEM, "no memory for the request");
    }
    now = clock_now();
    consumer->trying = n;
    if (answer.result == WEBHOOK_REFUSED) {
        on_refused(consumer, n, &answer, now);
    } else if (answer.result == WEBHOOK_LATER) {
        on_failure(consumer, &answer.err, consumer->failures + 1, answer.retry_after_ms, now);
    } else {
        consumer->refused = 0;
        if (consumer->limit < consumer->config->batch)
            consumer->limit =
                consumer->limit * 2 < consumer->config->batch ? consumer->limit * 2 : consumer->config->batch;
        on_safe(consumer, n, now, false);
    }
}

/* ---- a round ---- */

static void gather_page(struct consumer *consumer, struct now now)
{
    struct gather *gather = &consumer->gather;
    bool had = gather->count > 0;
    gather_more(gather, consumer->begin.store);
    if (!had && gather->count > 0)
        consumer->first_ns = now.mono_ns;
    pthread_mutex_lock(&consumer->lock);
    consumer->totals.dropped += gather->missed - consumer->said_missed;
    consumer->oldest_ms = gather->count > 0 ? gather->records[0].time_ms : gather->seen_ms;
    consumer->cursor = gather_read(gather, 0); /* beyond what it does not want */
    pthread_mutex_unlock(&consumer->lock);
    if (gather->missed > consumer->said_missed)
        log_warn("consumer \"%s\" has missed %" PRIu64
                 " events: the event log was full, and it says on_full: drop",
                 consumer->config->name, gather->missed - consumer->said_missed);
    consumer->said_missed = gather->missed;
}

static size_t count_due(const struct consumer *consumer, struct now now)
{
    const struct gather *gather = &consumer->gather;
    size_t most = shape_is_single(consumer->config->shape) && consumer->webhook != NULL ? 1 : consumer->limit;
    bool lingered = now.mono_ns - consumer->first_ns >= consumer->config->linger_ms * NS_PER_MS;
    if (consumer->trying > 0)
        return now.mono_ns < consumer->try_ns ? 0 : consumer->trying;
    if (gather->count == 0 || now.mono_ns < consumer->try_ns ||
        (!lingered && !gather_full(gather) && gather->count < most))
        return 0;
    return gather->count < most ? gather->count : most;
}

/* One bounded piece of work; returns when to call again, in mono_ns. */
static int64_t consumer_step(struct consumer *consumer, struct now now)
{
    uint64_t before = consumer->gather.read;
    gather_page(consumer, now);
    size_t n = count_due(consumer, now);
    if (n > 0 && consumer->webhook != NULL)
        to_webhook(consumer, n, now);
    else if (n > 0)
        to_file(consumer, n, now);
    post_cursor(consumer, clock_now());
    if (n > 0 ? now.mono_ns >= consumer->try_ns : consumer->gather.read != before)
        return now.mono_ns;
    int64_t next_ns = now.mono_ns + POLL_NS;
    int64_t linger_ns = consumer->first_ns + consumer->config->linger_ms * NS_PER_MS;
    if (consumer->gather.count > 0 && linger_ns > now.mono_ns && linger_ns < next_ns)
        next_ns = linger_ns;
    return consumer->try_ns > now.mono_ns && consumer->try_ns < next_ns ? consumer->try_ns : next_ns;
}

/* ---- its thread ---- */

static void wait_until(struct consumer *consumer, int64_t until_ns)
{
    struct timespec until = {.tv_sec = until_ns / NS_PER_S, .tv_nsec = until_ns % NS_PER_S};
    pthread_mutex_lock(&consumer->lock);
    while (!consumer->ending && clock_now().mono_ns < until_ns)
        pthread_cond_timedwait(&consumer->wake, &consumer->lock, &until);
    pthread_mutex_unlock(&consumer->lock);
}

static bool is_ending(struct consumer *consumer)
{
    pthread_mutex_lock(&consumer->lock);
    bool ending = consumer->ending;
    pthread_mutex_unlock(&consumer->lock);
    return ending;
}

/* The last cursor. The store always answers; a post that is under way is followed by one more. */
static void settle_cursor(struct consumer *consumer)
{
    for (unsigned n = 0; n < 2; n++) {
        post_cursor(consumer, clock_now());
        pthread_mutex_lock(&consumer->lock);
        while (consumer->committing) {
            int64_t until_ns = clock_now().mono_ns + NS_PER_S;
            struct timespec until = {.tv_sec = until_ns / NS_PER_S, .tv_nsec = until_ns % NS_PER_S};
            pthread_cond_timedwait(&consumer->wake, &consumer->lock, &until);
        }
        pthread_mutex_unlock(&consumer->lock);
    }
}

static void *consumer_thread(void *user)
{
    struct consumer *consumer = user;
    setpriority(PRIO_PROCESS, (id_t)gettid(), NICE); /* on Linux, of the thread */
    while (!is_ending(consumer)) {
        struct now now = clock_now();
        int64_t next_ns = consumer_step(consumer, now);
        if (next_ns > now.mono_ns)
            wait_until(consumer, next_ns);
    }
    settle_cursor(consumer);
    return NULL;
}

static bool prepare(struct consumer *consumer, struct err *err)
{
    const struct config_consumer *config = consumer->config;
    struct event_file_settings file = {config->file, config->rotate_size, config->rotate_age_ms,
                                       config->keep};
    struct event_file_settings dead = {consumer->dead_path, config->rotate_size, 0, config->keep};
    config_dead_letters(config, consumer->begin.state_directory, consumer->dead_path);
    event_file_init(&consumer->file, &file);
    event_file_init(&consumer->dead_letters, &dead);
    buf_init(&consumer->body, 2 * (size_t)CONSUMER_BYTES_MAX);
    if (!gather_init(&consumer->gather, config, consumer->begin.hostname, consumer->begin.cursor))
        return err_set(err, ENOMEM, "no memory for the consumer \"%s\"", config->name);
    if (config->webhook[0] == '\0')
        return true;
    consumer->webhook = webhook_create(config, err);
    return consumer->webhook != NULL || err_prefix(err, "consumer \"%s\"", config->name);
}

void consumer_destroy(struct consumer *consumer)
{
    gather_free(&consumer->gather);
    event_file_close(&consumer->file);
    event_file_close(&consumer->dead_letters);
    webhook_free(consumer->webhook);
    buf_free(&consumer->body);
    pthread_cond_destroy(&consumer->wake);
    pthread_mutex_destroy(&consumer->lock);
    free(consumer);
}

struct consumer *consumer_start(const struct consumer_begin *begin, struct err *err)
{
    struct consumer *consumer = calloc(1, sizeof *consumer);
    pthread_condattr_t monotonic;
    if (consumer == NULL) {
        err_set(err, ENOMEM, "no memory for the consumer \"%s\"", begin->config->name);
        return NULL;
    }
    consumer->begin = *begin;
    consumer->config = begin->config;
    consumer->limit = begin->config->batch;
    consumer->cursor = consumer->posted = consumer->committed = begin->cursor;
    consumer->totals = begin->totals;
    consumer->prng.state = prng_seed();
    pthread_mutex_init(&consumer->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&consumer->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (prepare(consumer, err)) {
        int failed = pthread_create(&consumer->thread, NULL, consumer_thread, consumer);
        if (!failed)
            return consumer;
        err_set(err, failed, "cannot start the thread of the consumer \"%s\": %s", begin->config->name,
                strerror(failed));
    }
    consumer_destroy(consumer);
    return NULL;
}

void consumer_ask_to_stop(struct consumer *consumer)
{
    pthread_mutex_lock(&consumer->lock);
    consumer->ending = true;
    pthread_cond_signal(&consumer->wake);
    pthread_mutex_unlock(&consumer->lock);
    if (consumer->webhook != NULL)
        webhook_wake(consumer->webhook);
}

void consumer_end(struct consumer *consumer)
{
    pthread_join(consumer->thread, NULL);
}

void consumer_info(struct consumer *consumer, struct now now, struct consumer_info *info)
{
    uint64_t last = store_event_seq(consumer->begin.store);
    pthread_mutex_lock(&consumer->lock);
    *info = (struct consumer_info){
        .config = consumer->config,
        .cursor = consumer->committed,
        .lag_events = last > consumer->committed ? last - consumer->committed : 0,
        .totals = consumer->totals,
        .failures = consumer->failures,
        .error_ms = consumer->error_ms,
        .next_ms = consumer->next_ms,
    };
    if (consumer->cursor < last && consumer->oldest_ms > 0 && now.wall_ms > consumer->oldest_ms)
        info->lag_ms = now.wall_ms - consumer->oldest_ms;
    info->error = consumer->error;
    pthread_mutex_unlock(&consumer->lock);
}
