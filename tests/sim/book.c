/* book.c - see book.h: what hosts and the driver tell. Events are in book_events.c. */
#include "tests/sim/book.h"

#include "engine/limits.h"
#include "engine/message/envelope.h"
#include "tests/sim/faults.h"
#include "tests/sim/host.h"
#include "tests/sim/sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define DURABLE_NS (5 * NS_PER_S)   /* what was heard longer ago must be on disk */
#define HELD_NS    (120 * NS_PER_S) /* after the answer to a pause nothing is offered for long */

struct book_job book_jobs[PLAN_JOBS_MAX];

/* A leaky bucket: what a receiver that counts would see as too fast. */
struct bucket {
    int64_t at_ns;
    double level;
};
static struct book_path {
    unsigned open;
    struct bucket messages, connects;
} paths[PLAN_SOURCES_MAX][PLAN_SITES_EVER];
static struct bucket tenants[PLAN_TENANTS_MAX];
static unsigned tenant_landed[PLAN_TENANTS_MAX];
static bool shares_checked;
static int64_t held_ns[BOOK_HOLDS][PLAN_JOBS_MAX]; /* since when; 0: not */

/* ---- life ---- */

static void body_make(struct book_job *job, const struct plan_job *from)
{
    struct buf body;
    buf_init(&body, 4 << 20);
    for (unsigned i = 0; i < from->lines; i++) {
        static const char *const starts[] = {"", ".", "..", ". ", "words", "=", "From ", "\t"};
        buf_printf(&body, "%s line %u of %u\r\n", starts[sim_below(DICE_PLAN, 8)], i, from->lines);
    }
    buf_printf(&body, ".\r\nthe end\r\n");
    job->body = body.data;
    job->body_size = body.len;
}

static void body_copy(struct book_job *job, const struct book_job *like)
{
    job->body = sim_alloc(like->body_size);
    memcpy(job->body, like->body, like->body_size);
    job->body_size = like->body_size;
}

void book_begin(void)
{
    memset(book_jobs, 0, sizeof book_jobs);
    memset(paths, 0, sizeof paths);
    memset(tenants, 0, sizeof tenants);
    memset(tenant_landed, 0, sizeof tenant_landed);
    shares_checked = false;
    book_release_all();
    book_events_begin();
    for (unsigned i = 0; i < plan.jobs; i++) {
        struct book_job *job = &book_jobs[i];
        job->reports_are_whole = true;
        job->rcpts = sim_alloc(plan.job[i].rcpts * sizeof *job->rcpts);
        for (unsigned r = 0; r < plan.job[i].rcpts; r++)
            job->rcpts[r] = (struct book_rcpt){.job = i, .number = r};
        if (plan.job[i].like != i)
            body_copy(job, &book_jobs[plan.job[i].like]);
        else
            body_make(job, &plan.job[i]);
    }
}

void book_end(void)
{
    for (unsigned i = 0; i < plan.jobs; i++) {
        free(book_jobs[i].rcpts);
        free(book_jobs[i].body);
    }
}

/* ---- addresses ---- */

unsigned book_number(const struct book_job *job)
{
    return (unsigned)(job - book_jobs);
}

static unsigned book_domain(unsigned job, unsigned rcpt)
{
    const struct plan_job *from = &plan.job[job];
    return (from->first_domain + rcpt % from->domains) % plan.domains;
}

void book_address(unsigned job, unsigned rcpt, char text[64])
{
    snprintf(text, 64, "r%u.j%u@%s", rcpt, job, plan.domain[book_domain(job, rcpt)].name);
}

void book_sender(unsigned job, char text[64])
{
    text[0] = '\0';
    if (!plan.job[job].null_sender)
        snprintf(text, 64, "news+j%u%s@%s", job, plan.job[job].verp ? "+{{rid}}" : "",
                 plan.domain[plan.job[job].sender_domain].name);
}

void book_envid(unsigned job, char text[64])
{
    text[0] = '\0';
    if (plan.job[job].envid)
        snprintf(text, 64, "mail.%u", job);
}

struct book_rcpt *book_find(struct str address)
{
    unsigned job, rcpt;
    char text[64];
    snprintf(text, sizeof text, "%.*s", STR_ARG(address));
    if (sscanf(text, "r%u.j%u@", &rcpt, &job) != 2 || job >= plan.jobs || rcpt >= plan.job[job].rcpts)
        return NULL;
    char whole[64];
    book_address(job, rcpt, whole);
    return strcmp(whole, text) == 0 ? &book_jobs[job].rcpts[rcpt] : NULL;
}

