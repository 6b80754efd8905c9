/* rpt.c - see rpt.h.
 *
 * A report at a time: due rows of one domain -> its record (TXT) -> each target in turn (a job, or a request)
 * -> the rows go, or wait for another try. */
#include "engine/tlsrpt/rpt.h"

#include "engine/base/log.h"
#include "engine/message/address.h"
#include "engine/message/template.h"
#include "engine/tls/digest.h"
#include "engine/tls/wish.h"
#include "engine/tlsrpt/counts.h"
#include "engine/tlsrpt/post.h"
#include "engine/tlsrpt/wanted.h"
#include "queue/store.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>

#define WAIT_NS (NS_PER_S / 4)
#define LOOK_NS (NS_PER_S / 4) /* not with each event: a walk over all counts */
#define SPREAD  6              /* a report goes out within this part of the period after its end */

enum rpt_state { RPT_IDLE, RPT_ASKING, RPT_SENDING, RPT_ADMITTING };

/* A session without a policy, whose domain is asked for its record. */
struct rpt_ask {
    struct dns_query query; /* first: the answer finds it by it */
    LIST_ENTRY(rpt_ask) all;
    struct rpt *rpt;
    struct rpt_event *event;
    int64_t start_ms; /* of the period in which it was */
};

LIST_HEAD(rpt_asks, rpt_ask);

struct rpt {
    struct store *store;
    const struct rpt_settings *settings;
    struct inbox *inbox;
    _Atomic unsigned waiting; /* events in it */
    pthread_t thread;
    _Atomic bool stop;
    struct counts counts;
    int64_t flush_ns, look_ns; /* when counts are written next, and looked through for what is due */
    struct wanted wanted;
    int64_t wanted_ms; /* the period that it is of */
    struct rpt_asks asks;
    unsigned ask_count;
    /* Its resolver. */
    struct io *io;
    struct wheel wheel;
    struct prng prng;
    struct dns *dns;
    /* The report that is made now. */
    enum rpt_state state;
    struct dns_query query;
    struct rpt_targets targets;
    unsigned target, sent; /* sent: a bit a target that has it */
    bool failed;
    int64_t start_ms, end_ms;
    char domain[DOMAIN_MAX + 1];
    char id[64];
    struct admit *admit;
    _Atomic int result; /* of the admission, -1: not yet */
    struct rpt_line lines[RPT_LINES_MAX];
};

/* ---- which report is due ---- */

static int64_t due_ms(const struct rpt *rpt, const struct count_row *row)
{
    int64_t spread_ms = rpt->settings->period_ms / SPREAD;
    int64_t delay_ms = spread_ms > 0 ? (int64_t)(str_hash(str_of(row->domain)) % (uint64_t)spread_ms) : 0;
    return row->retry_ms > row->end_ms + delay_ms ? row->retry_ms : row->end_ms + delay_ms;
}

static bool is_of_report(const struct rpt *rpt, const struct count_row *row)
{
    return row->start_ms == rpt->start_ms && strcmp(row->domain, rpt->domain) == 0;
}

static void report_over(struct rpt *rpt, int64_t now_ms)
{
    rpt->state = RPT_IDLE;
    bool give_up = false;
    int64_t pause_ms = rpt->settings->period_ms / RPT_TRIES;
    for (struct count_row *row = rpt->counts.table; rpt->failed && row != NULL; row = row->hh.next)
        if (is_of_report(rpt, row)) {
            row->retry_ms = now_ms + pause_ms;
            row->sent = rpt->sent;
            give_up |= ++row->tries >= RPT_TRIES;
        }
    if (give_up)
        log_warn("the report about TLS to %s cannot be sent: given up", rpt->domain);
    if (!rpt->failed || give_up)
        counts_drop(&rpt->counts, rpt->store, rpt->start_ms, rpt->domain);
}

/* Where it wants its reports; false: nowhere. */
static bool read_record(const struct dns_records *answer, struct rpt_targets *targets)
{
    unsigned found = 0;
    for (unsigned i = 0; answer->status == DNS_OK && i < answer->data->count; i++) {
        const char *text = (const char *)answer->data->bytes + answer->data->list[i].at;
        struct rpt_targets these;
        if (!rpt_record_parse(str_make(text, answer->data->list[i].size), &these))
            continue;
        *targets = these;
        found++;
    }
    return found == 1; /* none, or not exactly one: RFC 8460 3 */
}

static void ask_record(struct rpt *rpt, struct dns_query *query, const char *domain, struct now now)
{
    char name[DOMAIN_MAX + 16];
    int n = snprintf(name, sizeof name, "_smtp._tls.%s", domain);
    dns_ask_records(rpt->dns, query, DNS_RECORDS_TXT, str_make(name, (size_t)n), now);
}

