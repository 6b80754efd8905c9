/* ledger.h - what a store has promised, and by when: kept beside it while a record of its disk is made, and
 * held against what it says after a power cut.
 *
 * Times are disk_at(): what was told when n operations were done holds after every cut at n or later. What
 * was asked and not answered may have happened or not, but whole. Held against each other, each with the word
 * that a complaint begins with:
 *
 *   accepted  a job that was answered is there with all its recipients and its message; one that was not
 *             answered is so too, or not there at all; one that was not asked for is not there
 *   key       the answer kept under an idempotency key
 *   steered   a job is paused, resumed or cancelled as was answered last
 *   edited    suppressions, what is set at run time, and consumers' cursors are as was answered last
 *   the same  an event that somebody read is there, as it was
 *   in order  events have no gap
 *   ends once events of a recipient: accepted first, one end, nothing after it, and its state is that; it is
 *             delivered only if somebody said so
 *
 * A complaint ends the process (abort) with a line on stderr. One thread. */
#ifndef POSTRIDER_TESTS_CRASH_LEDGER_H
#define POSTRIDER_TESTS_CRASH_LEDGER_H

#include "queue/edit.h"

#define LEDGER_NEVER   SIZE_MAX
#define LEDGER_STEERS  16
#define LEDGER_THINGS  32                       /* that edits set, by number */
#define LEDGER_BATCHES (8192 / BATCH_SLOTS_MAX) /* of a job that is not small */

struct ledger_times {
    size_t asked, answered;
};
struct ledger_job {
    uint64_t id;
    uint32_t total;
    char content;
    size_t content_size, purged_at;
    struct ledger_times times;
    bool has_key;
    uint8_t key[32];
    struct {
        enum op_kind kind;
        struct ledger_times times;
    } steers[LEDGER_STEERS];
    unsigned steer_n;
    uint8_t *state; /* while events are read: of each slot */
    size_t *said;   /* when a delivery was said, of each slot: LEDGER_NEVER */
};
struct ledger_edit {
    unsigned thing;
    uint64_t value;
    struct ledger_times times;
};
struct ledger {
    struct ledger_job *jobs; /* by id */
    size_t job_n, job_cap;
    struct ledger_edit *edits; /* in order */
    size_t edit_n, edit_cap;
    struct ledger_seen {
        uint64_t job, digest;
        size_t at;
    } * seen; /* of each event, from the first on */
    size_t seen_n, seen_cap;
    uint64_t (*thing_now)(struct store *store, unsigned thing);
};

struct ledger_job *ledger_job(struct ledger *ledger, uint64_t id); /* NULL: not known */
/* A job that is about to be posted; it stays where it is until the next one is. */
struct ledger_job *ledger_job_add(struct ledger *ledger, uint64_t id, uint32_t total);
/* The steer's place, for the answer; NULL: no room for more. */
struct ledger_times *ledger_steer(struct ledger_job *job, enum op_kind kind);
/* The index of the edit, for the answer. */
size_t ledger_edit(struct ledger *ledger, unsigned thing, uint64_t value);
void ledger_said_delivered(struct ledger *ledger, struct rid rid);
/* Reads what is new in the event log, as a consumer does. */
void ledger_read_events(struct ledger *ledger, struct store *store);

/* Holds the store, opened after a cut at `at`, against all that. drained: it has gone on since then, until
 * every recipient had ended. */
void ledger_check(struct ledger *ledger, struct store *store, size_t at, bool drained);
/* What came after a cut is forgotten, and what was not decided then is what the store, which goes on from
 * there, says. Times begin again. */
void ledger_rewind(struct ledger *ledger, struct store *store, size_t at);
void ledger_free(struct ledger *ledger);

#endif
