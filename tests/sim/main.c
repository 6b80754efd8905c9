/* main.c - runs seeds and says what they did. See sim.h. */
#include "tests/sim/audit.h"
#include "tests/sim/book.h"
#include "tests/sim/daemon.h"
#include "tests/sim/drive.h"
#include "tests/sim/events.h"
#include "tests/sim/faults.h"
#include "tests/sim/files.h"
#include "tests/sim/host.h"
#include "tests/sim/late.h"
#include "tests/sim/net.h"
#include "tests/sim/ring.h"
#include "tests/sim/sim.h"
#include "tests/sim/zone.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROCESSES_MAX 256
#define FAIR_EVERY    25               /* one seed in so many is about shares */
#define IDLE_NS       (900 * NS_PER_S) /* longer than any time-out */

struct options {
    uint64_t first, seeds;
    unsigned processes, twice; /* twice: one seed in so many is run a second time */
    unsigned seconds;          /* no new seed after that; 0: any time */
    bool trace, quiet;
};

/* What processes tell each other. */
struct shared {
    uint64_t counts[FAULTS];
    _Atomic uint64_t next, done, steps, virtual_s, again;
};
static struct shared *shared;

/* ---- one seed ---- */

/* Longest: what waits is delivered by then, or its time is over. */
static int64_t drain_until_ns(void)
{
    int64_t most_ms = plan.lifetime_ms, now_ms = sim.wall_high_ms;
    for (unsigned i = 0; i < plan.jobs; i++)
        if (book_jobs[i].expires_ms - now_ms > most_ms)
            most_ms = book_jobs[i].expires_ms - now_ms;
    /* The clock may have been set back meanwhile, and reports live as long as all mail. */
    most_ms += plan.lifetime_ms + 8 * HOUR_MS;
    return sim.now.mono_ns + most_ms * NS_PER_MS;
}

static bool nothing_to_report(void)
{
    struct dsn_due due;
    int64_t next_ms;
    return !query_dsn_due(daemon_store(), sim.now, &due, &next_ms) && next_ms == INT64_MAX;
}

static bool all_is_over(void)
{
    struct store_figures figures;
    if (!drive_is_done() || book_open() > 0 || late_open() > 0)
        return false;
    store_figures(daemon_store(), &figures);
    return figures.queued == 0 && figures.claimed == 0 && figures.jobs == 0 && nothing_to_report();
}

static void run_until_drained(void)
{
    int64_t until_ns = INT64_MAX;
    for (uint64_t n = 0;; n++) {
        if (until_ns == INT64_MAX && sim.calm)
            until_ns = drain_until_ns();
        if (sim.now.mono_ns > until_ns || !daemon_go_on(INT64_MAX))
            sim_fail("drain", "%u recipients do not end, %u bounces are not taken, though all is well",
                     book_open(), late_open());
        if (n % 16 == 0 && sim.calm && all_is_over())
            return;
    }
}

/* Connections end when nobody needs them, and those that hang when their time is out. */
static void run_until_idle(void)
{
    int64_t until_ns = sim.now.mono_ns + IDLE_NS;
    while (net_links() > 0)
        if (sim.now.mono_ns > until_ns || !daemon_go_on(until_ns + 1))
            sim_fail("drain", "%u connections are still open %d s after the last message", net_links(),
                     (int)(IDLE_NS / NS_PER_S));
}

static uint64_t run_seed(uint64_t seed, bool telling)
{
    sim_begin(seed, telling);
    faults_begin(seed % FAIR_EVERY == 0);
    plan_make(seed % FAIR_EVERY == 0);
    book_begin();
    late_begin();
    hosts_begin();
    zone_begin();
    int64_t start_ns = sim.now.mono_ns;
    daemon_begin();
    drive_begin();
    run_until_drained();
    do
        run_until_idle();
    while (!all_is_over());
    audit(daemon_store());
    late_audit(daemon_store());
    daemon_stop();
    drive_end();
    net_end();
    rings_end();
    zone_end();
    events_end();
    late_end();
    book_end();
    daemon_end();
    shared->steps += sim.steps;
    shared->virtual_s += (uint64_t)((sim.now.mono_ns - start_ns) / NS_PER_S);
    return sim.hash;
}

static char last_words[128]; /* should the seed end with a signal */

static void run_one(uint64_t seed, const struct options *options)
{
    snprintf(last_words, sizeof last_words,
             "sim: seed %" PRIu64 " ends with a signal: tests/sim/sim --seed %" PRIu64 "\n", seed, seed);
    uint64_t hash = run_seed(seed, options->trace);
    if (options->twice > 0 && seed % options->twice == 0) {
        if (run_seed(seed, false) != hash)
            sim_fail("replay", "its trace is another one the second time");
        shared->again++;
    }
    shared->done++;
    if (options->trace)
        printf("seed %" PRIu64 ": trace %016" PRIx64 "\n", seed, hash);
}

