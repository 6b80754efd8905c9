/* store_rig.c - see store_rig.h. */
#include "tests/unit/store_rig.h"

#include "queue/taker.h"
#include "tests/unit/temporary.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* The store may wait that long for company before it commits; the clock then follows it. */
#define RIG_LINGER_NS (60 * NS_PER_MS)
#define RIG_ROUNDS    100000
#define RIG_TICK_NS   (100 * 1000)

/* ---- telling ---- */

void rig_note(struct rig *rig, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *line = rig->lines[rig->line++ % RIG_LOG_LINES];
    (void)vsnprintf(line, sizeof rig->lines[0], format, args);
    va_end(args);
}

bool rig_complain(struct rig *rig, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(rig->complaint, sizeof rig->complaint, format, args);
    va_end(args);
    return false;
}

void rig_fail(struct rig *rig, const char *format, ...)
{
    va_list args;
    char text[512];
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    unsigned first = rig->line > RIG_LOG_LINES ? rig->line - RIG_LOG_LINES : 0;
    for (unsigned n = first; n < rig->line; n++)
        print_error("  %u: %s\n", n, rig->lines[n % RIG_LOG_LINES]);
    fail_msg("seed %llu, step %u, in %s: %s", (unsigned long long)rig->seed, rig->line, rig->directory, text);
    abort();
}

/* ---- files ---- */

static void directory_make(struct rig *rig)
{
    if (!temporary_directory(rig->directory))
        rig_fail(rig, "no temporary directory");
}

/* The databases alone: a lock file is worth nothing after a power cut, and the reserve can be taken again. */
static void file_copy(const char *from, const char *to, const char *name)
{
    char path[600], block[65536];
    (void)snprintf(path, sizeof path, "%s/%s", from, name);
    int in = open(path, O_RDONLY | O_CLOEXEC);
    (void)snprintf(path, sizeof path, "%s/%s", to, name);
    int out = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    ssize_t n = -1;
    while (in >= 0 && out >= 0 && (n = read(in, block, sizeof block)) > 0)
        if (write(out, block, (size_t)n) != n)
            abort();
    if (n < 0)
        abort();
    close(in);
    close(out);
}

static void database_copy(const char *from, const char *to)
{
    file_copy(from, to, "fresh.log");
    file_copy(from, to, "data.mdb");
}

/* ---- messages ---- */

struct rig_lane *rig_lane(struct rig *rig, uint32_t lane)
{
    for (size_t i = 0; i < rig->lane_count; i++)
        if (rig->lanes[i].lane == lane)
            return &rig->lanes[i];
    return NULL;
}

bool rig_crowded(const struct rig *rig)
{
    return rig->now.wall_ms <= rig->crowded_ms + FIND_AGAIN_MS;
}

static void on_lane_ready(struct rig *rig, unsigned worker, const struct store_lane_msg *msg)
{
    struct rig_lane *lane = rig_lane(rig, msg->lane);
    if (lane) {
        if (lane->worker != worker || lane->class_ != msg->class_ || strcmp(lane->tenant, msg->tenant) != 0 ||
            strcmp(lane->pool, msg->pool) != 0 || strcmp(lane->domain, msg->domain) != 0)
            rig_fail(rig, "lane %u was announced as another one or to another worker", msg->lane);
        lane->ready = true;
        return;
    }
    rig->lanes = realloc(rig->lanes, (rig->lane_count + 1) * sizeof *rig->lanes);
    if (!rig->lanes)
        abort();
    lane = &rig->lanes[rig->lane_count++];
    *lane = (struct rig_lane){.lane = msg->lane, .worker = worker, .ready = true, .class_ = msg->class_};
    memcpy(lane->tenant, msg->tenant, sizeof lane->tenant);
    memcpy(lane->pool, msg->pool, sizeof lane->pool);
    memcpy(lane->domain, msg->domain, sizeof lane->domain);
    for (size_t i = 0; i + 1 < rig->lane_count; i++)
        if (strcmp(rig->lanes[i].domain, lane->domain) == 0 && rig->lanes[i].worker != worker)
            rig_fail(rig, "lanes of %s went to two workers", lane->domain);
}

