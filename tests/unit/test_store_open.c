/* test_store_open.c - what an operator may meet: a directory that cannot be used, a disk that is full or
 * fails. Each is one sentence, and nothing accepted is lost. The disk is stood in for by three calls of this
 * file, which come before the C library's. */
#include "tests/unit/store_check.h"
#include "tests/unit/store_old.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static struct {
    bool no_space;   /* writes and allocations of the data file find none */
    bool sync_fails; /* EIO, as a dying disk says */
    unsigned syncs;
} disk;

int fallocate(int fd, int mode, off_t offset, off_t size)
{
    if (disk.no_space) {
        errno = ENOSPC;
        return -1;
    }
    return (int)syscall(SYS_fallocate, fd, mode, offset, size);
}

int fdatasync(int fd)
{
    disk.syncs++;
    if (disk.sync_fails) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

static void refused(const struct store_settings *settings, const char *words)
{
    struct err err = {0};
    struct store *store = store_open(settings, (struct now){NS_PER_S, WORLD_START_MS}, &err);
    assert_null(store);
    if (strstr(err.text, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.text, words);
    assert_null(strchr(err.text, '\n'));
}

static void opens_or_says_why(void **state)
{
    struct world w;
    char path[400];
    (void)state;
    world_make(&w, NULL);
    struct store_settings settings = w.settings;
    /* In use: by us, seen by another. The process is named. */
    snprintf(path, sizeof path, "process %ld", (long)getpid());
    refused(&settings, path);
    world_close(&w);

    snprintf(path, sizeof path, "%s/a/b", w.directory);
    settings.directory = path;
    refused(&settings, "cannot create state_directory");
    snprintf(path, sizeof path, "%s/data.mdb", w.directory);
    refused(&settings, "not a directory");
    snprintf(path, sizeof path, "%s/data.mdb/below", w.directory);
    refused(&settings, "cannot use state_directory");
    settings.directory = w.directory;
    settings.reserve = settings.max_size;
    refused(&settings, "queue.reserve");
    settings.reserve = 1 << 20;

    /* A directory that is not there is made, when its parent is. */
    snprintf(path, sizeof path, "%s/new", w.directory);
    settings.directory = path;
    struct err err;
    struct store *store = store_open(&settings, w.now, &err);
    assert_non_null(store);
    store_close(store);
    world_end(&w);
}

/* A directory where one of its files belongs: which one, and what to do. */
static void in_the_way(void **state)
{
    static const struct {
        const char *name, *words;
    } ways[] = {{"postriderd.lock", "change its owner"},
                {"data.mdb.new", "cannot remove"},
                {"data.mdb", "cannot open the queue"},
                {"fresh.log", "where new jobs land"}};
    struct world w;
    char path[400];
    (void)state;
    world_make(&w, NULL);
    world_end(&w);
    for (unsigned n = 0; n < sizeof ways / sizeof *ways; n++) {
        assert_int_equal(mkdir(w.directory, 0700), 0);
        snprintf(path, sizeof path, "%s/%s", w.directory, ways[n].name);
        assert_int_equal(mkdir(path, 0700), 0);
        refused(&w.settings, ways[n].words);
        world_end(&w);
    }
}

/* A log of small jobs that is not ours, or of which a power cut left the first bytes alone. */
static void a_log_that_is_none(void **state)
{
    struct world w;
    char path[400], junk[4096];
    (void)state;
    world_make(&w, NULL);
    world_small_job(&w, 3, 1);
    world_close(&w);
    snprintf(path, sizeof path, "%s/fresh.log", w.directory);
    memset(junk, 'x', sizeof junk);
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, junk, sizeof junk, 0), sizeof junk);
    close(fd);
    refused(&w.settings, "damaged or of another version");
    assert_int_equal(truncate(path, 0),
                     0); /* as deleted: what had landed went with it, or is in the tables */
    world_open(&w);
    world_small_job(&w, 3, 1);
    world_reopen(&w);
    world_run(&w);
    assert_true(w.taken_n >= 3);
    store_check(w.store, true);
    world_end(&w);
}

