/* reload.c - see reload.h. */
#include "engine/reload.h"

#include "engine/base/log.h"
#include "engine/fleet.h"
#include "engine/setup.h"
#include "engine/submission/submission.h"
#include "queue/store.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct reload {
    const char *path;
    struct store *store;
    struct fleet *fleet;
    struct setups *setups;
    struct submission *submission;
    struct setup *first; /* that the daemon started with: what takes a restart is still as there */
    pthread_mutex_t lock;
    bool stopped;
};

struct reload *reload_create(const char *path, struct store *store, struct fleet *fleet,
                             struct setups *setups, struct submission *submission)
{
    struct reload *reload = calloc(1, sizeof *reload);
    if (reload == NULL)
        return NULL;
    *reload = (struct reload){.path = path,
                              .store = store,
                              .fleet = fleet,
                              .setups = setups,
                              .submission = submission,
                              .first = setups_get(setups)};
    pthread_mutex_init(&reload->lock, NULL);
    return reload;
}

void reload_stop(struct reload *reload)
{
    pthread_mutex_lock(&reload->lock);
    reload->stopped = true;
    pthread_mutex_unlock(&reload->lock);
}

void reload_destroy(struct reload *reload)
{
    if (reload == NULL)
        return;
    setup_unref(reload->first);
    pthread_mutex_destroy(&reload->lock);
    free(reload);
}

static void add_change(const char *option, bool live, void *user)
{
    struct reload_answer *answer = user;
    if (answer->count == RELOAD_CHANGES_MAX)
        return;
    struct reload_change *change = &answer->changes[answer->count++];
    snprintf(change->option, sizeof change->option, "%s", option);
    change->live = live;
}

static void add_live(const char *option, bool live, void *user)
{
    if (live)
        add_change(option, live, user);
}

static void add_fixed(const char *option, bool live, void *user)
{
    if (!live)
        add_change(option, live, user);
}

/* NULL with errors: the file, or one that it names, is wrong, there is no memory, or it is too late. */
static struct setup *read_again(const struct reload *reload, const struct setup *now,
                                struct tls_server ***certificates, struct buf *errors)
{
    struct config *config;
    struct err err;
    if (reload->stopped) {
        buf_add_z(errors, "postriderd is shutting down: the configuration is read at its next start\n");
        return NULL;
    }
    if (!config_load(reload->path, &config, errors))
        return NULL;
    struct setup *setup = setup_create(config, now, &err);
    *certificates = setup != NULL ? submission_read_certificates(reload->submission, config, &err) : NULL;
    if (*certificates != NULL)
        return setup;
    buf_printf(errors, "%s: %s\n", reload->path, err.text);
    if (setup != NULL)
        setup_unref(setup);
    return NULL;
}

static void log_errors(struct str errors)
{
    log_error("reload: nothing is changed, for the configuration cannot be used:");
    for (size_t at = 0; at < errors.n;) {
        size_t newline = str_find(errors, '\n', at), end = newline == SIZE_MAX ? errors.n : newline;
        log_error("reload: %.*s", (int)(end - at), errors.p + at);
        at = end + 1;
    }
}

static void log_changes(const struct reload *reload, const struct reload_answer *answer)
{
    struct buf live, fixed;
    buf_init(&live, sizeof answer->changes);
    buf_init(&fixed, sizeof answer->changes);
    for (unsigned i = 0; i < answer->count; i++) {
        struct buf *list = answer->changes[i].live ? &live : &fixed;
        buf_printf(list, "%s%s", list->len > 0 ? ", " : "", answer->changes[i].option);
    }
    log_info("reload: %s is in force%s%.*s", reload->path, live.len > 0 ? "; changed: " : ", unchanged",
             (int)live.len, live.data);
    if (fixed.len > 0)
        log_warn("reload: these take a restart and are as before: %.*s", (int)fixed.len, fixed.data);
    buf_free(&live);
    buf_free(&fixed);
}

static void put_into_force(struct reload *reload, struct setup *next, struct reload_answer *answer)
{
    const struct config *config = next->config;
    struct err err;
    store_set_times(reload->store, config->queue.lifetime_ms, config->queue.delay_warning_ms,
                    config->queue.retain_ms);
    setups_put(reload->setups, setup_ref(next));
    if (!fleet_renew(reload->fleet, next, &err)) {
        log_warn("reload: %s", err.text);
        buf_printf(&answer->errors, "%s\n", err.text);
    }
}

void reload(struct reload *reload, struct reload_answer *answer)
{
    *answer = (struct reload_answer){.done = false};
    buf_init(&answer->errors, CONFIG_ERRORS_MAX);
    pthread_mutex_lock(&reload->lock);
    struct setup *now = setups_get(reload->setups);
    struct tls_server **certificates;
    struct setup *next = read_again(reload, now, &certificates, &answer->errors);
    if (next != NULL) {
        submission_put_certificates(reload->submission, certificates);
        config_compare(now->config, next->config, add_live, answer);
        config_compare(reload->first->config, next->config, add_fixed, answer);
        put_into_force(reload, next, answer);
        answer->done = true;
        log_changes(reload, answer);
        setup_unref(next);
    } else {
        log_errors(buf_str(&answer->errors));
    }
    setup_unref(now);
    pthread_mutex_unlock(&reload->lock);
}
