/* lookup.h - the hash table of names in an opened record. Private to message/. */
#ifndef POSTRIDER_MESSAGE_LOOKUP_H
#define POSTRIDER_MESSAGE_LOOKUP_H

#include "engine/message/record.h"
#include "engine/message/template.h"

/* The index of a name, or SIZE_MAX. */
static inline size_t template_lookup(const struct template *t, struct str name)
{
    for (size_t slot = record_hash(name) & t->slot_mask;; slot = (slot + 1) & t->slot_mask) {
        uint16_t index = t->slots[slot];
        if (index == RECORD_SLOT_EMPTY)
            return SIZE_MAX;
        if (str_eq(str_make(t->bytes + t->names[index].at, t->names[index].n), name))
            return index;
    }
}

#endif
