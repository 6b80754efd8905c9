/* drive_jobs.c - see drive_jobs.h. */
#include "tests/sim/drive_jobs.h"

#include "engine/message/template.h"
#include "engine/tls/digest.h"
#include "tests/sim/book.h"
#include "tests/sim/daemon.h"
#include "tests/sim/drive.h"
#include "tests/sim/events.h"
#include "tests/sim/faults.h"
#include "tests/sim/sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define LATER_NS  NS_PER_S
#define KEY_MS    (24 * HOUR_MS)
#define TEXT_MAX_ (4 << 20)

/* One offer of a job; a second one with the same key is an offer too. */
struct offer {
    unsigned job;
    bool repeats; /* the job was accepted: its key must be known */
    bool over;
    struct admit *admit;
    uint64_t id;
    unsigned next; /* recipient */
    bool final, answered, lost;
    enum admit_result result;
};
static struct offer offers[2 * PLAN_JOBS_MAX];
static unsigned offers_n;

static void on_offer(void *owner, const void *bytes, size_t n);

static void offer_later(struct offer *offer, int64_t ns)
{
    events_at(sim.now.mono_ns + ns, on_offer, offer, NULL, 0);
}

static void offer_new(unsigned job, bool repeats, int64_t at_ns)
{
    struct offer *offer = &offers[offers_n++];
    *offer = (struct offer){.job = job, .repeats = repeats};
    events_at(at_ns, on_offer, offer, NULL, 0);
}

void drive_jobs_begin(void)
{
    offers_n = 0;
    for (unsigned i = 0; i < plan.jobs; i++)
        offer_new(i, false, sim.now.mono_ns + plan.job[i].at_ns);
}

void drive_jobs_end(void)
{
    for (unsigned i = 0; i < offers_n; i++)
        admit_free(offers[i].admit);
}

bool drive_jobs_under_way(void)
{
    for (unsigned i = 0; i < offers_n; i++)
        if (!offers[i].over)
            return true;
    return false;
}

bool drive_jobs_are_with_store(void)
{
    for (unsigned i = 0; i < offers_n; i++)
        if (offers[i].admit != NULL)
            return true;
    return false;
}

/* ---- one offer ---- */

static void content_make(unsigned number, struct buf *content)
{
    const struct book_job *job = &book_jobs[number];
    struct err err;
    struct buf raw;
    buf_init(&raw, TEXT_MAX_);
    buf_printf(&raw, "From: News <news@sim.example>\r\nTo: %s\r\nSubject: job %u\r\n\r\n",
               plan.job[number].same_for_all ? "everybody:;" : "{{to}}", plan.job[number].like);
    buf_add(&raw, job->body, job->body_size);
    const struct message_spec spec = {
        .raw = buf_str(&raw),
        .date_ms = sim.now.wall_ms,
        .job = STR("sim"),
        .id_domain = STR("sim.example"),
        .merge = plan.job[number].same_for_all ? MESSAGE_MERGE_NO : MESSAGE_MERGE_YES,
    };
    if (!template_compile(&spec, content, &err))
        sim_fail("plan", "the message of job %u is refused: %s", number, err.text);
    buf_free(&raw);
}

static void offer_begin(struct offer *offer)
{
    const struct plan_job *from = &plan.job[offer->job];
    struct book_job *job = &book_jobs[offer->job];
    struct buf content;
    struct err err;
    char sender[64], envid[64], campaign[16];
    buf_init(&content, CONTENT_MAX);
    content_make(offer->job, &content);
    book_sender(offer->job, sender);
    book_envid(offer->job, envid);
    snprintf(campaign, sizeof campaign, "c%u", offer->job % 3);
    int64_t lifetime_ms = from->lifetime_ms ? from->lifetime_ms : plan.lifetime_ms;
    struct job_spec spec = {
        .tenant = str_of(plan_tenant_name(from->tenant)),
        .campaign = str_of(campaign),
        .class_ = from->class_,
        .from = str_of(sender),
        .envid = str_of(envid),
        .bounces = from->bounces,
        .same_for_all = from->same_for_all && !from->verp,
        .not_before_ms = from->not_before_ms ? sim.now.wall_ms + from->not_before_ms : 0,
        .lifetime_ms = from->lifetime_ms,
        .content = content.data,
        .content_size = content.len,
        .message_size = content.len,
    };
    if (from->hashed)
        digest_of(content.data, content.len, spec.content_hash);
    if (!offer->repeats) {
        job->state = BOOK_POSTED;
        job->not_before_ms = spec.not_before_ms;
        job->expires_ms = (spec.not_before_ms ? spec.not_before_ms : sim.now.wall_ms) + lifetime_ms;
    }
    offer->admit = admit_begin(daemon_store(), &spec, sim.now, &err);
    buf_free(&content);
    if (offer->admit == NULL)
        sim_fail("accepted", "job %u cannot begin: %s", offer->job, err.text);
    offer->id = admit_job(offer->admit);
    trace("job %u is offered as %" PRIu64, offer->job, offer->id);
}