static void on_record(struct dns_query *query, const struct dns_records *answer)
{
    struct rpt *rpt = (struct rpt *)(void *)((char *)query - offsetof(struct rpt, query));
    if (!read_record(answer, &rpt->targets))
        rpt->targets.count = 0;
    rpt->failed = answer->status == DNS_FAILED;
    rpt->state = RPT_SENDING;
}

/* Sessions that were counted in what is due; 0: only its policies are known. */
static uint64_t report_begin(struct rpt *rpt, const struct count_row *first)
{
    uint64_t sessions = 0;
    rpt->start_ms = first->start_ms;
    rpt->end_ms = first->end_ms;
    snprintf(rpt->domain, sizeof rpt->domain, "%s", first->domain);
    /* The same at every try, so that who gets it twice can tell. */
    snprintf(rpt->id, sizeof rpt->id, "%llx.%llx", (unsigned long long)(rpt->start_ms / MS_PER_S),
             (unsigned long long)str_hash_seeded(str_of(rpt->domain), (uint64_t)rpt->start_ms));
    rpt->target = 0;
    rpt->sent = first->sent;
    rpt->failed = false;
    for (const struct count_row *row = rpt->counts.table; row != NULL; row = row->hh.next)
        sessions += is_of_report(rpt, row) ? row->count : 0;
    return sessions;
}

static void report_next(struct rpt *rpt, struct now now)
{
    const struct count_row *row = rpt->counts.table;
    while (row != NULL && due_ms(rpt, row) > now.wall_ms)
        row = row->hh.next;
    if (row == NULL) {
        rpt->look_ns = now.mono_ns + LOOK_NS;
        return;
    }
    if (report_begin(rpt, row) == 0) {
        report_over(rpt, now.wall_ms);
        return;
    }
    rpt->state = RPT_ASKING;
    rpt->query.records = on_record;
    ask_record(rpt, &rpt->query, rpt->domain, now);
}

/* ---- sending ---- */

static void fill_report(struct rpt *rpt, struct rpt_report *report)
{
    *report = (struct rpt_report){.domain = rpt->domain,
                                  .organization = rpt->settings->organization,
                                  .contact = rpt->settings->contact,
                                  .id = rpt->id,
                                  .start_ms = rpt->start_ms,
                                  .end_ms = rpt->end_ms,
                                  .lines = rpt->lines};
    for (const struct count_row *row = rpt->counts.table; row != NULL && report->count < RPT_LINES_MAX;
         row = row->hh.next)
        if (is_of_report(rpt, row))
            rpt->lines[report->count++] = (struct rpt_line){.policy = row->policy,
                                                            .result = row->result,
                                                            .count = row->count,
                                                            .host = row->host,
                                                            .source = row->source,
                                                            .text = row->text};
}

static void on_admitted(struct admit *admit, enum admit_result result, void *user)
{
    struct rpt *rpt = user;
    (void)admit;
    atomic_store(&rpt->result, (int)result);
}

/* RFC 8460 5.3: no policy about TLS holds it up. */
static bool report_admit(struct rpt *rpt, struct str to, struct str message, struct now now, struct err *err)
{
    char pool[WISH_NAME_MAX];
    struct message_spec source = {.raw = message, .merge = MESSAGE_MERGE_NO, .date_ms = now.wall_ms};
    struct job_spec spec = {.tenant = STR("default"),
                            .pool = wish_add(str_of(rpt->settings->pool), TLS_WISH_OPTIONAL, pool),
                            .campaign = STR("tls-reports"),
                            .class_ = CLASS_BULK,
                            .from = str_of(rpt->settings->contact),
                            .bounces = BOUNCES_NONE,
                            .notify = NOTIFY_NEVER,
                            .same_for_all = true,
                            .message_size = message.n};
    struct address address;
    struct rcpt_spec rcpt = {.to = to};
    struct buf content;
    if (!address_parse(to, &address, err))
        return false;
    rcpt.domain = address_domain(&address);
    buf_init(&content, CONTENT_MAX);
    if (template_compile(&source, &content, err)) {
        spec.content = content.data;
        spec.content_size = content.len;
        digest_of(content.data, content.len, spec.content_hash);
        rpt->admit = admit_one(rpt->store, &spec, &rcpt, now, err);
    }
    buf_free(&content);
    if (rpt->admit == NULL)
        return false;
    atomic_store(&rpt->result, -1);
    admit_commit(rpt->admit, NULL, NULL, on_admitted, rpt);
    rpt->state = RPT_ADMITTING;
    return true;
}

