/* late.c - see late.h. */
#include "tests/sim/late.h"

#include "engine/inbound/inbound.h"
#include "tests/sim/daemon.h"
#include "tests/sim/drive.h"
#include "tests/sim/events.h"
#include "tests/sim/faults.h"
#include "tests/sim/sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define LOOK_MS    50 /* before it is read again the first time; twice as long each time */
#define NOTICE_MAX (64 * 1024)
#define WORDS      "sim bounce "
#define LATEST_NS  (4 * HOUR_MS * NS_PER_MS)
#define ONCE_IN    4 /* of the messages that such a host takes */

struct late {
    struct late *next;
    struct book_rcpt *rcpt;
    unsigned number;
    unsigned landing; /* which of the times that its recipient was taken */
    struct status status;
    bool hard; /* it says that there is no such mailbox */
    bool has_envelope;
    char from[ADDRESS_MAX + 1];
    struct buf text;
    int64_t wait_ms, waited_ms;
    bool posted;           /* and not answered */
    bool due;              /* an event, with what was posted last */
    bool queued;           /* the daemon said that its recipient still is */
    unsigned posts, taken; /* with an event; of these: said to be taken */
    unsigned events;       /* seen in the log */
};
static struct late *lates;
static unsigned lates_n, open_n;

/* ---- life ---- */

void late_begin(void)
{
    lates = NULL;
    lates_n = open_n = 0;
}

void late_end(void)
{
    for (struct late *late = lates, *next; late != NULL; late = next) {
        next = late->next;
        buf_free(&late->text);
        free(late);
    }
    lates = NULL;
}

unsigned late_open(void)
{
    return open_n;
}

/* ---- the host ---- */

static void write_report(struct late *late, const struct late_mail *mail)
{
    static const char boundary[] = "sim=/bounce";
    struct buf *out = &late->text;
    char to[64];
    const char *body = memmem(mail->message.p, mail->message.n, "\r\n\r\n", 4);
    book_address(late->rcpt->job, late->rcpt->number, to);
    buf_printf(out,
               "From: MAILER-DAEMON@%s\r\nTo: %s\r\nSubject: Undelivered mail\r\nMIME-Version: 1.0\r\n"
               "Content-Type: multipart/report; report-type=delivery-status; boundary=\"%s\"\r\n\r\n"
               "--%s\r\n\r\nIt could not be delivered.\r\n\r\n"
               "--%s\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; %s\r\n",
               mail->host, mail->from, boundary, boundary, boundary, mail->host);
    if (mail->envid[0] != '\0')
        buf_printf(out, "Original-Envelope-Id: %s\r\n", mail->envid);
    buf_printf(out,
               "\r\nFinal-Recipient: rfc822; %s\r\nAction: failed\r\nStatus: %u.%u.%u\r\n"
               "Diagnostic-Code: smtp; 550 %u.%u.%u " WORDS "%u\r\n\r\n"
               "--%s\r\nContent-Type: text/rfc822-headers\r\n\r\n",
               to, late->status.class_, late->status.subject, late->status.detail, late->status.class_,
               late->status.subject, late->status.detail, late->number, boundary);
    buf_add(out, mail->message.p, body != NULL ? (size_t)(body - mail->message.p) + 2 : 0);
    buf_printf(out, "\r\n--%s--\r\n", boundary);
}

/* Mostly before the daemon has written down, or even heard, that the message was taken. */
static int64_t delay_ns(void)
{
    static const int64_t longest_ns[] = {0, 200 * NS_PER_MS, 10 * NS_PER_S, LATEST_NS};
    int64_t most_ns = longest_ns[sim_below(DICE_HOSTS, 4)];
    return sim_between(DICE_HOSTS, 0, most_ns < plan.horizon_ns ? most_ns : plan.horizon_ns);
}

/* Where neither the sender nor the message names the recipient, nor MAIL the job, nobody could tell whose it
 * is. */
static bool is_traceable(const struct late_mail *mail, const struct book_rcpt *rcpt)
{
    const struct plan_job *job = &plan.job[rcpt->job];
    return mail->from[0] != '\0' && (job->verp || !job->same_for_all || mail->envid[0] != '\0');
}

static void on_arrival(void *owner, const void *bytes, size_t n);

static void arrive_later(struct late *late, int64_t ns)
{
    events_at(sim.now.mono_ns + ns, on_arrival, late, NULL, 0);
}

