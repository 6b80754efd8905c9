/* life.c - see life.h. */
#include "tests/crash/life.h"

#include "queue/backup.h"
#include "tests/crash/disk.h"
#include "tests/unit/store_check.h"
#include "tests/unit/store_old.h"

#define SLOW_LOOKS    500
#define STEPS_MIN     6
#define STEPS         18
#define SMALL_JOBS    6 /* at once */
#define BULK_MIN      300
#define BULK_MORE     400
#define DOMAINS       7
#define CONTENT_SMALL 700
#define CONTENT_LARGE 9000 /* several parts */
#define ADDRESSES     20
#define POLICIES      6
#define DRAIN_ROUNDS  200
#define KEY_TTL_MS    (7 * 24 * 3600 * MS_PER_S)

enum { THING_POLICY = ADDRESSES, THING_CURSOR = ADDRESSES + POLICIES, THINGS };
_Static_assert(THINGS <= LEDGER_THINGS, "the ledger has room for them");

/* The seam to time, for this program: it goes on with each look, so that work is cut into slices. So many
 * times it goes on as on a machine that does nearly nothing; not for ever, for what is handed in as now
 * stands still meanwhile. */
static unsigned slow_looks;
struct now clock_now(void)
{
    static int64_t clock_ns = NS_PER_S;
    clock_ns += slow_looks > 0 ? NS_PER_MS : NS_PER_MS / 10;
    slow_looks -= slow_looks > 0;
    return (struct now){.mono_ns = clock_ns, .wall_ms = WORLD_START_MS};
}

const char *doing_name(enum doing doing)
{
    static const char *const names[] = {"start",  "migration", "upload", "admit", "settle", "operate",
                                        "slices", "edit",      "backup", "wait",  "recover"};
    return names[doing];
}

static uint64_t below(struct life *life, uint64_t bound)
{
    return prng_below(&life->prng, bound);
}

/* ---- jobs ---- */

struct flight { /* a job on its way */
    struct life *life;
    struct admit *admit;
    uint64_t id;
    bool done;
};

static void on_answer(struct admit *admit, enum admit_result result, void *user)
{
    struct flight *flight = user;
    (void)admit;
    assert_int_equal(result, ADMIT_OK);
    flight->done = true;
    struct ledger_job *job = ledger_job(&flight->life->ledger, flight->id);
    if (job != NULL) /* the last window: before that nobody knows it */
        job->times.answered = disk_at();
}

static void steps_until(struct life *life, const bool *done)
{
    for (unsigned n = 0; !*done; n++) {
        assert_true(n < 100000);
        store_write_step(life->w.store, life->w.now);
    }
}

static void begin_job(struct life *life, struct flight *flight, char content[CONTENT_LARGE],
                      struct job_spec *spec)
{
    size_t size = 1 + (size_t)below(life, below(life, 6) ? CONTENT_SMALL : CONTENT_LARGE - 1);
    int letter = 'a' + (int)below(life, 3);
    bool alone = size < CONTENT_SMALL && below(life, 2);
    memset(content, letter, size);
    *spec =
        (struct job_spec){.from = STR("news@acme.example"),
                          .bounces = below(life, 2) ? BOUNCES_DSN : BOUNCES_REPORT,
                          .content = content,
                          .content_size = size,
                          .lifetime_ms = below(life, 5) ? 0 : (int64_t)(60 + below(life, 200)) * MS_PER_S};
    if (!alone)
        (void)snprintf((char *)spec->content_hash, sizeof spec->content_hash, "%c %zu", letter, size);
    flight->life = life;
    flight->done = false;
    flight->admit = world_begin(&life->w, spec);
    flight->id = admit_job(flight->admit);
}

static void post_window(struct life *life, struct flight *flight)
{
    flight->done = false;
    admit_post(flight->admit, on_answer, flight);
    steps_until(life, &flight->done);
}

