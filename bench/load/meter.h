/* meter.h - wall time and CPU of this process between two moments, and the figures made of them. */
#ifndef POSTRIDER_LOAD_METER_H
#define POSTRIDER_LOAD_METER_H

#include <jansson.h>
#include <stdint.h>

struct meter {
    int64_t started_ns, ended_ns; /* CLOCK_MONOTONIC */
    double cpu_s;                 /* user and system, of all threads */
};

void meter_start(struct meter *meter);
void meter_stop(struct meter *meter);
int64_t meter_now_ns(void);
/* Adds started_ns, ended_ns, seconds, a_second (of `count`), cpu_s and cpu_us_each to the object. */
void meter_report(const struct meter *meter, uint64_t count, json_t *object);
/* Prints the object as one line on stdout and drops it. */
void report_print(json_t *object);

#endif
