/* Random operations against the store and its model, which must agree after each batch of them; with power
 * cuts between and in the middle of operations.
 *
 * Each seed is a run of its own: POSTRIDER_SEED=n runs one, POSTRIDER_SEEDS=n so many from a seed that is
 * printed. What fails prints its seed and what was done last. */
#include "tests/unit/store_compare.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define STEPS      120
#define SEEDS      12
#define RCPTS_MAX  900
#define VARS_LARGE 6000 /* does not fit a value: a batch of several parts */
#define KEYS_MAX   64

struct world {
    struct rig rig;
    struct {
        uint8_t hash[32], digest[32];
        char answer[64];
        int64_t expires_ms;
    } keys[KEYS_MAX];
    size_t key_count;
};

static uint64_t below(struct rig *rig, uint64_t bound)
{
    return prng_below(&rig->prng, bound);
}

static const char *pick(struct rig *rig, const char *const *list, size_t n)
{
    return list[below(rig, n)];
}

#define PICK(rig, list) pick((rig), (list), sizeof(list) / sizeof *(list))

static void must(struct rig *rig, bool good)
{
    if (!good)
        rig_fail(rig, "%s", rig->complaint);
}

/* ---- admit ---- */

static const char *const tenants[] = {"default", "acme", "zeta"};
static const char *const campaigns[] = {"", "spring", "autumn"};
static const char *const pools[] = {"", "fast"};
static const char *const domains[] = {"a.example",      "b.example", "c.example",
                                      "mail.d.example", "e.example", "xn--bcher-kva.example",
                                      "g.example"};
static const char *const senders[] = {"news@acme.example", "b-{{rid}}@acme.example", ""};

struct post {
    unsigned done;
    enum admit_result result;
};

static void on_post(struct admit *admit, enum admit_result result, void *user)
{
    struct post *post = user;
    (void)admit;
    post->done++;
    post->result = result;
}

struct upload {
    struct job_spec spec;
    struct model_job *job;
    struct admit *admit;
    char content[512];
    bool posted;
};

static void random_spec(struct world *world, struct job_spec *spec)
{
    struct rig *rig = &world->rig;
    *spec = (struct job_spec){.tenant = str_of(PICK(rig, tenants)),
                              .campaign = str_of(PICK(rig, campaigns)),
                              .pool = str_of(PICK(rig, pools)),
                              .from = str_of(PICK(rig, senders))};
    spec->class_ = below(rig, 4) ? CLASS_BULK : CLASS_TRANSACTIONAL;
    spec->bounces = (enum job_bounces)below(rig, 3);
    spec->notify = below(rig, 3) ? 0 : (uint8_t)(1 + below(rig, 4));
    spec->envid = STR("env");
    spec->metadata = STR("{\"k\":\"v\"}");
    if (below(rig, 4) == 0)
        spec->not_before_ms = rig->second_ms + (int64_t)below(rig, 30) * MS_PER_S;
    spec->lifetime_ms = below(rig, 3) ? (int64_t)(60 + below(rig, 1200)) * MS_PER_S : 0;
}

/* Few contents, so that jobs share some. */
static void random_content(struct world *world, struct upload *up)
{
    uint64_t n = below(&world->rig, 5);
    size_t size = 1 + (size_t)n * 97;
    memset(up->content, 'a' + (int)n, sizeof up->content);
    up->spec.content = up->content;
    up->spec.content_size = size;
    up->spec.message_size = size;
    memset(up->spec.content_hash, (int)n + 1, sizeof up->spec.content_hash);
}

static void add_rcpt(struct world *world, struct upload *up)
{
    struct rig *rig = &world->rig;
    char to[64], id[16], vars[VARS_LARGE];
    struct err err;
    const char *domain = PICK(rig, domains);
    size_t number = up->job->count;
    (void)snprintf(to, sizeof to, "u%u@%s", (unsigned)below(rig, 400), domain);
    (void)snprintf(id, sizeof id, "%zu", number);
    size_t size = below(rig, 200) == 0 ? VARS_LARGE : (size_t)below(rig, 40);
    memset(vars, model_vars_byte(up->job->id, (uint32_t)number), size);
    struct rcpt_spec spec = {.to = str_of(to), .domain = str_of(domain), .id = str_of(id)};
    spec.vars = str_make(vars, size);
    spec.notify = below(rig, 5) ? 0 : (uint8_t)(1 + below(rig, 4));
    if (!admit_add(up->admit, &spec, &err))
        rig_fail(rig, "admit_add: %s", err.text);
    model_add_rcpt(up->job, &spec, (uint32_t)size);
}