static bool report_send(struct rpt *rpt, const char *uri, struct now now, struct err *err)
{
    struct rpt_report report;
    struct buf json, packed, message;
    buf_init(&json, RPT_JSON_MAX);
    buf_init(&packed, RPT_JSON_MAX);
    buf_init(&message, 2 * RPT_JSON_MAX);
    fill_report(rpt, &report);
    bool good = (rpt_json(&report, &json) && rpt_pack(buf_str(&json), &packed)) ||
                err_set(err, ENOMEM, "no memory for it, or it is too large");
    struct str to = str_of(uri + strlen("mailto:"));
    if (good && str_starts(str_of(uri), STR("mailto:")))
        good = (rpt_message(&report, rpt->settings->hostname, to, buf_str(&packed), &message) ||
                err_set(err, ENOMEM, "no memory for it")) &&
               report_admit(rpt, to, buf_str(&message), now, err);
    else if (good)
        good = rpt_post(uri, rpt->settings->ca_file, buf_str(&packed), &rpt->stop, err);
    buf_free(&json);
    buf_free(&packed);
    buf_free(&message);
    return good;
}

static void report_sent(struct rpt *rpt, bool good)
{
    rpt->sent |= good ? 1U << rpt->target : 0;
    rpt->failed |= !good;
    rpt->target++;
}

static void report_step(struct rpt *rpt, struct now now)
{
    struct err err;
    if (rpt->state == RPT_IDLE && now.mono_ns >= rpt->look_ns)
        report_next(rpt, now);
    if (rpt->state == RPT_ADMITTING && atomic_load(&rpt->result) >= 0) {
        admit_free(rpt->admit);
        rpt->admit = NULL;
        report_sent(rpt, atomic_load(&rpt->result) == ADMIT_OK);
        rpt->state = RPT_SENDING;
    }
    if (rpt->state != RPT_SENDING)
        return;
    while (rpt->target < rpt->targets.count && (rpt->sent >> rpt->target & 1) != 0)
        rpt->target++;
    if (rpt->target == rpt->targets.count) {
        report_over(rpt, now.wall_ms);
        return;
    }
    bool good = report_send(rpt, rpt->targets.uri[rpt->target], now, &err);
    if (!good)
        log_warn("the report about TLS to %s: %s", rpt->domain, err.text);
    if (rpt->state == RPT_SENDING)
        report_sent(rpt, good);
}

/* ---- its thread ---- */

static void count(struct rpt *rpt, struct rpt_event *event, int64_t start_ms)
{
    counts_add(&rpt->counts, event, start_ms, start_ms + rpt->settings->period_ms);
    free(event);
}

static void ask_free(struct rpt_ask *ask)
{
    LIST_REMOVE(ask, all);
    ask->rpt->ask_count--;
    free(ask);
}

static void on_domain(struct dns_query *query, const struct dns_records *answer)
{
    struct rpt_ask *ask = (struct rpt_ask *)(void *)query;
    struct rpt *rpt = ask->rpt;
    struct rpt_targets targets;
    bool has_record = read_record(answer, &targets);
    uint64_t digest = str_hash(str_of(ask->event->domain));
    if (answer->status == DNS_FAILED)
        wanted_forget(&rpt->wanted, digest);
    else
        wanted_set(&rpt->wanted, digest, has_record);
    if (has_record)
        count(rpt, ask->event, ask->start_ms);
    else
        free(ask->event);
    ask_free(ask);
}

/* Takes the event. */
static void rpt_hear_unasked(struct rpt *rpt, struct rpt_event *event, int64_t start_ms, struct now now)
{
    uint64_t digest = str_hash(str_of(event->domain));
    if (wanted_is_known(&rpt->wanted, digest)) {
        count(rpt, event, start_ms);
        return;
    }
    struct rpt_ask *ask = rpt->ask_count < RPT_ASKS_MAX ? calloc(1, sizeof *ask) : NULL;
    if (ask == NULL) {
        wanted_forget(&rpt->wanted, digest);
        free(event);
        return;
    }
    *ask = (struct rpt_ask){.query.records = on_domain, .rpt = rpt, .event = event, .start_ms = start_ms};
    LIST_INSERT_HEAD(&rpt->asks, ask, all);
    rpt->ask_count++;
    ask_record(rpt, &ask->query, event->domain, now);
}

