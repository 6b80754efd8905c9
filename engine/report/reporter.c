/* reporter.c - see reporter.h. A round either finds that the commit under way is done, or asks for what is
 * due, composes it and posts the commit. */
#include "engine/report/reporter.h"

#include "engine/base/log.h"
#include "engine/base/prng.h"
#include "engine/message/address.h"
#include "engine/message/envelope.h"
#include "engine/message/template.h"
#include "engine/report/dsn.h"
#include "engine/tls/digest.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define RCPTS_MAX     500
#define POLL_NS       (500 * NS_PER_MS) /* new failures are not announced: they are asked for */
#define AFTER_FULL_NS (30 * NS_PER_S)

struct reporter {
    struct store *store;
    const char *hostname;
    struct admit *admit; /* under way, or NULL */
    atomic_int result;   /* of it; -1: not done */
    /* What is being put together. */
    struct dsn_rcpt rcpts[RCPTS_MAX];
    char *texts[RCPTS_MAX]; /* what their views point into */
    size_t count;
    struct rid rids[RCPTS_MAX]; /* whom the report is about */
    uint32_t rid_n;
    /* The thread. */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool ending;
    pthread_t thread;
};

/* ---- what is reported ---- */

static struct str copy_text(char **at, struct str text)
{
    struct str copy = {*at, text.n};
    if (text.n > 0)
        memcpy(*at, text.p, text.n);
    *at += text.n;
    return copy;
}

static bool collect(const struct rcpt_info *info, void *user)
{
    struct reporter *reporter = user;
    char *text = malloc(info->to.n + info->orcpt.n + info->reply.n + info->mx.n + 1);
    if (text == NULL || reporter->count == RCPTS_MAX) {
        free(text);
        return false;
    }
    reporter->texts[reporter->count] = text;
    reporter->rcpts[reporter->count++] = (struct dsn_rcpt){
        .to = copy_text(&text, info->to),
        .orcpt = copy_text(&text, info->orcpt),
        .reply = copy_text(&text, info->reply),
        .mx = copy_text(&text, info->mx),
        .status = info->status,
        .code = info->code,
        .last_ms = info->attempts > 0 ? info->last_ms : 0,
        .attempts = info->attempts,
        .expired = info->state == RCPT_EXPIRED,
    };
    return true;
}

static void drop_rcpts(struct reporter *reporter)
{
    for (size_t i = 0; i < reporter->count; i++)
        free(reporter->texts[i]);
    reporter->count = 0;
}

/* ---- what had been sent ---- */

static bool join(const struct rendition *rendition, struct buf *out)
{
    buf_clear(out);
    for (size_t i = 0; i < rendition->count; i++)
        buf_add(out, rendition->parts[i].iov_base, rendition->parts[i].iov_len);
    return !out->failed;
}

/* Renders a compiled message for the first recipient. */
static bool render(const void *content, size_t size, const struct render_args *args, struct buf *out,
                   bool *eight_bit)
{
    struct template template;
    struct rendition rendition = {0};
    struct err err;
    bool done = template_open(content, size, &template, &err) &&
                template_render(&template, args, &rendition, &err) && join(&rendition, out);
    *eight_bit = done && rendition.has_8bit;
    rendition_free(&rendition);
    return done;
}

/* The same message in 7 bits, for what is returned in full. */
static void downgrade(struct buf *message, const struct render_args *args)
{
    struct message_spec spec = {.raw = buf_str(message), .merge = MESSAGE_MERGE_NO, .seven_bit = true};
    struct buf content;
    struct err err;
    bool eight_bit;
    buf_init(&content, CONTENT_MAX);
    if (template_compile(&spec, &content, &err))
        render(content.data, content.len, args, message, &eight_bit);
    buf_free(&content);
}

/* The first recipient's rendition stands for all; what can't be had leaves `out` empty. whole: all of it is
 * returned, in 7 bits. */
static void original_of(struct reporter *reporter, const struct job_info *job, struct rid rid, bool whole,
                        struct buf *out)
{
    struct rcpt_info info;
    size_t size;
    char rid_text[RID_TEXT_MAX], job_text[24];
    bool eight_bit;
    void *content = query_content(reporter->store, job->id, &size);
    rcpt_info_init(&info);
    if (content != NULL && query_rcpt(reporter->store, rid, &info)) {
        struct render_args args = {.vars = info.vars, .to = info.to, .id = info.id, .unstuffed = true};
        args.rid = str_make(rid_text, rid_format(rid, rid_text));
        args.job = str_make(job_text, (size_t)snprintf(job_text, sizeof job_text, "%" PRIu64, job->id));
        if (!render(content, size, &args, out, &eight_bit))
            buf_clear(out);
        else if (eight_bit && whole && out->len <= DSN_ORIGINAL_MAX)
            downgrade(out, &args);
    }
    rcpt_info_free(&info);
    free(content);
}