static void add_rcpts(struct life *life, struct flight *flight, unsigned from, unsigned until)
{
    for (unsigned i = from; i < until; i++) {
        char to[64];
        (void)snprintf(to, sizeof to, "user%u@d%u.example", i, (unsigned)below(life, DOMAINS));
        if (admit_window_full(flight->admit))
            post_window(life, flight);
        world_add(flight->admit, to, "x");
    }
}

/* The last window: from here on the job may be there. */
static void commit_job(struct life *life, struct flight *flight, const struct job_spec *spec, unsigned count)
{
    char answer[32];
    struct ledger_job *job = ledger_job_add(&life->ledger, flight->id, count);
    struct admit_key key = {.set = below(life, 3) == 0, .ttl_ms = KEY_TTL_MS};
    job->content = ((const char *)spec->content)[0];
    job->content_size = spec->content_size;
    job->has_key = key.set;
    if (key.set) {
        (void)snprintf(answer, sizeof answer, "answer %llu", (unsigned long long)flight->id);
        for (unsigned i = 0; i < sizeof key.key_hash; i++)
            key.key_hash[i] = key.digest[i] = (uint8_t)prng_next(&life->prng);
        memcpy(job->key, key.key_hash, sizeof job->key);
        key.answer = str_of(answer);
    }
    admit_commit(flight->admit, &key, NULL, on_answer, flight);
}

static void small_jobs(struct life *life)
{
    static char content[CONTENT_LARGE];
    struct flight flights[SMALL_JOBS];
    struct job_spec spec;
    unsigned n = 1 + (unsigned)below(life, SMALL_JOBS);
    disk_doing(DOING_ADMIT);
    for (unsigned i = 0; i < n; i++) {
        unsigned count = below(life, 3) ? 1 : 1 + (unsigned)below(life, 4);
        begin_job(life, &flights[i], content, &spec);
        add_rcpts(life, &flights[i], 0, count);
        commit_job(life, &flights[i], &spec, count);
        if (below(life, 3) == 0)
            steps_until(life, &flights[i].done);
    }
    for (unsigned i = 0; i < n; i++) {
        steps_until(life, &flights[i].done);
        admit_free(flights[i].admit);
    }
}

static void bulk_job(struct life *life)
{
    static char content[CONTENT_LARGE];
    struct flight flight;
    struct job_spec spec;
    unsigned count = BULK_MIN + (unsigned)below(life, BULK_MORE), at = 0;
    bool given_up = below(life, 5) == 0;
    disk_doing(DOING_UPLOAD);
    begin_job(life, &flight, content, &spec);
    while (at < count && (at == 0 || below(life, 3))) { /* windows before the last */
        unsigned until = at + 1 + (unsigned)below(life, count - at);
        add_rcpts(life, &flight, at, until);
        at = until;
        if (at < count || given_up)
            post_window(life, &flight);
    }
    if (!given_up) {
        add_rcpts(life, &flight, at, count);
        flight.done = false;
        commit_job(life, &flight, &spec, count);
        steps_until(life, &flight.done);
    }
    admit_free(flight.admit);
}

/* ---- settling ---- */

static void settle_some(struct life *life)
{
    static const enum outcome outcomes[] = {OUTCOME_DELIVERED, OUTCOME_DELIVERED, OUTCOME_DELIVERED,
                                            OUTCOME_DEFERRED,  OUTCOME_DEFERRED,  OUTCOME_BOUNCED,
                                            OUTCOME_RELEASED,  OUTCOME_EXPIRED};
    struct world *w = &life->w;
    struct taken *list = NULL, **at = &w->taken;
    uint64_t odds = 1 + below(life, 4);
    disk_doing(DOING_SETTLE);
    while (*at != NULL) {
        struct taken *taken = *at;
        if (below(life, odds) != 0) {
            at = &taken->next;
            continue;
        }
        *at = taken->next;
        w->taken_n--;
        world_outcome(w, taken, outcomes[below(life, sizeof outcomes / sizeof *outcomes)]);
        if (taken->outcome == OUTCOME_DEFERRED)
            taken->next_ms = w->now.wall_ms + (int64_t)(1 + below(life, 120)) * MS_PER_S;
        if (taken->outcome == OUTCOME_DELIVERED)
            ledger_said_delivered(&life->ledger, taken->rid);
        taken->next = list;
        list = taken;
    }
    if (list != NULL)
        store_settle(w->store, list);
    if (below(life, 3))
        world_pass(w, COMMIT_LINGER_MS);
}

