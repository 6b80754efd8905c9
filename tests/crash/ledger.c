/* ledger.c - see ledger.h. */
#include "tests/crash/ledger.h"

#include "tests/crash/disk.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS_SMALL BATCH_SLOTS_MAX
#define NOT_YET     0xff

_Noreturn static void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn static void complain(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    abort();
}

static void *grow(void *list, size_t n, size_t *cap, size_t size)
{
    if (n < *cap)
        return list;
    *cap = *cap ? 2 * *cap : 64;
    list = realloc(list, *cap * size);
    if (list == NULL)
        complain("out of memory");
    return list;
}

/* Whether it was asked for before the cut, and whether it was answered. */
static bool asked(struct ledger_times times, size_t at)
{
    return times.asked <= at;
}

static bool answered(struct ledger_times times, size_t at)
{
    return times.answered <= at;
}

static struct ledger_times asked_now(void)
{
    return (struct ledger_times){disk_at(), LEDGER_NEVER};
}

/* ---- keeping it ---- */

static size_t slots_of(const struct ledger_job *job)
{
    return job->total < SLOTS_SMALL ? SLOTS_SMALL : (size_t)LEDGER_BATCHES * BATCH_SLOTS_MAX;
}

struct ledger_job *ledger_job(struct ledger *ledger, uint64_t id)
{
    size_t from = 0, to = ledger->job_n;
    while (from < to) {
        size_t middle = (from + to) / 2;
        if (ledger->jobs[middle].id < id)
            from = middle + 1;
        else
            to = middle;
    }
    return from < ledger->job_n && ledger->jobs[from].id == id ? &ledger->jobs[from] : NULL;
}

struct ledger_job *ledger_job_add(struct ledger *ledger, uint64_t id, uint32_t total)
{
    ledger->jobs = grow(ledger->jobs, ledger->job_n, &ledger->job_cap, sizeof *ledger->jobs);
    size_t n = ledger->job_n++;
    for (; n > 0 && ledger->jobs[n - 1].id > id; n--)
        ledger->jobs[n] = ledger->jobs[n - 1];
    struct ledger_job *job = &ledger->jobs[n];
    *job = (struct ledger_job){.id = id, .total = total, .purged_at = LEDGER_NEVER, .times = asked_now()};
    job->state = malloc(slots_of(job));
    job->said = malloc(slots_of(job) * sizeof *job->said);
    if (job->state == NULL || job->said == NULL)
        complain("out of memory");
    memset(job->said, 0xff, slots_of(job) * sizeof *job->said); /* LEDGER_NEVER */
    return job;
}

struct ledger_times *ledger_steer(struct ledger_job *job, enum op_kind kind)
{
    if (job->steer_n == LEDGER_STEERS)
        return NULL;
    if (kind == OP_PURGE && job->purged_at == LEDGER_NEVER)
        job->purged_at = disk_at();
    job->steers[job->steer_n].kind = kind;
    job->steers[job->steer_n].times = asked_now();
    return &job->steers[job->steer_n++].times;
}

size_t ledger_edit(struct ledger *ledger, unsigned thing, uint64_t value)
{
    ledger->edits = grow(ledger->edits, ledger->edit_n, &ledger->edit_cap, sizeof *ledger->edits);
    ledger->edits[ledger->edit_n] = (struct ledger_edit){thing, value, asked_now()};
    return ledger->edit_n++;
}

static size_t slot_of(const struct ledger_job *job, struct rid rid)
{
    size_t slot = (size_t)rid.batch * BATCH_SLOTS_MAX + rid.slot;
    if (slot >= slots_of(job))
        complain("ends once: recipient %llu-%u-%u of a job of %u", (unsigned long long)rid.job, rid.batch,
                 rid.slot, job->total);
    return slot;
}

void ledger_said_delivered(struct ledger *ledger, struct rid rid)
{
    struct ledger_job *job = ledger_job(ledger, rid.job);
    if (job == NULL)
        complain("accepted: job %llu was taken and is not known", (unsigned long long)rid.job);
    size_t *said = &job->said[slot_of(job, rid)];
    if (*said == LEDGER_NEVER)
        *said = disk_at();
}

/* ---- events ---- */