static void post_window(struct world *world, struct upload *up)
{
    struct post post = {0};
    admit_post(up->admit, on_post, &post);
    rig_settle_down(&world->rig);
    if (post.done != 1 || post.result != ADMIT_OK)
        rig_fail(&world->rig, "a window was answered %u times, with %d", post.done, (int)post.result);
    up->posted = true;
}

static void upload_begin(struct world *world, struct upload *up, size_t count)
{
    struct rig *rig = &world->rig;
    struct err err;
    struct now now = {.mono_ns = rig->now.mono_ns, .wall_ms = rig->second_ms};
    *up = (struct upload){0};
    random_spec(world, &up->spec);
    random_content(world, up);
    up->admit = admit_begin(rig->store, &up->spec, now, &err);
    if (!up->admit)
        rig_fail(rig, "admit_begin: %s", err.text);
    up->job = model_job_new(admit_job(up->admit), &up->spec, rig->second_ms, rig->settings.lifetime_ms);
    if (model_job(&rig->model, up->job->id))
        rig_fail(rig, "job %llu was given out twice", (unsigned long long)up->job->id);
    bool windows = below(rig, 3) == 0;
    for (size_t i = 0; i < count; i++) {
        add_rcpt(world, up);
        if (windows && i + 1 < count && below(rig, 150) == 0)
            post_window(world, up);
    }
}

static void new_key(struct world *world, struct admit_key *key)
{
    struct rig *rig = &world->rig;
    size_t n = world->key_count++;
    for (unsigned i = 0; i < 32; i++) {
        world->keys[n].hash[i] = (uint8_t)prng_next(&rig->prng);
        world->keys[n].digest[i] = (uint8_t)prng_next(&rig->prng);
    }
    (void)snprintf(world->keys[n].answer, sizeof world->keys[n].answer, "{\"answer\":%zu}", n);
    key->set = true;
    memcpy(key->key_hash, world->keys[n].hash, 32);
    memcpy(key->digest, world->keys[n].digest, 32);
    key->ttl_ms = (int64_t)(10 + below(rig, 200)) * MS_PER_S;
    key->answer = str_of(world->keys[n].answer);
    world->keys[n].expires_ms = rig->second_ms + key->ttl_ms;
}

static size_t random_count(struct rig *rig)
{
    uint64_t kind = below(rig, 8);
    return kind == 0 ? 1 : kind == 1 ? (size_t)(1 + below(rig, RCPTS_MAX)) : (size_t)(1 + below(rig, 60));
}

static void do_admit(struct world *world)
{
    struct rig *rig = &world->rig;
    struct upload up;
    struct post post = {0};
    struct admit_key key = {0};
    upload_begin(world, &up, random_count(rig));
    rig_note(rig, "admit job %llu, %zu recipients, of %s", (unsigned long long)up.job->id, up.job->count,
             up.job->tenant);
    if (world->key_count < KEYS_MAX && below(rig, 3) == 0)
        new_key(world, &key);
    admit_commit(up.admit, &key, NULL, on_post, &post);
    rig_settle_down(rig);
    if (post.done != 1 || post.result != ADMIT_OK)
        rig_fail(rig, "a commit was answered %u times, with %d", post.done, (int)post.result);
    admit_free(up.admit);
    model_admit(&rig->model, up.job);
    model_time(&rig->model, rig->second_ms);
}

