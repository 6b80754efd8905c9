/* store_bench.c - what the store alone can do, with its own threads and real syncs: accept one large job,
 * take and deliver it, defer and retry it, and many jobs of one recipient from many threads: delivered as they
 * come, and accepted alone, to be delivered later.
 *
 * usage: store_bench DIRECTORY [RECIPIENTS [DOMAINS [SINGLE_JOBS]]]; the directory is made and left there.
 * CPU is of all threads of this process: the store's and the two that play workers and clients. */
#include "queue/store.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { CLIENTS = 16 };

struct bench {
    struct store *store;
    struct inbox *inbox;
    enum outcome outcome; /* what the worker makes of what it takes */
    unsigned delay_ms;
    atomic_bool stop;
    uint64_t singles;
};

struct meter {
    struct now now;
    double cpu_s;
    struct store_figures figures;
};

static double cpu_s(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
           ((double)usage.ru_utime.tv_usec + (double)usage.ru_stime.tv_usec) / 1e6;
}

static struct meter meter_begin(struct bench *bench)
{
    struct meter meter = {.now = clock_now(), .cpu_s = cpu_s()};
    store_figures(bench->store, &meter.figures);
    return meter;
}

/* Memory of its own, without the pages of the map. */
static long anonymous_kib(void)
{
    char line[256];
    long kib = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status != NULL && fgets(line, sizeof line, status) != NULL)
        if (sscanf(line, "RssAnon: %ld", &kib) == 1)
            break;
    if (status != NULL)
        fclose(status);
    return kib;
}

static void meter_end(struct bench *bench, const struct meter *meter, const char *what, uint64_t n)
{
    struct store_figures figures;
    double s = (double)(clock_now().mono_ns - meter->now.mono_ns) / 1e9;
    double cpu = cpu_s() - meter->cpu_s;
    store_figures(bench->store, &figures);
    uint64_t commits = figures.commits - meter->figures.commits;
    printf("%-28s %9.0f/s  %6.2f s  cpu %5.2f us each  %6llu commits  %6.0f rows a commit  db %4llu MiB  "
           "anon %ld MiB\n",
           what, (double)n / s, s, cpu * 1e6 / (double)n, (unsigned long long)commits,
           (double)(figures.commit_rows - meter->figures.commit_rows) / (double)(commits ? commits : 1),
           (unsigned long long)(figures.db_bytes >> 20), anonymous_kib() / 1024);
    fflush(stdout);
}

/* A client waits for its admit as the job API does: asleep until the writer says so. */
struct ticket {
    pthread_mutex_t lock;
    pthread_cond_t said;
    bool done;
    enum admit_result result;
};
#define TICKET                                                                                               \
    {                                                                                                        \
        .lock = PTHREAD_MUTEX_INITIALIZER, .said = PTHREAD_COND_INITIALIZER                                  \
    }

static void posted(struct admit *admit, enum admit_result result, void *user)
{
    struct ticket *ticket = user;
    (void)admit;
    pthread_mutex_lock(&ticket->lock);
    ticket->done = true;
    ticket->result = result;
    pthread_cond_signal(&ticket->said);
    pthread_mutex_unlock(&ticket->lock);
}

static void wait_for(struct ticket *ticket)
{
    pthread_mutex_lock(&ticket->lock);
    while (!ticket->done)
        pthread_cond_wait(&ticket->said, &ticket->lock);
    ticket->done = false;
    pthread_mutex_unlock(&ticket->lock);
    if (ticket->result != ADMIT_OK) {
        fprintf(stderr, "store_bench: an admit was refused\n");
        exit(1);
    }
}

static void die(const struct err *err)
{
    fprintf(stderr, "store_bench: %s\n", err->text);
    exit(1);
}

static struct job_spec spec_of(uint64_t number, char *content, size_t size)
{
    struct job_spec spec = {.from = STR("news@acme.example"), .content = content, .content_size = size};
    memcpy(spec.content_hash, &number, sizeof number);
    return spec;
}

static void large_job(struct bench *bench, uint64_t n, unsigned domains)
{
    static char content[4096];
    struct err err;
    struct job_spec spec = spec_of(0, content, sizeof content);
    struct admit *admit = admit_begin(bench->store, &spec, clock_now(), &err);
    struct ticket done = TICKET;
    for (uint64_t i = 0; i < n; i++) {
        char to[64], domain[32], id[32];
        snprintf(domain, sizeof domain, "d%llu.example", (unsigned long long)(i * 7919 % domains));
        snprintf(to, sizeof to, "somebody%llu@%s", (unsigned long long)i, domain);
        snprintf(id, sizeof id, "%llu", (unsigned long long)i);
        struct rcpt_spec rcpt = {.to = str_of(to),
                                 .domain = str_of(domain),
                                 .vars = STR("name=Ada Lovelace;town=London"),
                                 .id = str_of(id)};
        if (!admit_add(admit, &rcpt, &err))
            die(&err);
        if (admit_window_full(admit) && i + 1 < n) {
            admit_post(admit, posted, &done);
            wait_for(&done);
        }
    }
    admit_commit(admit, NULL, NULL, posted, &done);
    wait_for(&done);
    admit_free(admit);
}

