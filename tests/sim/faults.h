/* faults.h - what may go wrong, how often it did, and which of it a seed leaves out.
 *
 * Swarm testing: each seed switches about half of the faults off, so that one that hides another does not
 * always do so. Counts are of all seeds of the process; a long run in which one never came is a failure of
 * the run. */
#ifndef POSTRIDER_TESTS_SIM_FAULTS_H
#define POSTRIDER_TESTS_SIM_FAULTS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum fault {
    /* replies on their way */
    FAULT_SPLIT,
    FAULT_JOINED,
    FAULT_LATE,
    FAULT_LOST,
    FAULT_EXTRA,
    FAULT_TWICE,
    /* the kernel */
    FAULT_SHORT_SEND,
    FAULT_SLOW_SEND,
    FAULT_STUCK_SEND,
    FAULT_NO_BUFFERS,
    FAULT_MULTISHOT_ENDS,
    FAULT_OUT_OF_ORDER,
    FAULT_DONE_THOUGH_CANCELLED,
    FAULT_NO_SOCKET,
    FAULT_NO_SUCH_SOURCE,
    /* connections */
    FAULT_REFUSED,
    FAULT_NO_ANSWER,
    FAULT_LOST_SENDING,
    FAULT_LOST_RECEIVING,
    FAULT_LOST_IN_THE_DOT,
    FAULT_LOST_BEFORE_THE_REPLY,
    FAULT_LOST_IN_THE_REPLY,
    FAULT_HUNG_UP,
    FAULT_HOST_DOWN,
    FAULT_ALL_DOWN,
    /* what hosts say */
    FAULT_BUSY_GREETING,
    FAULT_NO_EHLO,
    FAULT_MANY_LINES,
    FAULT_NO_PIPELINING,
    FAULT_CHUNKED, /* none, but it has to come */
    FAULT_CLOSING_421,
    FAULT_MAIL_REFUSED,
    FAULT_RCPT_DEFERRED,
    FAULT_RCPT_REFUSED,
    FAULT_RCPT_TOO_MANY,
    FAULT_GREYLISTED,
    FAULT_DATA_REFUSED,
    FAULT_END_DEFERRED,
    FAULT_END_REFUSED,
    FAULT_POLICY,
    FAULT_BY_RULE,
    /* names */
    FAULT_DNS_FAILED,
    FAULT_DNS_SILENT,
    FAULT_DNS_GONE,
    FAULT_DNS_NOTHING,
    FAULT_MX_CHANGED,
    /* the machine */
    FAULT_CLOCK_FORWARD,
    FAULT_CLOCK_BACK,
    FAULT_LATE_THREAD,
    FAULT_CRASHED,
    FAULT_RESTARTED,
    /* people */
    FAULT_PAUSED,
    FAULT_CANCELLED,
    FAULT_RETRIED,
    FAULT_BOUNCED,
    FAULT_SUSPENDED,
    FAULT_SUPPRESSED,
    FAULT_SITE_SLOWED,
    FAULT_KEY_REPEATED,
    /* what comes back by mail */
    FAULT_BOUNCED_LATE,
    FAULT_TOO_EARLY,
    FAULTS
};

/* Those that this seed has; none: none. */
void faults_begin(bool none);
bool fault_is_on(enum fault fault);
/* Whether it happens now: once in so many times where the seed has it, never when all is calm. Counted. */
bool fault_now(enum fault fault, unsigned once_in);
/* It happened. */
void fault_count(enum fault fault);

/* Of all seeds so far. Counted in memory that processes may share. */
void faults_share(uint64_t counts[FAULTS]);
/* Prints them; returns how many never came. */
unsigned faults_print(FILE *out);

#endif
