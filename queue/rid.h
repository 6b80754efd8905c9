/* rid.h - the name of one recipient of one job: (job, batch, slot). Stable, and good to look up after its
 * end.
 *
 * Text form, used in the API, in VERP addresses and in Message-IDs: "JOB-BATCH-SLOT" in decimal, such as
 * "17-0-42". Any thread. */
#ifndef POSTRIDER_QUEUE_RID_H
#define POSTRIDER_QUEUE_RID_H

#include "engine/base/str.h"

struct rid {
    uint64_t job;
    uint32_t batch;
    uint16_t slot;
};

#define RID_TEXT_MAX 40
#define RID_KEY_SIZE 14

/* Writes the text with a final NUL; returns its length. */
size_t rid_format(struct rid rid, char text[RID_TEXT_MAX]);
bool rid_parse(struct str text, struct rid *rid);
/* Big-endian, so that keys sort by job, batch, slot. */
void rid_to_key(struct rid rid, uint8_t key[RID_KEY_SIZE]);
struct rid rid_from_key(const uint8_t key[RID_KEY_SIZE]);

static inline bool rid_eq(struct rid a, struct rid b)
{
    return a.job == b.job && a.batch == b.batch && a.slot == b.slot;
}

#endif
