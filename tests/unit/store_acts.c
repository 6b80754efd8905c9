/* store_acts.c - see store_acts.h. */
#include "tests/unit/store_acts.h"

#include "queue/edit.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#define RCPTS_MAX  900
#define VARS_LARGE 6000 /* does not fit a value: a batch of several parts */

uint64_t act_below(struct rig *rig, uint64_t bound)
{
    return prng_below(&rig->prng, bound);
}

static const char *pick(struct rig *rig, const char *const *list, size_t n)
{
    return list[act_below(rig, n)];
}

#define PICK(rig, list) pick((rig), (list), sizeof(list) / sizeof *(list))

void act_must(struct rig *rig, bool good)
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

void act_on_post(struct admit *admit, enum admit_result result, void *user)
{
    struct post *post = user;
    (void)admit;
    post->done++;
    post->result = result;
    post->syncs = rig_syncs();
}

static void random_spec(struct world *world, struct job_spec *spec)
{
    struct rig *rig = &world->rig;
    *spec = (struct job_spec){.tenant = str_of(PICK(rig, tenants)),
                              .campaign = str_of(PICK(rig, campaigns)),
                              .pool = str_of(PICK(rig, pools)),
                              .from = str_of(PICK(rig, senders))};
    spec->class_ = act_below(rig, 4) ? CLASS_BULK : CLASS_TRANSACTIONAL;
    spec->bounces = (enum job_bounces)act_below(rig, 3);
    spec->notify = act_below(rig, 3) ? 0 : (uint8_t)(1 + act_below(rig, 15));
    spec->envid = STR("env");
    spec->metadata = STR("{\"k\":\"v\"}");
    if (act_below(rig, 4) == 0)
        spec->not_before_ms = rig->second_ms + (int64_t)act_below(rig, 30) * MS_PER_S;
    spec->lifetime_ms = act_below(rig, 3) ? (int64_t)(60 + act_below(rig, 1200)) * MS_PER_S : 0;
}

/* Few contents, so that jobs share some; one of them has no digest. */
void act_random_content(struct world *world, struct upload *up)
{
    uint64_t n = act_below(&world->rig, 5);
    size_t size = 1 + (size_t)n * 97;
    memset(up->content, 'a' + (int)n, sizeof up->content);
    up->spec.content = up->content;
    up->spec.content_size = size;
    up->spec.message_size = size;
    memset(up->spec.content_hash, (int)n, sizeof up->spec.content_hash);
}

static void add_rcpt(struct world *world, struct upload *up)
{
    struct rig *rig = &world->rig;
    char to[64], id[16], vars[VARS_LARGE];
    struct err err;
    const char *domain = PICK(rig, domains);
    size_t number = up->job->count;
    (void)snprintf(to, sizeof to, "u%u@%s", (unsigned)act_below(rig, 400), domain);
    (void)snprintf(id, sizeof id, "%zu", number);
    size_t size = act_below(rig, 200) == 0 ? VARS_LARGE : (size_t)act_below(rig, 40);
    memset(vars, model_vars_byte(up->job->id, (uint32_t)number), size);
    struct rcpt_spec spec = {.to = str_of(to), .domain = str_of(domain), .id = str_of(id)};
    spec.vars = str_make(vars, size);
    spec.notify = act_below(rig, 5) ? 0 : (uint8_t)(1 + act_below(rig, 15));
    if (!admit_add(up->admit, &spec, &err))
        rig_fail(rig, "admit_add: %s", err.text);
    model_add_rcpt(up->job, &spec, (uint32_t)size);
}

static void post_window(struct world *world, struct upload *up)
{
    struct post post = {0};
    admit_post(up->admit, act_on_post, &post);
    rig_settle_down(&world->rig);
    if (post.done != 1 || post.result != ADMIT_OK)
        rig_fail(&world->rig, "a window was answered %u times, with %d", post.done, (int)post.result);
    up->posted = true;
}