void late_taken(const struct late_mail *mail, struct book_rcpt *rcpt)
{
    static const struct status statuses[] = {{5, 1, 1}, {5, 2, 2}, {5, 7, 1}};
    if (!is_traceable(mail, rcpt) || !fault_now(FAULT_BOUNCED_LATE, ONCE_IN))
        return;
    struct late *late = sim_alloc(sizeof *late);
    size_t status = (size_t)sim_below(DICE_HOSTS, sizeof statuses / sizeof *statuses);
    *late = (struct late){.next = lates, .rcpt = rcpt, .number = lates_n++, .status = statuses[status]};
    late->landing = rcpt->landed;
    late->hard = status == 0;
    late->has_envelope = sim_once_in(DICE_HOSTS, 2);
    snprintf(late->from, sizeof late->from, "%s", mail->from);
    buf_init(&late->text, NOTICE_MAX);
    write_report(late, mail);
    lates = late;
    open_n++;
    arrive_later(late, delay_ns());
}

/* ---- the desk ---- */

/* Whoever sends it has a schedule for what is put off. */
static void put_off(struct late *late)
{
    late->wait_ms = late->waited_ms = 0;
    arrive_later(late, sim_between(DICE_HOSTS, 1, 15) * MINUTE_MS * NS_PER_MS);
}

static void wait_a_moment(struct late *late)
{
    fault_count(FAULT_TOO_EARLY);
    late->wait_ms = late->wait_ms > 0 ? 2 * late->wait_ms : LOOK_MS;
    late->waited_ms += late->wait_ms;
    if (late->waited_ms > INBOUND_WAIT_MS)
        put_off(late);
    else
        arrive_later(late, late->wait_ms * NS_PER_MS);
}

static void on_posted(enum edit_result result, unsigned changed, void *user)
{
    struct late *late = user;
    (void)changed;
    if (sim.deaf)
        return;
    late->posted = false;
    trace("bounce %u is answered with %d", late->number, (int)result);
    if (result != EDIT_OK) {
        put_off(late);
        return;
    }
    late->taken += late->due;
    open_n--;
    if (late->due)
        drive_crash_soon(100);
}

static bool somebody_is_under_way(void)
{
    struct store_figures figures;
    store_figures(daemon_store(), &figures);
    return figures.claimed > 0 || query_is_behind(daemon_store());
}

/* What was read, against what is known of the recipient: the log was read up to the same commit. */
static bool is_right(const struct late *late, const struct inbound_finding *finding)
{
    const struct book_rcpt *rcpt = late->rcpt;
    bool delivered = rcpt->ended && rcpt->last == EVENT_DELIVERED;
    switch (finding->action) {
    case ACTION_UNDER_WAY:
        return !rcpt->ended && somebody_is_under_way();
    case ACTION_QUEUED: /* the reply was lost, or what the daemon knew of it */
        return !rcpt->ended && (rcpt->sure == 0 || rcpt->murky || book_jobs[rcpt->job].murky);
    case ACTION_ENDED:
        return rcpt->ended && !delivered;
    case ACTION_EVENT:
        return delivered && !late->hard;
    case ACTION_SUPPRESS:
        return delivered && late->hard;
    case ACTION_UNMATCHED:
        return book_is_purged(rcpt->job);
    default:
        return false;
    }
}

static void check_finding(const struct late *late, const struct inbound_result *result)
{
    const struct book_rcpt *rcpt = late->rcpt;
    if (result->notice.rcpt_count != 1)
        sim_fail("inbound", "bounce %u of r%u.j%u is read as %s of %zu recipients", late->number,
                 rcpt->number, rcpt->job, notice_kind_name(result->notice.kind), result->notice.rcpt_count);
    const struct inbound_finding *finding = &result->findings[0];
    trace("bounce %u of r%u.j%u: %s", late->number, rcpt->number, rcpt->job,
          inbound_action_name(finding->action));
    if (finding->agreement != AGREEMENT_NONE && rcpt->named && !rid_eq(finding->rid, rcpt->rid))
        sim_fail("inbound", "bounce %u of r%u.j%u is taken for another's", late->number, rcpt->number,
                 rcpt->job);
    if (!is_right(late, finding))
        sim_fail("inbound", "bounce %u of r%u.j%u: %s, and of its recipient is known: %s%s", late->number,
                 rcpt->number, rcpt->job, inbound_action_name(finding->action),
                 rcpt->ended      ? event_type_name(rcpt->last)
                 : rcpt->sure > 0 ? "the reply that it was taken had been read"
                                  : "nothing",
                 rcpt->ended || rcpt->landed == 0 ? "" : ", a host took it");
}

static void post(struct late *late, const struct inbound_result *result)
{
    enum inbound_action action = result->findings[0].action;
    late->due = action == ACTION_EVENT || action == ACTION_SUPPRESS;
    late->queued = action == ACTION_QUEUED;
    late->posted = true;
    late->posts += late->due;
    if (late->due)
        drive_crash_soon(20);
    if (!inbound_post(daemon_inbound(), result, sim.now, on_posted, late))
        sim_fail("inbound", "no memory to post bounce %u", late->number);
}

