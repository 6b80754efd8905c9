/* Rows that nobody of ours wrote: a store is filled, rows are damaged in every table, and all queries are
 * asked. They may find less; they must come back, and under the sanitizers without a word. */
#include "queue/env.h"
#include "tests/unit/store_rig.h"

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

#define SEEDS     40
#define ROUNDS    8 /* of damage to one store, more each time */
#define PER_ROUND 12
#define JOBS      6
#define RCPTS     90
#define PAGES_MAX 20000
#define STATUSES  64

static uint64_t sum; /* of all bytes handed out, so that each is read */

static void eat(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        sum += (uint8_t)s.p[i];
}

static bool eat_rcpt(const struct rcpt_info *info, void *user)
{
    unsigned *count = user;
    eat(info->to);
    eat(info->domain);
    eat(info->id);
    eat(info->vars);
    eat(info->orcpt);
    eat(info->metadata);
    eat(info->reply);
    eat(info->mx);
    eat(info->source);
    eat(info->site);
    return ++*count % 17 != 0;
}

static bool eat_event(const struct event *event, void *user)
{
    unsigned *count = user;
    eat(event->tenant);
    eat(event->campaign);
    eat(event->id);
    eat(event->to);
    eat(event->domain);
    eat(event->site);
    eat(event->source);
    eat(event->mx);
    eat(event->reply);
    eat(event->tls);
    return ++*count % 33 != 0;
}

static bool eat_lane(const struct lane_info *lane, void *user)
{
    unsigned *count = user;
    eat(str_of(lane->domain));
    eat(str_of(lane->tenant));
    return ++*count % 3 != 0;
}

static void ask_lists(struct store *store, uint64_t job)
{
    struct rcpt_filter filter = {.has_status = job % 2, .status = {4, -1, -1}};
    struct rid after = {0};
    unsigned count = 0, pages = 0;
    while (query_job_rcpts(store, job, &filter, &after, eat_rcpt, &count))
        assert_true(++pages < PAGES_MAX);
    after = (struct rid){0};
    while (query_job_failures(store, job, &after, eat_rcpt, &count))
        assert_true(++pages < PAGES_MAX);
}

static void ask_everything(struct store *store, struct now now)
{
    static struct job_info jobs[JOBS * 3];
    struct status_count statuses[STATUSES];
    struct op_info ops[8];
    struct rid found[32];
    struct rcpt_info info;
    struct lane_info lane;
    struct dsn_due due;
    size_t size;
    int64_t next_ms;
    unsigned count = 0, pages = 0;
    size_t n = query_jobs(store, 0, jobs, JOBS * 3);
    rcpt_info_init(&info);
    for (uint64_t job = 0; job < JOBS + 2; job++) {
        ask_lists(store, job);
        query_job_statuses(store, job, statuses, STATUSES);
        free(query_content(store, job, &size));
        for (uint16_t slot = 0; slot < RCPTS; slot = (uint16_t)(slot + 7))
            if (query_rcpt(store, (struct rid){job, 0, slot}, &info))
                eat_rcpt(&info, &count);
    }
    rcpt_info_free(&info);
    for (size_t i = 0; i < n; i++)
        eat(str_of(jobs[i].from));
    struct store_filter filter = {.domain = n % 2 ? STR("a.example") : STR("")};
    struct buf after;
    buf_init(&after, 64);
    while (query_deferred(store, &filter, &after, eat_rcpt, &count))
        assert_true(++pages < PAGES_MAX);
    buf_free(&after);
    query_address(store, STR("u1@a.example"), found, 32);
    uint32_t last = 0, lanes[8];
    while (query_lanes(store, &last, eat_lane, &count))
        assert_true(++pages < PAGES_MAX);
    size_t lane_count = query_domain_lanes(store, STR("a.example"), lanes, 8);
    for (size_t i = 0; i < lane_count; i++)
        query_lane(store, lanes[i], &lane);
    query_queue_statuses(store, statuses, STATUSES);
    uint64_t seq = 0, next;
    while ((next = query_events(store, seq, eat_event, &count)) != seq && ++pages < PAGES_MAX) {
        assert_true(next > seq);
        seq = next;
    }
    static struct rid rids[500];
    if (query_dsn_due(store, now, &due, &next_ms))
        query_dsn_rcpts(store, &due, rids, eat_rcpt, &count);
    query_ops(store, ops, 8);
}

/* ---- a store with something in every table ---- */

static void on_post(struct admit *admit, enum admit_result result, void *user)
{
    (void)admit;
    *(enum admit_result *)user = result;
}