/* The same key again: refused, and nothing is left of the job. */
static void do_admit_again(struct world *world)
{
    struct rig *rig = &world->rig;
    struct upload up;
    struct post post = {0};
    if (!world->key_count)
        return;
    size_t n = (size_t)below(rig, world->key_count);
    if (world->keys[n].expires_ms <= rig->second_ms + MS_PER_S)
        return;
    rig_note(rig, "admit with key %zu again", n);
    struct admit_key key = {.set = true, .ttl_ms = 60 * MS_PER_S, .answer = STR("no")};
    memcpy(key.key_hash, world->keys[n].hash, 32);
    upload_begin(world, &up, random_count(rig));
    admit_commit(up.admit, &key, NULL, on_post, &post);
    rig_settle_down(rig);
    if (post.done != 1 || post.result != ADMIT_KEY_TAKEN)
        rig_fail(rig, "a key that is taken was answered %u times, with %d", post.done, (int)post.result);
    admit_free(up.admit);
    model_job_free(up.job);
    rig_settle_down(rig);
}

static void do_give_up(struct world *world)
{
    struct rig *rig = &world->rig;
    struct upload up;
    upload_begin(world, &up, random_count(rig));
    rig_note(rig, "give up the upload of job %llu", (unsigned long long)up.job->id);
    if (!up.posted && below(rig, 2))
        post_window(world, &up);
    rig->uploads = up.posted;
    must(rig, compare_all(rig)); /* nothing of it shows */
    admit_free(up.admit);
    model_job_free(up.job);
    rig_settle_down(rig);
    rig->uploads = 0;
}

static void check_keys(struct world *world)
{
    struct rig *rig = &world->rig;
    for (size_t n = 0; n < world->key_count; n++) {
        struct buf answer;
        uint8_t digest[32];
        buf_init(&answer, 1000);
        bool found = store_key_find(rig->store, world->keys[n].hash, rig->now, digest, &answer);
        if (found != (world->keys[n].expires_ms > rig->second_ms))
            rig_fail(rig, "key %zu is known: %d", n, found);
        if (found && (memcmp(digest, world->keys[n].digest, 32) != 0 ||
                      !str_eq(buf_str(&answer), str_of(world->keys[n].answer))))
            rig_fail(rig, "key %zu gives another answer", n);
        buf_free(&answer);
    }
}

/* ---- take and settle ---- */

static void do_take(struct world *world)
{
    struct rig *rig = &world->rig;
    if (below(rig, 3) == 0) {
        rig_note(rig, "take all");
        rig_take_all(rig, 1000);
        return;
    }
    for (size_t i = 0; i < rig->lane_count; i++)
        if (rig->lanes[i].ready && below(rig, 2)) {
            unsigned want = (unsigned)(1 + below(rig, 20));
            unsigned n = rig_take(rig, i, want);
            rig_note(rig, "take %u of lane %u: %u", want, rig->lanes[i].lane, n);
        }
}

static enum outcome random_outcome(struct rig *rig)
{
    static const enum outcome outcomes[] = {
        OUTCOME_RELEASED, OUTCOME_DELIVERED, OUTCOME_DELIVERED, OUTCOME_DELIVERED, OUTCOME_DEFERRED,
        OUTCOME_DEFERRED, OUTCOME_DEFERRED,  OUTCOME_BOUNCED,   OUTCOME_BOUNCED,   OUTCOME_EXPIRED,
    };
    return outcomes[below(rig, 10)];
}

/* Posts a random part of what is held; returns what the model is to be told. */
static struct model_settle *settle_some(struct rig *rig, size_t *count)
{
    size_t n = rig->held_count ? 1 + (size_t)below(rig, rig->held_count) : 0;
    struct model_settle *settles = calloc(n + 1, sizeof *settles);
    struct taken *list = NULL;
    if (!settles)
        abort();
    for (size_t i = 0; i < n; i++) {
        struct taken *taken = rig_unhold(rig, (size_t)below(rig, rig->held_count));
        rig_decide(rig, taken, random_outcome(rig), &settles[i]);
        taken->next = list;
        list = taken;
        if (below(rig, 50) == 0) {
            store_settle(rig->store, list);
            list = NULL;
        }
    }
    if (list)
        store_settle(rig->store, list);
    *count = n;
    return settles;
}

static void do_settle(struct world *world)
{
    struct rig *rig = &world->rig;
    size_t n;
    struct model_settle *settles = settle_some(rig, &n);
    rig_note(rig, "settle %zu", n);
    rig_settle_down(rig);
    for (size_t i = 0; i < n; i++)
        model_settle(&rig->model, &settles[i]);
    free(settles);
    model_time(&rig->model, rig->second_ms);
}

