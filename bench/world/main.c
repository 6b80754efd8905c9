/* main.c - the world: a DNS server and receiving SMTP hosts in one process, one thread. See --help,
 * scenario.h.
 *
 * It shares no code with the daemon but engine/base, so that a bug of the one can't hide one of the other. */
#include "bench/world/control.h"
#include "bench/world/listeners.h"
#include "bench/world/report.h"
#include "bench/world/session.h"
#include "engine/base/log.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define FILES_BESIDES 64 /* what is open apart from listeners and sessions */
#define FILES_MODEST  512

enum { OPTION_RECORD = 256, OPTION_RECORD_SLOTS };

struct options {
    const char *log, *control, *summary, *ports, *record, *scenario;
    uint64_t record_slots;
    bool check;
};

static void help(FILE *out)
{
    fputs("usage: world [-t] [-l LOG] [--record FILE --record-slots N] [-c SOCKET]\n"
          "             [-s FILE] [-p FILE] SCENARIO.yaml\n"
          "A DNS server and receiving SMTP hosts on loopback addresses, for demo, tests and\n"
          "benches.\n\n"
          "  -l, --log FILE      a line for each accepted recipient, tab separated:\n"
          "                      time_ms, host, connection, helo name, mail from, rcpt to,\n"
          "                      size, digest (XXH3-128), tls yes or no\n"
          "      --record FILE --record-slots N\n"
          "                      a slot for each recipient u0000000@..., u0000001@... up to\n"
          "                      N: how often, when, digests; the format is bench/record.h\n"
          "  -c, --control FILE  a Unix socket, one line in, JSON out: stats, totals,\n"
          "                      ports, reset, quit, record FILE SLOTS, record off,\n"
          "                      host NAME KEY VALUE, domain NAME {KEY: VALUE, ...}\n"
          "  -s, --summary FILE  where the counts are written at the end, JSON\n"
          "  -p, --ports FILE    where addresses and ports are written at the start, JSON\n"
          "  -t, --check         only check the scenario\n"
          "      --help          print this and exit\n\n"
          "It prints 'world: ready, dns ADDRESS:PORT, N hosts' when all is bound, and ends\n"
          "on SIGTERM or SIGINT.\n\n"
          "A scenario has: dns: {listen, ttl, negative_ttl, delay_ms}, smtp_port, seed,\n"
          "hosts, domains, and one_listener (true: one socket for the addresses of many\n"
          "hosts; what refuses there, or is no host, is reset).\n"
          "A host has: name, address or addresses (FIRST..COUNT), port, group, and\n",
          out);
    character_help(out);
    fputs("A domain has: name (d{0..999}.test and *.test stand for many), mx [[10, host],\n"
          "...], mx_own (true or a suffix), null_mx, no_mx, host, address, cname, nxdomain,\n"
          "servfail and timeout (true or types), ttl, delay_ms, txt.\n",
          out);
}

static int usage(void)
{
    fputs("usage: world [-t] [-l LOG] [--record FILE --record-slots N] [-c SOCKET]\n"
          "             [-s FILE] [-p FILE] SCENARIO.yaml (see --help)\n",
          stderr);
    return 2;
}

/* -1 to go on, else the exit code. */
static int read_options(int argc, char **argv, struct options *options)
{
    static const struct option longs[] = {
        {"log", required_argument, NULL, 'l'},
        {"record", required_argument, NULL, OPTION_RECORD},
        {"record-slots", required_argument, NULL, OPTION_RECORD_SLOTS},
        {"control", required_argument, NULL, 'c'},
        {"summary", required_argument, NULL, 's'},
        {"ports", required_argument, NULL, 'p'},
        {"check", no_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "l:c:s:p:th", longs, NULL)) != -1) {
        switch (option) {
        case 'l':
            options->log = optarg;
            break;
        case OPTION_RECORD:
            options->record = optarg;
            break;
        case OPTION_RECORD_SLOTS:
            if (!str_u64(str_of(optarg), WORLD_RECORD_SLOTS_MAX, &options->record_slots))
                return usage();
            break;
        case 'c':
            options->control = optarg;
            break;
        case 's':
            options->summary = optarg;
            break;
        case 'p':
            options->ports = optarg;
            break;
        case 't':
            options->check = true;
            break;
        case 'h':
            help(stdout);
            return 0;
        default:
            return usage();
        }
    }
    if (optind != argc - 1 || (options->record != NULL) != (options->record_slots != 0))
        return usage();
    options->scenario = argv[optind];
    return -1;
}

/* Whole or not at all: a reader who waits for the file finds it complete. */
static bool write_json(json_t *json, const char *path, struct err *err)
{
    char temporary[4096];
    int n = snprintf(temporary, sizeof temporary, "%s.tmp", path);
    bool ok = json && n > 0 && (size_t)n < sizeof temporary &&
              json_dump_file(json, temporary, JSON_INDENT(2)) == 0 && rename(temporary, path) == 0;
    if (!ok)
        err_set(err, errno, "cannot write %s: %s", path, strerror(errno));
    json_decref(json);
    return ok;
}

