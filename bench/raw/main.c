/* main.c - raw: the ceiling that a bench's throughput is measured against. It has no queue, keeps nothing and
 * decides nothing: it renders messages and speaks SMTP as the daemon does, against the same receivers, as
 * fast as one thread can. What it delivers passes `load check`. See --help, bench/load/options.c. */
#include "bench/load/meter.h"
#include "bench/raw/session.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define NS_PER_MS  INT64_C(1000000)
#define STAGGER_NS NS_PER_MS /* between two connections */
#define LOOK_NS    (1000 * NS_PER_MS)

/* Opens what is due; returns how long to wait for the next, or LOOK_NS. */
static int64_t open_due(struct raw *raw, int64_t started_ns)
{
    while (raw->opened < raw->options->connections && !raw->failed) {
        int64_t due = raw->options->stagger ? started_ns + raw->opened * STAGGER_NS : 0;
        if (due > raw->now_ns)
            return due - raw->now_ns;
        raw->failed = !session_open(raw, raw->opened);
    }
    return LOOK_NS;
}

static void raw_loop(struct raw *raw)
{
    int64_t started_ns = raw->now_ns = meter_now_ns(), moved_ns = started_ns;
    uint64_t moved = 0;
    int64_t wait_ns = open_due(raw, started_ns);
    while (!raw->failed && (raw->open || raw->opened < raw->options->connections)) {
        if (!ring_step(raw->ring, wait_ns, raw->err))
            raw->failed = true;
        raw->now_ns = meter_now_ns();
        wait_ns = open_due(raw, started_ns);
        if (raw->ended + raw->opened != moved) {
            moved = raw->ended + raw->opened;
            moved_ns = raw->now_ns;
        } else if (raw->now_ns - moved_ns > (int64_t)raw->options->timeout_s * LOOK_NS) {
            raw->failed = !err_set(raw->err, ETIMEDOUT, "no message was taken within --timeout");
        }
    }
}

static void raw_report(const struct raw *raw, struct meter *meter, struct samples *times)
{
    const struct options *options = raw->options;
    uint64_t recipients = raw->ended * options->per_transaction;
    json_t *report =
        json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:o}", "verb", "raw", "ring", ring_mode(raw->ring),
                  "messages", (json_int_t)raw->ended, "recipients", (json_int_t)recipients, "connections",
                  (json_int_t)options->connections, "per_transaction", (json_int_t)options->per_transaction,
                  "size", (json_int_t)options->size, "transaction_ms", samples_json(times));
    if (raw->first_ns)
        meter->started_ns = raw->first_ns;
    meter_report(meter, raw->ended, report);
    report_print(report);
}

static bool raw_run(struct raw *raw)
{
    const struct options *options = raw->options;
    if (!target_parse(&raw->target, options->connect, raw->err) ||
        !connections_allow(options->connections, raw->err))
        return false;
    raw->content = content_create(options->kind, &options->domains, options->size, raw->err);
    raw->sessions = calloc(options->connections, sizeof *raw->sessions);
    if (raw->content == NULL || raw->sessions == NULL || !samples_init(&raw->times, options->count, raw->err))
        return false;
    raw->ring = ring_create((uint32_t)options->connections, session_done, raw, raw->err);
    if (raw->ring == NULL)
        return false;
    struct meter meter;
    meter_start(&meter);
    raw_loop(raw);
    meter_stop(&meter);
    raw_report(raw, &meter, &raw->times);
    return !raw->failed && raw->ended == options->count;
}

int main(int argc, char **argv)
{
    struct options options;
    struct err err = {0};
    char program[] = "raw";
    argv[0] = program;
    enum options_end end = options_read(&options, VERB_RAW, argc, argv);
    if (end != OPTIONS_RUN)
        return end == OPTIONS_HELP ? 0 : 2;
    signal(SIGPIPE, SIG_IGN);
    struct raw raw = {.options = &options, .err = &err};
    bool ok = raw_run(&raw);
    if (*err.text)
        fprintf(stderr, "raw: %s\n", err.text);
    ring_free(raw.ring);
    for (uint32_t i = 0; i < raw.opened; i++)
        session_close(&raw.sessions[i]);
    free(raw.sessions);
    samples_free(&raw.times);
    content_free(raw.content);
    return ok ? 0 : 1;
}