struct book_job *book_find_sender(struct str address)
{
    unsigned job;
    char text[ADDRESS_MAX], sender[64], rid_text[RID_TEXT_MAX] = "";
    struct rid rid;
    snprintf(text, sizeof text, "%.*s", STR_ARG(address));
    if (sscanf(text, "news+j%u+%39[0-9-]@", &job, rid_text) < 1 || job >= plan.jobs)
        return NULL;
    if (plan.job[job].verp && !rid_parse(str_of(rid_text), &rid))
        return NULL;
    book_sender(job, sender);
    size_t n = envelope_expand(str_of(sender), str_of(rid_text), text);
    return n != SIZE_MAX && str_eq(str_make(text, n), address) ? &book_jobs[job] : NULL;
}

void book_check_path(const struct book_rcpt *rcpt, struct str sender)
{
    char pattern[64], rid[RID_TEXT_MAX], path[ADDRESS_MAX];
    if (!rcpt->named || !plan.job[rcpt->job].verp)
        return;
    book_sender(rcpt->job, pattern);
    size_t n = envelope_expand(str_of(pattern), str_make(rid, rid_format(rcpt->rid, rid)), path);
    if (n == SIZE_MAX || !str_eq(str_make(path, n), sender))
        sim_fail("content", "r%u.j%u gets its mail with another's return path, %.*s", rcpt->number, rcpt->job,
                 STR_ARG(sender));
}

/* ---- the driver ---- */

void book_accepted(unsigned number, uint64_t id)
{
    struct book_job *job = &book_jobs[number];
    trace("job %u is accepted as %" PRIu64, number, id);
    job->state = BOOK_ACCEPTED;
    job->id = id;
}

void book_hold(enum book_held what, unsigned number, bool held)
{
    held_ns[what][number] = held ? sim.now.mono_ns : 0;
}

void book_release_all(void)
{
    memset(held_ns, 0, sizeof held_ns);
}

void book_crashed(void)
{
    for (unsigned i = 0; i < plan.jobs; i++)
        for (unsigned r = 0; r < plan.job[i].rcpts; r++) {
            struct book_rcpt *rcpt = &book_jobs[i].rcpts[r];
            if (rcpt->ended)
                continue;
            if (rcpt->sure > 0 && !rcpt->murky && sim.now.mono_ns - rcpt->sure_ns > DURABLE_NS)
                sim_fail("durable",
                         "r%u.j%u was delivered %.1f s before the crash, and the log does not say so", r, i,
                         (double)(sim.now.mono_ns - rcpt->sure_ns) / (double)NS_PER_S);
            rcpt->sure = 0;
            rcpt->refused = 0;
        }
}

void book_stopped(void)
{
    for (unsigned i = 0; i < plan.jobs; i++)
        for (unsigned r = 0; r < plan.job[i].rcpts; r++) {
            const struct book_rcpt *rcpt = &book_jobs[i].rcpts[r];
            if (!rcpt->ended && (rcpt->sure > 0 || rcpt->refused != 0) && !rcpt->murky)
                sim_fail("durable",
                         "r%u.j%u was answered before the daemon was stopped, and the log does not say so", r,
                         i);
        }
}

void book_restarted(void)
{
    for (unsigned s = 0; s < PLAN_SOURCES_MAX; s++)
        for (unsigned n = 0; n < PLAN_SITES_EVER; n++)
            paths[s][n].messages = paths[s][n].connects = (struct bucket){0};
    memset(tenants, 0, sizeof tenants);
}

/* ---- limits, as the receiver counts ---- */

static const struct plan_site *limits_of(const struct host *host)
{
    return &plan.site[plan.host[host_number(host)].limits];
}

static struct book_path *path_of(const struct host *host, unsigned source)
{
    return &paths[source][plan.host[host_number(host)].site];
}

/* more: what the rate allows at once, and what may lie between its grant and what is seen. */
static bool bucket_overflows(struct bucket *bucket, struct plan_rate rate, unsigned more)
{
    if (rate.count == 0)
        return false;
    double passed = (double)(sim.now.mono_ns - bucket->at_ns) / (double)NS_PER_MS;
    bucket->level -= passed * rate.count / (double)rate.per_ms;
    bucket->level = (bucket->level > 0 ? bucket->level : 0) + 1;
    bucket->at_ns = sim.now.mono_ns;
    return bucket->level > (double)(1 + more) + (double)rate.count * 10 / (double)rate.per_ms;
}