static void on_given(struct rig *rig, const struct store_given_msg *msg)
{
    const struct rig_lane *lane = rig_lane(rig, msg->lane);
    if (msg->taken->lane != msg->lane || msg->taken->next != NULL)
        rig_fail(rig, "what was given of lane %u is of lane %u", msg->lane, msg->taken->lane);
    if (lane != NULL && !str_eq(msg->domain, str_of(lane->domain)))
        rig_fail(rig, "what was given of lane %u is said to go to %.*s", msg->lane, STR_ARG(msg->domain));
    if (lane != NULL && lane->ready && !rig->deaf)
        rig_fail(rig, "lane %u has other work, and something was given of it", msg->lane);
    if (rig->deaf) { /* nobody is there any more */
        store_taken_free(msg->taken);
        return;
    }
    msg->taken->next = rig->given;
    rig->given = msg->taken;
}

static void read_inboxes(struct rig *rig)
{
    for (unsigned w = 0; w < RIG_WORKERS; w++) {
        struct inbox_node *node = inbox_take(rig->inboxes[w]);
        while (node) {
            struct inbox_node *next = node->next;
            switch (node->kind) {
            case STORE_LANE_READY:
                if (rig->answer && rig->answer->lane == ((struct store_lane_msg *)node)->lane)
                    rig->answer->idle = false; /* announced again after it */
                if (!rig->deaf)
                    on_lane_ready(rig, w, (struct store_lane_msg *)node);
                free(node);
                break;
            case STORE_TAKEN:
                if (rig->answer)
                    rig_fail(rig, "two answers to one take");
                rig->answer = (struct store_taken_msg *)node;
                break;
            case STORE_GIVEN:
                on_given(rig, (struct store_given_msg *)node);
                free(node);
                break;
            case STORE_BOUNCE: /* keeps what it has */
                store_bounced(rig->store, ((struct store_bounce_msg *)node)->bounce);
                free(node);
                break;
            case STORE_DROP_JOB:
            case STORE_SUPPRESSED:
                free(node);
                break;
            default:
                rig_fail(rig, "message of unknown kind %u", node->kind);
            }
            node = next;
        }
    }
}

static unsigned syncs;

int rig_sync(int fd)
{
    (void)fd;
    syncs++;
    return 0;
}

unsigned rig_syncs(void)
{
    return syncs;
}

/* ---- the clock ---- */

static struct now clock_base;
static int64_t clock_calls;

struct now rig_clock(void)
{
    struct now now = clock_base;
    now.mono_ns += clock_calls++ * RIG_TICK_NS;
    return now;
}

void rig_steps(struct rig *rig, unsigned rounds)
{
    while (rounds-- > 0) {
        clock_base = rig->now;
        clock_calls = 0;
        int64_t write_ns = store_write_step(rig->store, rig->now);
        int64_t take_ns = store_take_step(rig->store, rig->now);
        read_inboxes(rig);
        if (rig->store->shared.lane_count > FIND_ROOM_AGAIN)
            rig->crowded_ms = rig->now.wall_ms;
        int64_t next_ns = write_ns < take_ns ? write_ns : take_ns;
        if (next_ns > rig->now.mono_ns + RIG_LINGER_NS)
            return;
        if (next_ns > rig->now.mono_ns) {
            int64_t ms = (next_ns - rig->now.mono_ns + NS_PER_MS - 1) / NS_PER_MS;
            rig->now.mono_ns += ms * NS_PER_MS;
            rig->now.wall_ms += ms;
        }
    }
}

void rig_settle_down(struct rig *rig)
{
    /* Two looks: what the taker announces may give the writer work again. */
    rig_steps(rig, RIG_ROUNDS);
    rig_steps(rig, RIG_ROUNDS);
    if (rig->now.wall_ms >= rig->second_ms + MS_PER_S)
        rig_fail(rig, "the store was not quiet within a second");
}