/* ---- many ---- */

static int64_t seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

static void on_signal(int number)
{
    ssize_t written = write(STDERR_FILENO, last_words, strlen(last_words));
    (void)written;
    signal(number, SIG_DFL);
    raise(number);
}

static int process_run(const struct options *options, int64_t until_s)
{
    signal(SIGABRT, on_signal);
    signal(SIGSEGV, on_signal);
    for (;;) {
        uint64_t n = shared->next++;
        if (n >= options->seeds || (until_s > 0 && seconds() >= until_s))
            return 0;
        run_one(options->first + n, options);
    }
}

static pid_t children[PROCESSES_MAX];
static unsigned children_n;

/* The directories are still to be removed, so that this process ends last. */
static void on_end(int number)
{
    for (unsigned i = 0; i < children_n; i++)
        if (children[i] > 0)
            kill(children[i], number == SIGINT ? SIGTERM : number);
}

static int run_all(const struct options *options)
{
    int64_t start_s = seconds(), until_s = options->seconds ? start_s + options->seconds : 0;
    int failed = 0, status;
    files_begin();
    fflush(stdout);
    for (children_n = 0; children_n < options->processes; children_n++) {
        children[children_n] = fork();
        if (children[children_n] == 0)
            exit(process_run(options, until_s));
    }
    signal(SIGINT, on_end);
    signal(SIGTERM, on_end);
    while (wait(&status) > 0)
        failed |= status != 0;
    files_end();
    unsigned never = options->quiet ? 0 : faults_print(stdout);
    printf("sim: %" PRIu64 " seeds (%" PRIu64 " of them twice) in %" PRId64 " s: %.1f days of mail, %" PRIu64
           " steps%s\n",
           shared->done, shared->again, seconds() - start_s, (double)shared->virtual_s / 86400.0,
           shared->steps, failed ? ", FAILED" : "");
    if (never > 0 && shared->done >= 1000) {
        printf("sim: %u faults never came: the run proves less than it says\n", never);
        failed = 1;
    }
    return failed ? 1 : 0;
}

static void usage(FILE *out)
{
    fputs("usage: sim [--seed N | --seeds COUNT [--first N]] [--jobs N] [--seconds N] [--twice N] [--trace] "
          "[--quiet]\n"
          "The daemon in one thread on virtual time, against receivers and faults made of a seed.\n"
          "  --seed N      this seed alone, twice, and compares its traces\n"
          "  --seeds N     so many of them (100), from --first (1) on\n"
          "  --jobs N      processes (1)\n"
          "  --seconds N   begins no new seed after that\n"
          "  --twice N     runs each Nth seed twice and compares the traces (10; 0: none)\n"
          "  --trace       tells all that happens, on stderr\n"
          "  --quiet       without the counts of faults\n"
          "Exit: 0 all held, 1 something did not, 2 usage.\n",
          out);
}

static bool number(const char *text, uint64_t *out)
{
    return str_u64(str_of(text), UINT64_MAX / 2, out);
}

int main(int argc, char **argv)
{
    static const struct option names[] = {
        {"seed", required_argument, NULL, 's'},    {"seeds", required_argument, NULL, 'n'},
        {"first", required_argument, NULL, 'f'},   {"jobs", required_argument, NULL, 'j'},
        {"seconds", required_argument, NULL, 't'}, {"twice", required_argument, NULL, 'w'},
        {"trace", no_argument, NULL, 'v'},         {"quiet", no_argument, NULL, 'q'},
        {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0},
    };
    struct options options = {.first = 1, .seeds = 100, .processes = 1, .twice = 10};
    uint64_t value = 0;
    for (int c; (c = getopt_long(argc, argv, "h", names, NULL)) != -1;) {
        if (c == 'h') {
            usage(stdout);
            return 0;
        }
        if (c == '?' || (optarg != NULL && !number(optarg, &value))) {
            usage(stderr);
            return 2;
        }
        switch (c) {
        case 's':
            options.first = value;
            options.seeds = options.twice = 1;
            options.quiet = true;
            break;
        case 'n':
            options.seeds = value;
            break;
        case 'f':
            options.first = value;
            break;
        case 'j':
            options.processes = value > 0 && value < PROCESSES_MAX ? (unsigned)value : 1;
            break;
        case 't':
            options.seconds = (unsigned)value;
            break;
        case 'w':
            options.twice = (unsigned)value;
            break;
        case 'v':
            options.trace = true;
            break;
        default:
            options.quiet = true;
        }
    }
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 1;
    faults_share(shared->counts);
    return run_all(&options);
}