/* ---- operations ---- */

struct answer {
    unsigned done;
    struct op_progress progress;
};

static void on_operation(const struct op_progress *progress, void *user)
{
    struct answer *answer = user;
    answer->done++;
    answer->progress = *progress;
}

static enum op_kind random_operation(struct rig *rig, struct store_filter *filter)
{
    static const enum op_kind on_job[] = {OP_PAUSE, OP_PAUSE, OP_RESUME, OP_RESUME, OP_CANCEL, OP_RETRY};
    static const char *const patterns[] = {"4.2.2", "4.7", "4", "*", "4.7.28"};
    *filter = (struct store_filter){0};
    if (rig->model.count && below(rig, 2)) {
        filter->job = rig->model.jobs[below(rig, rig->model.count)]->id;
        return on_job[below(rig, 6)];
    }
    if (below(rig, 2)) {
        filter->has_status = true;
        if (!status_pattern_parse(str_of(PICK(rig, patterns)), &filter->status))
            abort();
    }
    if (below(rig, 3) == 0)
        filter->tenant = str_of(PICK(rig, tenants));
    if (below(rig, 3) == 0)
        filter->campaign = str_of(campaigns[1 + below(rig, 2)]);
    if (below(rig, 3) == 0)
        filter->domain = str_of(PICK(rig, domains));
    return filter->has_status && below(rig, 3) == 0 ? OP_BOUNCE : OP_RETRY;
}

static void note_operation(struct rig *rig, enum op_kind kind, const struct store_filter *filter)
{
    rig_note(rig, "operation %d, job %llu, tenant %.*s, campaign %.*s, domain %.*s, status %d.%d.%d",
             (int)kind, (unsigned long long)filter->job, STR_ARG(filter->tenant), STR_ARG(filter->campaign),
             STR_ARG(filter->domain), filter->has_status ? filter->status.class_ : 0, filter->status.subject,
             filter->status.detail);
}

static void do_operate(struct world *world)
{
    struct rig *rig = &world->rig;
    struct store_filter filter;
    struct answer answer = {0};
    enum op_kind kind = random_operation(rig, &filter);
    note_operation(rig, kind, &filter);
    store_operate(rig->store, kind, &filter, 3600 * MS_PER_S, on_operation, &answer);
    rig_settle_down(rig);
    struct model_progress want = model_operate(&rig->model, kind, &filter, rig->second_ms);
    const struct op_progress *got = &answer.progress;
    if (answer.done != 1 || !got->done || got->found != want.found)
        rig_fail(rig, "operation answered %u times, done %d, found %d", answer.done, got->done, got->found);
    if (got->changed != want.changed || got->in_flight != want.in_flight)
        rig_fail(rig, "operation changed %llu, in flight %llu, not %llu, %llu",
                 (unsigned long long)got->changed, (unsigned long long)got->in_flight,
                 (unsigned long long)want.changed, (unsigned long long)want.in_flight);
    model_time(&rig->model, rig->second_ms);
}

/* ---- reports ---- */

#define DSN_AT_ONCE    100
#define DSN_QUIET_MS   (5 * MS_PER_S)
#define DSN_LONGEST_MS (60 * MS_PER_S)
#define DSN_RCPTS_MAX  500

struct window {
    uint64_t job;
    char path[MODEL_TEXT];
    size_t count;
    int64_t first_ms, last_ms;
    bool ended;
};

/* The failures that wait with the same return path as this one. */
static struct window window_of(const struct model_job *job, const struct model_rcpt *of)
{
    struct window window = {.job = job->id, .first_ms = INT64_MAX, .ended = job->ended_ms != 0};
    model_return_path(job, of, window.path);
    for (size_t i = 0; i < job->count; i++) {
        const struct model_rcpt *rcpt = &job->rcpts[i];
        char path[MODEL_TEXT];
        if (!rcpt->dsn_pending)
            continue;
        model_return_path(job, rcpt, path);
        if (strcmp(path, window.path) != 0)
            continue;
        window.count++;
        window.first_ms = rcpt->dsn_ms < window.first_ms ? rcpt->dsn_ms : window.first_ms;
        window.last_ms = rcpt->dsn_ms > window.last_ms ? rcpt->dsn_ms : window.last_ms;
    }
    return window;
}

