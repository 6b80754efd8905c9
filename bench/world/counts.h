/* counts.h - what a receiver sees: connections, messages, rates, refusals, violations.
 *
 * Counts form a chain by `up`: a host's, its group's, everybody's; counting at the host counts in all. Rates
 * are the largest number within any one second, in steps of 50 ms. One thread. */
#ifndef POSTRIDER_WORLD_COUNTS_H
#define POSTRIDER_WORLD_COUNTS_H

#include "bench/world/limits.h"

#include <stdbool.h>
#include <stdint.h>

#define WINDOW_SLOTS 20
#define REPLY_CODES  16

struct window {
    int64_t slot;
    uint32_t sum, peak;
    uint32_t slots[WINDOW_SLOTS];
};

enum violation {
    VIOLATION_EARLY,          /* bytes before the greeting */
    VIOLATION_NOT_PIPELINING, /* commands grouped, PIPELINING not offered */
    VIOLATION_PIPELINED,      /* something grouped after a command that must be the last (RFC 2920 3.1) */
    VIOLATION_BARE_LF,
    VIOLATION_BARE_CR,
    VIOLATION_LONG_LINE,
    VIOLATION_LONG_COMMAND,
    VIOLATION_UNDOUBLED_DOT,
    VIOLATION_8BIT, /* 8-bit data, 8BITMIME not offered or not declared */
    VIOLATION_COMMAND_8BIT,
    VIOLATION_SYNTAX,
    VIOLATION_UNKNOWN_COMMAND,
    VIOLATION_SEQUENCE,
    VIOLATION_NOT_OFFERED,      /* a parameter or command of an extension that was not offered */
    VIOLATION_SIZE_UNDERSTATED, /* more octets than SIZE= said */
    VIOLATION_AFTER_STARTTLS,   /* plaintext behind STARTTLS */
    VIOLATIONS
};

struct counts {
    struct counts *up;
    uint32_t connections_now, connections_max;
    uint64_t connections, over_cap, over_rate;
    uint64_t messages, chunked, recipients, bytes, lost_replies; /* chunked: of the messages, by BDAT */
    uint64_t tls_sessions, tls_resumed, tls_failed, aborted;
    struct window connects, accepted, mails;
    uint32_t codes_used;
    struct {
        uint32_t code;
        uint64_t n;
    } codes[REPLY_CODES];
    uint64_t violations[VIOLATIONS];
    uint32_t examples_used;
    char *examples[WORLD_EXAMPLES_MAX];
};

uint32_t window_sum(struct window *window, int64_t mono_ns);

/* All but connections_now starts again from 0. */
void counts_reset(struct counts *counts);
void counts_connect(struct counts *counts, int64_t mono_ns);
void counts_leave(struct counts *counts);
void counts_mail(struct counts *counts, int64_t mono_ns);
void counts_message(struct counts *counts, int64_t mono_ns, uint32_t recipients, uint64_t bytes,
                    bool chunked);
void counts_refused(struct counts *counts, unsigned code);
void counts_violation(struct counts *counts, enum violation violation, const char *who, uint64_t connection,
                      const char *what);
const char *violation_name(enum violation violation);

#endif