void rig_advance(struct rig *rig, int64_t seconds)
{
    /* Second by second would be slow where days go by: the store must cope with jumps. */
    int64_t to_ms = rig->second_ms + seconds * MS_PER_S;
    rig->now.mono_ns += (to_ms - rig->now.wall_ms) * NS_PER_MS;
    rig->now.wall_ms = rig->second_ms = to_ms;
    rig_settle_down(rig);
    model_time(&rig->model, rig->second_ms);
}

/* ---- opening, closing, crashing ---- */

static void store_up(struct rig *rig)
{
    struct err err;
    rig->settings.directory = rig->directory;
    rig->store = store_open(&rig->settings, rig->now, &err);
    if (!rig->store)
        rig_fail(rig, "the store does not open: %s", err.text);
    for (unsigned w = 0; w < RIG_WORKERS; w++)
        store_attach_worker(rig->store, w, rig->inboxes[w]);
}

void rig_open(struct rig *rig, uint64_t seed, int64_t retain_ms)
{
    /* Small jobs go to the tables at once; soon; or only when they have ended, or somebody looks. */
    static const int64_t holds_ms[] = {0, 30, 100000};
    struct err err;
    *rig = (struct rig){.seed = seed, .prng = {seed}};
    directory_make(rig);
    rig->settings = (struct store_settings){
        .max_size = 256u << 20,
        .reserve = 1u << 20,
        .lifetime_ms = 3600 * MS_PER_S,
        .delay_warning_ms = 150 * MS_PER_S,
        .retain_ms = retain_ms,
        .hold_ms = holds_ms[seed % 3],
        .give_max = seed / 3 % 4,
        .workers = RIG_WORKERS,
    };
    rig->second_ms = INT64_C(1700000000) * MS_PER_S;
    rig->now = (struct now){.mono_ns = 1000 * NS_PER_S, .wall_ms = rig->second_ms};
    model_init(&rig->model, retain_ms, rig->settings.delay_warning_ms);
    for (unsigned w = 0; w < RIG_WORKERS; w++)
        if (!(rig->inboxes[w] = inbox_create(&err)))
            rig_fail(rig, "%s", err.text);
    store_up(rig);
    rig_settle_down(rig);
}

struct taken *rig_unhold(struct rig *rig, size_t index)
{
    struct taken *taken = rig->held[index];
    rig->held[index] = rig->held[--rig->held_count];
    return taken;
}

static void release_held(struct rig *rig)
{
    struct taken *list = NULL;
    for (; rig->given != NULL; rig->given = rig->given->next)
        rig->held[rig->held_count++] = rig->given;
    while (rig->held_count) {
        struct taken *taken = rig_unhold(rig, rig->held_count - 1);
        taken->outcome = OUTCOME_RELEASED;
        taken->at_ms = rig->now.wall_ms;
        taken->next = list;
        list = taken;
    }
    if (list)
        store_settle(rig->store, list);
    rig_steps(rig, RIG_ROUNDS);
}

static void store_down(struct rig *rig, struct admit *admit)
{
    release_held(rig);
    if (admit)
        admit_free(admit);
    rig_steps(rig, RIG_ROUNDS);
    store_close(rig->store);
    rig->store = NULL;
    read_inboxes(rig);
}

void rig_abandon(struct rig *rig)
{
    if (rig->store)
        store_close(rig->store);
    read_inboxes(rig);
    for (unsigned w = 0; w < RIG_WORKERS; w++)
        inbox_destroy(rig->inboxes[w]);
    model_free(&rig->model);
    free(rig->lanes);
    free(rig->answer);
    temporary_remove(rig->directory);
}

void rig_close(struct rig *rig)
{
    store_down(rig, NULL);
    rig_abandon(rig);
}

