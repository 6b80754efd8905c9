/* powercut.c - cuts the power of a store, many times, and looks what is there afterwards.
 *
 * A story is a few lives, one after another (life.h), each on a disk that remembers (disk.h). At random
 * places of its record the power is cut: what the disk may then hold is written to another directory, opened,
 * and held against the ledger (ledger.h); every counter and index is counted over (store_check.h); now and
 * then it goes on until all has ended. The next life begins in what one of these cuts left. Stories are
 * numbered; the number is the seed.
 *
 * usage: powercut [--cuts N] [--seed N] [--self-test]. A complaint names the story and the cut; the same seed
 * repeats them. What was injected is counted, and a kind of fault that never fired fails the run. --self-test
 * plants defects, one at a time, each of which must be found, in the words of the check that is for it. */
#include "tests/crash/disk.h"
#include "tests/crash/life.h"

#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#define LIVES           5                 /* in a story */
#define LIFE_CUTS       40                /* in a life; and of them, */
#define LIFE_CUTS_EARLY 8                 /* within its first */
#define EARLY           12                /* operations: its files are new then */
#define DRAIN_EVERY     20                /* cuts */
#define ENOUGH          BOUND(2000, 6000) /* cuts, after which each kind of fault must have fired */
#define PLANTED_CUTS    3000              /* within which a planted defect must be found */
#define PLANTED_S_MAX   300

struct run {
    uint64_t seed, cuts, story;
    char where[500];
    unsigned life;
    bool whole; /* counts all over, and drains */
    char base[256];
    struct disk_tally tally;
    uint64_t operations, drained;
};
static struct run run;

/* Where each directory of this run is; made empty. */
static void directory_make(const char *name, unsigned life, char path[300])
{
    (void)snprintf(path, 300, "%s/%s%u", run.base, name, life);
    temporary_remove(path);
    assert_int_equal(mkdir(path, 0700), 0);
}

/* ---- planted defects ---- */

enum defect { NOT_SYNCED, ROWS_MISSING, EVENTS_CHANGED, EVENTS_SHIFTED, NOT_STEERED };
struct plant {
    const char *name, *words[2]; /* words: of the checks that may find it; none: any */
    enum defect defect;
    enum disk_defect disk;
    enum table table; /* of which some rows are not written */
    unsigned one_in;
    bool whole; /* all is counted over, and drained; else the ledger alone has to find it */
};
static const struct plant plants[] = {
    {"the log of small jobs is not synced", {NULL}, NOT_SYNCED, DISK_NO_FRESH_SYNC, 0, 0, true},
    {"the tables are not synced before their meta page", {NULL}, NOT_SYNCED, DISK_NO_DATA_SYNC, 0, 0, true},
    {"the meta page is not written through", {NULL}, NOT_SYNCED, DISK_META_NOT_THROUGH, 0, 0, true},
    {"new names are not synced", {"accepted: ", "backup: "}, NOT_SYNCED, DISK_NO_NAME_SYNC, 0, 0, true},
    {"a backup is not synced", {NULL}, NOT_SYNCED, DISK_NO_COPY_SYNC, 0, 0, true},
    {"some job rows are missing", {"accepted: ", "in order: "}, ROWS_MISSING, DISK_SOUND, T_JOBS, 20, false},
    {"some messages are not written", {"accepted: "}, ROWS_MISSING, DISK_SOUND, T_CONTENT, 20, false},
    {"some keys are not written", {"key: "}, ROWS_MISSING, DISK_SOUND, T_KEYS, 5, false},
    {"some suppressions are not written", {"edited: "}, ROWS_MISSING, DISK_SOUND, T_SUPPRESSIONS, 5, false},
    {"some policies are not written", {"edited: "}, ROWS_MISSING, DISK_SOUND, T_POLICY, 5, false},
    {"some cursors are not written", {"edited: "}, ROWS_MISSING, DISK_SOUND, T_CURSORS, 2, false},
    {"some operations are answered and not done", {"steered: "}, NOT_STEERED, DISK_SOUND, 0, 3, false},
    {"some events change after they were read", {"the same: "}, EVENTS_CHANGED, DISK_SOUND, 0, 4, false},
    {"some events skip a number", {"in order: "}, EVENTS_SHIFTED, DISK_SOUND, 0, 20, false},
    {"some events are not written", {"ends once: "}, ROWS_MISSING, DISK_SOUND, T_EVENTS, 20, false},
    {"some states are missing", {"ends once: ", "not what it"}, ROWS_MISSING, DISK_SOUND, T_SLOTS, 20, false},
    {"some failures are not written", {"store_check.h"}, ROWS_MISSING, DISK_SOUND, T_ENDED, 20, true},
    {"some retries are not written", {"store_check.h"}, ROWS_MISSING, DISK_SOUND, T_DUE, 20, true},
    {"some timers are not written", {"drained: "}, ROWS_MISSING, DISK_SOUND, T_TIMERS, 3, true},
};
static const struct plant *planted;

/* Whether it strikes now. */
static bool strikes(enum defect defect)
{
    static unsigned turns;
    return planted != NULL && planted->defect == defect && ++turns % planted->one_in == 0;
}