/* A map that the process may not have. */
static void no_room_to_map(void **state)
{
    struct world w;
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* it maps far more itself */
#endif
    world_make(&w, NULL);
    world_close(&w);
    pid_t child = fork();
    if (child == 0) {
        struct err err = {0};
        struct rlimit limit = {w.settings.max_size, w.settings.max_size};
        if (setrlimit(RLIMIT_AS, &limit) != 0)
            _exit(2);
        struct store *store = store_open(&w.settings, w.now, &err);
        _exit(store == NULL && strstr(err.text, "lower queue.max_size") != NULL ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    world_end(&w);
}

static void read_only(void **state)
{
    struct world w;
    (void)state;
    world_make(&w, NULL);
    world_close(&w);
    pid_t child = fork();
    if (child == 0) { /* root may write everywhere: be somebody else */
        struct err err = {0};
        if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
            _exit(2);
        struct store *store = store_open(&w.settings, w.now, &err);
        _exit(store == NULL && strstr(err.text, "state_directory") != NULL ? 0 : 1);
    }
    int status;
    chmod(w.directory, 0555);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    chmod(w.directory, 0755);
    world_end(&w);
}

static void newer_or_damaged(void **state)
{
    struct world w;
    struct meta meta = {.schema = SCHEMA_VERSION + 1};
    struct buf row;
    (void)state;
    world_make(&w, NULL);
    buf_init(&row, VALUE_MAX);
    assert_true(meta_encode(&meta, &row));
    old_put_meta(&w, row.data, row.len);
    buf_free(&row);
    world_close(&w);
    char words[64];
    snprintf(words, sizeof words, "newer than this program's %d; upgrade postrider", SCHEMA_VERSION);
    refused(&w.settings, words);
    world_end(&w);

    world_make(&w, NULL);
    old_put_meta(&w, "junk", 4);
    world_close(&w);
    refused(&w.settings, "damaged");
    world_end(&w);
}

/* A store of schema 2 opens, and all of its deferred recipients are there; a migration that was cut off, with
 * rows of both forms, goes on. */
static void older(void **state)
{
    struct world w;
    (void)state;
    for (unsigned part = 0; part < 2; part++) {
        world_make(&w, NULL);
        uint64_t job = world_small_job(&w, 1500, 5);
        world_run(&w);
        world_settle(&w, OUTCOME_DEFERRED);
        store_make_old(&w, part == 0);
        world_reopen(&w);
        store_check(w.store, true);
        world_run(&w);
        assert_int_equal(w.taken_n, 0);
        /* Old and new in one batch: the second half is put off again, the first delivered. */
        world_pass(&w, 61000);
        assert_int_equal(w.taken_n, 1500);
        for (struct taken *taken = w.taken; taken != NULL; taken = taken->next)
            world_outcome(&w, taken, taken->rid.slot % 2 ? OUTCOME_DELIVERED : OUTCOME_DEFERRED);
        store_settle(w.store, w.taken);
        w.taken = NULL;
        w.taken_n = 0;
        world_pass(&w, COMMIT_LINGER_MS);
        store_check(w.store, true);
        world_reopen(&w);
        assert_int_equal(w.store->writer.meta.schema, SCHEMA_VERSION);
        world_pass(&w, 61000);
        world_settle(&w, OUTCOME_DELIVERED);
        struct job_row ended;
        assert_true(world_job_row(&w, job, &ended));
        assert_int_equal(ended.by_state[RCPT_DELIVERED], 1500);
        store_check(w.store, true);
        world_end(&w);
    }
}

/* No room to allocate: admits are refused, settles wait and are not lost, and all goes on when there is
 * room. */
static void full_disk(void **state)
{
    struct world w;
    struct job_row row;
    struct store_figures figures;
    (void)state;
    world_make(&w, NULL);
    uint64_t job = world_small_job(&w, 3000, 5);
    world_run(&w);
    assert_int_equal(w.taken_n, 3000);
    w.store->env.ahead = 0; /* the file has to grow now */
    assert_true(w.store->env.reserved);
    disk.no_space = true;
    struct job_spec spec = world_spec("more");
    /* The first still lands, where there is room already, and shows that there is none beyond. */
    struct admit *admit = world_begin(&w, &spec);
    uint64_t landed = admit_job(admit);
    world_add(admit, "a@b.example", "");
    assert_int_equal(world_post(&w, admit, true, NULL), ADMIT_OK);
    admit_free(admit);
    admit = world_begin(&w, &spec);
    world_add(admit, "a@b.example", "");
    assert_int_equal(world_post(&w, admit, true, NULL), ADMIT_FULL);
    admit_free(admit);
    assert_false(w.store->env.reserved); /* given up */
    assert_false(world_job_row(&w, landed, &row));
    world_settle(&w, OUTCOME_DELIVERED);
    world_pass(&w, 5000);
    store_figures(w.store, &figures);
    assert_int_equal(figures.delivered, 0);
    assert_int_equal(figures.settle_backlog, 3000);
    assert_int_equal(figures.claimed, 3001); /* the one that landed was taken too */
    assert_int_equal(w.taken_n, 1);
    disk.no_space = false;
    world_pass(&w, 5000);
    store_figures(w.store, &figures);
    assert_int_equal(figures.delivered, 3000);
    assert_int_equal(figures.settle_backlog, 0);
    assert_true(world_job_row(&w, landed, &row));
    assert_int_equal(row.state, JOB_ACTIVE);
    assert_true(world_job_row(&w, job, &row));
    assert_int_equal(row.state, JOB_ENDED);
    admit = world_begin(&w, &spec);
    world_add(admit, "a@b.example", "");
    assert_int_equal(world_post(&w, admit, true, NULL), ADMIT_OK);
    admit_free(admit);
    world_run(&w);
    assert_true(w.store->env.reserved);
    store_check(w.store, true);
    world_end(&w);
}

static pid_t child_begin(void)
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0 && freopen("/dev/null", "w", stderr) == NULL)
        _exit(0);
    return child;
}