static uint64_t digest_of(const struct event *event)
{
    char text[256];
    int n = snprintf(text, sizeof text, "%llu %d %llu-%u-%u %u %u %lld %lld %d",
                     (unsigned long long)event->seq, (int)event->type, (unsigned long long)event->rid.job,
                     event->rid.batch, event->rid.slot, event->code, status_number(event->status),
                     (long long)event->time_ms, (long long)event->next_ms, event->delay_ms);
    uint64_t digest = str_hash(str_make(text, (size_t)n));
    const struct str strings[] = {event->tenant, event->campaign, event->from,  event->id, event->to,
                                  event->site,   event->source,   event->reply, event->mx, event->tls};
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++)
        digest = str_hash_seeded(strings[i], digest + strings[i].n);
    return digest;
}

static bool see(const struct event *event, void *user)
{
    struct ledger *ledger = user;
    while (ledger->seen_n < event->seq) { /* those of a purged job are passed over */
        ledger->seen = grow(ledger->seen, ledger->seen_n, &ledger->seen_cap, sizeof *ledger->seen);
        ledger->seen[ledger->seen_n++] = (struct ledger_seen){.at = LEDGER_NEVER};
    }
    ledger->seen[event->seq - 1] = (struct ledger_seen){event->rid.job, digest_of(event), disk_at()};
    return true;
}

void ledger_read_events(struct ledger *ledger, struct store *store)
{
    for (uint64_t after = ledger->seen_n, last;; after = last)
        if ((last = query_events(store, after, see, ledger)) == after)
            return;
}

struct reading {
    struct ledger *ledger;
    size_t at;
    bool drained;
    uint64_t last; /* read so far */
};

/* What was read up to there is not missing, but for what is of a job that may be gone. */
static void check_read(const struct reading *reading, uint64_t until)
{
    const struct ledger *ledger = reading->ledger;
    for (uint64_t seq = reading->last + 1; seq < until && seq <= ledger->seen_n; seq++) {
        const struct ledger_seen *seen = &ledger->seen[seq - 1];
        const struct ledger_job *job = ledger_job(reading->ledger, seen->job);
        if (seen->at <= reading->at && job != NULL && job->purged_at > reading->at)
            complain("the same: event %llu, which was read, is gone", (unsigned long long)seq);
    }
}

static void check_gap(const struct reading *reading, uint64_t until)
{
    const struct ledger *ledger = reading->ledger;
    bool purged = false;
    for (size_t n = 0; n < ledger->job_n; n++)
        purged |= ledger->jobs[n].purged_at <= reading->at;
    if (reading->last + 1 < until && !purged)
        complain("in order: event %llu comes after %llu", (unsigned long long)until,
                 (unsigned long long)reading->last);
    check_read(reading, until);
}

static uint8_t state_after(const struct ledger_job *job, const struct event *event, uint8_t before)
{
    switch (event->type) {
    case EVENT_ACCEPTED:
        if (before != NOT_YET)
            complain("ends once: a recipient of job %llu was accepted twice", (unsigned long long)job->id);
        return RCPT_READY;
    case EVENT_DELIVERED:
        return RCPT_DELIVERED;
    case EVENT_DEFERRED:
        return RCPT_DEFERRED;
    case EVENT_BOUNCED:
        return RCPT_BOUNCED;
    case EVENT_EXPIRED:
        return RCPT_EXPIRED;
    case EVENT_CANCELLED:
        return RCPT_CANCELLED;
    case EVENT_SUPPRESSED:
        return RCPT_SUPPRESSED;
    default:
        return before;
    }
}

static void check_fate(struct reading *reading, const struct event *event)
{
    struct ledger_job *job = ledger_job(reading->ledger, event->rid.job);
    if (job == NULL || !asked(job->times, reading->at))
        complain("accepted: job %llu has events and was never asked for", (unsigned long long)event->rid.job);
    size_t slot = slot_of(job, event->rid);
    uint8_t before = job->state[slot];
    bool ended = before != NOT_YET && before != RCPT_READY && before != RCPT_DEFERRED;
    if (ended || (before == NOT_YET) != (event->type == EVENT_ACCEPTED))
        complain("ends once: %llu-%u-%u has event %s after %s", (unsigned long long)job->id, event->rid.batch,
                 event->rid.slot, event_type_name(event->type),
                 before == NOT_YET ? "none" : rcpt_state_name((enum rcpt_state)before));
    if (event->type == EVENT_DELIVERED && job->said[slot] > reading->at && !reading->drained)
        complain("ends once: %llu-%u-%u is delivered, which nobody said", (unsigned long long)job->id,
                 event->rid.batch, event->rid.slot);
    job->state[slot] = state_after(job, event, before);
}