void rig_crash_with(struct rig *rig, struct admit *admit)
{
    char old[sizeof rig->directory];
    struct now now = rig->now;
    (void)snprintf(old, sizeof old, "%s", rig->directory);
    directory_make(rig);
    /* What the file holds now is what a restart would find: commits are written through, not mapped. */
    database_copy(old, rig->directory);
    rig->deaf = true;
    store_down(rig, admit);
    rig->deaf = false;
    temporary_remove(old);
    for (size_t i = 0; i < rig->lane_count; i++)
        rig->lanes[i].ready = false;
    rig->now = now;
    store_up(rig);
}

void rig_crash(struct rig *rig)
{
    rig_crash_with(rig, NULL);
}

/* ---- taking ---- */

static void check_taken(struct rig *rig, const struct rig_lane *lane, const struct taken *taken)
{
    const struct store_job *info = taken->job;
    struct rid rid = taken->rid;
    char text[RID_TEXT_MAX];
    rid_format(rid, text);
    struct model_job *job = model_job(&rig->model, rid.job);
    struct model_rcpt *rcpt = model_rcpt(&rig->model, rid);
    if (!rcpt)
        rig_fail(rig, "took %s, which is not there", text);
    if (!model_takeable(job, rcpt, rig->second_ms))
        rig_fail(rig, "took %s: job state %d, not before %lld, recipient %s, claimed %d, next %lld, now %lld",
                 text, (int)job->state, (long long)job->not_before_ms, rcpt_state_name(rcpt->state),
                 rcpt->claimed, (long long)rcpt->next_ms, (long long)rig->second_ms);
    if (taken->lane != lane->lane || strcmp(lane->domain, rcpt->domain) != 0 ||
        strcmp(lane->tenant, job->tenant) != 0 || strcmp(lane->pool, job->pool) != 0 ||
        lane->class_ != job->class_)
        rig_fail(rig, "took %s (%s) from lane %u of %s", text, rcpt->domain, lane->lane, lane->domain);
    if (model_suppressed(&rig->model, job->tenant, rcpt->to))
        rig_fail(rig, "took %s, though %s is suppressed", text, rcpt->to);
    char number[16];
    (void)snprintf(number, sizeof number, "%u", rcpt->number);
    bool vars_good = taken->vars.n == rcpt->vars_size;
    for (size_t i = 0; i < taken->vars.n && vars_good; i++)
        vars_good = taken->vars.p[i] == model_vars_byte(rid.job, rcpt->number);
    if (!vars_good || !str_eq(taken->to, str_of(rcpt->to)) || !str_eq(taken->id, str_of(number)))
        rig_fail(rig, "took %s with another's content: to %.*s, id %.*s, vars %zu", text, STR_ARG(taken->to),
                 STR_ARG(taken->id), taken->vars.n);
    uint8_t notify = rcpt->notify ? rcpt->notify : job->notify;
    if (taken->attempts != rcpt->attempts || taken->first_ms != rcpt->first_ms || taken->notify != notify ||
        !str_eq(taken->last_source, str_of(rcpt->source)) ||
        status_number(taken->last_status) != status_number(rcpt->status))
        rig_fail(rig, "took %s with %u attempts, first %lld, source %.*s, notify %u; want %u, %lld, %s, %u",
                 text, taken->attempts, (long long)taken->first_ms, STR_ARG(taken->last_source),
                 taken->notify, rcpt->attempts, (long long)rcpt->first_ms, rcpt->source, notify);
    if (info->id != job->id || !str_eq(info->tenant, str_of(job->tenant)) ||
        !str_eq(info->campaign, str_of(job->campaign)) || !str_eq(info->from, str_of(job->from)) ||
        info->class_ != job->class_ || info->expires_ms != job->expires_ms ||
        info->created_ms != job->created_ms || info->is_dsn != job->is_dsn)
        rig_fail(rig, "took %s with another job's header", text);
}