void act_upload(struct world *world, struct upload *up, size_t count)
{
    struct rig *rig = &world->rig;
    struct err err;
    struct now now = {.mono_ns = rig->now.mono_ns, .wall_ms = rig->second_ms};
    *up = (struct upload){0};
    random_spec(world, &up->spec);
    act_random_content(world, up);
    up->admit = admit_begin(rig->store, &up->spec, now, &err);
    if (!up->admit)
        rig_fail(rig, "admit_begin: %s", err.text);
    up->job = model_job_new(admit_job(up->admit), &up->spec, rig->second_ms, rig->settings.lifetime_ms);
    if (model_job(&rig->model, up->job->id))
        rig_fail(rig, "job %llu was given out twice", (unsigned long long)up->job->id);
    bool windows = act_below(rig, 3) == 0;
    for (size_t i = 0; i < count; i++) {
        add_rcpt(world, up);
        if (i + 1 < count && (admit_window_full(up->admit) || (windows && act_below(rig, 150) == 0)))
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
    key->ttl_ms = (int64_t)(10 + act_below(rig, 200)) * MS_PER_S;
    key->answer = str_of(world->keys[n].answer);
    world->keys[n].expires_ms = rig->second_ms + key->ttl_ms;
}

size_t act_random_count(struct rig *rig)
{
    uint64_t kind = act_below(rig, 8);
    return kind == 0   ? (size_t)(1 + act_below(rig, 3))
           : kind == 2 ? 1
           : kind == 1 ? (size_t)(1 + act_below(rig, RCPTS_MAX))
                       : (size_t)(1 + act_below(rig, 60));
}

/* Names the recipients of a small job without asking the store, who would then have to bring it into its
 * tables: domain by domain, in the order they came. False: not this one. */
static bool name_unseen(struct rig *rig, struct model_job *job)
{
    uint16_t slot = 0;
    if (job->count > 12 || act_below(rig, 4) == 0)
        return false;
    for (size_t i = 0; i < job->count; i++)
        if (job->rcpts[i].vars_size >= VARS_LARGE)
            return false;
    for (size_t i = 0; i < job->count; i++) {
        bool first = true;
        for (size_t k = 0; k < i; k++)
            first = first && strcmp(job->rcpts[k].domain, job->rcpts[i].domain) != 0;
        for (size_t k = i; first && k < job->count; k++)
            if (strcmp(job->rcpts[k].domain, job->rcpts[i].domain) == 0)
                model_name(job, (uint32_t)k, (struct rid){job->id, 0, slot++});
    }
    return model_named(job);
}

void act_admit(struct world *world)
{
    struct rig *rig = &world->rig;
    struct upload up;
    struct post post = {0};
    struct admit_key key = {0};
    act_upload(world, &up, act_random_count(rig));
    rig_note(rig, "admit job %llu, %zu recipients, of %s", (unsigned long long)up.job->id, up.job->count,
             up.job->tenant);
    if (world->key_count < ACT_KEYS_MAX && act_below(rig, 3) == 0)
        new_key(world, &key);
    unsigned before = rig_syncs();
    uint64_t suppressed = admit_suppressed(up.admit), want = 0;
    for (size_t i = 0; i < up.job->count; i++)
        want += model_suppressed(&rig->model, up.job->tenant, up.job->rcpts[i].to);
    if (suppressed != want)
        rig_fail(rig, "%llu of a job are suppressed, not %llu", (unsigned long long)suppressed,
                 (unsigned long long)want);
    admit_commit(up.admit, &key, NULL, act_on_post, &post);
    rig_settle_down(rig);
    if (post.done != 1 || post.result != ADMIT_OK)
        rig_fail(rig, "a commit was answered %u times, with %d", post.done, (int)post.result);
    if (post.syncs == before)
        rig_fail(rig, "a job was accepted without a sync");
    admit_free(up.admit);
    model_admit(&rig->model, up.job);
    rig_hold_given(rig);
    if (up.posted || !name_unseen(rig, up.job))
        act_must(rig, compare_names(rig));
    model_time(&rig->model, rig->second_ms);
}

/* The same key again: refused, and nothing is left of the job. */
void act_admit_again(struct world *world)
{
    struct rig *rig = &world->rig;
    struct upload up;
    struct post post = {0};
    if (!world->key_count)
        return;
    size_t n = (size_t)act_below(rig, world->key_count);
    if (world->keys[n].expires_ms <= rig->second_ms + MS_PER_S)
        return;
    rig_note(rig, "admit with key %zu again", n);
    struct admit_key key = {.set = true, .ttl_ms = 60 * MS_PER_S, .answer = STR("no")};
    memcpy(key.key_hash, world->keys[n].hash, 32);
    act_upload(world, &up, act_random_count(rig));
    admit_commit(up.admit, &key, NULL, act_on_post, &post);
    rig_settle_down(rig);
    if (post.done != 1 || post.result != ADMIT_KEY_TAKEN)
        rig_fail(rig, "a key that is taken was answered %u times, with %d", post.done, (int)post.result);
    admit_free(up.admit);
    model_job_free(up.job);
    rig_settle_down(rig);
}

void act_give_up(struct world *world)
{
    struct rig *rig = &world->rig;
    struct upload up;
    act_upload(world, &up, act_random_count(rig));
    rig_note(rig, "give up the upload of job %llu", (unsigned long long)up.job->id);
    if (!up.posted && act_below(rig, 2))
        post_window(world, &up);
    rig->uploads = up.posted;
    act_must(rig, compare_all(rig)); /* nothing of it shows */
    admit_free(up.admit);
    model_job_free(up.job);
    rig_settle_down(rig);
    rig->uploads = 0;
}

void act_check_keys(struct world *world)
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

/* ---- suppressions ---- */

static void on_edit(enum edit_result result, unsigned changed, void *user)
{
    unsigned *got = user;
    got[0] += result == EDIT_OK;
    got[1] = changed;
}

static void random_address(struct rig *rig, char to[MODEL_TEXT])
{
    (void)snprintf(to, MODEL_TEXT, "u%u@%s", (unsigned)act_below(rig, 400), PICK(rig, domains));
}

/* Of somebody who is queued, or of anybody. */
static void pick_address(struct rig *rig, char to[MODEL_TEXT])
{
    random_address(rig, to);
    if (rig->model.count == 0 || act_below(rig, 4) == 0)
        return;
    const struct model_job *job = rig->model.jobs[act_below(rig, rig->model.count)];
    if (job->count > 0)
        (void)snprintf(to, MODEL_TEXT, "%s", job->rcpts[act_below(rig, job->count)].to);
}

void act_suppress(struct world *world)
{
    struct rig *rig = &world->rig;
    struct edits *edits = edits_create();
    unsigned got[2] = {0}, want = 0, n = (unsigned)(1 + act_below(rig, 12));
    if (!edits)
        abort();
    for (unsigned i = 0; i < n; i++) {
        struct model *model = &rig->model;
        char to[MODEL_TEXT];
        const char *scope = act_below(rig, 2) ? "" : PICK(rig, tenants);
        if (model->suppressed_count > 0 && act_below(rig, 3) == 0) {
            size_t at = (size_t)act_below(rig, model->suppressed_count);
            (void)snprintf(to, sizeof to, "%s", model->suppressed[at].address);
            if (!edits_unsuppress(edits, str_of(scope), str_of(to)))
                abort();
            want += model_unsuppress(model, scope, to);
            continue;
        }
        pick_address(rig, to);
        if (!model_suppress(model, scope, to))
            continue;
        want++;
        to[0] = (char)toupper((unsigned char)to[0]); /* in any case */
        struct suppression one = {.scope = str_of(scope), .address = str_of(to), .added_ms = rig->second_ms};
        if (!edits_suppress(edits, &one))
            abort();
    }
    rig_note(rig, "%u suppressions come or go", want);
    store_edit(rig->store, edits, on_edit, got);
    rig_settle_down(rig);
    if (got[0] != 1 || got[1] != want)
        rig_fail(rig, "edits were answered %u times, %u changed, not %u", got[0], got[1], want);
    if (query_suppression_count(rig->store) != rig->model.suppressed_count)
        rig_fail(rig, "%llu are suppressed, not %zu", (unsigned long long)query_suppression_count(rig->store),
                 rig->model.suppressed_count);
}

/* ---- take and settle ---- */

void act_take(struct world *world)
{
    struct rig *rig = &world->rig;
    if (act_below(rig, 3) == 0) {
        rig_note(rig, "take all");
        rig_take_all(rig, 1000);
        return;
    }
    for (size_t i = 0; i < rig->lane_count; i++)
        if (rig->lanes[i].ready && act_below(rig, 2)) {
            unsigned want = (unsigned)(1 + act_below(rig, 20));
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
    return outcomes[act_below(rig, 10)];
}

/* Posts a random part of what is held; returns what the model is to be told. */
struct model_settle *act_settle_some(struct rig *rig, size_t *count)
{
    size_t n = rig->held_count ? 1 + (size_t)act_below(rig, rig->held_count) : 0;
    struct model_settle *settles = calloc(n + 1, sizeof *settles);
    struct taken *list = NULL;
    if (!settles)
        abort();
    for (size_t i = 0; i < n; i++) {
        struct taken *taken = rig_unhold(rig, (size_t)act_below(rig, rig->held_count));
        rig_decide(rig, taken, random_outcome(rig), &settles[i]);
        taken->peer_reports = settles[i].peer_reports = act_below(rig, 2);
        taken->next = list;
        list = taken;
        if (act_below(rig, 50) == 0) {
            store_settle(rig->store, list);
            list = NULL;
        }
    }
    if (list)
        store_settle(rig->store, list);
    *count = n;
    return settles;
}

void act_settle(struct world *world)
{
    struct rig *rig = &world->rig;
    size_t n;
    struct model_settle *settles = act_settle_some(rig, &n);
    rig_note(rig, "settle %zu", n);
    rig_settle_down(rig);
    for (size_t i = 0; i < n; i++)
        model_settle(&rig->model, &settles[i]);
    free(settles);
    model_time(&rig->model, rig->second_ms);
}

/* ---- operations ---- */

void act_on_operation(const struct op_progress *progress, void *user)
{
    struct answer *answer = user;
    answer->done++;
    answer->progress = *progress;
}

static int domain_cmp(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* Some of the filter's fields; the strings are constants. */
static void random_filter(struct rig *rig, struct store_filter *filter)
{
    static const char *const patterns[] = {"4.2.2", "4.7", "4", "*", "4.7.28"};
    static struct str list[3];
    if (act_below(rig, 2)) {
        filter->has_status = true;
        if (!status_pattern_parse(str_of(PICK(rig, patterns)), &filter->status))
            abort();
    }
    if (act_below(rig, 3) == 0)
        filter->tenant = str_of(PICK(rig, tenants));
    if (act_below(rig, 3) == 0)
        filter->campaign = str_of(campaigns[1 + act_below(rig, 2)]);
    if (act_below(rig, 3) == 0) {
        filter->domain = str_of(PICK(rig, domains));
    } else if (act_below(rig, 3) == 0) {
        for (unsigned i = 0; i < 3; i++)
            list[i] = str_of(domains[2 * i + act_below(rig, 2)]);
        qsort(list, 3, sizeof *list, domain_cmp);
        filter->domains = list;
        filter->domain_count = 3;
    }
    if (act_below(rig, 6) == 0)
        filter->accepted_before_ms = rig->second_ms - (int64_t)act_below(rig, 100) * MS_PER_S;
    if (act_below(rig, 6) == 0)
        filter->accepted_after_ms = rig->second_ms - (int64_t)act_below(rig, 100) * MS_PER_S;
}

enum op_kind act_random_operation(struct rig *rig, struct store_filter *filter)
{
    static const enum op_kind on_job[] = {OP_PAUSE,  OP_PAUSE, OP_RESUME, OP_RESUME,
                                          OP_CANCEL, OP_RETRY, OP_BOUNCE, OP_PURGE};
    *filter = (struct store_filter){0};
    if (rig->model.count && act_below(rig, 2)) {
        filter->job = rig->model.jobs[act_below(rig, rig->model.count)]->id;
        enum op_kind kind = on_job[act_below(rig, 8)];
        if ((kind == OP_RETRY || kind == OP_BOUNCE) && act_below(rig, 2))
            random_filter(rig, filter);
        return kind;
    }
    random_filter(rig, filter);
    bool narrow = filter->has_status || (filter->domain.n && filter->tenant.n);
    return narrow && act_below(rig, 3) == 0 ? OP_BOUNCE : OP_RETRY;
}

void act_note_operation(struct rig *rig, enum op_kind kind, const struct store_filter *filter)
{
    rig_note(rig, "operation %d, job %llu, tenant %.*s, campaign %.*s, domain %.*s, status %d.%d.%d",
             (int)kind, (unsigned long long)filter->job, STR_ARG(filter->tenant), STR_ARG(filter->campaign),
             STR_ARG(filter->domain), filter->has_status ? filter->status.class_ : 0, filter->status.subject,
             filter->status.detail);
}

void act_operate(struct world *world)
{
    struct rig *rig = &world->rig;
    struct store_filter filter;
    struct answer answer = {0};
    enum op_kind kind = act_random_operation(rig, &filter);
    act_note_operation(rig, kind, &filter);
    if (kind == OP_PURGE) /* a purged job's events are passed over: read them as long as they can be */
        act_must(rig, compare_events(rig));
    store_operate(rig->store, kind, &filter, 3600 * MS_PER_S, act_on_operation, &answer);
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
