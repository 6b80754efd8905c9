/* store_acts.h - what happens to a queue, at random: jobs come, are taken, settled, steered. Each act does
 * the same to the store and the model and ends the test where the store answers otherwise than the model. */
#ifndef POSTRIDER_TESTS_STORE_ACTS_H
#define POSTRIDER_TESTS_STORE_ACTS_H

#include "tests/unit/store_compare.h"

#define ACT_KEYS_MAX 64

struct world {
    struct rig rig;
    struct {
        uint8_t hash[32], digest[32];
        char answer[64];
        int64_t expires_ms;
    } keys[ACT_KEYS_MAX]; /* idempotency keys in use */
    size_t key_count;
};

/* An answer to admit_post or admit_commit. */
struct post {
    unsigned done, syncs; /* syncs: how many there had been */
    enum admit_result result;
};

/* An answer to store_operate. */
struct answer {
    unsigned done;
    struct op_progress progress;
};

struct upload {
    struct job_spec spec;
    struct model_job *job;
    struct admit *admit;
    char content[512];
    bool posted;
};

uint64_t act_below(struct rig *rig, uint64_t bound);
/* Ends the test with the complaint if not good. */
void act_must(struct rig *rig, bool good);

void act_on_post(struct admit *admit, enum admit_result result, void *user);
void act_on_operation(const struct op_progress *progress, void *user);

/* Begins an upload of count recipients, all but its last window posted; the caller commits or gives up. */
void act_upload(struct world *world, struct upload *up, size_t count);
size_t act_random_count(struct rig *rig);
void act_random_content(struct world *world, struct upload *up);
void act_admit(struct world *world);
/* With a key that is taken: refused, and nothing is left of the job. */
void act_admit_again(struct world *world);
void act_give_up(struct world *world);
void act_check_keys(struct world *world);

/* Some addresses come onto the suppression list, or go. */
void act_suppress(struct world *world);
void act_take(struct world *world);
/* Posts a random part of what is held; returns what the model is to be told (free it). */
struct model_settle *act_settle_some(struct rig *rig, size_t *count);
void act_settle(struct world *world);

enum op_kind act_random_operation(struct rig *rig, struct store_filter *filter);
void act_note_operation(struct rig *rig, enum op_kind kind, const struct store_filter *filter);
void act_operate(struct world *world);

/* Reports all that is due, and checks that nothing else is. */
void act_report(struct world *world);

#endif