static bool check_event(const struct event *event, void *user)
{
    struct reading *reading = user;
    const struct ledger *ledger = reading->ledger;
    check_gap(reading, event->seq);
    reading->last = event->seq;
    const struct ledger_job *job = ledger_job(reading->ledger, event->rid.job);
    if (job != NULL && job->purged_at <= reading->at)
        return true; /* what is left of it says no more */
    const struct ledger_seen *seen = event->seq <= ledger->seen_n ? &ledger->seen[event->seq - 1] : NULL;
    if (seen != NULL && seen->at <= reading->at && seen->digest != digest_of(event))
        complain("the same: event %llu is another than was read", (unsigned long long)event->seq);
    check_fate(reading, event);
    return true;
}

static void check_events(struct ledger *ledger, struct store *store, size_t at, bool drained)
{
    struct reading reading = {ledger, at, drained, 0};
    for (size_t n = 0; n < ledger->job_n; n++)
        memset(ledger->jobs[n].state, NOT_YET, slots_of(&ledger->jobs[n]));
    for (uint64_t after = 0, last;; after = last)
        if ((last = query_events(store, after, check_event, &reading)) == after)
            break;
    check_read(&reading, ledger->seen_n + 1);
}

/* ---- jobs ---- */

static void check_steered(const struct ledger_job *job, enum job_state state, size_t at)
{
    bool may[OP_WAKE + 1] = {false}, untouched = true, cancelled = false;
    for (unsigned n = 0; n < job->steer_n; n++) {
        enum op_kind kind = job->steers[n].kind;
        if (!asked(job->steers[n].times, at) || (kind != OP_PAUSE && kind != OP_RESUME && kind != OP_CANCEL))
            continue;
        if (answered(job->steers[n].times, at)) {
            memset(may, 0, sizeof may);
            untouched = false;
            cancelled |= kind == OP_CANCEL;
        }
        may[kind] = true;
    }
    bool good = state == JOB_ENDED || (state == JOB_CANCELLED && (may[OP_CANCEL] || cancelled)) ||
                (state == JOB_PAUSED && may[OP_PAUSE] && !cancelled) ||
                (state == JOB_ACTIVE && (untouched || may[OP_RESUME]) && !cancelled);
    if (!good)
        complain("steered: job %llu is in state %d, which was not asked for last",
                 (unsigned long long)job->id, (int)state);
}

static void check_message(const struct ledger_job *job, struct store *store, bool ended)
{
    size_t size;
    char *content = query_content(store, job->id, &size);
    bool good = content == NULL ? ended : size == job->content_size;
    for (size_t i = 0; good && content != NULL && i < size; i++)
        good = content[i] == job->content;
    free(content);
    if (!good)
        complain("accepted: the message of job %llu is not what was handed in", (unsigned long long)job->id);
}

/* What its events say of its recipients is what its counters say. */
static void check_states(const struct ledger_job *job, const struct job_info *info)
{
    uint64_t by_state[RCPT_STATES] = {0}, known = 0;
    for (size_t slot = 0; slot < slots_of(job); slot++)
        if (job->state[slot] != NOT_YET) {
            by_state[job->state[slot]]++;
            known++;
        }
    /* One that was released is ready again without an event. */
    uint64_t open = info->by_state[RCPT_READY] + info->by_state[RCPT_DEFERRED];
    bool good = known == job->total && open == by_state[RCPT_READY] + by_state[RCPT_DEFERRED];
    for (unsigned n = 0; n < RCPT_STATES; n++)
        good = good && (n == RCPT_READY || n == RCPT_DEFERRED || info->by_state[n] == by_state[n]);
    if (!good)
        complain("ends once: job %llu of %u has events of %llu, and counts that differ from them",
                 (unsigned long long)job->id, job->total, (unsigned long long)known);
}

static void check_key(const struct ledger_job *job, struct store *store, struct now now)
{
    uint8_t digest[32];
    char want[32];
    struct buf answer;
    buf_init(&answer, 1000);
    snprintf(want, sizeof want, "answer %llu", (unsigned long long)job->id);
    bool found = store_key_find(store, job->key, now, digest, &answer);
    bool same = found && str_eq(buf_str(&answer), str_of(want)) && memcmp(digest, job->key, 32) == 0;
    buf_free(&answer);
    if (!same)
        complain("key: that of job %llu is not known, or has another answer", (unsigned long long)job->id);
}