static void decide(struct bench *bench, struct taken *taken, int64_t now_ms)
{
    taken->outcome = bench->outcome;
    taken->at_ms = now_ms;
    taken->site = STR("example.com");
    taken->source = STR("a");
    taken->mx = STR("mx1.example.com");
    taken->tls = STR("TLSv1.3 TLS_AES_256_GCM_SHA384");
    if (bench->outcome == OUTCOME_DELIVERED) {
        taken->code = 250;
        taken->status = STATUS(2, 0, 0);
        taken->reply = STR("250 2.0.0 Ok: queued as 4F1BC2E012D");
    } else {
        taken->code = 451;
        taken->status = STATUS(4, 7, 1);
        taken->next_ms = now_ms + bench->delay_ms;
        taken->reply = STR("451 4.7.1 Greylisted, try again later");
    }
}

/* Settles what it takes in lists of 64, the size of a few sessions' worth. */
static void *worker(void *arg)
{
    struct bench *bench = arg;
    while (!atomic_load(&bench->stop)) {
        struct pollfd fd = {.fd = inbox_fd(bench->inbox), .events = POLLIN};
        if (inbox_sleep(bench->inbox))
            poll(&fd, 1, 20);
        inbox_wake(bench->inbox);
        int64_t now_ms = clock_now().wall_ms;
        struct inbox_node *next;
        for (struct inbox_node *node = inbox_take(bench->inbox); node != NULL; node = next) {
            next = node->next;
            if (node->kind == STORE_LANE_READY) {
                store_take(bench->store, ((struct store_lane_msg *)(void *)node)->lane, 256, 0);
            } else if (node->kind == STORE_TAKEN) {
                struct store_taken_msg *msg = (struct store_taken_msg *)(void *)node;
                if (!msg->idle)
                    store_take(bench->store, msg->lane, 256, 0);
                for (struct taken *list = msg->list; list != NULL;) {
                    struct taken *taken = list;
                    decide(bench, taken, now_ms);
                    for (unsigned n = 1; n < 64 && taken->next != NULL; n++) {
                        taken = taken->next;
                        decide(bench, taken, now_ms);
                    }
                    struct taken *rest = taken->next;
                    taken->next = NULL;
                    store_settle(bench->store, list);
                    list = rest;
                }
            }
            free(node);
        }
    }
    return NULL;
}

static uint64_t settled(struct bench *bench)
{
    struct store_figures figures;
    store_figures(bench->store, &figures);
    return bench->outcome == OUTCOME_DELIVERED ? figures.delivered : figures.deferred;
}

/* A worker takes and settles until `n` are so. */
static void drain(struct bench *bench, enum outcome outcome, uint64_t n)
{
    pthread_t thread;
    bench->outcome = outcome;
    bench->delay_ms = 600000;
    atomic_store(&bench->stop, false);
    pthread_create(&thread, NULL, worker, bench);
    while (settled(bench) < n)
        usleep(1000);
    atomic_store(&bench->stop, true);
    pthread_join(thread, NULL);
}

static void *client(void *arg)
{
    struct bench *bench = arg;
    static atomic_uint_fast64_t number = 1;
    char content[2048] = {0};
    for (uint64_t i = 0; i < bench->singles / CLIENTS; i++) {
        struct err err;
        uint64_t mine = atomic_fetch_add(&number, 1);
        struct job_spec spec = spec_of(mine * UINT64_C(0x9e3779b97f4a7c15), content, sizeof content);
        spec.class_ = CLASS_TRANSACTIONAL;
        struct admit *admit = admit_begin(bench->store, &spec, clock_now(), &err);
        char to[64], domain[32];
        snprintf(domain, sizeof domain, "d%llu.example", (unsigned long long)(mine % 1000));
        snprintf(to, sizeof to, "somebody%llu@%s", (unsigned long long)mine, domain);
        struct rcpt_spec rcpt = {.to = str_of(to), .domain = str_of(domain), .id = STR("1")};
        struct ticket done = TICKET;
        if (!admit_add(admit, &rcpt, &err))
            die(&err);
        struct admit_key key = {.set = true, .ttl_ms = 7 * 24 * 3600 * 1000LL, .answer = STR("{\"job\":1}")};
        memcpy(key.key_hash, spec.content_hash, sizeof key.key_hash);
        admit_commit(admit, &key, NULL, posted, &done);
        wait_for(&done);
        admit_free(admit);
    }
    return NULL;
}