/* ---- the report ---- */

struct first {
    struct reporter *reporter;
    struct rid rid;
    bool known;
};

static bool collect_first(const struct rcpt_info *info, void *user)
{
    struct first *first = user;
    if (!first->known)
        first->rid = info->rid;
    first->known = true;
    return collect(info, first->reporter);
}

/* How much of the message is returned. */
enum { AS_ASKED, HEADER_ONLY, NOTHING_OF_IT, AMOUNTS };

static bool compose(struct reporter *reporter, const struct dsn_due *due, const struct job_info *job,
                    unsigned amount, struct now now, struct buf *out, struct err *err)
{
    struct first first = {.reporter = reporter};
    struct buf original;
    char unique[64], job_text[24];
    buf_init(&original, CONTENT_MAX);
    reporter->rid_n = query_dsn_rcpts(reporter->store, due, reporter->rids, collect_first, &first);
    if (reporter->count == 0) { /* their rows are damaged: say that something failed, rather than nothing */
        reporter->texts[0] = NULL;
        reporter->rcpts[0] = (struct dsn_rcpt){.to = STR("unknown")};
        reporter->count = 1;
    }
    bool full = job->ret == RET_FULL && amount == AS_ASKED;
    bool whole = full && due->kind == DSN_FAILED && !dsn_is_global(str_of(due->return_path));
    if (first.known && amount != NOTHING_OF_IT)
        original_of(reporter, job, first.rid, whole, &original);
    int n = snprintf(unique, sizeof unique, "%" PRIu64 ".%" PRIx64 ".%" PRIx64, due->job,
                     (uint64_t)now.wall_ms, prng_seed());
    struct dsn_report report = {
        .kind = due->kind,
        .hostname = str_of(reporter->hostname),
        .return_path = str_of(due->return_path),
        .envid = str_of(job->envid),
        .job = str_make(job_text, (size_t)snprintf(job_text, sizeof job_text, "%" PRIu64, due->job)),
        .unique = str_make(unique, (size_t)n),
        .arrival_ms = job->created_ms,
        .now_ms = now.wall_ms,
        .until_ms = job->expires_ms,
        .full = full,
        .original = buf_str(&original),
        .rcpts = reporter->rcpts,
        .count = reporter->count,
    };
    bool done = dsn_compose(&report, out, err);
    buf_free(&original);
    drop_rcpts(reporter);
    return done;
}

static void on_done(struct admit *admit, enum admit_result result, void *user)
{
    struct reporter *reporter = user;
    (void)admit;
    pthread_mutex_lock(&reporter->lock);
    atomic_store(&reporter->result, (int)result);
    pthread_cond_signal(&reporter->wake);
    pthread_mutex_unlock(&reporter->lock);
}

/* Posts the report as a job; it is under way when this returns true. */
static bool admit_report(struct reporter *reporter, const struct dsn_due *due, const struct job_info *job,
                         struct str message, struct now now, struct err *err)
{
    struct message_spec source = {.raw = message, .merge = MESSAGE_MERGE_NO, .date_ms = now.wall_ms};
    struct job_spec spec = {.tenant = str_of(job->tenant),
                            .campaign = str_of(job->campaign),
                            .pool = str_of(job->pool),
                            .class_ = CLASS_TRANSACTIONAL,
                            .bounces = BOUNCES_NONE,
                            .notify = NOTIFY_NEVER,
                            .same_for_all = true,
                            .is_dsn = true};
    struct address address;
    struct rcpt_spec rcpt = {.to = str_of(due->return_path)};
    char postmaster[ADDRESS_MAX];
    struct buf content;
    if (!address_parse(rcpt.to, &address, err)) {
        int n = snprintf(postmaster, sizeof postmaster, "postmaster@%s", reporter->hostname);
        log_warn("report of job %" PRIu64 ": its return path is no address (%s); postmaster gets it",
                 due->job, err->text);
        rcpt.to = str_make(postmaster, (size_t)n);
        if (!address_parse(rcpt.to, &address, err))
            return false;
    }
    rcpt.domain = address_domain(&address);
    buf_init(&content, CONTENT_MAX);
    if (template_compile(&source, &content, err)) {
        spec.content = content.data;
        spec.content_size = content.len;
        spec.message_size = message.n;
        if (content.len > FRESH_CONTENT_MAX)
            digest_of(content.data, content.len, spec.content_hash);
        reporter->admit = admit_begin(reporter->store, &spec, now, err);
    }
    buf_free(&content);
    if (reporter->admit == NULL)
        return false;
    if (!admit_add(reporter->admit, &rcpt, err)) {
        admit_free(reporter->admit);
        reporter->admit = NULL;
        return false;
    }
    const struct admit_consumes consumes = {.set = true,
                                            .kind = due->kind,
                                            .job = due->job,
                                            .return_path = str_of(due->return_path),
                                            .rids = reporter->rids,
                                            .count = reporter->rid_n};
    atomic_store(&reporter->result, -1);
    admit_commit(reporter->admit, NULL, &consumes, on_done, reporter);
    return true;
}