static void check_job(const struct ledger_job *job, struct store *store, size_t at, bool drained)
{
    struct job_info info;
    if (!asked(job->times, at) || job->purged_at <= at)
        return; /* that it is not there, its events tell */
    if (!query_job(store, job->id, &info)) {
        if (answered(job->times, at))
            complain("accepted: job %llu was answered and is gone", (unsigned long long)job->id);
        return;
    }
    if (info.total != job->total)
        complain("accepted: job %llu has %llu recipients of %u", (unsigned long long)job->id,
                 (unsigned long long)info.total, job->total);
    if (drained && info.ended_ms == 0)
        complain("ends once: job %llu has not ended", (unsigned long long)job->id);
    if (!drained)
        check_steered(job, info.state, at);
    check_message(job, store, info.ended_ms > 0);
    check_states(job, &info);
    if (job->has_key)
        check_key(job, store, (struct now){.wall_ms = info.created_ms});
}

static void check_edits(const struct ledger *ledger, struct store *store, size_t at)
{
    for (unsigned thing = 0; thing < LEDGER_THINGS; thing++) {
        uint64_t now = ledger->thing_now(store, thing);
        bool good = now == 0; /* as nobody has set it yet */
        for (size_t n = 0; n < ledger->edit_n; n++) {
            const struct ledger_edit *edit = &ledger->edits[n];
            if (edit->thing != thing || !asked(edit->times, at))
                continue;
            good = (good && !answered(edit->times, at)) || edit->value == now;
        }
        if (!good)
            complain("edited: thing %u is %llu, which was not set last", thing, (unsigned long long)now);
    }
}

void ledger_check(struct ledger *ledger, struct store *store, size_t at, bool drained)
{
    check_events(ledger, store, at, drained);
    for (size_t n = 0; n < ledger->job_n; n++)
        check_job(&ledger->jobs[n], store, at, drained);
    check_edits(ledger, store, at);
}

/* ---- going on after a cut ---- */

static void times_rewind(struct ledger_times *times, size_t at)
{
    times->answered = answered(*times, at) ? 0 : LEDGER_NEVER;
    times->asked = 0;
}

static void job_free(struct ledger_job *job)
{
    free(job->state);
    free(job->said);
}

static bool job_rewind(struct ledger_job *job, struct store *store, size_t at)
{
    struct job_info info;
    bool gone = job->purged_at <= at;
    if (!asked(job->times, at) || (!gone && !query_job(store, job->id, &info)))
        return false;
    job->times = (struct ledger_times){0, 0};
    job->purged_at = gone ? 0 : LEDGER_NEVER;
    unsigned n = 0;
    for (unsigned i = 0; i < job->steer_n; i++)
        if (asked(job->steers[i].times, at)) {
            job->steers[n] = job->steers[i];
            times_rewind(&job->steers[n++].times, at);
        }
    job->steer_n = n;
    for (size_t slot = 0; slot < slots_of(job); slot++)
        job->said[slot] = job->said[slot] <= at ? 0 : LEDGER_NEVER;
    return true;
}

void ledger_rewind(struct ledger *ledger, struct store *store, size_t at)
{
    size_t left = 0;
    for (size_t n = 0; n < ledger->job_n; n++)
        if (job_rewind(&ledger->jobs[n], store, at))
            ledger->jobs[left++] = ledger->jobs[n];
        else
            job_free(&ledger->jobs[n]);
    ledger->job_n = left;
    left = 0;
    for (size_t n = 0; n < ledger->edit_n; n++)
        if (asked(ledger->edits[n].times, at)) {
            ledger->edits[left] = ledger->edits[n];
            times_rewind(&ledger->edits[left++].times, at);
        }
    ledger->edit_n = left;
    left = 0;
    for (size_t n = 0; n < ledger->seen_n; n++)
        if (ledger->seen[n].at <= at) {
            ledger->seen[n].at = 0;
            left = n + 1;
        } else {
            ledger->seen[n].at = LEDGER_NEVER;
        }
    ledger->seen_n = left;
}

void ledger_free(struct ledger *ledger)
{
    for (size_t n = 0; n < ledger->job_n; n++)
        job_free(&ledger->jobs[n]);
    free(ledger->jobs);
    free(ledger->edits);
    free(ledger->seen);
    *ledger = (struct ledger){.thing_now = ledger->thing_now};
}
