/* recorder.h - what was accepted, a slot a numbered recipient, in a mapped file; see bench/record.h.
 *
 * The file is made anew (whoever reads the one that was there keeps it) with room for all its slots at once,
 * so that a full disk shows itself then and not as a signal later. One thread. */
#ifndef POSTRIDER_WORLD_RECORDER_H
#define POSTRIDER_WORLD_RECORDER_H

#include "bench/record.h"
#include "engine/base/err.h"

struct recorder {
    struct record_header *header; /* NULL: nothing is recorded */
    uint64_t slots;
};

/* Ends what was recorded before. On failure nothing is recorded. */
bool recorder_open(struct recorder *recorder, const char *path, uint64_t slots, struct err *err);
void recorder_close(struct recorder *recorder);

static inline bool recorder_on(const struct recorder *recorder)
{
    return recorder->header != NULL;
}

/* One message accepted for the n recipients of these numbers; slot->count is ignored. */
void recorder_add(struct recorder *recorder, const uint64_t *numbers, size_t n,
                  const struct record_slot *slot);

#endif