static int64_t window_due_ms(const struct window *window)
{
    if (window->ended || window->count >= DSN_AT_ONCE)
        return window->last_ms;
    int64_t quiet_ms = window->last_ms + DSN_QUIET_MS, longest_ms = window->first_ms + DSN_LONGEST_MS;
    return quiet_ms < longest_ms ? quiet_ms : longest_ms;
}

struct report {
    struct rig *rig;
    const struct model_job *job;
    const struct dsn_due *due;
    struct rid last;
    size_t seen;
};

static bool report_rcpt(const struct rcpt_info *info, void *user)
{
    struct report *report = user;
    struct rig *rig = report->rig;
    char text[RID_TEXT_MAX], path[MODEL_TEXT];
    rid_format(info->rid, text);
    const struct model_rcpt *rcpt = model_rcpt(&rig->model, info->rid);
    if (!rcpt || !rcpt->dsn_pending)
        rig_fail(rig, "%s is to be reported and should not be", text);
    model_return_path(report->job, rcpt, path);
    if (strcmp(path, report->due->return_path) != 0)
        rig_fail(rig, "%s is to be reported to %s, not %s", text, report->due->return_path, path);
    if (report->seen++ && (report->last.batch > info->rid.batch ||
                           (report->last.batch == info->rid.batch && report->last.slot >= info->rid.slot)))
        rig_fail(rig, "%s is reported out of order", text);
    report->last = info->rid;
    must(rig, compare_rcpt(rig, report->job, rcpt, info));
    return true;
}

/* The report itself, a job like any other, admitted in the commit that takes the failures off the list. */
static void admit_report(struct world *world, const struct dsn_due *due)
{
    struct rig *rig = &world->rig;
    struct upload up = {.spec = {.tenant = STR("default"), .class_ = CLASS_TRANSACTIONAL, .is_dsn = true}};
    struct post post = {0};
    struct err err;
    struct now now = {.mono_ns = rig->now.mono_ns, .wall_ms = rig->second_ms};
    random_content(world, &up);
    up.admit = admit_begin(rig->store, &up.spec, now, &err);
    if (!up.admit)
        rig_fail(rig, "admit_begin: %s", err.text);
    up.job = model_job_new(admit_job(up.admit), &up.spec, rig->second_ms, rig->settings.lifetime_ms);
    struct rcpt_spec rcpt = {.to = str_of(due->return_path), .domain = STR("acme.example"), .id = STR("0")};
    if (!admit_add(up.admit, &rcpt, &err))
        rig_fail(rig, "admit_add: %s", err.text);
    model_add_rcpt(up.job, &rcpt, 0);
    struct admit_consumes consumes = {true, due->job, str_of(due->return_path), due->count};
    admit_commit(up.admit, NULL, &consumes, on_post, &post);
    rig_settle_down(rig);
    if (post.done != 1 || post.result != ADMIT_OK)
        rig_fail(rig, "a report was answered %u times, with %d", post.done, (int)post.result);
    admit_free(up.admit);
    model_admit(&rig->model, up.job);
    model_consume_dsn(&rig->model, due->job, due->return_path, due->count);
    model_time(&rig->model, rig->second_ms);
}

