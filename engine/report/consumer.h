/* consumer.h - one reader of the event log, on a thread of its own: gathers the events it wants, hands them
 * on in order (to a file, or a webhook), and moves its durable cursor once they are safe there.
 *
 * At least once: the cursor is moved after the hand-over, so that a crash between both hands on again what
 * came since the last move. A failure holds everything behind it back, and is tried again with growing waits.
 * What a webhook refuses for good is halved until the one event is found that is refused (400, 413, 422), and
 * put into the dead letters; so is, whole, what gets another 4xx. When refusals follow one another without
 * anything taken between, each is waited after as after a failure: it is the webhook then that is wrong, not
 * an event.
 *
 * Its thread is nice: where processors are short, a consumer lags, and mail goes out. */
#ifndef POSTRIDER_REPORT_CONSUMER_H
#define POSTRIDER_REPORT_CONSUMER_H

#include "engine/config.h"

/* Kept beside the cursor (POLICY_CONSUMER), since it was registered. */
struct consumer_totals {
    uint64_t sent;    /* events handed on, again ones included */
    uint64_t dropped; /* never seen: the log was full, and it says on_full: drop */
    uint64_t dead;    /* events in the dead letters */
};

struct consumer_begin {
    struct store *store;
    const struct config_consumer *config; /* store and strings outlive it */
    const char *hostname, *state_directory;
    uint64_t cursor;
    struct consumer_totals totals;
};

struct consumer;

/* Starts the thread. NULL and err: a secret that cannot be read, no memory. */
struct consumer *consumer_start(const struct consumer_begin *begin, struct err *err);
/* It ends when what is under way has, CONSUMER_STOP_MS at most. */
void consumer_ask_to_stop(struct consumer *consumer);
/* Waits for that and for its last cursor, for which the store must still run. Its info can still be asked. */
void consumer_end(struct consumer *consumer);
/* After consumer_end, when nobody asks any more; before store_close. */
void consumer_destroy(struct consumer *consumer);

struct consumer_info {
    const struct config_consumer *config;
    uint64_t cursor;     /* all up to it is safe; as on disk */
    uint64_t lag_events; /* events behind it, wanted or not */
    int64_t lag_ms;      /* how old the oldest of them is */
    struct consumer_totals totals;
    unsigned failures; /* in a row */
    int64_t error_ms;  /* when the last one was; 0: none since the start */
    struct err error;
    int64_t next_ms; /* when it is tried again; 0: it does not wait */
};
/* Any thread. */
void consumer_info(struct consumer *consumer, struct now now, struct consumer_info *info);

/* The totals as a policy row, and back. */
#define CONSUMER_ROW_MAX 64
size_t consumer_totals_encode(const struct consumer_totals *totals, char row[CONSUMER_ROW_MAX]);
bool consumer_totals_decode(struct str row, struct consumer_totals *totals);

#endif