static void fill(struct rig *rig)
{
    for (unsigned j = 0; j < JOBS; j++) {
        struct err err;
        struct job_spec spec = {.tenant = STR("acme"),
                                .from = STR("b-{{rid}}@acme.example"),
                                .content = "x",
                                .content_size = 1,
                                .bounces = BOUNCES_DSN};
        enum admit_result result = ADMIT_FULL;
        static const char *const domains[] = {"a.example", "b.example", "c.example"};
        struct admit *admit = admit_begin(rig->store, &spec, rig->now, &err);
        assert_non_null(admit);
        for (unsigned i = 0; i < RCPTS; i++) {
            char to[32], id[16];
            (void)snprintf(to, sizeof to, "u%u@%s", i, domains[i % 3]);
            (void)snprintf(id, sizeof id, "%u", i);
            struct rcpt_spec rcpt = {.to = str_of(to), .domain = str_of(domains[i % 3]), .id = str_of(id)};
            assert_true(admit_add(admit, &rcpt, &err));
            if (admit_window_full(admit)) {
                admit_post(admit, on_post, &result);
                rig_settle_down(rig);
            }
        }
        admit_commit(admit, NULL, NULL, on_post, &result);
        rig_settle_down(rig);
        assert_int_equal(result, ADMIT_OK);
        admit_free(admit);
    }
}

static void settle_most(struct rig *rig)
{
    static const enum outcome outcomes[] = {OUTCOME_DEFERRED, OUTCOME_BOUNCED, OUTCOME_DELIVERED,
                                            OUTCOME_DEFERRED};
    for (size_t i = 0; i < rig->lane_count; i++) {
        store_take(rig->store, rig->lanes[i].lane, 100, rig->lanes[i].worker);
        rig_settle_down(rig);
        assert_non_null(rig->answer);
        struct taken *list = rig->answer->list, *next;
        free(rig->answer);
        rig->answer = NULL;
        unsigned n = 0;
        for (struct taken *taken = list; taken; taken = next) {
            struct model_settle settle;
            next = taken->next;
            rig_decide(rig, taken, outcomes[n++ % 4], &settle);
            taken->next = next;
        }
        if (list)
            store_settle(rig->store, list);
        rig_settle_down(rig);
    }
}

/* ---- damage ---- */

static void damage_value(struct prng *prng, uint8_t *value, size_t *size)
{
    switch (prng_below(prng, 4)) {
    case 0:
        *size = *size ? prng_below(prng, *size) : 0;
        break;
    case 1:
        for (size_t i = 0; i < *size; i++)
            value[i] = (uint8_t)prng_next(prng);
        break;
    case 2:
        *size += 3;
        break;
    default:
        for (unsigned i = 0; i < 3 && *size; i++)
            value[prng_below(prng, *size)] = prng_below(prng, 2) ? 0xff : (uint8_t)prng_next(prng);
    }
}

static void damage_one(struct prng *prng, struct env *env, MDB_txn *txn)
{
    enum table table = (enum table)(1 + prng_below(prng, TABLES - 1)); /* not T_META: open refuses that */
    MDB_cursor *cursor;
    MDB_val key, value;
    uint8_t bytes[VALUE_MAX + 16] = {0}, name[KEY_MAX];
    assert_int_equal(mdb_cursor_open(txn, env->dbi[table], &cursor), 0);
    uint64_t skip = prng_below(prng, 40);
    int rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    while (rc == 0 && skip-- && (rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
    }
    if (rc != 0)
        rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    if (rc == 0 && value.mv_size <= VALUE_MAX) {
        size_t size = value.mv_size;
        memcpy(bytes, value.mv_data, size);
        memcpy(name, key.mv_data, key.mv_size);
        damage_value(prng, bytes, &size);
        MDB_val new_key = {key.mv_size, name}, new_value = {size, bytes};
        if (prng_below(prng, 4) == 0 && new_key.mv_size > 1)
            name[prng_below(prng, new_key.mv_size)] = (uint8_t)prng_next(prng);
        else if (prng_below(prng, 6) == 0 && new_key.mv_size > 1)
            new_key.mv_size--;
        assert_int_equal(mdb_put(txn, env->dbi[table], &new_key, &new_value, 0), 0);
    }
    mdb_cursor_close(cursor);
}

static void damage(struct rig *rig)
{
    struct env env;
    struct err err;
    assert_true(env_open(&env, rig->directory, rig->settings.max_size, 0, &err));
    MDB_txn *txn = env_write(&env);
    for (unsigned n = 0; n < PER_ROUND; n++)
        damage_one(&rig->prng, &env, txn);
    assert_true(env_commit(&env, txn));
    env_close(&env);
}

static void damaged_rows(void **state)
{
    static struct rig rig;
    unsigned opened = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        rig_open(&rig, seed, 86400 * MS_PER_S);
        fill(&rig);
        settle_most(&rig);
        ask_everything(rig.store, rig.now);
        for (unsigned round = 0; round < ROUNDS; round++) {
            struct err err;
            store_close(rig.store);
            damage(&rig);
            rig.store = store_open(&rig.settings, rig.now, &err);
            if (!rig.store)
                break; /* refused with a sentence */
            opened++;
            ask_everything(rig.store, rig.now);
        }
        rig_abandon(&rig);
    }
    assert_true(sum > 0);
    assert_true(opened > SEEDS * ROUNDS / 2); /* else nothing was tested */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