static void on_done(struct admit *admit, enum admit_result result, void *user)
{
    struct offer *offer = user;
    offer->answered = true;
    offer->result = result;
    if (!offer->lost) {
        offer_later(offer, 0);
        return;
    }
    admit_free(admit);
    offer->admit = NULL;
}

/* Recipients up to the window's end, or an earlier one of ours; then it is posted. */
static void offer_fill(struct offer *offer)
{
    const struct plan_job *from = &plan.job[offer->job];
    unsigned until = from->rcpts;
    if (until - offer->next > 1 && sim_once_in(DICE_DRIVE, 8))
        until = offer->next + 1 + (unsigned)sim_below(DICE_DRIVE, until - offer->next - 1);
    struct err err;
    while (offer->next < until && !admit_window_full(offer->admit)) {
        char address[64], id[16];
        book_address(offer->job, offer->next, address);
        snprintf(id, sizeof id, "%u", offer->next++);
        const struct rcpt_spec rcpt = {
            .to = str_of(address), .domain = str_domain(str_of(address)), .id = str_of(id)};
        if (!admit_add(offer->admit, &rcpt, &err))
            sim_fail("accepted", "%s is refused: %s", address, err.text);
    }
    offer->answered = false;
    offer->final = offer->next == from->rcpts;
    if (!offer->final) {
        admit_post(offer->admit, on_done, offer);
        return;
    }
    struct admit_key key = {.set = from->keyed, .ttl_ms = KEY_MS, .answer = STR("{}")};
    digest_of(&offer->job, sizeof offer->job, key.key_hash);
    admit_suppressed(offer->admit);
    admit_commit(offer->admit, &key, NULL, on_done, offer);
}

static void offer_end(struct offer *offer)
{
    admit_free(offer->admit);
    offer->admit = NULL;
    offer->over = true;
}

/* It begins once more, a little later. */
static void offer_again(struct offer *offer)
{
    admit_free(offer->admit);
    if (!offer->repeats)
        book_jobs[offer->job].state = BOOK_REFUSED;
    *offer = (struct offer){.job = offer->job, .repeats = offer->repeats};
    offer_later(offer, LATER_NS);
}

static void offer_accepted(struct offer *offer)
{
    const struct plan_job *from = &plan.job[offer->job];
    if (offer->repeats)
        sim_fail("key", "job %u is accepted a second time with the same key", offer->job);
    book_accepted(offer->job, offer->id);
    if (from->keyed && fault_now(FAULT_KEY_REPEATED, 2))
        offer_new(offer->job, true, sim.now.mono_ns + sim_between(DICE_DRIVE, 0, plan.horizon_ns / 4));
    offer_end(offer);
    drive_crash_soon(30);
}

static void on_offer(void *owner, const void *bytes, size_t n)
{
    struct offer *offer = owner;
    (void)bytes;
    (void)n;
    if (!daemon_is_steady()) {
        offer_later(offer, LATER_NS);
    } else if (offer->admit == NULL) {
        offer_begin(offer);
        offer_fill(offer);
    } else if (offer->result == ADMIT_KEY_TAKEN && offer->repeats) {
        offer_end(offer);
    } else if (offer->result == ADMIT_KEY_TAKEN) {
        sim_fail("key", "the key of job %u is said to be used, and it was not", offer->job);
    } else if (offer->result != ADMIT_OK) {
        trace("job %u is refused: %d", offer->job, (int)offer->result);
        offer_again(offer);
    } else if (!offer->final) {
        offer_fill(offer);
    } else {
        offer_accepted(offer);
    }
}

/* ---- a crash ---- */

void drive_jobs_lost(void)
{
    for (unsigned i = 0; i < offers_n; i++) {
        struct offer *offer = &offers[i];
        if (offer->admit == NULL)
            continue;
        events_forget(offer);
        if (offer->answered && offer->final && offer->result == ADMIT_OK) {
            offer_accepted(offer);
            continue;
        }
        offer->lost = true;
        if (offer->answered) {
            admit_free(offer->admit);
            offer->admit = NULL;
        }
    }
}

/* What was acknowledged is there; what was not may be. */
void drive_jobs_found(void)
{
    static struct job_info info;
    for (unsigned i = 0; i < plan.jobs; i++) {
        struct book_job *job = &book_jobs[i];
        if (job->state == BOOK_ACCEPTED && !query_job(daemon_store(), job->id, &info) && !book_is_purged(i))
            sim_fail("durable", "job %u was acknowledged, and is gone after a crash", i);
    }
    for (unsigned i = 0; i < offers_n; i++) {
        struct offer *offer = &offers[i];
        if (!offer->lost)
            continue;
        bool there = query_job(daemon_store(), offer->id, &info) && info.state != JOB_UPLOADING;
        trace("job %u, offered as %" PRIu64 ", %s", offer->job, offer->id, there ? "is there" : "was lost");
        offer->lost = false;
        if (there)
            offer_accepted(offer);
        else
            offer_again(offer);
    }
}
