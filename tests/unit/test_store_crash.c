/* test_store_crash.c - the store under its real threads, and under kill -9.
 *
 * A crew of threads uploads jobs, takes, settles at random, cancels and pauses. Once it runs to the end in
 * this process; then in children that are killed at random moments, each followed by a start that must find
 * every accepted job, all counters agreeing, and lets the next child go on. What was sent is counted in
 * memory that outlives the children: nothing accepted is missing at the end, and what was sent twice was in
 * flight at a kill.
 */
#include "tests/unit/store_check.h"

#include "engine/base/prng.h"

#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define WINDOW_MS 2000 /* in which an outcome is durable, of a slow build and on a disk that others use too */

enum { JOBS = 600, RCPTS = 1500, WORKERS = 2, ROUNDS = 5 };

/* Survives the children. */
struct memory {
    atomic_uint accepted[JOBS];    /* by job: recipients, once the admit is done; jobs number from 1 */
    atomic_uint sent[JOBS][RCPTS]; /* when, in ms since the test began; 0: not yet */
    int64_t began_ns;
    unsigned killed_ms[ROUNDS], kills;
    atomic_uint sent_twice, too_late; /* too_late: twice, though long before the next kill */
    atomic_uint uploaded;
    atomic_bool finish; /* no more jobs: run until all has ended */
};

struct ready { /* a worker's lanes that have something to take */
    uint32_t lanes[LANES_LIVE_MAX];
    unsigned n;
};

struct crew {
    struct store *store;
    struct memory *memory;
    struct inbox *inboxes[WORKERS];
    atomic_bool stop;
    atomic_uint next_worker;
    uint64_t seed;
};

static void posted(struct admit *admit, enum admit_result result, void *user)
{
    (void)admit;
    assert_int_equal(result, ADMIT_OK);
    atomic_store((atomic_bool *)user, true);
}

static void nap(void)
{
    usleep(200);
}

static void upload_one(struct crew *crew, struct prng *prng)
{
    struct err err;
    struct job_spec spec = world_spec("hello");
    atomic_bool done;
    struct admit *admit = admit_begin(crew->store, &spec, clock_now(), &err);
    uint64_t job = admit_job(admit);
    unsigned n = prng_below(prng, 3) ? 1 + (unsigned)prng_below(prng, 5) : (unsigned)prng_below(prng, RCPTS);
    if (job >= JOBS || n == 0) {
        admit_free(admit);
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        char to[64];
        snprintf(to, sizeof to, "user%u@d%u.example", i, (unsigned)prng_below(prng, 20));
        world_add(admit, to, "x");
        if (prng_below(prng, 300) == 0 || admit_window_full(admit)) {
            atomic_init(&done, false);
            admit_post(admit, posted, &done);
            while (!atomic_load(&done))
                nap();
        }
    }
    if (prng_below(prng, 10)) { /* some are given up */
        atomic_init(&done, false);
        admit_commit(admit, NULL, NULL, posted, &done);
        while (!atomic_load(&done))
            nap();
        atomic_store(&crew->memory->accepted[job], n);
        atomic_fetch_add(&crew->memory->uploaded, n);
    }
    admit_free(admit);
}

static void *uploader(void *arg)
{
    struct crew *crew = arg;
    struct prng prng = {crew->seed};
    while (!atomic_load(&crew->stop) && !atomic_load(&crew->memory->finish))
        upload_one(crew, &prng);
    return NULL;
}

/* The first kill after that, give or take a millisecond; UINT_MAX: none, and nothing may go twice. */
static unsigned next_kill_ms(const struct memory *memory, unsigned ms)
{
    unsigned n = 0;
    while (n < memory->kills && memory->killed_ms[n] + 1 < ms)
        n++;
    return n < memory->kills ? memory->killed_ms[n] : UINT_MAX;
}

/* What becomes of one; a delivery counts as sent. */
static void decide(struct crew *crew, struct prng *prng, struct taken *taken)
{
    uint64_t dice = prng_below(prng, 100);
    struct now now = clock_now();
    taken->at_ms = now.wall_ms;
    taken->site = STR("site");
    if (dice < 5) {
        taken->outcome = OUTCOME_RELEASED;
    } else if (dice < 20) {
        taken->outcome = OUTCOME_DEFERRED;
        taken->status = STATUS(4, 2, (uint16_t)(dice % 3));
        taken->next_ms = now.wall_ms + (int64_t)prng_below(prng, 40);
    } else {
        unsigned n = (unsigned)strtoul(taken->to.p + 4, NULL, 10);
        assert_true(taken->rid.job < JOBS && n < RCPTS);
        taken->outcome = OUTCOME_DELIVERED;
        taken->status = STATUS(2, 0, 0);
        unsigned at_ms = 1 + (unsigned)((now.mono_ns - crew->memory->began_ns) / NS_PER_MS);
        unsigned before_ms = atomic_exchange(&crew->memory->sent[taken->rid.job][n], at_ms);
        atomic_fetch_add(&crew->memory->sent_twice, before_ms != 0);
        if (before_ms != 0 && before_ms + WINDOW_MS < next_kill_ms(crew->memory, before_ms))
            atomic_fetch_add(&crew->memory->too_late, 1);
    }
}

