/* faults.c - see faults.h. */
#include "tests/sim/faults.h"

#include "tests/sim/sim.h"

#include <inttypes.h>

static const char *const names[FAULTS] = {
    [FAULT_SPLIT] = "reply split",
    [FAULT_JOINED] = "replies joined",
    [FAULT_LATE] = "reply late",
    [FAULT_LOST] = "reply lost",
    [FAULT_EXTRA] = "extra reply",
    [FAULT_TWICE] = "reply said twice",
    [FAULT_SHORT_SEND] = "short send",
    [FAULT_SLOW_SEND] = "slow send",
    [FAULT_STUCK_SEND] = "stuck send",
    [FAULT_NO_BUFFERS] = "ENOBUFS",
    [FAULT_MULTISHOT_ENDS] = "multishot ended",
    [FAULT_OUT_OF_ORDER] = "completions out of order",
    [FAULT_DONE_THOUGH_CANCELLED] = "completion after cancel",
    [FAULT_NO_SOCKET] = "no socket",
    [FAULT_NO_SUCH_SOURCE] = "source not there",
    [FAULT_REFUSED] = "connection refused",
    [FAULT_NO_ANSWER] = "no answer to connect",
    [FAULT_LOST_SENDING] = "lost at a byte sent",
    [FAULT_LOST_RECEIVING] = "lost at a byte received",
    [FAULT_LOST_IN_THE_DOT] = "lost in the final dot",
    [FAULT_LOST_BEFORE_THE_REPLY] = "lost between dot and reply",
    [FAULT_LOST_IN_THE_REPLY] = "lost in the reply to the dot",
    [FAULT_HUNG_UP] = "hung up",
    [FAULT_HOST_DOWN] = "host down for a while",
    [FAULT_ALL_DOWN] = "all hosts down for a day",
    [FAULT_BUSY_GREETING] = "4xx or 5xx greeting",
    [FAULT_NO_EHLO] = "EHLO refused",
    [FAULT_MANY_LINES] = "multi-line reply",
    [FAULT_NO_PIPELINING] = "host without PIPELINING",
    [FAULT_CHUNKED] = "message by BDAT",
    [FAULT_CLOSING_421] = "421 and closed",
    [FAULT_MAIL_REFUSED] = "MAIL refused",
    [FAULT_RCPT_DEFERRED] = "RCPT 4xx",
    [FAULT_RCPT_REFUSED] = "RCPT 5xx",
    [FAULT_RCPT_TOO_MANY] = "too many recipients",
    [FAULT_GREYLISTED] = "greylisted",
    [FAULT_DATA_REFUSED] = "DATA refused",
    [FAULT_END_DEFERRED] = "end of data 4xx",
    [FAULT_END_REFUSED] = "end of data 5xx",
    [FAULT_POLICY] = "4.7 policy reply",
    [FAULT_BY_RULE] = "reply that a rule decides",
    [FAULT_DNS_FAILED] = "DNS answer failed",
    [FAULT_DNS_SILENT] = "DNS answer late",
    [FAULT_DNS_GONE] = "no resolver for an hour",
    [FAULT_DNS_NOTHING] = "no such domain",
    [FAULT_MX_CHANGED] = "MX changed",
    [FAULT_CLOCK_FORWARD] = "clock set forward",
    [FAULT_CLOCK_BACK] = "clock set back",
    [FAULT_LATE_THREAD] = "thread late",
    [FAULT_CRASHED] = "crash",
    [FAULT_RESTARTED] = "restart in order",
    [FAULT_PAUSED] = "job paused",
    [FAULT_CANCELLED] = "job cancelled",
    [FAULT_RETRIED] = "retry asked for",
    [FAULT_BOUNCED] = "bounced by filter",
    [FAULT_SUSPENDED] = "suspended",
    [FAULT_SUPPRESSED] = "address suppressed",
    [FAULT_SITE_SLOWED] = "site slowed by hand",
    [FAULT_KEY_REPEATED] = "idempotency key repeated",
    [FAULT_BOUNCED_LATE] = "bounced late, by mail",
    [FAULT_TOO_EARLY] = "its delivery not written down yet",
};

_Static_assert(sizeof names / sizeof *names == FAULTS, "each has a name");

static bool on[FAULTS];
static uint64_t own_counts[FAULTS];
static uint64_t *counts = own_counts;

void faults_begin(bool none)
{
    /* Most seeds have half of them, some few, some none: the plain way has to be right too. */
    unsigned of_8 = none || sim_once_in(DICE_PLAN, 16) ? 0 : sim_once_in(DICE_PLAN, 4) ? 1 : 4;
    for (unsigned i = 0; i < FAULTS; i++)
        on[i] = sim_below(DICE_PLAN, 8) < of_8;
}

bool fault_is_on(enum fault fault)
{
    return on[fault];
}

void fault_count(enum fault fault)
{
    __atomic_fetch_add(&counts[fault], 1, __ATOMIC_RELAXED);
}

bool fault_now(enum fault fault, unsigned once_in)
{
    if (!on[fault] || sim.calm || !sim_once_in(DICE_NET, once_in))
        return false;
    fault_count(fault);
    return true;
}

void faults_share(uint64_t shared[FAULTS])
{
    counts = shared;
}

unsigned faults_print(FILE *out)
{
    unsigned never = 0;
    for (unsigned i = 0; i < FAULTS; i++) {
        fprintf(out, "%12" PRIu64 "  %s\n", counts[i], names[i]);
        never += counts[i] == 0;
    }
    return never;
}
