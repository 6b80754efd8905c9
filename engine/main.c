/* main.c - postriderd: reads the configuration, starts the parts, waits for a signal, stops them in order.
 *
 * Up: store (opened, recovered), sockets for SMTP, workers, store's threads, reporter, consumers of the event
 * log, API. Down: the API refuses new work, the reporter ends, workers send SMTP clients away and finish what
 * is under way, consumers are told of it, the API lets go of its clients, the store commits what is left. */
#include "engine/admin/api.h"
#include "engine/base/js.h"
#include "engine/base/log.h"
#include "engine/config.h"
#include "engine/confine.h"
#include "engine/fleet.h"
#include "engine/inbound/inbound.h"
#include "engine/reload.h"
#include "engine/report/consumers.h"
#include "engine/report/reporter.h"
#include "engine/setup.h"
#include "engine/submission/submission.h"
#include "queue/store.h"

#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct options {
    const char *config_path;
    bool check_only;
};

struct daemon {
    struct setup *setup; /* that it started with */
    struct setups *setups;
    struct store *store;
    struct inbound *inbound;
    struct submission *submission;
    struct fleet *fleet;
    struct reporter *reporter;
    struct consumers *consumers;
    const char *droppers[CONSUMERS_MAX]; /* their names */
    struct reload *reload;
    struct api *api;
};

static void usage(FILE *out)
{
    fputs("usage: postriderd [-t] -c FILE\n"
          "The Postrider mail engine, in the foreground; logs to stderr.\n"
          "  -c, --config FILE  the configuration, see postrider.yaml(5); an empty file is\n"
          "                     a working one\n"
          "  -t, --test         check the configuration and exit\n"
          "      --version      print the version and exit\n"
          "  -h, --help         print this and exit\n"
          "Signals: TERM and INT stop it cleanly within stop_timeout; HUP reads the\n"
          "configuration again.\n"
          "Exit: 0 done, 1 failed, 2 usage.\n",
          out);
}

