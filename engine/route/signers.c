/* signers.c - see signers.h. */
#include "engine/route/signers.h"

#include "engine/base/clock.h"
#include "engine/route/handover.h"
#include "engine/setup.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define SIGNER_NICE 5 /* workers come first where cores are short: a socket that waits costs more */

struct signer_line {
    struct sign_request *head, **tail;
};

struct signer_thread {
    struct signers *signers;
    pthread_t thread;
    bool started;
    struct setup *setup; /* whose keys the signer has */
    struct dkim_signer *signer;
    struct rendition message;
    struct buf text;
};

struct signers {
    pthread_mutex_t lock;
    struct setup *setup;
    pthread_cond_t came;
    struct signer_line lines[2]; /* by class */
    bool hurry, stop;
    unsigned count;
    struct signer_thread threads[];
};

static void thread_let_go(struct signer_thread *thread)
{
    dkim_signer_destroy(thread->signer);
    thread->signer = NULL;
    setup_unref(thread->setup);
    thread->setup = NULL;
}

/* Its signer is made of these keys, when it is needed. */
static void thread_change(struct signer_thread *thread, struct setup *setup)
{
    thread_let_go(thread);
    thread->setup = setup_ref(setup);
}

/* The next request, or NULL: it is over. *hurry: it goes back as it is. */
static struct sign_request *next_request(struct signer_thread *thread, bool *hurry)
{
    struct signers *signers = thread->signers;
    struct sign_request *request = NULL;
    pthread_mutex_lock(&signers->lock);
    while (signers->lines[0].head == NULL && signers->lines[1].head == NULL && !signers->stop)
        pthread_cond_wait(&signers->came, &signers->lock); /* ended by signers_stop */
    struct signer_line *line = &signers->lines[CLASS_TRANSACTIONAL];
    if (line->head == NULL)
        line = &signers->lines[CLASS_BULK];
    request = line->head;
    if (request != NULL && (line->head = request->next) == NULL)
        line->tail = &line->head;
    *hurry = signers->hurry;
    if (thread->setup != signers->setup)
        thread_change(thread, signers->setup);
    pthread_mutex_unlock(&signers->lock);
    return request;
}

static bool sign(struct signer_thread *thread, struct sign_request *request)
{
    const struct dkim *dkim = thread->setup->dkim;
    struct opened *opened = opened_get(request->taken->job, dkim, &request->err);
    if (opened == NULL)
        return false;
    if (thread->signer == NULL && (thread->signer = dkim_signer_create(dkim)) == NULL)
        return err_set(&request->err, ENOMEM, "no memory for a signer");
    return opened_sign(opened, request->taken, dkim, thread->signer, &thread->message, &thread->text,
                       clock_now().wall_ms, &request->err);
}

static void *signer_run(void *user)
{
    struct signer_thread *thread = user;
    struct sign_request *request;
    bool hurry;
    setpriority(PRIO_PROCESS, (id_t)gettid(), SIGNER_NICE); /* as well as may be */
    while ((request = next_request(thread, &hurry)) != NULL) {
        request->good = !hurry && sign(thread, request);
        inbox_post(request->inbox, &request->node);
    }
    return NULL;
}

static bool start_thread(struct signers *signers, struct signer_thread *thread, struct err *err)
{
    thread->signers = signers;
    thread_change(thread, signers->setup);
    buf_init(&thread->text, RENDITION_MAX);
    int failed = pthread_create(&thread->thread, NULL, signer_run, thread);
    if (failed != 0)
        return err_set(err, failed, "cannot start a signer thread: %s", strerror(failed));
    thread->started = true;
    pthread_setname_np(thread->thread, "signer");
    return true;
}

struct signers *signers_start(struct setup *setup, unsigned count, struct err *err)
{
    struct signers *signers = calloc(1, sizeof *signers + count * sizeof signers->threads[0]);
    if (signers == NULL) {
        err_set(err, ENOMEM, "no memory for the signers");
        return NULL;
    }
    signers->setup = setup_ref(setup);
    signers->count = count;
    pthread_mutex_init(&signers->lock, NULL);
    pthread_cond_init(&signers->came, NULL);
    for (int i = 0; i < 2; i++)
        signers->lines[i].tail = &signers->lines[i].head;
    for (unsigned i = 0; i < count; i++)
        if (!start_thread(signers, &signers->threads[i], err)) {
            signers_stop(signers);
            return NULL;
        }
    return signers;
}

static void post(struct signers *signers, struct sign_request *request)
{
    struct signer_line *line = &signers->lines[request->taken->job->class_];
    request->node.kind = HANDOVER_SIGNED;
    request->next = NULL;
    pthread_mutex_lock(&signers->lock);
    *line->tail = request;
    line->tail = &request->next;
    pthread_cond_signal(&signers->came);
    pthread_mutex_unlock(&signers->lock);
}

bool signers_want(struct router *router, uint32_t lane, struct taken *taken)
{
    struct err err;
    if (router->signers == NULL || taken->signature != NULL)
        return false;
    const struct opened *opened = opened_get(taken->job, router->dkim, &err);
    if (opened == NULL || !opened->wants_signature || opened_is_signed(opened, taken, router->dkim))
        return false; /* what is wrong with it is said when it is rendered */
    struct sign_request *request = malloc(sizeof *request);
    if (request == NULL)
        return false;
    request->inbox = router->inboxes[router->index];
    request->taken = taken;
    request->lane = lane;
    request->dropped = request->recalled = false;
    LIST_INSERT_HEAD(&router->signing, request, mine);
    request->err.text[0] = '\0';
    post(router->signers, request);
    return true;
}

void signers_change(struct signers *signers, struct setup *setup)
{
    pthread_mutex_lock(&signers->lock);
    struct setup *old = signers->setup;
    signers->setup = setup_ref(setup);
    pthread_mutex_unlock(&signers->lock);
    setup_unref(old);
}

void signers_hurry(struct signers *signers)
{
    if (signers == NULL)
        return;
    pthread_mutex_lock(&signers->lock);
    signers->hurry = true;
    pthread_mutex_unlock(&signers->lock);
}

void signers_stop(struct signers *signers)
{
    if (signers == NULL)
        return;
    pthread_mutex_lock(&signers->lock);
    signers->stop = true;
    pthread_cond_broadcast(&signers->came);
    pthread_mutex_unlock(&signers->lock);
    for (unsigned i = 0; i < signers->count; i++) {
        struct signer_thread *thread = &signers->threads[i];
        if (thread->started)
            pthread_join(thread->thread, NULL);
        thread_let_go(thread);
        rendition_free(&thread->message);
        if (thread->text.max > 0)
            buf_free(&thread->text);
    }
    setup_unref(signers->setup);
    pthread_cond_destroy(&signers->came);
    pthread_mutex_destroy(&signers->lock);
    free(signers);
}