/* ---- steering and edits ---- */

struct steering {
    struct life *life;
    uint64_t job;
    unsigned steer;
    bool done;
};

static void on_steered(const struct op_progress *progress, void *user)
{
    struct steering *steering = user;
    struct ledger_job *job = ledger_job(&steering->life->ledger, steering->job);
    assert_true(progress->done);
    steering->done = true;
    if (job != NULL)
        job->steers[steering->steer].times.answered = disk_at();
}

static void operate(struct life *life)
{
    static const enum op_kind kinds[] = {OP_PAUSE,  OP_PAUSE,  OP_RESUME, OP_RESUME, OP_RESUME,
                                         OP_CANCEL, OP_BOUNCE, OP_RETRY,  OP_RETRY};
    if (life->ledger.job_n == 0)
        return;
    struct ledger_job *job = &life->ledger.jobs[below(life, life->ledger.job_n)];
    enum op_kind kind = below(life, 60) ? kinds[below(life, sizeof kinds / sizeof *kinds)] : OP_PURGE;
    struct steering steering = {.life = life, .job = job->id, .steer = job->steer_n};
    struct store_filter filter = {.job = job->id};
    disk_doing(DOING_OPERATE);
    if (ledger_steer(job, kind) == NULL)
        return;
    store_operate(life->w.store, kind, &filter, 3600 * MS_PER_S, on_steered, &steering);
    store_write_step(life->w.store, life->w.now);
    if (!steering.done)
        disk_doing(DOING_SLICES);
    world_run(&life->w);
    assert_true(steering.done);
}

static struct str policy_name(unsigned n)
{
    static const char *const names[POLICIES] = {"a", "b", "c", "d", "e", "f"};
    return str_of(names[n]);
}

struct policy_look {
    unsigned n;
    uint64_t value;
};

static bool policy_seen(struct str name, struct str value, void *user)
{
    struct policy_look *look = user;
    if (str_eq(name, policy_name(look->n)))
        look->value = value.n;
    return true;
}

/* What edits have set: whether an address is suppressed, how long a policy's value is, where a cursor is. */
static uint64_t thing_now(struct store *store, unsigned thing)
{
    uint64_t seq = 0;
    struct policy_look look = {.n = thing - THING_POLICY};
    if (thing < THING_POLICY) {
        char address[64];
        (void)snprintf(address, sizeof address, "user%u@gone.example", thing);
        return query_suppressed(store, STR("default"), str_of(address), NULL, NULL);
    }
    if (thing < THING_CURSOR)
        query_policy(store, POLICY_HOLD, policy_seen, &look);
    else if (thing == THING_CURSOR)
        (void)query_cursor(store, STR("crm"), &seq);
    return look.value + seq;
}

struct editing {
    struct life *life;
    size_t first, n;
    bool done;
};

static void on_edited(enum edit_result result, unsigned changed, void *user)
{
    struct editing *editing = user;
    (void)changed;
    assert_int_equal(result, EDIT_OK);
    editing->done = true;
    for (size_t i = 0; i < editing->n; i++)
        editing->life->ledger.edits[editing->first + i].times.answered = disk_at();
}

static bool edit_one(struct edits *edits, unsigned thing, uint64_t value, int64_t now_ms)
{
    static const char bytes[200];
    char address[64];
    (void)snprintf(address, sizeof address, "user%u@gone.example", thing);
    struct suppression one = {.address = str_of(address), .reason = STR("gone"), .added_ms = now_ms};
    if (thing < THING_POLICY)
        return value ? edits_suppress(edits, &one) : edits_unsuppress(edits, STR(""), one.address);
    if (thing < THING_CURSOR)
        return edits_policy(edits, POLICY_HOLD, policy_name(thing - THING_POLICY), str_make(bytes, value));
    return edits_cursor(edits, STR("crm"), value);
}

