/* client_errand.c - what takes a client's message or login elsewhere: the store commits, the desk checks
 * passwords and reads what is large. They give it back through the worker's inbox. */
#include "engine/submission/client.h"

#include "engine/inbound/inbound.h"

#include <stdio.h>

#define RETRY_WAIT_MS 1000

/* Any thread. The client is the worker's again: nothing of it may be touched after this. */
static void give_back(struct client *client)
{
    client->node.kind = DOOR_CLIENT;
    inbox_post(client->door->settings.inbox, &client->node);
}

static struct client *client_of(struct desk_item *item)
{
    return (struct client *)(void *)((char *)item - offsetof(struct client, errand));
}

/* ---- messages ---- */

static void on_admitted(struct admit *admit, enum admit_result result, void *user)
{
    struct client *client = user;
    (void)admit;
    client->admitted = result;
    give_back(client);
}

/* The next window, or the last. False: refused. */
static bool post_on(struct client *client)
{
    bool more;
    if (!posting_fill(&client->posting, &client->dialogue.parcel, &more, client->reply))
        return false;
    client->committed = !more;
    if (more)
        admit_post(client->posting.admit, on_admitted, client);
    else
        admit_commit(client->posting.admit, NULL, NULL, on_admitted, client);
    return true;
}

static bool post(struct client *client, struct now now)
{
    struct submission *submission = client->door->settings.submission;
    const struct dialogue *dialogue = &client->dialogue;
    struct setup *setup = setups_get(submission->setups);
    const struct job_rules rules = {setup->config, setup->dkim, str_of(client->tenant), &submission->repeats};
    const struct posting_origin origin = {.hostname = submission->config->hostname,
                                          .helo = dialogue->helo,
                                          .peer = client->peer,
                                          .tls = client->tls != NULL ? tls_text(client->tls) : "",
                                          .extended = dialogue->extended,
                                          .logged_in = dialogue->user != NULL};
    bool begun = posting_begin(&client->posting, submission->store, &rules, &dialogue->parcel, &origin, now,
                               client->reply);
    setup_unref(setup);
    return begun && post_on(client);
}

static void post_on_desk(struct desk_item *item, struct now now)
{
    struct client *client = client_of(item);
    client->refused = false; /* before it is given away */
    if (post(client, now))
        return;
    client->refused = true;
    give_back(client);
}

bool client_post(struct client *client)
{
    client->wait = CLIENT_POST;
    client->refused = false;
    if (client->dialogue.parcel.message.len > SUBMISSION_QUICK_BYTES) {
        client->errand.run = post_on_desk;
        desk_post(client->door->settings.submission->desk, &client->errand);
        return true;
    }
    client->refused = !post(client, *client->door->settings.now);
    if (client->refused)
        client->wait = CLIENT_READY;
    return !client->refused;
}

static void say_admitted(struct client *client)
{
    struct err err;
    switch (client->admitted) {
    case ADMIT_OK:
        snprintf(client->reply, sizeof client->reply, "250 2.0.0 queued as %llu",
                 (unsigned long long)admit_job(client->posting.admit));
        break;
    case ADMIT_FULL:
        store_full_words(client->door->settings.submission->store, &err);
        snprintf(client->reply, sizeof client->reply, "452 4.3.1 %.400s", err.text);
        break;
    case ADMIT_NO_MEMORY:
        snprintf(client->reply, sizeof client->reply, "452 4.3.1 " ADMIT_NO_MEMORY_WORDS);
        break;
    default:
        snprintf(client->reply, sizeof client->reply, "421 4.3.2 shutting down: send this again later");
        break;
    }
}

bool client_post_back(struct client *client)
{
    if (!client->refused && client->admitted == ADMIT_OK && !client->committed) {
        client->refused = !post_on(client);
        if (!client->refused)
            return true;
    } else if (!client->refused) {
        say_admitted(client);
        client->refused = client->admitted != ADMIT_OK;
    }
    client->wait = CLIENT_READY;
    return false;
}

/* ---- mail to return domains ---- */

static void on_edited(enum edit_result result, unsigned changed, void *user)
{
    struct client *client = user;
    (void)changed;
    client->edited = result;
    give_back(client);
}

static bool is_feedback(const struct config_submission *config, struct str to)
{
    struct str local = str_make(to.p, to.n - str_domain(to).n - 1);
    for (size_t i = 0; i < config->feedback.count; i++)
        if (str_eq_nocase(local, str_of(config->feedback.list[i])))
            return true;
    return false;
}

static bool is_time_to_look(struct desk_item *item)
{
    const struct client *client = client_of(item);
    return clock_now().mono_ns >= client->look_ns ||
           atomic_load(&client->door->settings.submission->stopping);
}

