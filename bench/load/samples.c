/* samples.c - see samples.h. */
#include "bench/load/samples.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

bool samples_init(struct samples *samples, uint64_t room, struct err *err)
{
    /* Mapped: pages that are never used cost nothing. */
    *samples = (struct samples){.room = room};
    void *map = room > SIZE_MAX / sizeof *samples->ns
                    ? MAP_FAILED
                    : mmap(NULL, (room ? room : 1) * sizeof *samples->ns, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return err_set(err, ENOMEM, "out of memory");
    samples->ns = map;
    return true;
}

void samples_free(struct samples *samples)
{
    if (samples->ns)
        munmap(samples->ns, (samples->room ? samples->room : 1) * sizeof *samples->ns);
    *samples = (struct samples){0};
}

void samples_add(struct samples *samples, int64_t ns)
{
    if (samples->used < samples->room)
        samples->ns[samples->used++] = ns;
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static double at_part(const struct samples *samples, double part)
{
    uint64_t at = (uint64_t)((double)samples->used * part);
    int64_t ns = samples->ns[at < samples->used ? at : samples->used - 1];
    int64_t us = ns / 1000;
    return (double)us / 1e3;
}

json_t *samples_json(struct samples *samples)
{
    if (samples->used == 0)
        return json_null();
    qsort(samples->ns, samples->used, sizeof *samples->ns, by_value);
    return json_pack("{s:f, s:f, s:f, s:f}", "p50", at_part(samples, 0.5), "p90", at_part(samples, 0.9),
                     "p99", at_part(samples, 0.99), "max", at_part(samples, 1));
}