/* Returns an exit code, or -1 to go on. */
static int options_read(int argc, char **argv, struct options *options)
{
    static const struct option names[] = {
        {"config", required_argument, NULL, 'c'},
        {"test", no_argument, NULL, 't'},
        {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    for (int c; (c = getopt_long(argc, argv, "c:th", names, NULL)) != -1;) {
        switch (c) {
        case 'c':
            options->config_path = optarg;
            break;
        case 't':
            options->check_only = true;
            break;
        case 'V':
            puts("postriderd " POSTRIDER_VERSION);
            return 0;
        case 'h':
            usage(stdout);
            return 0;
        default:
            usage(stderr);
            return 2;
        }
    }
    if (optind < argc || options->config_path == NULL) {
        fprintf(stderr, "postriderd: %s%s; try: postriderd -c /etc/postrider/postrider.yaml\n",
                optind < argc ? "unexpected argument " : "no configuration given",
                optind < argc ? argv[optind] : "");
        return 2;
    }
    return -1;
}

static int fail(const struct err *err)
{
    fprintf(stderr, "postriderd: %s\n", err->text);
    return 1;
}

static bool daemon_start(struct daemon *daemon, const char *path, struct err *err)
{
    const struct config *config = daemon->setup->config;
    struct now now = clock_now();
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned workers = config->workers ? config->workers : cores > 0 ? (unsigned)cores : 1;
    size_t droppers = 0;
    for (size_t i = 0; i < config->consumer_count; i++)
        if (config->consumers[i].on_full == CONFIG_ON_FULL_DROP)
            daemon->droppers[droppers++] = config->consumers[i].name;
    const struct store_settings store = {
        .directory = config->state_directory,
        .max_size = config->queue.max_size,
        .reserve = config->queue.reserve,
        .lifetime_ms = config->queue.lifetime_ms,
        .delay_warning_ms = config->queue.delay_warning_ms,
        .retain_ms = config->queue.retain_ms,
        .hold_ms = FRESH_HOLD_MS,
        .give_max = GIVEN_MAX,
        .workers = workers,
        .events_max = config->queue.events_max,
        .droppers = daemon->droppers,
        .dropper_count = droppers,
    };
    daemon->store = store_open(&store, now, err);
    if (daemon->store == NULL)
        return false;
    daemon->inbound = inbound_create(daemon->store);
    if (daemon->inbound == NULL)
        return err_set(err, ENOMEM, "no memory for what comes back by mail");
    daemon->submission = submission_create(daemon->store, daemon->setups, daemon->inbound, err);
    if (daemon->submission == NULL)
        return false;
    const struct fleet_parts parts = {daemon->store, daemon->setup, daemon->submission, workers};
    daemon->fleet = fleet_create(&parts, err);
    if (daemon->fleet == NULL || !store_start(daemon->store, err) || !fleet_start(daemon->fleet, err))
        return false;
    daemon->reporter = reporter_start(daemon->store, config, err);
    if (daemon->reporter == NULL)
        return false;
    daemon->consumers = consumers_start(daemon->store, config, err);
    if (daemon->consumers == NULL)
        return false;
    daemon->reload = reload_create(path, daemon->store, daemon->fleet, daemon->setups, daemon->submission);
    if (daemon->reload == NULL)
        return err_set(err, ENOMEM, "no memory for the daemon");
    const struct api_context api = {
        .store = daemon->store,
        .fleet = daemon->fleet,
        .consumers = daemon->consumers,
        .config = config,
        .inbound = daemon->inbound,
        .submission = daemon->submission,
        .setups = daemon->setups,
        .reload = daemon->reload,
        .version = POSTRIDER_VERSION,
        .started = now,
    };
    daemon->api = api_create(&api, err);
    return daemon->api != NULL;
}

static void daemon_stop(struct daemon *daemon)
{
    if (daemon->api)
        api_stop(daemon->api);
    if (daemon->reload)
        reload_stop(daemon->reload);
    if (daemon->reporter)
        reporter_stop(daemon->reporter);
    if (daemon->fleet)
        fleet_stop(daemon->fleet);
    if (daemon->submission)
        submission_stop(daemon->submission);
    if (daemon->consumers)
        consumers_stop(daemon->consumers);
    if (daemon->api)
        api_destroy(daemon->api);
    if (daemon->store)
        store_stop(daemon->store);
    consumers_destroy(daemon->consumers);
    fleet_destroy(daemon->fleet);
    submission_destroy(daemon->submission);
    inbound_destroy(daemon->inbound);
    if (daemon->store)
        store_close(daemon->store);
    reload_destroy(daemon->reload);
    setups_destroy(daemon->setups);
    setup_unref(daemon->setup);
}

static void daemon_reload(struct daemon *daemon)
{
    struct reload_answer answer;
    reload(daemon->reload, &answer); /* it logs */
    buf_free(&answer.errors);
}

/* glibc's allocator learns from each large block to keep larger ones for the next, up to 64 MiB in each of
 * its arenas: after 150 messages of some 4 MB by SMTP the daemon kept 190 MB of the 409 that it had at most.
 * With these bounds, which end the learning, it has 197 at most, and keeps 30. */
static void bound_heap(void)
{
    mallopt(M_MMAP_THRESHOLD, HEAP_BLOCK_MAX);
    mallopt(M_TRIM_THRESHOLD, HEAP_FREE_MAX);
}

int main(int argc, char **argv)
{
    struct options options = {0};
    struct daemon daemon = {0};
    struct config *config;
    struct err err = {0};
    struct buf errors;
    bound_heap();
    js_set_up();
    int code = options_read(argc, argv, &options);
    if (code >= 0)
        return code;
    buf_init(&errors, CONFIG_ERRORS_MAX);
    if (!config_load(options.config_path, &config, &errors)) {
        fwrite(errors.data, 1, errors.len, stderr);
        buf_free(&errors);
        return 1;
    }
    buf_free(&errors);
    daemon.setup = setup_create(config, NULL, &err);
    if (daemon.setup == NULL)
        return fail(&err);
    if (options.check_only) {
        printf("postriderd: %s is good\n", options.config_path);
        setup_unref(daemon.setup);
        return 0;
    }
    daemon.setups = setups_create(setup_ref(daemon.setup));
    if (daemon.setups == NULL) {
        err_set(&err, ENOMEM, "no memory for the daemon");
        return fail(&err);
    }

    /* Blocked before any thread starts, so that only sigwait below gets them. */
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);

    if (!confine(&err) || !daemon_start(&daemon, options.config_path, &err)) {
        code = fail(&err);
        daemon_stop(&daemon);
        return code;
    }
    log_info("postriderd %s is up: state in %s, jobs at %s", POSTRIDER_VERSION, config->state_directory,
             config->jobs.unix_path);
    if (config->dkim_count == 0)
        log_info("no DKIM keys are configured: mail goes out unsigned");
    for (int signal = 0; signal != SIGTERM && signal != SIGINT;) {
        if (sigwait(&signals, &signal) != 0)
            break;
        if (signal == SIGHUP)
            daemon_reload(&daemon);
    }
    log_info("stopping: no new work, what is under way finishes within stop_timeout");
    daemon_stop(&daemon);
    log_info("stopped");
    return 0;
}