void rig_hold_given(struct rig *rig)
{
    for (struct taken *taken = rig->given, *next; taken != NULL; taken = next) {
        next = taken->next;
        struct model_job *job = model_job(&rig->model, taken->rid.job);
        const struct model_rcpt *rcpt = NULL;
        if (job != NULL && job->count == 1) { /* it can be no other */
            model_name(job, 0, (struct rid){taken->rid.job, 0, 0});
            rcpt = model_named(job) ? model_rcpt(&rig->model, taken->rid) : NULL;
        }
        if (rcpt == NULL)
            rig_fail(rig, "job %llu was given and should not be", (unsigned long long)taken->rid.job);
        struct rig_lane lane = {.lane = taken->lane, .class_ = job->class_};
        snprintf(lane.tenant, sizeof lane.tenant, "%s", job->tenant);
        snprintf(lane.pool, sizeof lane.pool, "%s", job->pool);
        snprintf(lane.domain, sizeof lane.domain, "%s", rcpt->domain);
        check_taken(rig, &lane, taken);
        model_claim(&rig->model, taken->rid);
        rig->held[rig->held_count++] = taken;
    }
    rig->given = NULL;
}

/* The store looks whom it hands out up among the suppressions, and has ended those it found. How many. */
static unsigned adopt_suppressed(struct rig *rig)
{
    struct rcpt_info info;
    unsigned n = 0;
    rcpt_info_init(&info);
    for (size_t i = 0; i < rig->model.count && rig->model.suppressed_count > 0; i++) {
        const struct model_job *job = rig->model.jobs[i];
        for (size_t k = 0; k < job->count; k++) {
            const struct model_rcpt *rcpt = &job->rcpts[k];
            if (!model_takeable(job, rcpt, rig->second_ms) ||
                !model_suppressed(&rig->model, job->tenant, rcpt->to) ||
                !query_rcpt(rig->store, rcpt->rid, &info) || info.state != RCPT_SUPPRESSED)
                continue;
            struct model_settle settle = {
                .rid = rcpt->rid, .outcome = OUTCOME_SUPPRESSED, .at_ms = rig->second_ms};
            model_settle(&rig->model, &settle);
            n++;
        }
    }
    rcpt_info_free(&info);
    return n;
}

/* How many of the lane could be taken; notes one of them. */
static size_t takeable(struct rig *rig, const struct rig_lane *lane, enum rcpt_state state)
{
    size_t count = 0;
    for (size_t i = 0; i < rig->model.count; i++) {
        const struct model_job *job = rig->model.jobs[i];
        if (lane->class_ != job->class_ || strcmp(lane->tenant, job->tenant) != 0 ||
            strcmp(lane->pool, job->pool) != 0)
            continue;
        for (size_t k = 0; k < job->count; k++) {
            const struct model_rcpt *rcpt = &job->rcpts[k];
            if (rcpt->state != state || strcmp(lane->domain, rcpt->domain) != 0 ||
                !model_takeable(job, rcpt, rig->second_ms))
                continue;
            if (count++ == 0)
                rig_note(rig, "%llu-%u-%u could be taken: %s, next %lld, now %lld",
                         (unsigned long long)job->id, rcpt->rid.batch, rcpt->rid.slot, rcpt_state_name(state),
                         (long long)rcpt->next_ms, (long long)rig->second_ms);
        }
    }
    return count;
}