/* Asks for more of the lanes that have some, unless too much is settled and not durable, as workers do. */
static void take_some(struct crew *crew, unsigned self, struct ready *ready)
{
    while (ready->n > 0 && store_settling(crew->store) < (uint64_t)WORKERS * WORKER_TAKEN_MAX)
        store_take(crew->store, ready->lanes[--ready->n], 40, self);
}

static void lane_ready(struct ready *ready, uint32_t lane)
{
    assert_true(ready->n < LANES_LIVE_MAX);
    ready->lanes[ready->n++] = lane;
}

static void *worker(void *arg)
{
    struct crew *crew = arg;
    unsigned self = atomic_fetch_add(&crew->next_worker, 1);
    struct inbox *inbox = crew->inboxes[self];
    struct prng prng = {crew->seed + 17 * self};
    struct ready ready = {0};
    while (!atomic_load(&crew->stop)) {
        struct pollfd fd = {.fd = inbox_fd(inbox), .events = POLLIN};
        if (inbox_sleep(inbox))
            poll(&fd, 1, 20);
        inbox_wake(inbox);
        struct inbox_node *next;
        for (struct inbox_node *node = inbox_take(inbox); node != NULL; node = next) {
            next = node->next;
            if (node->kind == STORE_LANE_READY) {
                lane_ready(&ready, ((struct store_lane_msg *)(void *)node)->lane);
            } else if (node->kind == STORE_TAKEN) {
                struct store_taken_msg *msg = (struct store_taken_msg *)(void *)node;
                for (struct taken *taken = msg->list; taken != NULL; taken = taken->next)
                    decide(crew, &prng, taken);
                store_settle(crew->store, msg->list);
                if (!msg->idle)
                    lane_ready(&ready, msg->lane);
            }
            free(node);
        }
        take_some(crew, self, &ready);
    }
    return NULL;
}

static void open_crew(struct crew *crew, const struct store_settings *settings)
{
    struct err err;
    crew->store = store_open(settings, clock_now(), &err);
    if (crew->store == NULL)
        fail_msg("%s", err.text);
    for (unsigned n = 0; n < WORKERS; n++) {
        crew->inboxes[n] = inbox_create(&err);
        store_attach_worker(crew->store, n, crew->inboxes[n]);
    }
}

static void close_crew(struct crew *crew)
{
    for (unsigned n = 0; n < WORKERS; n++) {
        struct inbox_node *node = inbox_take(crew->inboxes[n]), *next;
        for (; node != NULL; node = next) {
            next = node->next;
            if (node->kind == STORE_TAKEN)
                store_taken_free(((struct store_taken_msg *)(void *)node)->list);
            free(node);
        }
    }
    store_close(crew->store);
    for (unsigned n = 0; n < WORKERS; n++)
        inbox_destroy(crew->inboxes[n]);
}

static void operated(const struct op_progress *progress, void *user)
{
    (void)progress;
    atomic_fetch_add((atomic_uint *)user, 1);
}

/* Runs until all has ended (memory->finish) or for so long. Pauses and resumes jobs meanwhile, which changes
 * no outcome. */
static void run_crew(struct crew *crew, unsigned for_ms)
{
    struct err err;
    pthread_t threads[WORKERS + 2];
    struct store_figures figures;
    atomic_uint answers = 0;
    unsigned asked = 0;
    assert_true(store_start(crew->store, &err));
    for (unsigned n = 0; n < WORKERS + 2; n++)
        pthread_create(&threads[n], NULL, n < WORKERS ? worker : uploader, crew);
    int64_t until_ns = clock_now().mono_ns + for_ms * NS_PER_MS;
    for (unsigned n = 1;; n++) {
        struct store_filter filter = {.job = 1 + n / 2 % (JOBS - 1)};
        usleep(5000);
        store_operate(crew->store, n % 2 ? OP_RESUME : OP_PAUSE, &filter, 1000, operated, &answers);
        asked++;
        if (n % 8 == 0) {
            filter = (struct store_filter){.has_status = true, .status = {4, 2, 1}};
            store_operate(crew->store, OP_RETRY, &filter, 1000, operated, &answers);
            asked++;
        }
        store_figures(crew->store, &figures);
        bool over = clock_now().mono_ns >= until_ns;
        if (over && !atomic_load(&crew->memory->finish))
            break;
        if (over && figures.queued == 0 && n % 2)
            break;
        assert_true(n < 12 * WINDOW_MS);
    }
    atomic_store(&crew->stop, true);
    for (unsigned n = 0; n < WORKERS + 2; n++)
        pthread_join(threads[n], NULL);
    store_stop(crew->store);
    assert_int_equal(atomic_load(&answers), asked);
}

