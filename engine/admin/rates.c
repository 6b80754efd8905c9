/* rates.c - see rates.h. A ring of samples for each job, at least a second apart; the job that was not asked
 * about for longest makes room. */
#include "engine/admin/rates.h"

#include <pthread.h>
#include <stdlib.h>

#define JOBS_MAX  256
#define SAMPLES   16
#define STEP_MS   4000 /* between samples that are kept */
#define NEWEST_MS 1000 /* a sample younger than that says little */
#define WINDOW_MS 60000

struct sample {
    int64_t at_ms;
    uint64_t ended;
};

struct job_rate {
    uint64_t job;
    int64_t asked_ms;
    unsigned count, last; /* samples; the index of the latest */
    struct sample samples[SAMPLES];
};

struct rates {
    pthread_mutex_t lock;
    struct job_rate jobs[JOBS_MAX];
};

struct rates *rates_create(void)
{
    struct rates *rates = calloc(1, sizeof *rates);
    if (rates != NULL)
        pthread_mutex_init(&rates->lock, NULL);
    return rates;
}

void rates_destroy(struct rates *rates)
{
    pthread_mutex_destroy(&rates->lock);
    free(rates);
}

static struct job_rate *rate_entry(struct rates *rates, uint64_t job)
{
    struct job_rate *oldest = &rates->jobs[0];
    for (size_t i = 0; i < JOBS_MAX; i++) {
        if (rates->jobs[i].job == job)
            return &rates->jobs[i];
        if (rates->jobs[i].asked_ms < oldest->asked_ms)
            oldest = &rates->jobs[i];
    }
    *oldest = (struct job_rate){.job = job};
    return oldest;
}

/* The oldest sample within the window that is old enough to measure by, or NULL. */
static const struct sample *base_of(const struct job_rate *entry, int64_t now_ms)
{
    const struct sample *base = NULL;
    for (unsigned i = 0; i < entry->count; i++) {
        const struct sample *sample = &entry->samples[i];
        int64_t age_ms = now_ms - sample->at_ms;
        if (age_ms >= NEWEST_MS && age_ms <= WINDOW_MS && (base == NULL || sample->at_ms < base->at_ms))
            base = sample;
    }
    return base;
}

static double per_second(uint64_t count, int64_t ms)
{
    return ms > 0 ? (double)count * 1000.0 / (double)ms : 0.0;
}

double rates_of(struct rates *rates, const struct job_info *job, struct now now)
{
    uint64_t ended = job->total - job->by_state[RCPT_READY] - job->by_state[RCPT_DEFERRED];
    int64_t begun_ms = job->not_before_ms > job->created_ms ? job->not_before_ms : job->created_ms;
    if (job->ended_ms != 0)
        return per_second(ended, job->ended_ms - begun_ms);
    pthread_mutex_lock(&rates->lock);
    struct job_rate *entry = rate_entry(rates, job->id);
    const struct sample *base = base_of(entry, now.wall_ms);
    double rate = base != NULL && ended >= base->ended
                      ? per_second(ended - base->ended, now.wall_ms - base->at_ms)
                      : per_second(ended, now.wall_ms - begun_ms);
    entry->asked_ms = now.wall_ms;
    if (entry->count == 0 || now.wall_ms - entry->samples[entry->last].at_ms >= STEP_MS) {
        entry->last = entry->count == 0 ? 0 : (entry->last + 1) % SAMPLES;
        entry->samples[entry->last] = (struct sample){now.wall_ms, ended};
        entry->count += entry->count < SAMPLES;
    }
    pthread_mutex_unlock(&rates->lock);
    return rate;
}
