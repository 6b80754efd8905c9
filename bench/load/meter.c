/* meter.c - see meter.h. */
#include "bench/load/meter.h"

#include "engine/base/clock.h"

#include <stdio.h>
#include <sys/resource.h>

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

int64_t meter_now_ns(void)
{
    return clock_now().mono_ns;
}

void meter_start(struct meter *meter)
{
    meter->cpu_s = -cpu_seconds();
    meter->started_ns = meter_now_ns();
}

void meter_stop(struct meter *meter)
{
    meter->ended_ns = meter_now_ns();
    meter->cpu_s += cpu_seconds();
}

void meter_report(const struct meter *meter, uint64_t count, json_t *object)
{
    double seconds = (double)(meter->ended_ns - meter->started_ns) / 1e9;
    json_object_set_new(object, "started_ns", json_integer(meter->started_ns));
    json_object_set_new(object, "ended_ns", json_integer(meter->ended_ns));
    json_object_set_new(object, "seconds", json_real(seconds));
    json_object_set_new(object, "a_second", json_real(seconds > 0 ? (double)count / seconds : 0));
    json_object_set_new(object, "cpu_s", json_real(meter->cpu_s));
    json_object_set_new(object, "cpu_us_each", json_real(count ? meter->cpu_s * 1e6 / (double)count : 0));
}

void report_print(json_t *object)
{
    json_dumpf(object, stdout, JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(object);
}