unsigned rig_take(struct rig *rig, size_t index, unsigned want)
{
    struct rig_lane *lane = &rig->lanes[index];
    if (want > LANE_TAKE_MAX)
        want = LANE_TAKE_MAX;
    if (want > RIG_HELD_MAX - rig->held_count)
        want = (unsigned)(RIG_HELD_MAX - rig->held_count);
    if (want == 0)
        return 0;
    store_take(rig->store, lane->lane, want, lane->worker);
    rig_settle_down(rig);
    lane = &rig->lanes[index]; /* others may have been announced meanwhile */
    struct store_taken_msg *answer = rig->answer;
    rig->answer = NULL;
    if (!answer)
        rig_fail(rig, "no answer to a take of lane %u", lane->lane);
    if (answer->lane != lane->lane || answer->count > want)
        rig_fail(rig, "asked lane %u for %u, got %u of lane %u", lane->lane, want, answer->count,
                 answer->lane);
    unsigned count = 0, fresh = 0, suppressed = adopt_suppressed(rig);
    for (struct taken *taken = answer->list; taken; taken = taken->next, count++) {
        check_taken(rig, lane, taken);
        fresh += model_rcpt(&rig->model, taken->rid)->state == RCPT_READY;
        model_claim(&rig->model, taken->rid);
        rig->held[rig->held_count++] = taken;
    }
    if (count != answer->count)
        rig_fail(rig, "lane %u gave %u, said %u", lane->lane, count, answer->count);
    /* Due retries come first, but leave half to what was never tried. */
    if (fresh && suppressed == 0 && count - fresh < want / 2 && takeable(rig, lane, RCPT_DEFERRED))
        rig_fail(rig, "lane %u gave %u never tried of %u, and left %zu due retries", lane->lane, fresh, count,
                 takeable(rig, lane, RCPT_DEFERRED));
    if (answer->idle) {
        size_t left = takeable(rig, lane, RCPT_READY) + takeable(rig, lane, RCPT_DEFERRED);
        if (left)
            rig_fail(rig, "lane %u says it is idle and has %zu to take", lane->lane, left);
        lane->ready = false;
    }
    free(answer);
    return count;
}

void rig_take_all(struct rig *rig, size_t most)
{
    for (size_t i = 0; i < rig->lane_count; i++) {
        unsigned empty = 0;
        while (rig->lanes[i].ready && rig->held_count < most) {
            size_t want = most - rig->held_count;
            if (rig_take(rig, i, (unsigned)want) == 0 && ++empty > 100)
                rig_fail(rig, "lane %u gives nothing and is not idle", rig->lanes[i].lane);
        }
    }
}

void rig_decide(struct rig *rig, struct taken *taken, enum outcome outcome, struct model_settle *settle)
{
    static const struct status statuses[] = {{4, 2, 2}, {4, 7, 1}, {4, 7, 28}, {4, 4, 1}, {4, 3, 0}};
    static const struct status failures[] = {{5, 1, 1}, {5, 2, 1}, {5, 7, 1}};
    static const char *const sources[] = {"a", "b", ""};
    static const char *const replies[] = {"450 4.2.2 mailbox full", "421 try again", "",
                                          "550 5.1.1 no such user"};
    struct prng *prng = &rig->prng;
    *settle = (struct model_settle){.rid = taken->rid, .outcome = outcome, .at_ms = rig->second_ms};
    settle->source = sources[prng_below(prng, 3)];
    settle->reply = replies[prng_below(prng, 4)];
    switch (outcome) {
    case OUTCOME_DEFERRED:
        settle->status = statuses[prng_below(prng, 5)];
        settle->code = 450;
        settle->attempt_free = prng_below(prng, 4) == 0;
        settle->next_ms = rig->second_ms + (int64_t)(1 + prng_below(prng, 600)) * MS_PER_S;
        break;
    case OUTCOME_BOUNCED:
        settle->status = failures[prng_below(prng, 3)];
        settle->code = 550;
        break;
    case OUTCOME_DELIVERED:
        settle->status = STATUS(2, 0, 0);
        settle->code = 250;
        break;
    default:
        break;
    }
    taken->outcome = outcome;
    taken->code = settle->code;
    taken->status = settle->status;
    taken->attempt_free = settle->attempt_free;
    taken->next_ms = settle->next_ms;
    taken->at_ms = settle->at_ms;
    taken->delay_ms = 17;
    taken->site = STR("site");
    taken->source = str_of(settle->source);
    taken->mx = STR("mx.example");
    taken->tls = STR("TLSv1.3");
    taken->reply = str_of(settle->reply);
    taken->next = NULL;
}
