/* submission.c - see submission.h. */
#include "engine/submission/submission.h"

#include "engine/base/log.h"
#include "engine/base/prng.h"
#include "engine/submission/submission_parts.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static bool is_unix(const struct entrance *entrance)
{
    assert(entrance->config != NULL);
    return entrance->config->address_len == 0;
}

static bool open_unix(struct entrance *entrance, struct err *err)
{
    const struct config_submission *config = entrance->config;
    const struct unix_socket_file file = {config->listen + strlen("unix:"), config->mode, config->group};
    if (!unix_socket_open(&entrance->file, &file, err))
        return false;
    entrance->fd = entrance->file.fd;
    if (fcntl(entrance->fd, F_SETFL, fcntl(entrance->fd, F_GETFL) & ~O_NONBLOCK) != 0)
        return err_set(err, errno, "cannot set up the socket %s: %s", file.path, strerror(errno));
    return true;
}

static bool open_tcp(struct entrance *entrance, struct err *err)
{
    const struct config_submission *config = entrance->config;
    const struct sockaddr *address = (const struct sockaddr *)&config->address;
    int one = 1;
    entrance->fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (entrance->fd < 0 || setsockopt(entrance->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0)
        return err_set(err, errno, "cannot make a socket for %s: %s", config->listen, strerror(errno));
    if (bind(entrance->fd, address, config->address_len) != 0 || listen(entrance->fd, LISTEN_BACKLOG) != 0)
        return err_set(err, errno, "cannot listen on %s: %s%s", config->listen, strerror(errno),
                       errno == EADDRINUSE ? "; another process does, maybe another postriderd"
                       : errno == EACCES   ? "; ports below 1024 need CAP_NET_BIND_SERVICE"
                                           : "");
    return true;
}

static bool read_networks(struct entrance *entrance, struct err *err)
{
    const struct config_strings *texts = &entrance->config->networks;
    entrance->networks = calloc(texts->count + 1, sizeof *entrance->networks);
    if (entrance->networks == NULL)
        return err_set(err, ENOMEM, "no memory for the listener %s", entrance->config->listen);
    for (size_t i = 0; i < texts->count; i++)
        network_parse(str_of(texts->list[i]), &entrance->networks[i]); /* checked with the configuration */
    return true;
}

static bool entrance_open(struct entrance *entrance, const struct submission *submission, struct err *err)
{
    const struct config_submission *config = entrance->config;
    if (config->tls_certificate[0] != '\0' &&
        (entrance->tls = tls_server_create(config->tls_certificate, config->tls_key, err)) == NULL)
        return false;
    if (config->users_file[0] != '\0' && (entrance->users = users_create(config->users_file, err)) == NULL)
        return false;
    entrance->rules = (struct dialogue_rules){.hostname = submission->config->hostname,
                                              .config = config,
                                              .has_tls = entrance->tls != NULL && !config->implicit_tls,
                                              .has_users = entrance->users != NULL};
    return read_networks(entrance, err) &&
           (is_unix(entrance) ? open_unix(entrance, err) : open_tcp(entrance, err));
}

static void entrance_close(struct entrance *entrance)
{
    if (entrance->fd >= 0 && is_unix(entrance))
        unix_socket_remove(&entrance->file, entrance->config->listen + strlen("unix:"));
    if (entrance->fd >= 0)
        close(entrance->fd);
    free(entrance->networks);
    users_destroy(entrance->users);
    tls_server_destroy(entrance->tls);
}

static bool entrances_open(struct submission *submission, struct err *err)
{
    const struct config *config = submission->config;
    submission->entrances = calloc(config->submission_count + 1, sizeof *submission->entrances);
    if (submission->entrances == NULL)
        return err_set(err, ENOMEM, "no memory for the listeners");
    for (size_t i = 0; i < config->submission_count; i++) {
        struct entrance *entrance = &submission->entrances[submission->count++];
        *entrance = (struct entrance){.config = &config->submission[i], .fd = -1};
        if (!entrance_open(entrance, submission, err))
            return false;
    }
    if (submission->count == 0)
        return true;
    submission->desk = desk_create(SUBMISSION_DESK_THREADS, err);
    submission->logins = desk_create(SUBMISSION_DESK_THREADS, err);
    return submission->desk != NULL && submission->logins != NULL;
}

struct submission *submission_create(struct store *store, struct setups *setups, struct inbound *inbound,
                                     struct err *err)
{
    struct submission *submission = calloc(1, sizeof *submission);
    if (submission == NULL) {
        err_set(err, ENOMEM, "no memory for the listeners");
        return NULL;
    }
    submission->store = store;
    submission->setups = setups;
    submission->setup = setups_get(setups);
    submission->config = submission->setup->config;
    submission->inbound = inbound;
    submission->seed = prng_seed();
    repeats_init(&submission->repeats);
    if (entrances_open(submission, err))
        return submission;
    submission_destroy(submission);
    return NULL;
}

/* Whether a listener of that configuration has the certificate of this one. */
static bool is_named(const struct config_submission *listener, const struct config *config)
{
    bool named = false;
    for (size_t i = 0; i < config->submission_count; i++)
        named |= strcmp(config->submission[i].tls_certificate, listener->tls_certificate) == 0 &&
                 strcmp(config->submission[i].tls_key, listener->tls_key) == 0;
    return named && listener->tls_certificate[0] != '\0';
}

struct tls_server **submission_read_certificates(const struct submission *submission,
                                                 const struct config *next, struct err *err)
{
    struct tls_server **list = calloc(submission->count + 1, sizeof *list);
    if (list == NULL) {
        err_set(err, ENOMEM, "no memory for the listeners' certificates");
        return NULL;
    }
    bool good = true;
    for (size_t i = 0; good && i < submission->count; i++) {
        const struct config_submission *config = submission->entrances[i].config;
        if (is_named(config, next))
            good = (list[i] = tls_server_create(config->tls_certificate, config->tls_key, err)) != NULL;
    }
    if (good)
        return list;
    for (size_t i = 0; i < submission->count; i++)
        tls_server_destroy(list[i]);
    free(list);
    return NULL;
}

void submission_put_certificates(struct submission *submission, struct tls_server **list)
{
    for (size_t i = 0; i < submission->count; i++)
        if (list[i] != NULL && tls_server_replace(submission->entrances[i].tls, list[i]))
            log_info("the listener %s has another certificate now", submission->entrances[i].config->listen);
    free(list);
}

void submission_figures(const struct submission *submission, struct submission_figures *figures)
{
    *figures = (struct submission_figures){.messages = atomic_load(&submission->messages),
                                           .recipients = atomic_load(&submission->recipients),
                                           .refused = atomic_load(&submission->refused),
                                           .wrong_logins = atomic_load(&submission->wrong_logins)};
    for (size_t i = 0; i < submission->count; i++)
        figures->clients += atomic_load(&submission->entrances[i].connections);
}

void submission_stop(struct submission *submission)
{
    if (submission->desk != NULL)
        desk_destroy(submission->desk);
    if (submission->logins != NULL)
        desk_destroy(submission->logins);
    submission->desk = submission->logins = NULL;
}

void submission_destroy(struct submission *submission)
{
    if (submission == NULL)
        return;
    submission_stop(submission);
    for (size_t i = 0; i < submission->count; i++)
        entrance_close(&submission->entrances[i]);
    free(submission->entrances);
    setup_unref(submission->setup);
    free(submission);
}