static bool report_one(struct world *world)
{
    struct rig *rig = &world->rig;
    struct dsn_due due;
    int64_t next_ms;
    if (!query_dsn_due(rig->store, rig->now, &due, &next_ms)) {
        if (next_ms <= rig->now.wall_ms)
            rig_fail(rig, "no report is due, and the next was at %lld", (long long)next_ms);
        return false;
    }
    const struct model_job *job = model_job(&rig->model, due.job);
    const struct model_rcpt *first = NULL;
    for (size_t i = 0; job && i < job->count && !first; i++) {
        char path[MODEL_TEXT];
        model_return_path(job, &job->rcpts[i], path);
        if (job->rcpts[i].dsn_pending && strcmp(path, due.return_path) == 0)
            first = &job->rcpts[i];
    }
    if (!first)
        rig_fail(rig, "a report of job %llu to %s is due and should not be", (unsigned long long)due.job,
                 due.return_path);
    struct window window = window_of(job, first);
    size_t want = window.count < DSN_RCPTS_MAX ? window.count : DSN_RCPTS_MAX;
    if (due.count != want || window_due_ms(&window) > rig->second_ms)
        rig_fail(rig, "a report of %u failures of job %llu to %s is due, should be of %zu at %lld", due.count,
                 (unsigned long long)due.job, due.return_path, want, (long long)window_due_ms(&window));
    struct report report = {.rig = rig, .job = job, .due = &due};
    query_dsn_rcpts(rig->store, &due, report_rcpt, &report);
    if (report.seen != due.count)
        rig_fail(rig, "a report of %u failures has %zu", due.count, report.seen);
    rig_note(rig, "report %u failures of job %llu to %s", due.count, (unsigned long long)due.job,
             due.return_path);
    admit_report(world, &due);
    return true;
}

static void do_report(struct world *world)
{
    struct rig *rig = &world->rig;
    for (unsigned n = 0; n < 20; n++)
        if (!report_one(world)) {
            /* None left that is due for sure: the store counts from its commit, within the same second. */
            for (size_t i = 0; i < rig->model.count; i++)
                for (size_t k = 0; k < rig->model.jobs[i]->count; k++) {
                    const struct model_job *job = rig->model.jobs[i];
                    if (!job->rcpts[k].dsn_pending)
                        continue;
                    struct window window = window_of(job, &job->rcpts[k]);
                    if (window_due_ms(&window) + MS_PER_S <= rig->second_ms)
                        rig_fail(rig, "a report of job %llu to %s should be due", (unsigned long long)job->id,
                                 window.path);
                }
            return;
        }
}

/* ---- time ---- */

static void do_advance(struct world *world)
{
    struct rig *rig = &world->rig;
    int64_t seconds = (int64_t)(1 + below(rig, 20));
    if (below(rig, 4) == 0)
        seconds = (int64_t)(1 + below(rig, 700));
    rig_note(rig, "advance %lld s", (long long)seconds);
    rig_advance(rig, seconds);
}

/* ---- power cuts ---- */

static void after_crash(struct rig *rig)
{
    rig_settle_down(rig);
    model_crash(&rig->model);
    model_time(&rig->model, rig->second_ms);
}

static void crash_at_rest(struct world *world)
{
    rig_note(&world->rig, "crash");
    rig_crash(&world->rig);
    after_crash(&world->rig);
}

/* What was settled in the last window may be lost, each recipient's for itself; nothing else. */
static void crash_settling(struct world *world)
{
    struct rig *rig = &world->rig;
    size_t n;
    struct model_settle *settles = settle_some(rig, &n);
    unsigned rounds = (unsigned)below(rig, 4);
    rig_note(rig, "settle %zu, %u rounds, crash", n, rounds);
    rig_steps(rig, rounds);
    rig_crash(rig);
    struct rcpt_info info;
    rcpt_info_init(&info);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        const struct model_rcpt *rcpt = model_rcpt(&rig->model, settles[i].rid);
        if (!query_rcpt(rig->store, settles[i].rid, &info))
            rig_fail(rig, "a recipient is gone after a crash");
        bool same = info.state == rcpt->state && info.attempts == rcpt->attempts &&
                    info.next_ms == rcpt->next_ms && info.last_ms == rcpt->last_ms;
        if (!same) {
            model_settle(&rig->model, &settles[i]);
            kept++;
        }
    }
    rcpt_info_free(&info);
    free(settles);
    rig_note(rig, "%zu of them were kept", kept);
    after_crash(rig);
}

static void take_model(struct rig *rig, struct model *from)
{
    model_free(&rig->model);
    rig->model = *from;
    free(from);
}