int __real_mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *value, unsigned flags);
int __wrap_mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *value, unsigned flags);
void __real_store_operate(struct store *store, enum op_kind kind, const struct store_filter *filter,
                          int64_t wait_ms, op_done *done, void *user);
void __wrap_store_operate(struct store *store, enum op_kind kind, const struct store_filter *filter,
                          int64_t wait_ms, op_done *done, void *user);

/* The events written before these get another host, of as many letters; or these another number. */
static void change_events(MDB_txn *txn, MDB_dbi dbi, const MDB_val *key, const MDB_val *value)
{
    static uint8_t before[8], row[VALUE_MAX];
    static size_t n;
    MDB_val first = {sizeof before, before}, there = {0};
    char *host = memmem(row, n, "mx.example", 10);
    bool same = host != NULL && mdb_get(txn, dbi, &first, &there) == 0 && there.mv_size == n &&
                memcmp(there.mv_data, row, n) == 0; /* else it was in another store */
    if (same && strikes(EVENTS_CHANGED)) {
        memcpy(host, "my.example", 10);
        (void)__real_mdb_put(txn, dbi, &first, &(MDB_val){n, row}, 0);
    }
    memcpy(before, key->mv_data, sizeof before);
    memcpy(row, value->mv_data, n = value->mv_size);
    if (strikes(EVENTS_SHIFTED))
        put_be64(key->mv_data, get_be64(key->mv_data) + 1);
}

int __wrap_mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *value, unsigned flags)
{
    /* LMDB numbers tables in the order in which they are opened, behind two of its own. */
    enum table table = (enum table)(dbi - 2u);
    if (planted != NULL && table == planted->table && strikes(ROWS_MISSING))
        return 0;
    if (planted != NULL && table == T_EVENTS)
        change_events(txn, dbi, key, value);
    return __real_mdb_put(txn, dbi, key, value, flags);
}

void __wrap_store_operate(struct store *store, enum op_kind kind, const struct store_filter *filter,
                          int64_t wait_ms, op_done *done, void *user)
{
    if (strikes(NOT_STEERED))
        done(&(struct op_progress){.done = true}, user);
    else
        __real_store_operate(store, kind, filter, wait_ms, done, user);
}

/* What the store says of its migrations is no news here. */
void __wrap_log_info(const char *format, ...);
void __wrap_log_info(const char *format, ...)
{
    (void)format;
}

/* ---- cuts ---- */

/* Before anything that may end the process; said then. */
static void note_where(size_t at)
{
    (void)snprintf(run.where, sizeof run.where,
                   "powercut: in story %llu, life %u, cut at operation %zu of %zu, in %s\n",
                   (unsigned long long)run.story, run.life, at, disk_at(), run.base);
}

static void say_where(int number)
{
    (void)number;
    _exit(write(STDERR_FILENO, run.where, strlen(run.where)) > 0 ? 1 : 3);
}