void book_connect(const struct host *host, unsigned source)
{
    struct book_path *path = path_of(host, source);
    const struct plan_site *limits = limits_of(host);
    if (++path->open > limits->connections)
        sim_fail("limits", "%u connections from source %u to the site of %s, where %u are allowed",
                 path->open, source, host_name(host), limits->connections);
    if (bucket_overflows(&path->connects, limits->connection_rate, 1))
        sim_fail("limits", "connections to the site of %s are begun faster than %u in %" PRId64 " ms",
                 host_name(host), limits->connection_rate.count, limits->connection_rate.per_ms);
}

void book_disconnect(const struct host *host, unsigned source)
{
    path_of(host, source)->open--;
}

void book_message(const struct host *host, unsigned source, unsigned messages)
{
    const struct plan_site *limits = limits_of(host);
    if (limits->messages > 0 && messages > limits->messages)
        sim_fail("limits", "%u messages on a connection to %s, where %u are allowed", messages,
                 host_name(host), limits->messages);
    /* Each connection may have two of them waiting for its turn. */
    if (bucket_overflows(&path_of(host, source)->messages, limits->rate, 1 + 2 * limits->connections))
        sim_fail("limits", "messages to the site of %s come faster than %u in %" PRId64 " ms",
                 host_name(host), limits->rate.count, limits->rate.per_ms);
}

void book_murk(const struct book_job *job, bool astray)
{
    for (unsigned i = 0; i < plan.jobs; i++) {
        if (job != NULL ? &book_jobs[i] == job : plan.job[i].null_sender) {
            book_jobs[i].murky = true;
            book_jobs[i].astray |= astray;
        }
        book_jobs[i].reports_murky |= job == NULL; /* they have a null sender too */
    }
}

void book_tenant_message(unsigned tenant)
{
    if (bucket_overflows(&tenants[tenant], plan.tenant_rate[tenant], 60))
        sim_fail("limits", "messages of tenant %u come faster than %u in %" PRId64 " ms", tenant,
                 plan.tenant_rate[tenant].count, plan.tenant_rate[tenant].per_ms);
}

/* ---- recipients ---- */

static void check_held(const struct book_rcpt *rcpt, enum book_held what, unsigned number)
{
    static const char *const names[] = {"job was paused", "job was suspended", "tenant was suspended",
                                        "domain was suspended"};
    int64_t since_ns = held_ns[what][number];
    if (since_ns != 0 && sim.now.mono_ns - since_ns > HELD_NS)
        sim_fail("held", "r%u.j%u is sent %.0f s after its %s", rcpt->number, rcpt->job,
                 (double)(sim.now.mono_ns - since_ns) / (double)NS_PER_S, names[what]);
}

void book_attempt(struct book_rcpt *rcpt, const struct host *host, unsigned rcpts)
{
    const struct book_job *job = &book_jobs[rcpt->job];
    const struct plan_site *limits = limits_of(host);
    trace("%s is offered r%u.j%u", host_name(host), rcpt->number, rcpt->job);
    if (rcpts > limits->rcpts)
        sim_fail("limits", "%u recipients in a transaction with %s, where %u are allowed", rcpts,
                 host_name(host), limits->rcpts);
    if (job->state == BOOK_REFUSED || job->state == BOOK_UNKNOWN)
        sim_fail("accepted", "r%u.j%u is sent, and its job was refused", rcpt->number, rcpt->job);
    if (rcpt->ended)
        sim_fail("ended", "r%u.j%u is sent again after its end (%s)", rcpt->number, rcpt->job,
                 event_type_name(rcpt->last));
    if (rcpt->sure > 0 && !rcpt->murky)
        sim_fail("once", "r%u.j%u is sent again: the reply that it was taken had been read", rcpt->number,
                 rcpt->job);
    if (rcpt->refused != 0 && !rcpt->murky)
        sim_fail("refused", "r%u.j%u is sent again after a %u", rcpt->number, rcpt->job, rcpt->refused);
    if (job->not_before_ms > sim.wall_high_ms)
        sim_fail("early", "r%u.j%u is sent %" PRId64 " ms before its job may begin", rcpt->number, rcpt->job,
                 job->not_before_ms - sim.wall_high_ms);
    bool asked = job->retried && job->retried_ms >= rcpt->last_ms;
    if (rcpt->last == EVENT_DEFERRED && rcpt->next_ms > sim.wall_high_ms && !asked)
        sim_fail("early", "r%u.j%u is sent %" PRId64 " ms before its next time", rcpt->number, rcpt->job,
                 rcpt->next_ms - sim.wall_high_ms);
    check_held(rcpt, BOOK_PAUSED, rcpt->job);
    check_held(rcpt, BOOK_JOB_HELD, rcpt->job);
    check_held(rcpt, BOOK_TENANT_HELD, plan.job[rcpt->job].tenant);
    check_held(rcpt, BOOK_DOMAIN_HELD, book_domain(rcpt->job, rcpt->number));
}

