/* ledger.h - the words in which all connections of a path are counted, by however many workers.
 *
 * Each path has one; the worker that owns the site keeps it, and the workers to which sessions are lent
 * (loan.h) count in the same words by compare-and-swap. So the limits hold as the receiver counts them, and
 * what one worker learns (a window that shrinks, a pause) holds the others from their next question on. Any
 * thread; no word depends on another being read at the same instant. Times are mono_ns.
 *
 * The window starts at WINDOW_START, grows by one with each connection that gets through to EHLO (so it
 * doubles while all goes well) up to max, and shrinks by a quarter with each one that fails; one that is
 * refused while others are open tells how many the receiver wants, and that is believed for a while.
 * Fractions, not steps of one: a path of 500 connections that lost its host would need 500 failures to come
 * down. */
#ifndef POSTRIDER_ROUTE_LEDGER_H
#define POSTRIDER_ROUTE_LEDGER_H

#include "engine/route/limit.h"

#define LEDGER_ONE 1024u /* a connection, in the fractions the window is kept in */

struct ledger {
    struct limit messages, connects;
    struct limit slowed;                      /* messages, by what the receiver said */
    _Atomic unsigned connections, connecting; /* of all workers */
    _Atomic unsigned window;                  /* LEDGER_ONE-ths of connections that feedback allows */
    _Atomic unsigned ceiling;                 /* what it was when the receiver refused one more, */
    _Atomic int64_t ceiling_until_ns;         /* believed so long */
    _Atomic unsigned refusals;                /* in a row */
    _Atomic int64_t pause_until_ns;           /* past or 0: not paused; LEDGER_STOPPED: for an operator */
    _Atomic unsigned pauses;                  /* in a row */
    /* What the owner has learnt (learnt.h); 0: nothing. */
    _Atomic unsigned cap;          /* connections, by what the receiver said */
    _Atomic unsigned rcpts_max;    /* a transaction */
    _Atomic unsigned messages_max; /* a connection */
    _Atomic bool tls_only;
    _Atomic bool drained; /* its source is, by an operator: stopped, whatever pause_until_ns says */
};

#define LEDGER_STOPPED INT64_MAX

enum path_end {
    PATH_END_FINE,
    PATH_END_FAILED,  /* of no use: the window shrinks */
    PATH_END_REFUSED, /* one too many, others are open: the window becomes what is open */
};

void ledger_init(struct ledger *ledger);
/* Whole connections: what feedback allows; what it, the cap and max allow together; what is open or on its
 * way. */
unsigned ledger_window(const struct ledger *ledger);
unsigned ledger_allows(const struct ledger *ledger, unsigned max);
unsigned ledger_connections(const struct ledger *ledger);
/* How many of them are through to EHLO. */
unsigned ledger_ready(const struct ledger *ledger);

/* Counts one more connection if max, the window and the connection rate allow it now; false: they do not. */
bool ledger_open(struct ledger *ledger, unsigned max, int64_t now_ns);
/* It is through to EHLO. */
void ledger_opened(struct ledger *ledger, unsigned max, int64_t now_ns);
void ledger_closed(struct ledger *ledger, bool was_ready, enum path_end end, int64_t now_ns);
/* One more may be tried. */
void ledger_grow(struct ledger *ledger, unsigned max, int64_t now_ns);

int64_t ledger_pause_until_ns(const struct ledger *ledger);
/* LEDGER_STOPPED while it is drained. */
void ledger_drain(struct ledger *ledger, bool drained);
/* How many pauses came in a row, before this one. */
unsigned ledger_pauses(const struct ledger *ledger);
/* Pauses, unless it is paused already; returns the end of the pause that holds, *fresh: it is this one. */
int64_t ledger_pause(struct ledger *ledger, int64_t now_ns, int64_t until_ns, bool *fresh);
/* Whatever holds now: paused until then (0: not any more), so many in a row. */
void ledger_set_pause(struct ledger *ledger, int64_t until_ns, unsigned pauses);
/* As it began, but for what is open: window and ceiling. */
void ledger_reset(struct ledger *ledger);
/* A message was delivered: the row of pauses is over. */
void ledger_delivered(struct ledger *ledger);

#endif