static int rising(const void *a, const void *b)
{
    const size_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* Cuts the life's record; `next` is where the next life begins, at the cut that is returned. */
static size_t cut_life(struct life *life, const char *next)
{
    size_t at[LIFE_CUTS], goes_on = (size_t)prng_below(&life->prng, LIFE_CUTS);
    size_t early = disk_at() < EARLY ? disk_at() : EARLY;
    char path[300];
    for (size_t n = 0; n < LIFE_CUTS; n++)
        at[n] = (size_t)prng_below(&life->prng, (n < LIFE_CUTS_EARLY ? early : disk_at()) + 1);
    qsort(at, LIFE_CUTS, sizeof *at, rising);
    for (size_t n = 0; n < LIFE_CUTS; n++) {
        bool drained = run.whole && run.tally.cuts % DRAIN_EVERY == 0;
        note_where(at[n]);
        directory_make("cut", 0, path);
        disk_cut(at[n], &life->prng, path, &run.tally);
        life_check(life, path, at[n], run.whole, drained);
        run.drained += drained;
        if (n == goes_on)
            disk_cut(at[n], &life->prng, next, &(struct disk_tally){0});
    }
    temporary_remove(path);
    return at[goes_on];
}

static void tell_story(void)
{
    static struct life life;
    char root[300], next[300];
    size_t cut_at = 0;
    life_begin(&life, run.story);
    directory_make("life", 0, root);
    for (run.life = 0; run.life < LIVES && run.tally.cuts < run.cuts; run.life++) {
        note_where(0);
        life_run(&life, root, run.life > 0, cut_at);
        run.operations += disk_at();
        directory_make("life", run.life + 1, next);
        cut_at = cut_life(&life, next);
        temporary_remove(root);
        (void)snprintf(root, sizeof root, "%s", next);
    }
    temporary_remove(root);
    life_end(&life);
}

/* ---- the whole run ---- */

static unsigned report_one(const char *what, const char *which, uint64_t n)
{
    if (n == 0)
        printf("powercut: %s %s never happened\n", what, which);
    return n == 0;
}

/* The counts; how many kinds of fault never fired. */
static unsigned report(void)
{
    static const char *const fates[] = {"kept", "dropped", "torn"};
    const struct disk_tally *tally = &run.tally;
    unsigned never = 0;
    printf("powercut: %llu cuts of %llu operations, stories %llu to %llu; %llu went on until all had ended\n",
           (unsigned long long)tally->cuts, (unsigned long long)run.operations, (unsigned long long)run.seed,
           (unsigned long long)run.story - 1, (unsigned long long)run.drained);
    printf("powercut: during");
    for (unsigned n = 0; n < DOINGS; n++)
        printf(" %s %llu", doing_name((enum doing)n), (unsigned long long)tally->doing[n]);
    for (unsigned place = 0; place < DISK_PLACES; place++) {
        printf("\npowercut: %s", disk_place_name((enum disk_place)place));
        for (unsigned fate = 0; fate < DISK_FATES; fate++)
            printf(" %s %llu", fates[fate], (unsigned long long)tally->writes[place][fate]);
    }
    printf("\npowercut: names kept %llu lost %llu; longer without the bytes %llu\n",
           (unsigned long long)tally->names_kept, (unsigned long long)tally->names_lost,
           (unsigned long long)tally->lengthened);
    if (tally->cuts < ENOUGH)
        return 0;
    for (unsigned n = 0; n < DOINGS; n++)
        never += report_one("a cut during", doing_name((enum doing)n), tally->doing[n]);
    for (unsigned place = 0; place < DISK_PLACES; place++)
        for (unsigned fate = 0; fate < DISK_FATES; fate++)
            never +=
                report_one(disk_place_name((enum disk_place)place), fates[fate], tally->writes[place][fate]);
    never +=
        report_one("a name", "kept", tally->names_kept) + report_one("a name", "lost", tally->names_lost);
    return never + report_one("a file", "longer without the bytes", tally->lengthened);
}

static void tell_stories(void)
{
    for (run.story = run.seed; run.tally.cuts < run.cuts; run.story++)
        tell_story();
}

/* Runs with the defect in a child; what it says on stderr. False: it found nothing. */
static bool found_in_child(const struct plant *plant, char *said, size_t size)
{
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(PLANTED_S_MAX);
        dup2(ends[1], STDERR_FILENO);
        planted = plant;
        run.cuts = PLANTED_CUTS;
        run.whole = plant->whole;
        disk_plant(plant->disk);
        tell_stories();
        _exit(0);
    }
    close(ends[1]);
    size_t n = 0;
    for (ssize_t r; n + 1 < size && (r = read(ends[0], said + n, size - n - 1)) > 0;)
        n += (size_t)r;
    said[n] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 1;
}

static unsigned self_test(void)
{
    unsigned missed = 0;
    for (size_t n = 0; n < sizeof plants / sizeof *plants; n++) {
        char said[4096];
        bool found = found_in_child(&plants[n], said, sizeof said);
        const char *const *words = plants[n].words;
        bool meant = found && (words[0] == NULL || strstr(said, words[0]) != NULL ||
                               (words[1] != NULL && strstr(said, words[1]) != NULL));
        said[strcspn(said, "\n")] = '\0';
        printf("powercut: %s: %s%s\n", plants[n].name,
               !found  ? "not found"
               : meant ? "found: "
                       : "found otherwise: ",
               found ? said : "");
        missed += !meant;
    }
    return missed;
}

static void base_make(void)
{
    static const char *const places[] = {"/dev/shm", "/var/tmp"};
    const char *named = getenv("POSTRIDER_TEST_TMP");
    for (unsigned n = 0; n < 2; n++) {
        (void)snprintf(run.base, sizeof run.base, "%s/postrider-powercut-XXXXXX", named ? named : places[n]);
        if (mkdtemp(run.base) != NULL)
            return;
    }
    fprintf(stderr, "powercut: no directory can be made in %s\n", run.base);
    exit(1);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"cuts", required_argument, NULL, 'c'},
                                            {"seed", required_argument, NULL, 's'},
                                            {"self-test", no_argument, NULL, 't'},
                                            {0}};
    bool tests_itself = false;
    run = (struct run){.seed = 1, .cuts = ENOUGH, .whole = true};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == '?') {
            fprintf(stderr, "usage: powercut [--cuts N] [--seed N] [--self-test]\n");
            return 2;
        }
        if (option == 't')
            tests_itself = true;
        else
            *(option == 'c' ? &run.cuts : &run.seed) = strtoull(optarg, NULL, 10);
    }
    setenv("CMOCKA_TEST_ABORT", "1",
           1); /* its assertions end the process, and say so, outside of its tests */
    const int numbers[] = {SIGABRT, SIGSEGV, SIGBUS};
    for (unsigned n = 0; n < 3; n++)
        signal(numbers[n], say_where);
    base_make();
    unsigned bad = 0;
    if (tests_itself) {
        bad = self_test();
        printf("powercut: %u defects were missed\n", bad);
    } else {
        tell_stories();
        bad = report();
        printf("powercut: nothing was lost; %u kinds of fault never happened\n", bad);
    }
    temporary_remove(run.base);
    return bad ? 1 : 0;
}