static void on_arrival(void *owner, const void *bytes, size_t n)
{
    struct late *late = owner;
    struct inbound_input input = {.message = buf_str(&late->text)};
    struct inbound_result result;
    (void)bytes;
    (void)n;
    if (!daemon_is_steady()) {
        put_off(late);
        return;
    }
    if (late->has_envelope)
        input.envelope_rcpt = str_of(late->from);
    if (!inbound_read(daemon_inbound(), &input, &result))
        sim_fail("inbound", "no memory to read bounce %u", late->number);
    book_read_events(daemon_store());
    check_finding(late, &result);
    if (result.under_way) {
        inbound_put_off(daemon_inbound(), &result);
        wait_a_moment(late);
    } else {
        post(late, &result);
    }
    inbound_result_free(&result);
}

/* Whoever is said to be queued is with no worker that waits for a reply. */
void late_heard(const struct book_rcpt *rcpt)
{
    bool murky = rcpt->murky || book_jobs[rcpt->job].murky;
    for (const struct late *late = lates; late != NULL && !murky; late = late->next)
        if (late->rcpt == rcpt && late->landing == rcpt->landed && late->queued)
            sim_fail("inbound",
                     "bounce %u of r%u.j%u was taken for one of a recipient still queued, and the reply that "
                     "it was delivered was on its way",
                     late->number, rcpt->number, rcpt->job);
}

void late_crashed(void)
{
    for (struct late *late = lates; late != NULL; late = late->next) {
        if (!late->posted)
            continue;
        late->posted = false;
        trace("the answer to bounce %u is lost", late->number);
        put_off(late);
    }
}

/* ---- what came of it ---- */

/* By its words; NULL: no host has said so. */
static struct late *find(struct str reply)
{
    char words[64];
    unsigned number = 0;
    snprintf(words, sizeof words, "%.*s", STR_ARG(reply));
    const char *at = strstr(words, WORDS);
    struct late *late = at != NULL && sscanf(at, WORDS "%u", &number) == 1 ? lates : NULL;
    while (late != NULL && late->number != number)
        late = late->next;
    return late;
}

void late_event(const struct event *event)
{
    struct late *late = find(event->reply);
    if (late == NULL)
        sim_fail("inbound", "a bounce is written down (%.*s), which no host has sent", STR_ARG(event->reply));
    const struct book_rcpt *rcpt = late->rcpt;
    /* A job that is purged leaves its recipients' numbers. */
    if (!rid_eq(event->rid, rcpt->rid) ||
        (event->to.n > 0 ? book_find(event->to) != rcpt : !book_is_purged(rcpt->job)))
        sim_fail("inbound", "bounce %u of r%u.j%u is written down as %.*s's", late->number, rcpt->number,
                 rcpt->job, STR_ARG(event->to));
    if (status_number(event->status) != status_number(late->status) || event->code != 550)
        sim_fail("inbound", "bounce %u is written down with %u and %u.%u.%u", late->number, event->code,
                 event->status.class_, event->status.subject, event->status.detail);
    if (!rcpt->ended || rcpt->last != EVENT_DELIVERED)
        sim_fail("inbound", "bounce %u of r%u.j%u is written down, which was not delivered", late->number,
                 rcpt->number, rcpt->job);
    if (++late->events > late->posts)
        sim_fail("inbound", "bounce %u of r%u.j%u was to be written down %u times, and is there once more",
                 late->number, rcpt->number, rcpt->job, late->posts);
}

/* Whoever says so: a bounce that was or may be taken, or a person. */
static bool may_be_suppressed(const struct book_rcpt *rcpt)
{
    bool may = rcpt->suppressed;
    for (const struct late *late = lates; late != NULL; late = late->next)
        may |= late->rcpt == rcpt && late->hard && late->posts > 0;
    return may;
}

void late_audit(struct store *store)
{
    char address[64];
    book_read_events(store);
    for (const struct late *late = lates; late != NULL; late = late->next) {
        const struct book_rcpt *rcpt = late->rcpt;
        if (late->events < late->taken &&
            !book_is_purged(rcpt->job)) /* it may have been, before the commit */
            sim_fail("inbound", "bounce %u of r%u.j%u was taken, and is not in the log", late->number,
                     rcpt->number, rcpt->job);
        book_address(rcpt->job, rcpt->number, address);
        struct str tenant = str_of(plan_tenant_name(plan.job[rcpt->job].tenant));
        bool suppressed = query_suppressed(store, tenant, str_of(address), NULL, NULL);
        if (suppressed ? !may_be_suppressed(rcpt) : late->hard && late->taken > 0)
            sim_fail("inbound", "bounce %u has status %u.%u.%u, and %s is %s", late->number,
                     late->status.class_, late->status.subject, late->status.detail, address,
                     suppressed ? "suppressed" : "not suppressed");
    }
}
