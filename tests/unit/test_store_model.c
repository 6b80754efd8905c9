/* Random operations against the store and its model, which must agree after each batch of them; with power
 * cuts between and in the middle of operations.
 *
 * Each seed is a run of its own: POSTRIDER_SEED=n runs one, POSTRIDER_SEEDS=n so many from a seed that is
 * printed. What fails prints its seed and what was done last. */
#include "tests/unit/store_acts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

/* The seams to time and to the disk, for this program. */
struct now clock_now(void)
{
    return rig_clock();
}

int fdatasync(int fd)
{
    return rig_sync(fd);
}

#define STEPS 120
#define SEEDS 12

/* ---- time ---- */

static void do_advance(struct world *world)
{
    struct rig *rig = &world->rig;
    int64_t seconds = (int64_t)(1 + act_below(rig, 20));
    if (act_below(rig, 4) == 0)
        seconds = (int64_t)(1 + act_below(rig, 700));
    rig_note(rig, "advance %lld s", (long long)seconds);
    if (rig->settings.retain_ms < 86400 * MS_PER_S)
        act_must(rig, compare_events(rig)); /* before they are old */
    rig_advance(rig, seconds);
}

/* ---- power cuts ---- */

static void after_crash(struct rig *rig)
{
    rig_settle_down(rig);
    model_crash(&rig->model, rig->second_ms);
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
    struct model_settle *settles = act_settle_some(rig, &n);
    unsigned rounds = (unsigned)act_below(rig, 4);
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
        /* It was due: a later time is the settle's. */
        bool same = info.state == rcpt->state &&
                    (info.state != RCPT_DEFERRED || info.next_ms <= rig->second_ms + MS_PER_S / 2);
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

/* Those that a worker had when the bounce passed were nobody's when it went on after the restart: each may
 * have been reached or not. */
static void adopt_bounces(struct rig *rig, const struct rid *held, size_t n)
{
    struct rcpt_info info;
    rcpt_info_init(&info);
    for (size_t i = 0; i < n; i++) {
        const struct model_rcpt *rcpt = model_rcpt(&rig->model, held[i]);
        if (rcpt && !model_ended(rcpt->state) && query_rcpt(rig->store, held[i], &info) &&
            info.state == RCPT_BOUNCED)
            model_bounce(&rig->model, held[i], rig->second_ms);
    }
    rcpt_info_free(&info);
}

/* An operation happens whole or not at all, in slices after the restart if need be. */
static void crash_operating(struct world *world)
{
    static struct rid held[RIG_HELD_MAX];
    struct rig *rig = &world->rig;
    struct store_filter filter;
    struct answer answer = {0};
    enum op_kind kind = act_random_operation(rig, &filter);
    unsigned rounds = (unsigned)act_below(rig, 4);
    size_t n = rig->held_count;
    for (size_t i = 0; i < n; i++)
        held[i] = rig->held[i]->rid;
    act_note_operation(rig, kind, &filter);
    rig_note(rig, "%u rounds, crash", rounds);
    store_operate(rig->store, kind, &filter, 3600 * MS_PER_S, act_on_operation, &answer);
    rig_steps(rig, rounds);
    bool answered = answer.done != 0;
    struct model *with = model_copy(&rig->model);
    rig_crash(rig);
    (void)model_operate(with, kind, &filter, rig->second_ms);
    after_crash(rig);
    if (!answered && compare_all(rig)) {
        model_destroy(with);
        return;
    }
    take_model(rig, with);
    model_crash(&rig->model, rig->second_ms);
    if (!answered && kind == OP_BOUNCE)
        adopt_bounces(rig, held, n);
    model_time(&rig->model, rig->second_ms);
    act_must(rig, compare_all(rig));
}

/* A job is there whole or not at all; if it was answered, it is there. */
static void crash_admitting(struct world *world)
{
    struct rig *rig = &world->rig;
    struct upload up;
    struct post post = {0};
    act_upload(world, &up, act_random_count(rig));
    unsigned rounds = (unsigned)act_below(rig, 3);
    rig_note(rig, "admit job %llu, %zu recipients, %u rounds, crash", (unsigned long long)up.job->id,
             up.job->count, rounds);
    admit_commit(up.admit, NULL, NULL, act_on_post, &post);
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
    act_must(rig, compare_names(rig));
}

static void do_crash(struct world *world)
{
    switch (act_below(&world->rig, 4)) {
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
    uint64_t kind = act_below(rig, 100);
    if (kind < 16)
        act_admit(world);
    else if (kind < 19)
        act_admit_again(world);
    else if (kind < 22)
        act_give_up(world);
    else if (kind < 44)
        act_take(world);
    else if (kind < 66)
        act_settle(world);
    else if (kind < 78)
        act_operate(world);
    else if (kind < 90)
        do_advance(world);
    else if (kind < 93)
        act_report(world);
    else if (kind < 97)
        act_suppress(world);
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
            store_operate(rig->store, OP_RESUME, &filter, 3600 * MS_PER_S, act_on_operation, &answer);
            rig_settle_down(rig);
            (void)model_operate(&rig->model, OP_RESUME, &filter, rig->second_ms);
        }
    for (unsigned round = 0; round < 5; round++) {
        rig_take_all(rig, RIG_HELD_MAX);
        while (rig->held_count)
            act_settle(world);
        act_must(rig, compare_events(rig)); /* before they are old */
        rig_advance(rig, 600);
        act_must(rig, compare_events(rig));
    }
    rig_advance(rig, 3600);
    act_must(rig, compare_all(rig));
    act_must(rig, compare_events(rig));
    for (size_t i = 0; i < rig->model.count; i++)
        if (!rig->model.jobs[i]->ended_ms)
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
        bool looks = act_below(rig, 3) == 0;
        if (looks) {
            act_must(rig, compare_all(rig));
            act_must(rig, compare_lanes_ready(rig));
        }
        if (looks || rig->settings.hold_ms == 0) /* whoever looks brings all into the tables */
            act_must(rig, compare_events(rig));
        else
            act_must(rig, compare_limbo(rig));
    }
    act_must(rig, compare_all(rig));
    if (rig->settings.retain_ms > 86400 * MS_PER_S) /* else its begin is gone already */
        act_must(rig, compare_events_again(rig));
    act_check_keys(&world);
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
        char id[24], to[40];
        (void)snprintf(id, sizeof id, "%zu", i);
        (void)snprintf(to, sizeof to, "u%zu@a.example", i);
        struct rcpt_spec rcpt = {.to = str_of(to), .domain = STR("a.example"), .id = str_of(id)};
        if (!admit_add(admit, &rcpt, &err))
            rig_fail(rig, "admit_add: %s", err.text);
        model_add_rcpt(job, &rcpt, 0);
        if (admit_window_full(admit) || i + 1 == count) {
            post = (struct post){0};
            if (i + 1 < count)
                admit_post(admit, act_on_post, &post);
            else
                admit_commit(admit, NULL, NULL, act_on_post, &post);
            rig_settle_down(rig);
            assert_int_equal(post.done, 1);
            assert_int_equal(post.result, ADMIT_OK);
        }
    }
    uint64_t id = admit_job(admit);
    admit_free(admit);
    model_admit(&rig->model, job);
    act_must(rig, compare_all(rig));
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
