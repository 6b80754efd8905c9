/* counts.c - see counts.h. */
#include "bench/world/counts.h"

#include "engine/base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOT_NS (NS_PER_S / WINDOW_SLOTS)

static const char *const names[VIOLATIONS] = {
    [VIOLATION_EARLY] = "before-greeting",
    [VIOLATION_NOT_PIPELINING] = "pipelining-not-offered",
    [VIOLATION_PIPELINED] = "pipelined-after-last-of-group",
    [VIOLATION_BARE_LF] = "bare-lf",
    [VIOLATION_BARE_CR] = "bare-cr",
    [VIOLATION_LONG_LINE] = "line-over-1000",
    [VIOLATION_LONG_COMMAND] = "command-over-limit",
    [VIOLATION_UNDOUBLED_DOT] = "undoubled-dot",
    [VIOLATION_8BIT] = "8bit-data",
    [VIOLATION_COMMAND_8BIT] = "8bit-or-control-in-command",
    [VIOLATION_SYNTAX] = "syntax",
    [VIOLATION_UNKNOWN_COMMAND] = "unknown-command",
    [VIOLATION_SEQUENCE] = "bad-sequence",
    [VIOLATION_NOT_OFFERED] = "extension-not-offered",
    [VIOLATION_SIZE_UNDERSTATED] = "size-understated",
    [VIOLATION_AFTER_STARTTLS] = "plaintext-after-starttls",
};

const char *violation_name(enum violation violation)
{
    return names[violation];
}

static void window_advance(struct window *window, int64_t mono_ns)
{
    int64_t slot = mono_ns / SLOT_NS;
    if (slot == window->slot)
        return;
    if (slot - window->slot >= WINDOW_SLOTS) {
        memset(window->slots, 0, sizeof window->slots);
        window->sum = 0;
    } else {
        for (int64_t gone = window->slot + 1; gone <= slot; gone++) {
            window->sum -= window->slots[gone % WINDOW_SLOTS];
            window->slots[gone % WINDOW_SLOTS] = 0;
        }
    }
    window->slot = slot;
}

static void window_add(struct window *window, int64_t mono_ns)
{
    window_advance(window, mono_ns);
    window->slots[window->slot % WINDOW_SLOTS]++;
    if (++window->sum > window->peak)
        window->peak = window->sum;
}

uint32_t window_sum(struct window *window, int64_t mono_ns)
{
    window_advance(window, mono_ns);
    return window->sum;
}

void counts_reset(struct counts *counts)
{
    for (uint32_t i = 0; i < counts->examples_used; i++)
        free(counts->examples[i]);
    *counts = (struct counts){.up = counts->up,
                              .connections_now = counts->connections_now,
                              .connections_max = counts->connections_now};
}

void counts_connect(struct counts *counts, int64_t mono_ns)
{
    for (; counts; counts = counts->up) {
        counts->connections++;
        if (++counts->connections_now > counts->connections_max)
            counts->connections_max = counts->connections_now;
        window_add(&counts->connects, mono_ns);
    }
}

void counts_leave(struct counts *counts)
{
    for (; counts; counts = counts->up)
        counts->connections_now--;
}

void counts_mail(struct counts *counts, int64_t mono_ns)
{
    for (; counts; counts = counts->up)
        window_add(&counts->mails, mono_ns);
}

void counts_message(struct counts *counts, int64_t mono_ns, uint32_t recipients, uint64_t bytes, bool chunked)
{
    for (; counts; counts = counts->up) {
        counts->messages++;
        counts->chunked += chunked;
        counts->recipients += recipients;
        counts->bytes += bytes;
        window_add(&counts->accepted, mono_ns);
    }
}

void counts_refused(struct counts *counts, unsigned code)
{
    for (; counts; counts = counts->up) {
        uint32_t i = 0;
        while (i < counts->codes_used && counts->codes[i].code != code)
            i++;
        if (i == REPLY_CODES)
            i = REPLY_CODES - 1; /* more codes than a receiver has: lumped with the last */
        else if (i == counts->codes_used)
            counts->codes[counts->codes_used++].code = code;
        counts->codes[i].n++;
    }
}

void counts_violation(struct counts *counts, enum violation violation, const char *who, uint64_t connection,
                      const char *what)
{
    char text[256];
    snprintf(text, sizeof text, "%s: %s, connection %llu: %.120s", names[violation], who,
             (unsigned long long)connection, what);
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < ' ' || (unsigned char)*p > '~')
            *p = '?';
    for (; counts; counts = counts->up) {
        counts->violations[violation]++;
        if (counts->examples_used == WORLD_EXAMPLES_MAX)
            continue;
        char *copy = strdup(text);
        if (copy)
            counts->examples[counts->examples_used++] = copy;
    }
}