/* An operation happens whole or not at all, in slices after the restart if need be. */
static void crash_operating(struct world *world)
{
    struct rig *rig = &world->rig;
    struct store_filter filter;
    struct answer answer = {0};
    enum op_kind kind = random_operation(rig, &filter);
    unsigned rounds = (unsigned)below(rig, 4);
    note_operation(rig, kind, &filter);
    rig_note(rig, "%u rounds, crash", rounds);
    store_operate(rig->store, kind, &filter, 3600 * MS_PER_S, on_operation, &answer);
    rig_steps(rig, rounds);
    bool answered = answer.done != 0;
    struct model *with = model_copy(&rig->model);
    /* What a worker had when the operation passed may have been nobody's when it went on after the restart.
     */
    if (!answered)
        model_crash(with);
    rig_crash(rig);
    (void)model_operate(with, kind, &filter, rig->second_ms);
    after_crash(rig);
    if (!answered && compare_all(rig)) {
        model_destroy(with);
        return;
    }
    take_model(rig, with);
    model_crash(&rig->model);
    model_time(&rig->model, rig->second_ms);
    must(rig, compare_all(rig));
}

/* A job is there whole or not at all; if it was answered, it is there. */
static void crash_admitting(struct world *world)
{
    struct rig *rig = &world->rig;
    struct upload up;
    struct post post = {0};
    upload_begin(world, &up, random_count(rig));
    unsigned rounds = (unsigned)below(rig, 3);
    rig_note(rig, "admit job %llu, %zu recipients, %u rounds, crash", (unsigned long long)up.job->id,
             up.job->count, rounds);
    admit_commit(up.admit, NULL, NULL, on_post, &post);
    rig_steps(rig, rounds);
    bool accepted = post.done && post.result == ADMIT_OK;
    rig_crash_with(rig, up.admit);
    struct job_info info;
    bool there = query_job(rig->store, up.job->id, &info);
    if (accepted && !there)
        rig_fail(rig, "job %llu was accepted and is gone after a crash", (unsigned long long)up.job->id);
    rig_note(rig, "it is there: %d", there);
    if (there)
        model_admit(&rig->model, up.job);
    else
        model_job_free(up.job);
    after_crash(rig);
}

static void do_crash(struct world *world)
{
    switch (below(&world->rig, 4)) {
    case 0:
        crash_at_rest(world);
        break;
    case 1:
        crash_settling(world);
        break;
    case 2:
        crash_operating(world);
        break;
    default:
        crash_admitting(world);
    }
}

/* ---- a run ---- */

static void step(struct world *world)
{
    struct rig *rig = &world->rig;
    uint64_t kind = below(rig, 100);
    if (kind < 16)
        do_admit(world);
    else if (kind < 19)
        do_admit_again(world);
    else if (kind < 22)
        do_give_up(world);
    else if (kind < 44)
        do_take(world);
    else if (kind < 66)
        do_settle(world);
    else if (kind < 78)
        do_operate(world);
    else if (kind < 92)
        do_advance(world);
    else if (kind < 96)
        do_report(world);
    else
        do_crash(world);
}

/* What is left gets its end, and then everybody has exactly one. */
static void drain(struct world *world)
{
    struct rig *rig = &world->rig;
    rig_note(rig, "drain");
    for (size_t i = 0; i < rig->model.count; i++)
        if (rig->model.jobs[i]->state == JOB_PAUSED) {
            struct store_filter filter = {.job = rig->model.jobs[i]->id};
            struct answer answer = {0};
            store_operate(rig->store, OP_RESUME, &filter, 3600 * MS_PER_S, on_operation, &answer);
            rig_settle_down(rig);
            (void)model_operate(&rig->model, OP_RESUME, &filter, rig->second_ms);
        }
    for (unsigned round = 0; round < 5; round++) {
        rig_take_all(rig, RIG_HELD_MAX);
        while (rig->held_count)
            do_settle(world);
        rig_advance(rig, 600);
    }
    rig_advance(rig, 3600);
    must(rig, compare_all(rig));
    must(rig, compare_events(rig));
    for (size_t i = 0; i < rig->model.count; i++)
        if (rig->model.jobs[i]->state != JOB_ENDED)
            rig_fail(rig, "job %llu has not ended", (unsigned long long)rig->model.jobs[i]->id);
}