static void rpt_hear(struct rpt *rpt, struct now now)
{
    int64_t period_ms = rpt->settings->period_ms, start_ms = now.wall_ms / period_ms * period_ms;
    if (rpt->wanted_ms != 0 && rpt->wanted_ms != start_ms)
        wanted_forget_all(&rpt->wanted);
    rpt->wanted_ms = start_ms;
    for (struct inbox_node *node = inbox_take(rpt->inbox), *next; node != NULL; node = next) {
        next = node->next;
        atomic_fetch_sub(&rpt->waiting, 1);
        struct rpt_event *event = (struct rpt_event *)(void *)node;
        if (event->policy == RPT_NO_POLICY)
            rpt_hear_unasked(rpt, event, start_ms, now);
        else
            count(rpt, event, start_ms);
    }
}

static void *rpt_run(void *user)
{
    struct rpt *rpt = user;
    counts_load(&rpt->counts, rpt->store);
    while (!atomic_load(&rpt->stop)) {
        struct now now = clock_now();
        io_run(rpt->io);
        rpt_hear(rpt, now);
        wheel_run(&rpt->wheel, now);
        dns_step(rpt->dns, now);
        report_step(rpt, now);
        if (now.mono_ns >= rpt->flush_ns && !counts_flush(&rpt->counts, rpt->store))
            rpt->flush_ns = now.mono_ns + RPT_FLUSH_MS * NS_PER_MS;
        int64_t wait_ns = wheel_next_ns(&rpt->wheel) - now.mono_ns;
        wait_ns = wait_ns < WAIT_NS ? wait_ns : WAIT_NS;
        io_wait(rpt->io, rpt->inbox, wait_ns < 0 || dns_busy(rpt->dns) ? 0 : wait_ns);
    }
    while (rpt->admit != NULL && atomic_load(&rpt->result) < 0) /* the store's writer still runs */
        io_wait(rpt->io, rpt->inbox, NS_PER_MS);
    admit_free(rpt->admit);
    rpt_hear(rpt, clock_now());
    for (struct rpt_ask *ask; (ask = LIST_FIRST(&rpt->asks)) != NULL;) { /* nobody knows of them any more */
        dns_cancel(&ask->query);
        free(ask->event);
        ask_free(ask);
    }
    while (counts_flush(&rpt->counts, rpt->store))
        continue;
    return NULL;
}

static void rpt_free(struct rpt *rpt)
{
    if (rpt->dns != NULL)
        dns_destroy(rpt->dns);
    if (rpt->io != NULL)
        io_destroy(rpt->io);
    if (rpt->inbox != NULL)
        inbox_destroy(rpt->inbox);
    counts_free(&rpt->counts);
    free(rpt);
}

struct rpt *rpt_start(struct store *store, const struct rpt_settings *settings, struct err *err)
{
    struct rpt *rpt = calloc(1, sizeof *rpt);
    if (rpt == NULL) {
        err_set(err, ENOMEM, "no memory for reports about TLS");
        return NULL;
    }
    rpt->store = store;
    rpt->settings = settings;
    rpt->prng.state = prng_seed();
    wheel_init(&rpt->wheel, clock_now());
    rpt->inbox = inbox_create(err);
    rpt->io = rpt->inbox ? io_create(16, err) : NULL;
    rpt->dns = rpt->io ? dns_create(rpt->io, &rpt->wheel, &rpt->prng, &settings->dns, err) : NULL;
    int failed = rpt->dns ? pthread_create(&rpt->thread, NULL, rpt_run, rpt) : 0;
    if (rpt->dns != NULL && failed == 0) {
        pthread_setname_np(rpt->thread, "tls-reports");
        return rpt;
    }
    if (failed != 0)
        err_set(err, failed, "cannot start the thread for reports about TLS: %s", strerror(failed));
    rpt_free(rpt);
    return NULL;
}

bool rpt_wants(struct rpt *rpt, uint64_t digest)
{
    return wanted_ask(&rpt->wanted, digest);
}

void rpt_count(struct rpt *rpt, const struct rpt_event *event)
{
    if (rpt == NULL)
        return;
    bool room = atomic_load(&rpt->waiting) < RPT_WAITING_MAX;
    struct rpt_event *copy = room ? malloc(sizeof *copy) : NULL;
    if (copy == NULL) {
        wanted_forget(&rpt->wanted, str_hash(str_of(event->domain))); /* nobody looks for its record now */
        return;
    }
    *copy = *event;
    atomic_fetch_add(&rpt->waiting, 1);
    inbox_post(rpt->inbox, &copy->node);
}

void rpt_stop(struct rpt *rpt)
{
    if (rpt == NULL)
        return;
    atomic_store(&rpt->stop, true);
    pthread_join(rpt->thread, NULL);
    rpt_free(rpt);
}