/* Tenants with a backlog share the receiver by their weights. Looked at before the last recipients of one of
 * them may have been granted, perhaps to one source, while another's turn at the other sources goes on. */
static void share_count(unsigned tenant)
{
    if (++tenant_landed[tenant] < PLAN_FAIR_RCPTS - LANE_TAKE_MAX || shares_checked)
        return;
    shares_checked = true;
    for (unsigned i = 0; i < plan.tenants; i++) {
        unsigned want = tenant_landed[tenant] * plan.tenant_weight[i] / plan.tenant_weight[tenant];
        unsigned got = tenant_landed[i], off = got > want ? got - want : want - got;
        if (want < PLAN_FAIR_RCPTS && off > want / 5 + 30)
            sim_fail("share",
                     "tenant %u of weight %u got %u messages through while tenant %u of weight %u got %u", i,
                     plan.tenant_weight[i], got, tenant, plan.tenant_weight[tenant], tenant_landed[tenant]);
    }
}

void book_landed(struct book_rcpt *rcpt)
{
    rcpt->landed++;
    trace("r%u.j%u is taken, the %u. time", rcpt->number, rcpt->job, rcpt->landed);
    if (plan.fair)
        share_count(plan.job[rcpt->job].tenant);
}

void book_heard_landed(struct book_rcpt *rcpt, bool sure)
{
    if (!sure)
        return;
    rcpt->sure++;
    rcpt->sure_ns = sim.now.mono_ns;
}

void book_heard_refused(struct book_rcpt *rcpt, uint16_t code, bool sure)
{
    if (sure)
        rcpt->refused = code;
}

/* ---- reports ---- */

static void report_line(struct book_job *job, struct str address, bool failed, uint64_t report)
{
    struct book_rcpt *rcpt = book_find(address);
    if (rcpt == NULL || rcpt->job != book_number(job))
        sim_fail("report", "a report about job %u names %.*s", book_number(job), STR_ARG(address));
    trace("a report says that r%u.j%u %s", rcpt->number, rcpt->job, failed ? "failed" : "is delayed");
    if (!failed)
        return;
    if (rcpt->last != EVENT_BOUNCED && rcpt->last != EVENT_EXPIRED)
        sim_fail("report", "r%u.j%u is reported as failed, and its last event is %s", rcpt->number, rcpt->job,
                 event_type_name(rcpt->last));
    if (rcpt->report != 0 && rcpt->report != report)
        sim_fail("report", "two reports say that r%u.j%u failed", rcpt->number, rcpt->job);
    rcpt->report = report;
}

/* The rest of the line behind the name of a field; empty: there is none. */
static struct str field_of(struct str text, const char *name)
{
    const char *at = memmem(text.p, text.n, name, strlen(name));
    if (at == NULL)
        return STR("");
    at += strlen(name);
    const char *end = memchr(at, '\r', (size_t)(text.p + text.n - at));
    return str_trim(str_make(at, (size_t)((end ? end : text.p + text.n) - at)));
}

void book_report(struct book_job *job, struct str text)
{
    static const char mark[] = "Final-Recipient: rfc822;";
    uint64_t report = str_hash(field_of(text, "\nMessage-ID:"));
    job->reports_landed++;
    if (plan.job[book_number(job)].bounces != BOUNCES_DSN)
        sim_fail("report", "a report about job %u, which wants none", book_number(job));
    for (struct str address = field_of(text, mark); address.n > 0; address = field_of(text, mark)) {
        const char *next = memmem(address.p, (size_t)(text.p + text.n - address.p), mark, sizeof mark - 1);
        const char *end = text.p + text.n;
        struct str fields = str_make(address.p, (size_t)((next ? next : end) - address.p));
        report_line(job, address, str_eq(field_of(fields, "Action:"), STR("failed")), report);
        text = str_make(address.p, (size_t)(end - address.p));
    }
}

bool book_is_purged(unsigned number)
{
    for (unsigned r = 0; r < plan.job[number].rcpts; r++)
        if (!book_jobs[number].rcpts[r].ended)
            return false;
    return plan.retain_ms <= HOUR_MS;
}

unsigned book_open(void)
{
    unsigned n = 0;
    for (unsigned i = 0; i < plan.jobs; i++)
        for (unsigned r = 0; book_jobs[i].state == BOOK_ACCEPTED && r < plan.job[i].rcpts; r++)
            n += !book_jobs[i].rcpts[r].ended;
    return n;
}