static void expect_abort(pid_t child)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

/* A sync that fails stops the daemon before anybody is told "accepted"; what was before it is there. */
static void failed_sync(void **state)
{
    struct world w;
    (void)state;
    world_make(&w, NULL);
    world_close(&w);
    pid_t child = child_begin();
    if (child == 0) {
        world_open(&w);
        world_small_job(&w, 10, 1);
        disk.sync_fails = true;
        world_small_job(&w, 10, 1);
        _exit(0);
    }
    expect_abort(child);
    world_open(&w);
    world_run(&w);
    /* Of the job that nobody was told of, all is there, or nothing. */
    assert_true(w.taken_n == 10 || w.taken_n == 20);
    store_check(w.store, true);
    world_end(&w);
}

/* One sync at least stands between a post and its answer. */
static void syncs_before_answers(void **state)
{
    struct world w;
    (void)state;
    world_make(&w, NULL);
    for (unsigned n = 0; n < 5; n++) {
        unsigned before = disk.syncs;
        world_small_job(&w, 1, 1);
        assert_true(disk.syncs > before);
    }
    world_end(&w);
}

/* To settle twice, or what was never taken, is a broken promise: it stops here and not on disk. */
static void settled_twice(void **state)
{
    struct world w;
    (void)state;
    world_make(&w, NULL);
    world_close(&w);
    pid_t child = child_begin();
    if (child == 0) {
        world_open(&w);
        world_small_job(&w, 3, 1);
        world_run(&w);
        w.taken->rid = w.taken->next->rid; /* one of them now twice */
        world_settle(&w, OUTCOME_DELIVERED);
        _exit(0);
    }
    expect_abort(child);
    world_open(&w);
    world_run(&w);
    assert_int_equal(w.taken_n, 3);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_or_says_why),
        cmocka_unit_test(in_the_way),
        cmocka_unit_test(a_log_that_is_none),
        cmocka_unit_test(no_room_to_map),
        cmocka_unit_test(read_only),
        cmocka_unit_test(newer_or_damaged),
        cmocka_unit_test(older),
        cmocka_unit_test(full_disk),
        cmocka_unit_test(failed_sync),
        cmocka_unit_test(syncs_before_answers),
        cmocka_unit_test(settled_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
