/* dane.c - see dane.h. */
#include "engine/tls/dane.h"

#include <stdio.h>
#include <stdlib.h>

#define USAGE_TA 2
#define USAGE_EE 3

_Static_assert(TLSA_TEXT_MAX >= 2 * TLSA_BYTES_MAX + 16, "room for the longest record in hexadecimal");
_Static_assert(TLSA_BYTES_MAX <= UINT16_MAX, "places in it fit into struct tlsa");

struct tlsa_set *tlsa_set_create(void)
{
    struct tlsa_set *set = calloc(1, sizeof *set);
    if (set != NULL)
        atomic_init(&set->refs, 1);
    return set;
}

struct tlsa_set *tlsa_set_ref(struct tlsa_set *set)
{
    if (set != NULL)
        atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
    return set;
}

void tlsa_set_unref(struct tlsa_set *set)
{
    if (set != NULL && atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel) == 1)
        free(set);
}

bool tlsa_set_add(struct tlsa_set *set, const uint8_t *record, size_t n)
{
    if (n < 4)
        return false;
    size_t size = n - 3;
    if (set->count == TLSA_RECORDS_MAX || size > sizeof set->bytes - set->used)
        return true;
    set->list[set->count++] = (struct tlsa){.usage = record[0],
                                            .selector = record[1],
                                            .matching = record[2],
                                            .at = (uint16_t)set->used,
                                            .size = (uint16_t)size};
    memcpy(set->bytes + set->used, record + 3, size);
    set->used += size;
    return true;
}

bool tlsa_is_usable(const struct tlsa_set *set, unsigned index)
{
    static const uint16_t digest_size[] = {0, 32, 64}; /* whole, SHA-256, SHA-512 */
    const struct tlsa *tlsa = &set->list[index];
    return (tlsa->usage == USAGE_TA || tlsa->usage == USAGE_EE) && tlsa->selector <= 1 &&
           tlsa->matching <= 2 && (tlsa->matching == 0 || tlsa->size == digest_size[tlsa->matching]);
}

size_t tlsa_text(const struct tlsa_set *set, unsigned index, char text[TLSA_TEXT_MAX])
{
    static const char digits[] = "0123456789ABCDEF";
    const struct tlsa *tlsa = &set->list[index];
    size_t n =
        (size_t)snprintf(text, TLSA_TEXT_MAX, "%u %u %u ", tlsa->usage, tlsa->selector, tlsa->matching);
    for (unsigned i = 0; i < tlsa->size; i++) {
        text[n++] = digits[set->bytes[tlsa->at + i] >> 4];
        text[n++] = digits[set->bytes[tlsa->at + i] & 15];
    }
    text[n] = '\0';
    return n;
}

enum dane_verdict dane_verdict(enum tlsa_answer answer, const struct tlsa_set *set)
{
    if (answer == TLSA_FAILED)
        return DANE_BOGUS;
    if (answer != TLSA_FOUND || set == NULL || set->count == 0)
        return DANE_ABSENT;
    for (unsigned i = 0; i < set->count; i++)
        if (tlsa_is_usable(set, i))
            return DANE_REQUIRED;
    return DANE_UNUSABLE;
}

const char *dane_verdict_name(enum dane_verdict verdict)
{
    static const char *const names[] = {"absent", "bogus", "unusable", "required"};
    return names[verdict];
}
