/* record.h - two files that programs of the bench share: what the world took in, and what was promised.
 *
 * Every recipient of a bench has a number from 0, which its address shows: u0000042@d7.test is number 42 (at
 * least seven digits). A record holds a slot a number, written by the world at the moment the 250 after the
 * data was queued; an accepts file holds for each number when the 202 or 250 had been read by whoever
 * injected it. All times are CLOCK_MONOTONIC nanoseconds, so that stamps of several processes compare.
 *
 * Both are plain files that are mapped shared: a header of 64 bytes, then the slots, in this machine's byte
 * order, zeros where nothing came. The world sets `count` last; a reader that runs beside it takes a slot as
 * written once its count is not 0. A message delivered twice counts 2 and keeps what came last.
 *
 * Digests are XXH3-64 of the message as it was before dot stuffing: the head is all up to and with the CRLF
 * of the last header line, the body is the blank line and the rest; a message without a blank line is all
 * head, its body digest that of no bytes. */
#ifndef POSTRIDER_BENCH_RECORD_H
#define POSTRIDER_BENCH_RECORD_H

#include "engine/base/str.h"

#include <assert.h>

#define RECORD_MAGIC       "PRRECORD"
#define ACCEPTS_MAGIC      "PRACCEPT"
#define RECORD_VERSION     1
#define RECORD_DIGITS      7 /* of a number in an address, at least */
#define RECORD_NO_NUMBER   UINT64_MAX
#define RECORD_HEADER_SIZE 64

struct record_header {
    char magic[8]; /* no NUL */
    uint32_t version, slot_bytes;
    uint64_t slots;
    uint64_t outside; /* a record: recipients accepted without a number, or with one beyond the slots */
    uint8_t unused[32];
};

struct record_slot {
    uint64_t delivered_ns; /* of the last one */
    uint64_t head_digest, body_digest;
    uint32_t count; /* how often it was accepted */
    uint32_t size;  /* octets before dot stuffing, with the last CRLF */
};

static_assert(sizeof(struct record_header) == RECORD_HEADER_SIZE, "a record's header is part of its format");
static_assert(sizeof(struct record_slot) == 32, "a record's slot is part of its format");

/* The whole file's size. */
static inline uint64_t record_bytes(uint64_t slots)
{
    return RECORD_HEADER_SIZE + slots * sizeof(struct record_slot);
}

static inline uint64_t accepts_bytes(uint64_t slots)
{
    return RECORD_HEADER_SIZE + slots * sizeof(uint64_t);
}

static inline struct record_header record_header_make(uint64_t slots)
{
    struct record_header header = {
        .version = RECORD_VERSION, .slot_bytes = sizeof(struct record_slot), .slots = slots};
    memcpy(header.magic, RECORD_MAGIC, sizeof header.magic);
    return header;
}

static inline struct record_header accepts_header_make(uint64_t slots)
{
    struct record_header header = {.version = RECORD_VERSION, .slot_bytes = sizeof(uint64_t), .slots = slots};
    memcpy(header.magic, ACCEPTS_MAGIC, sizeof header.magic);
    return header;
}

/* Is this file of `bytes` bytes, which begins with *header, a whole record (accepts file)? */
static inline bool record_header_sound(const struct record_header *header, uint64_t bytes)
{
    return memcmp(header->magic, RECORD_MAGIC, sizeof header->magic) == 0 &&
           header->version == RECORD_VERSION && header->slot_bytes == sizeof(struct record_slot) &&
           header->slots < UINT64_MAX / sizeof(struct record_slot) / 2 &&
           bytes == record_bytes(header->slots);
}

static inline bool accepts_header_sound(const struct record_header *header, uint64_t bytes)
{
    return memcmp(header->magic, ACCEPTS_MAGIC, sizeof header->magic) == 0 &&
           header->version == RECORD_VERSION && header->slot_bytes == sizeof(uint64_t) &&
           header->slots < UINT64_MAX / sizeof(uint64_t) / 2 && bytes == accepts_bytes(header->slots);
}

/* The slots behind a mapped header. */
static inline struct record_slot *record_slots(struct record_header *header)
{
    return (struct record_slot *)(void *)(header + 1);
}

static inline uint64_t *accepts_slots(struct record_header *header)
{
    return (uint64_t *)(void *)(header + 1);
}

/* The number an address shows, or RECORD_NO_NUMBER. */
static inline uint64_t record_number(struct str address)
{
    uint64_t number = 0;
    size_t i = 1;
    if (address.n <= RECORD_DIGITS + 1 || (address.p[0] != 'u' && address.p[0] != 'U'))
        return RECORD_NO_NUMBER;
    for (; i < address.n && address.p[i] >= '0' && address.p[i] <= '9'; i++)
        number = number * 10 + (uint64_t)(address.p[i] - '0');
    bool numbered = i > RECORD_DIGITS && i < 20 && i < address.n && address.p[i] == '@';
    return numbered ? number : RECORD_NO_NUMBER;
}

#endif