static void edit(struct life *life)
{
    struct edits *edits = edits_create();
    struct editing editing = {.life = life, .first = life->ledger.edit_n};
    assert_non_null(edits);
    disk_doing(DOING_EDIT);
    for (unsigned n = 1 + (unsigned)below(life, 4); n > 0; n--) {
        unsigned thing = (unsigned)below(life, THINGS + 4);
        thing = thing >= THINGS ? THING_CURSOR : thing;
        uint64_t value = thing < THING_POLICY   ? below(life, 2)
                         : thing < THING_CURSOR ? below(life, 200)
                                                : life->ledger.seen_n;
        assert_true(edit_one(edits, thing, value, life->w.now.wall_ms));
        (void)ledger_edit(&life->ledger, thing, value);
        editing.n++;
    }
    store_edit(life->w.store, edits, on_edited, &editing);
    steps_until(life, &editing.done);
}

/* ---- a backup ---- */

static void backup(struct life *life)
{
    char path[300];
    struct err err = {0};
    struct backup_progress progress = {0};
    if (life->backup.asked != LEDGER_NEVER)
        return; /* one a life */
    disk_doing(DOING_BACKUP);
    (void)snprintf(path, sizeof path, "%.*s/backup",
                   (int)(strrchr(life->w.directory, '/') - life->w.directory), life->w.directory);
    life->backup.asked = disk_at();
    if (!backup_make(life->w.store, path, &progress, &err))
        fail_msg("%s", err.text);
    life->backup.answered = disk_at();
}

/* ---- a life ---- */

void life_begin(struct life *life, uint64_t seed)
{
    static const int64_t holds_ms[] = {0, 30, FRESH_HOLD_MS};
    *life = (struct life){.prng = {seed}, .ledger.thing_now = thing_now};
    life->w.now = (struct now){.mono_ns = NS_PER_S, .wall_ms = WORLD_START_MS};
    life->w.settings = (struct store_settings){.max_size = UINT64_C(1) << 28,
                                               .lifetime_ms = 3600 * MS_PER_S,
                                               .delay_warning_ms = 150 * MS_PER_S,
                                               .retain_ms = 7 * 24 * 3600 * MS_PER_S,
                                               .hold_ms = holds_ms[below(life, 3)],
                                               .give_max = (unsigned)below(life, 4),
                                               .workers = 1};
}

static void open_at(struct life *life, const char *root, const char *name)
{
    (void)snprintf(life->w.directory, sizeof life->w.directory, "%s/%s", root, name);
    life->w.asking = true;
    life->w.want = LANE_TAKE_MAX;
    life->w.taken = NULL;
    life->w.taken_n = life->w.lane_n = 0;
    world_open(&life->w);
}

static void reopen(struct life *life)
{
    disk_doing(DOING_RECOVER);
    world_reopen(&life->w);
}

static void step(struct life *life)
{
    uint64_t dice = below(life, 100);
    slow_looks = below(life, 2) ? 0 : SLOW_LOOKS;
    life->w.asking = below(life, 4) != 0;
    life->w.want = 1 + (unsigned)below(life, LANE_TAKE_MAX);
    if (dice < 30)
        small_jobs(life);
    else if (dice < 38)
        bulk_job(life);
    else if (dice < 66)
        settle_some(life);
    else if (dice < 78)
        operate(life);
    else if (dice < 84)
        edit(life);
    else if (dice < 89)
        backup(life);
    else if (dice < 97) {
        disk_doing(DOING_WAIT);
        world_pass(&life->w, (int64_t)below(life, below(life, 3) ? 1000 : 100000));
    } else
        reopen(life);
    if (below(life, 3)) {
        disk_doing(DOING_WAIT);
        world_run(&life->w);
    }
    if (below(life, 2))
        ledger_read_events(&life->ledger, life->w.store);
}