static struct memory *memory_make(void)
{
    struct memory *memory =
        mmap(NULL, sizeof *memory, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(memory != MAP_FAILED);
    memory->began_ns = clock_now().mono_ns;
    return memory;
}

static struct store_settings settings_of(char directory[TEMPORARY_PATH])
{
    assert_true(temporary_directory(directory));
    return (struct store_settings){.directory = directory,
                                   .max_size = UINT64_C(1) << 30,
                                   .reserve = 1 << 20,
                                   .lifetime_ms = 3600 * 1000,
                                   .retain_ms = 3600 * 1000,
                                   .hold_ms = FRESH_HOLD_MS,
                                   .workers = WORKERS};
}

/* All that was accepted is there, and was sent. */
static void check_sent(struct memory *memory)
{
    for (unsigned job = 1; job < JOBS; job++) {
        unsigned n = atomic_load(&memory->accepted[job]);
        for (unsigned i = 0; i < n; i++)
            assert_true(atomic_load(&memory->sent[job][i]) != 0);
    }
}

static void check_accepted(struct store *store, struct memory *memory)
{
    MDB_txn *txn = env_read(&store->env);
    for (unsigned job = 1; job < JOBS; job++) {
        unsigned n = atomic_load(&memory->accepted[job]);
        uint8_t key[KEY_JOB];
        struct str bytes;
        struct job_row row;
        key_job(job, key);
        if (n == 0)
            continue;
        assert_true(env_get(&store->env, txn, T_JOBS, key, sizeof key, &bytes) &&
                    job_row_decode(bytes, &row));
        assert_true(row.uploaded);
        assert_int_equal(row.total, n);
    }
    env_read_end(txn);
}

static void threads_agree(void **state)
{
    char directory[TEMPORARY_PATH];
    (void)state;
    struct store_settings settings = settings_of(directory);
    struct memory *memory = memory_make();
    struct crew crew = {.memory = memory, .seed = 7};
    open_crew(&crew, &settings);
    run_crew(&crew, 500);
    store_check(crew.store, true);
    close_crew(&crew);
    atomic_store(&memory->finish, true);
    crew = (struct crew){.memory = memory, .seed = 8};
    open_crew(&crew, &settings);
    run_crew(&crew, 100);
    store_check(crew.store, true);
    check_accepted(crew.store, memory);
    check_sent(memory);
    assert_true(atomic_load(&memory->uploaded) > 100);
    assert_int_equal(atomic_load(&memory->sent_twice), 0);
    close_crew(&crew);
    munmap(memory, sizeof *memory);
    temporary_remove(directory);
}

static void survives_kill(void **state)
{
    char directory[TEMPORARY_PATH];
    struct prng prng = {prng_seed()};
    (void)state;
    print_message("seed %llu\n", (unsigned long long)prng.state);
    struct store_settings settings = settings_of(directory);
    struct memory *memory = memory_make();
    for (unsigned round = 0; round <= ROUNDS; round++) {
        bool last = round == ROUNDS;
        uint64_t seed = prng_next(&prng);
        atomic_store(&memory->finish, last);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            struct crew crew = {.memory = memory, .seed = seed};
            open_crew(&crew, &settings);
            run_crew(&crew, last ? 0 : 60000);
            close_crew(&crew);
            _exit(0);
        }
        if (!last) {
            usleep((useconds_t)(WINDOW_MS * 1000 + prng_below(&prng, 500000)));
            kill(child, SIGKILL);
            memory->killed_ms[memory->kills++] =
                (unsigned)((clock_now().mono_ns - memory->began_ns) / NS_PER_MS);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        if (last)
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        struct crew crew = {.memory = memory};
        open_crew(&crew, &settings);
        store_check(crew.store, true);
        check_accepted(crew.store, memory);
        close_crew(&crew);
    }
    check_sent(memory);
    assert_true(atomic_load(&memory->uploaded) > 0);
    print_message("%u accepted, %u sent twice\n", atomic_load(&memory->uploaded),
                  atomic_load(&memory->sent_twice));
    assert_int_equal(atomic_load(&memory->too_late), 0);
    munmap(memory, sizeof *memory);
    temporary_remove(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_agree),
        cmocka_unit_test(survives_kill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