/* Raises the soft limit to the hard one and says so where even that is little. */
static bool raise_files(const struct world *world, struct err *err)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return err_set(err, errno, "cannot read the limit on open files: %s", strerror(errno));
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        getrlimit(RLIMIT_NOFILE, &limit);
    uint64_t least = listeners_count(world) + FILES_BESIDES;
    if (limit.rlim_cur <= least)
        return err_set(
            err, EMFILE,
            "this scenario needs %llu open files and more for each connection, but only %llu are allowed; "
            "raise the hard limit (ulimit -Hn), or set one_listener: true",
            (unsigned long long)least, (unsigned long long)limit.rlim_cur);
    if (limit.rlim_cur - least < FILES_MODEST)
        log_warn("only %llu connections at once are possible: %llu open files are allowed, the rest are "
                 "needed for "
                 "listeners; raise the hard limit (ulimit -Hn) for more",
                 (unsigned long long)(limit.rlim_cur - least), (unsigned long long)limit.rlim_cur);
    return true;
}

static void flush_log(struct wheel_timer *timer, struct now now)
{
    struct world *world = OWNER_OF(timer, struct world, log_timer);
    (void)now;
    delivery_log_flush(&world->log);
    loop_after(&world->loop, timer, WORLD_LOG_FLUSH_NS, flush_log);
}

static void signalled(struct watch *watch, uint32_t events)
{
    struct signalfd_siginfo info;
    (void)events;
    if (read(watch->fd, &info, sizeof info) == (ssize_t)sizeof info)
        OWNER_OF(watch, struct world, signals)->loop.stop = true;
}

static bool watch_signals(struct world *world, struct err *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    world->signals = (struct watch){.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC), .ready = signalled};
    if (world->signals.fd < 0)
        return err_set(err, errno, "cannot watch signals: %s", strerror(errno));
    return loop_add(&world->loop, &world->signals, EPOLLIN, err);
}

static void link_hosts(struct world *world)
{
    for (uint32_t i = 0; i < world->scenario.groups_used; i++)
        world->scenario.groups[i]->counts.up = &world->total;
    for (uint32_t i = 0; i < world->scenario.hosts_used; i++) {
        struct host *host = &world->scenario.hosts[i];
        host->world = world;
        host->identity = str_hash(str_of(host->group ? host->group->name : host->name));
        host->counts.up = host->group ? &host->group->counts : &world->total;
        for (uint32_t j = 0; j < host->listeners_used; j++) {
            host->listeners[j].world = world;
            host->listeners[j].host = host;
        }
    }
}

static bool world_open(struct world *world, const struct options *options, struct err *err)
{
    struct scenario *scenario = &world->scenario;
    world->signals.fd = world->log.fd = world->shared.watch.fd = -1;
    world->shared.world = world;
    world->prng.state = scenario->seed;
    buf_init(&world->out, WORLD_REPLY_MAX);
    link_hosts(world);
    if (!loop_init(&world->loop, err) || !raise_files(world, err) || !watch_signals(world, err) ||
        !delivery_log_open(&world->log, options->log, err) ||
        (options->record && !recorder_open(&world->recorder, options->record, options->record_slots, err)) ||
        !listeners_open(world, err))
        return false;
    world->started_ns = world->loop.now.mono_ns;
    world->tls = tls_context_create(err);
    if (world->tls == NULL)
        return false;
    struct dns_defaults defaults = {scenario->ttl, scenario->negative_ttl};
    world->dns = dns_server_create(&world->loop, scenario->zone, defaults, scenario->dns_delay_ms,
                                   &scenario->dns, err);
    if (world->dns == NULL)
        return false;
    if (options->control && (world->control = control_create(world, options->control, err)) == NULL)
        return false;
    loop_after(&world->loop, &world->log_timer, WORLD_LOG_FLUSH_NS, flush_log);
    return options->ports == NULL || write_json(report_ports(world), options->ports, err);
}

static void world_close(struct world *world)
{
    control_free(world->control);
    while (world->sessions)
        session_free(world->sessions);
    while (world->arrivals)
        session_free(world->arrivals);
    listeners_close(world);
    address_book_free(&world->address_book);
    dns_server_free(world->dns);
    tls_context_free(world->tls);
    delivery_log_close(&world->log);
    recorder_close(&world->recorder);
    memory_clear(&world->memory);
    counts_reset(&world->total);
    buf_free(&world->out);
    if (world->signals.fd >= 0)
        close(world->signals.fd);
    loop_free(&world->loop);
}

static bool run(struct world *world, const struct options *options, struct err *err)
{
    bool ok = world_open(world, options, err);
    if (ok) {
        char dns[ADDRESS_TEXT_MAX];
        address_text(&world->scenario.dns, true, dns);
        printf("world: ready, dns %s, %u hosts\n", dns, world->scenario.hosts_used);
        fflush(stdout);
        loop_run(&world->loop);
        delivery_log_flush(&world->log);
        ok = options->summary == NULL || write_json(report_stats(world), options->summary, err);
    }
    world_close(world);
    return ok;
}

int main(int argc, char **argv)
{
    static struct world world; /* holds the read buffer */
    struct options options = {0};
    struct err err;
    int code = read_options(argc, argv, &options);
    if (code >= 0)
        return code;
    bool ok = scenario_load(&world.scenario, options.scenario, &err);
    if (ok && options.check)
        printf("world: %s is a sound scenario, %u hosts\n", options.scenario, world.scenario.hosts_used);
    else if (ok)
        ok = run(&world, &options, &err);
    scenario_free(&world.scenario);
    if (!ok)
        fprintf(stderr, "world: %s\n", err.text);
    return ok ? 0 : 1;
}