static void run(uint64_t seed)
{
    static struct world world;
    world = (struct world){0};
    struct rig *rig = &world.rig;
    rig_open(rig, seed, seed % 3 ? 7 * 86400 * MS_PER_S : 300 * MS_PER_S);
    for (unsigned n = 0; n < STEPS; n++) {
        step(&world);
        if (below(rig, 3) == 0) {
            must(rig, compare_all(rig));
            must(rig, compare_lanes_ready(rig));
        }
        must(rig, compare_events(rig));
    }
    must(rig, compare_all(rig));
    must(rig, compare_events_again(rig));
    check_keys(&world);
    drain(&world);
    rig_close(rig);
}

static void random_operations(void **state)
{
    (void)state;
    const char *one = getenv("POSTRIDER_SEED"), *many = getenv("POSTRIDER_SEEDS");
    if (one) {
        run(strtoull(one, NULL, 10));
        return;
    }
    uint64_t first = many ? prng_seed() % 1000000 : 1, count = many ? strtoull(many, NULL, 10) : SEEDS;
    print_message("seeds %llu to %llu\n", (unsigned long long)first, (unsigned long long)(first + count - 1));
    for (uint64_t n = 0; n < count; n++)
        run(first + n);
}

/* ---- turns ---- */

#define TURN_JOBS 3

static uint64_t admit_plain(struct rig *rig, size_t count)
{
    struct job_spec spec = {
        .tenant = STR("acme"), .from = STR("a@acme.example"), .content = "x", .content_size = 1};
    struct post post = {0};
    struct err err;
    struct now now = {.mono_ns = rig->now.mono_ns, .wall_ms = rig->second_ms};
    struct admit *admit = admit_begin(rig->store, &spec, now, &err);
    if (!admit)
        rig_fail(rig, "admit_begin: %s", err.text);
    struct model_job *job = model_job_new(admit_job(admit), &spec, rig->second_ms, rig->settings.lifetime_ms);
    for (size_t i = 0; i < count; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "%zu", i);
        struct rcpt_spec rcpt = {.to = STR("a@a.example"), .domain = STR("a.example"), .id = str_of(id)};
        if (!admit_add(admit, &rcpt, &err))
            rig_fail(rig, "admit_add: %s", err.text);
        model_add_rcpt(job, &rcpt, 0);
    }
    admit_commit(admit, NULL, NULL, on_post, &post);
    rig_settle_down(rig);
    assert_int_equal(post.done, 1);
    assert_int_equal(post.result, ADMIT_OK);
    uint64_t id = admit_job(admit);
    admit_free(admit);
    model_admit(&rig->model, job);
    must(rig, compare_all(rig));
    return id;
}

/* Small jobs behind a big one of the same lane get their turn, whatever is asked for at a time. */
static void jobs_take_turns(void **state)
{
    static const size_t counts[TURN_JOBS] = {6000, 700, 700};
    static const unsigned wants[] = {1, 40, LANE_TAKE_MAX};
    (void)state;
    for (unsigned w = 0; w < 3; w++) {
        static struct rig rig;
        uint64_t jobs[TURN_JOBS];
        size_t taken[TURN_JOBS] = {0};
        rig_open(&rig, 1, 86400 * MS_PER_S);
        for (unsigned i = 0; i < TURN_JOBS; i++)
            jobs[i] = admit_plain(&rig, counts[i]);
        assert_int_equal(rig.lane_count, 1);
        while (taken[0] < counts[0] && taken[1] < counts[1] && taken[2] < counts[2] &&
               rig.held_count + LANE_TAKE_MAX < RIG_HELD_MAX && (w || rig.held_count < 900)) {
            size_t before = rig.held_count;
            rig_take(&rig, 0, wants[w]);
            for (size_t i = before; i < rig.held_count; i++)
                for (unsigned k = 0; k < TURN_JOBS; k++)
                    taken[k] += rig.held[i]->rid.job == jobs[k];
            for (unsigned k = 1; k < TURN_JOBS; k++)
                if (taken[0] > taken[k] + 2 * BATCH_SLOTS_MAX || taken[k] > taken[0] + 2 * BATCH_SLOTS_MAX)
                    rig_fail(&rig, "taking %u at a time, job 0 gave %zu and job %u %zu", wants[w], taken[0],
                             k, taken[k]);
        }
        rig_close(&rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_take_turns),
        cmocka_unit_test(random_operations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