static void single_jobs(struct bench *bench)
{
    pthread_t threads[CLIENTS];
    for (unsigned n = 0; n < CLIENTS; n++)
        pthread_create(&threads[n], NULL, client, bench);
    for (unsigned n = 0; n < CLIENTS; n++)
        pthread_join(threads[n], NULL);
}

/* The same, while a worker takes and delivers what has come. */
static void single_jobs_through(struct bench *bench, uint64_t n)
{
    pthread_t thread;
    bench->outcome = OUTCOME_DELIVERED;
    atomic_store(&bench->stop, false);
    pthread_create(&thread, NULL, worker, bench);
    single_jobs(bench);
    while (settled(bench) < n)
        usleep(1000);
    atomic_store(&bench->stop, true);
    pthread_join(thread, NULL);
}

static void inbox_empty(struct inbox *inbox)
{
    struct inbox_node *next;
    for (struct inbox_node *node = inbox_take(inbox); node != NULL; node = next) {
        next = node->next;
        if (node->kind == STORE_TAKEN)
            store_taken_free(((struct store_taken_msg *)(void *)node)->list);
        free(node);
    }
}

static void open_store(struct bench *bench, const char *directory)
{
    struct err err;
    struct store_settings settings = {.directory = directory,
                                      .max_size = UINT64_C(8) << 30,
                                      .reserve = 64 << 20,
                                      .lifetime_ms = 4 * 24 * 3600 * 1000LL,
                                      .retain_ms = 7 * 24 * 3600 * 1000LL,
                                      .hold_ms = FRESH_HOLD_MS,
                                      .workers = 1};
    bench->store = store_open(&settings, clock_now(), &err);
    bench->inbox = inbox_create(&err);
    if (bench->store == NULL || bench->inbox == NULL)
        die(&err);
    store_attach_worker(bench->store, 0, bench->inbox);
    if (!store_start(bench->store, &err))
        die(&err);
}

static void close_store(struct bench *bench)
{
    store_stop(bench->store);
    inbox_empty(bench->inbox);
    store_close(bench->store);
    inbox_destroy(bench->inbox);
}

/* From the start of the process's opening to the first recipient in a worker's hands. */
static void restart(struct bench *bench, const char *directory)
{
    int64_t from_ns = clock_now().mono_ns;
    unsigned got = 0;
    open_store(bench, directory);
    while (got == 0) {
        struct inbox_node *next;
        usleep(100);
        for (struct inbox_node *node = inbox_take(bench->inbox); node != NULL; node = next) {
            next = node->next;
            if (node->kind == STORE_LANE_READY && got == 0)
                store_take(bench->store, ((struct store_lane_msg *)(void *)node)->lane, 1, 0);
            got += node->kind == STORE_TAKEN;
            if (node->kind == STORE_TAKEN)
                store_taken_free(((struct store_taken_msg *)(void *)node)->list);
            free(node);
        }
    }
    printf("%-28s %9.1f ms\n", "restart to the first taken", (double)(clock_now().mono_ns - from_ns) / 1e6);
    close_store(bench);
}

int main(int argc, char **argv)
{
    struct bench bench = {0};
    struct meter meter;
    if (argc < 2) {
        fprintf(stderr, "usage: store_bench DIRECTORY [RECIPIENTS [DOMAINS [SINGLE_JOBS]]]\n");
        return 2;
    }
    uint64_t n = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000;
    unsigned domains = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 1000;
    bench.singles = argc > 4 ? strtoull(argv[4], NULL, 10) : 100000;
    bench.singles -= bench.singles % CLIENTS;
    open_store(&bench, argv[1]);

    meter = meter_begin(&bench);
    large_job(&bench, n, domains);
    meter_end(&bench, &meter, "admit, one job", n);
    close_store(&bench);
    restart(&bench, argv[1]);
    open_store(&bench, argv[1]);

    meter = meter_begin(&bench);
    drain(&bench, OUTCOME_DEFERRED, n);
    meter_end(&bench, &meter, "take, settle as deferred", n);
    close_store(&bench);

    open_store(&bench, argv[1]);
    large_job(&bench, n, domains);
    meter = meter_begin(&bench);
    drain(&bench, OUTCOME_DELIVERED, n);
    meter_end(&bench, &meter, "take, settle as delivered", n);

    meter = meter_begin(&bench);
    single_jobs_through(&bench, n + bench.singles);
    meter_end(&bench, &meter, "one recipient a job, through", bench.singles);
    meter = meter_begin(&bench);
    single_jobs(&bench);
    meter_end(&bench, &meter, "admit, one recipient a job", bench.singles);
    meter = meter_begin(&bench);
    drain(&bench, OUTCOME_DELIVERED, n + 2 * bench.singles);
    meter_end(&bench, &meter, "deliver those", bench.singles);
    close_store(&bench);
    return 0;
}