/* Too early to say what it means: looks again soon, and then less and less often. False: no more, as
 * `put_off` or `edited` says. */
static bool look_again(struct client *client, size_t heard)
{
    int64_t most_ns = INBOUND_WAIT_MS * NS_PER_MS;
    int64_t waited_ns = clock_now().mono_ns - client->heard_ns; /* to read it may have taken a while */
    client->put_off = waited_ns >= most_ns;
    client->edited = EDIT_STOPPING;
    if (client->put_off || atomic_load(&client->door->settings.submission->stopping))
        return false;
    client->heard = heard;
    client->look_ns = client->heard_ns + (2 * waited_ns < most_ns ? 2 * waited_ns : most_ns);
    client->errand.ready = is_time_to_look;
    client->errand.fd = -1; /* the connection is the worker's */
    desk_watch(client->door->settings.submission->desk, &client->errand);
    return true;
}

/* What the message says of this recipient of it, which may be a return path of ours. Where it is put off,
 * what it says of those before is written already, and will be again: reports go to one. */
static void inbound_on_desk(struct desk_item *item, struct now now)
{
    struct client *client = client_of(item);
    struct inbound *inbound = client->door->settings.submission->inbound;
    const struct parcel *parcel = &client->dialogue.parcel;
    struct inbound_result result;
    struct rcpt_spec rcpt;
    size_t heard = client->heard;
    parcel_next_rcpt(parcel, &client->heard, &rcpt);
    const struct inbound_input input = {.message = buf_str(&parcel->message),
                                        .envelope_rcpt = rcpt.to,
                                        .trusted = is_feedback(client->entrance->config, rcpt.to)};
    bool read = inbound_read(inbound, &input, &result);
    client->refused = client->put_off = false;
    if (read && result.under_way) {
        if (!look_again(client, heard)) {
            if (client->put_off)
                inbound_put_off(inbound, &result);
            give_back(client);
        }
    } else if (!read || !inbound_post(inbound, &result, now, on_edited, client)) {
        client->refused = true;
        give_back(client);
    }
    inbound_result_free(&result);
}

void client_inbound(struct client *client)
{
    client->wait = CLIENT_INBOUND;
    client->heard = 0;
    client->heard_ns = client->door->settings.now->mono_ns;
    client->errand.run = inbound_on_desk;
    desk_post(client->door->settings.submission->desk, &client->errand);
}

bool client_inbound_back(struct client *client)
{
    const char *reply = "250 2.0.0 read";
    if (client->refused)
        reply = "451 4.3.0 no memory: try again later";
    else if (client->put_off)
        reply = "451 4.3.0 the delivery that it speaks of is not written down yet: try again later";
    else if (client->edited == EDIT_FULL)
        reply = "452 4.3.1 there is no space to write down what the message says: try again later";
    else if (client->edited != EDIT_OK)
        reply = "421 4.3.2 shutting down: send this again later";
    else if (client->heard < client->dialogue.parcel.rcpts.len) {
        desk_post(client->door->settings.submission->desk, &client->errand);
        return true;
    }
    client->refused |= client->put_off || client->edited != EDIT_OK;
    snprintf(client->reply, sizeof client->reply, "%s", reply);
    client->wait = CLIENT_READY;
    return false;
}

/* ---- logins ---- */

static void log_in_on_desk(struct desk_item *item, struct now now)
{
    struct client *client = client_of(item);
    client->login = users_verify(client->entrance->users, client->dialogue.login, now, client->login_tenant);
    atomic_fetch_sub(&client->door->settings.submission->logins_under_way, 1);
    give_back(client);
}

bool client_log_in(struct client *client)
{
    struct submission *submission = client->door->settings.submission;
    if (atomic_fetch_add(&submission->logins_under_way, 1) >= SUBMISSION_LOGINS_MAX) {
        atomic_fetch_sub(&submission->logins_under_way, 1);
        client->login = LOGIN_FAILED;
        return false;
    }
    client->wait = CLIENT_LOGIN;
    client->errand.run = log_in_on_desk;
    desk_post(submission->logins, &client->errand);
    return true;
}

/* ---- ETRN ---- */

static void on_retry(const struct op_progress *progress, void *user)
{
    (void)progress;
    give_back(user);
}

void client_retry(struct client *client)
{
    const struct store_filter filter = {.tenant = str_of(client->tenant),
                                        .domain = str_of(client->dialogue.domain)};
    client->wait = CLIENT_RETRY;
    store_operate(client->door->settings.submission->store, OP_RETRY, &filter, RETRY_WAIT_MS, on_retry,
                  client);
}