/* Asks for the next report and posts it; returns when to ask again. What is at the limit of a message itself
 * (its fields, the depth of its parts) is beyond that as a part of one: less of it is returned then, for a
 * report that can't be made would hold up all others. */
static int64_t next_report(struct reporter *reporter, struct now now)
{
    struct dsn_due due;
    struct job_info job;
    struct buf message;
    struct err err;
    int64_t next_ms;
    if (!query_dsn_due(reporter->store, now, &due, &next_ms)) {
        int64_t wait_ns = next_ms == INT64_MAX ? POLL_NS : (next_ms - now.wall_ms) * NS_PER_MS;
        return now.mono_ns + (wait_ns < POLL_NS ? wait_ns : POLL_NS);
    }
    if (!query_job(reporter->store, due.job, &job))
        job = (struct job_info){
            .id = due.job, .created_ms = now.wall_ms, .tenant = "default", .pool = "default"};
    buf_init(&message, DSN_MESSAGE_MAX);
    bool posted = false;
    for (unsigned amount = AS_ASKED; amount < AMOUNTS && !posted; amount++) {
        buf_clear(&message);
        posted = compose(reporter, &due, &job, amount, now, &message, &err) &&
                 admit_report(reporter, &due, &job, buf_str(&message), now, &err);
    }
    buf_free(&message);
    if (posted)
        return now.mono_ns + POLL_NS;
    log_error("report of job %" PRIu64 " to %s: %s; trying again", due.job, due.return_path, err.text);
    return now.mono_ns + AFTER_FULL_NS;
}

int64_t reporter_step(struct reporter *reporter, struct now now)
{
    if (reporter->admit == NULL)
        return next_report(reporter, now);
    int result = atomic_load(&reporter->result);
    if (result < 0)
        return now.mono_ns + POLL_NS;
    admit_free(reporter->admit);
    reporter->admit = NULL;
    if (result != ADMIT_OK)
        return now.mono_ns + AFTER_FULL_NS;
    return now.mono_ns;
}

/* ---- its thread ---- */

bool reporter_is_busy(const struct reporter *reporter)
{
    return reporter->admit != NULL && atomic_load(&reporter->result) < 0;
}

static bool may_end(const struct reporter *reporter)
{
    return reporter->ending && !reporter_is_busy(reporter);
}

static void *reporter_thread(void *user)
{
    struct reporter *reporter = user;
    for (;;) {
        int64_t next_ns = reporter_step(reporter, clock_now());
        pthread_mutex_lock(&reporter->lock);
        while (!may_end(reporter) && clock_now().mono_ns < next_ns &&
               !(reporter->admit != NULL && atomic_load(&reporter->result) >= 0)) {
            struct timespec until = {.tv_sec = next_ns / NS_PER_S, .tv_nsec = next_ns % NS_PER_S};
            pthread_cond_timedwait(&reporter->wake, &reporter->lock, &until);
        }
        bool end = may_end(reporter);
        pthread_mutex_unlock(&reporter->lock);
        if (end)
            return NULL;
    }
}

struct reporter *reporter_create(struct store *store, const struct config *config, struct err *err)
{
    struct reporter *reporter = calloc(1, sizeof *reporter);
    pthread_condattr_t monotonic;
    if (reporter == NULL) {
        err_set(err, ENOMEM, "no memory for the delivery reports");
        return NULL;
    }
    reporter->store = store;
    reporter->hostname = config->hostname;
    pthread_mutex_init(&reporter->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&reporter->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return reporter;
}

void reporter_destroy(struct reporter *reporter)
{
    if (reporter->admit != NULL)
        admit_free(reporter->admit);
    pthread_cond_destroy(&reporter->wake);
    pthread_mutex_destroy(&reporter->lock);
    free(reporter);
}

struct reporter *reporter_start(struct store *store, const struct config *config, struct err *err)
{
    struct reporter *reporter = reporter_create(store, config, err);
    if (reporter == NULL)
        return NULL;
    int failed = pthread_create(&reporter->thread, NULL, reporter_thread, reporter);
    if (!failed)
        return reporter;
    reporter_destroy(reporter);
    err_set(err, failed, "cannot start the thread of the delivery reports: %s", strerror(failed));
    return NULL;
}

void reporter_stop(struct reporter *reporter)
{
    pthread_mutex_lock(&reporter->lock);
    reporter->ending = true;
    pthread_cond_signal(&reporter->wake);
    pthread_mutex_unlock(&reporter->lock);
    pthread_join(reporter->thread, NULL);
    reporter_destroy(reporter);
}