/* That of the life before is no more held against anything. */
static void backup_remove(const char *root)
{
    static const char *const names[] = {"backup", "backup.part"};
    char path[300];
    for (unsigned n = 0; n < 2; n++) {
        (void)snprintf(path, sizeof path, "%s/%s", root, names[n]);
        temporary_remove(path);
    }
}

void life_run(struct life *life, const char *root, bool again, size_t cut_at)
{
    bool older = again && below(life, 4) == 0;
    life->backup = (struct ledger_times){LEDGER_NEVER, LEDGER_NEVER};
    backup_remove(root);
    if (older) {
        open_at(life, root, "queue");
        store_make_old(&life->w, below(life, 2));
        world_close(&life->w);
    }
    disk_begin(root);
    disk_doing(older ? DOING_MIGRATE : again ? DOING_RECOVER : DOING_START);
    open_at(life, root, "queue");
    if (again)
        ledger_rewind(&life->ledger, life->w.store, cut_at);
    for (uint64_t n = STEPS_MIN + below(life, STEPS); n > 0; n--)
        step(life);
    disk_end();
    world_close(&life->w);
}

void life_end(struct life *life)
{
    ledger_free(&life->ledger);
}

/* ---- after a cut ---- */

/* Begun and not ended; closed jobs may stand there as well. */
static unsigned uploads(struct world *w)
{
    MDB_txn *txn = env_read(&w->store->env);
    MDB_cursor *cursor;
    MDB_val key, value;
    unsigned n = 0;
    assert_int_equal(mdb_cursor_open(txn, w->store->env.dbi[T_UPLOADS], &cursor), 0);
    while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0)
        n += value.mv_size == 0;
    mdb_cursor_close(cursor);
    env_read_end(txn);
    return n;
}

static void drain(struct life *life)
{
    struct world *w = &life->w;
    struct store_figures figures = {.queued = 1};
    for (size_t n = 0; n < life->ledger.job_n; n++)
        (void)world_operate(w, OP_RESUME, life->ledger.jobs[n].id);
    for (unsigned round = 0; figures.queued > 0; round++) {
        if (round == DRAIN_ROUNDS)
            fail_msg("drained: %llu are still queued", (unsigned long long)figures.queued);
        world_run(w);
        if (w->taken != NULL)
            world_settle(w, OUTCOME_DELIVERED);
        world_pass(w, 61 * MS_PER_S);
        store_figures(w->store, &figures);
    }
    assert_int_equal(uploads(w), 0);
    assert_int_equal(world_rows(w, T_READY), 0);
    assert_int_equal(world_rows(w, T_DEFERRED), 0);
}

/* Opens one directory of those that a cut left. */
static void check_at(struct life *life, const char *root, const char *name, size_t at, bool count,
                     bool drained)
{
    struct now now = life->w.now;
    bool purged = false;
    open_at(life, root, name);
    ledger_check(&life->ledger, life->w.store, at, false);
    for (size_t n = 0; n < life->ledger.job_n; n++)
        purged |= life->ledger.jobs[n].purged_at <= at;
    if (count && !purged && world_rows(&life->w, T_META) > 0) /* 0: there was no commit yet */
        store_check(life->w.store, true);
    if (drained && !purged) {
        drain(life);
        ledger_check(&life->ledger, life->w.store, at, true);
        store_check(life->w.store, true);
    }
    world_close(&life->w);
    life->w.now = now;
}

/* A backup with its name is whole, and holds what was so as it was made; one that was answered has it. */
static void check_backup(struct life *life, const char *root, size_t cut_at, bool count, bool drained)
{
    char path[300];
    size_t at = life->backup.answered; /* nothing else happened meanwhile */
    (void)snprintf(path, sizeof path, "%s/backup", root);
    bool there = access(path, F_OK) == 0;
    if (at <= cut_at && !there)
        fail_msg("backup: it was answered and is gone");
    if (there)
        check_at(life, root, "backup", at, count, drained);
}

void life_check(struct life *life, const char *root, size_t cut_at, bool count, bool drained)
{
    check_at(life, root, "queue", cut_at, count, drained);
    check_backup(life, root, cut_at, count, drained);
}
