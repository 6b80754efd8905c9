/* name.h - one DNS name, or the many that a pattern stands for, in constant memory.
 *
 * "a.test" is itself; "d{0..999}.test" a thousand numbered names ({000..999} keeps the zeros); "*.test" every
 * name below test. A match yields the part that varied ("middle"), so that a name derived from the pattern
 * (an MX name of the domain's own) can be written without storing any. All lower case. One thread. */
#ifndef POSTRIDER_WORLD_NAME_H
#define POSTRIDER_WORLD_NAME_H

#include "bench/world/limits.h"
#include "engine/base/err.h"
#include "engine/base/str.h"

enum name_kind { NAME_EXACT, NAME_NUMBERED, NAME_WILDCARD };

struct name {
    enum name_kind kind;
    char *prefix, *suffix; /* around what varies; an exact name is all prefix */
    uint32_t first, last;  /* NAME_NUMBERED */
    uint32_t width;        /* digits when padded with zeros, else 0 */
};

struct name_text {
    size_t n;
    char text[WORLD_DNS_NAME_MAX + 1];
};

/* On failure nothing is left to free. */
bool name_parse(struct name *name, struct str text, struct err *err);
/* A pattern with the same middle between other ends; takes copies. */
bool name_derive(struct name *derived, const struct name *from, const char *prefix, const char *suffix);
void name_free(struct name *name);
/* How many names a numbered one stands for, else 1. */
uint32_t name_count(const struct name *name);
/* `s` is in lower case; index counts from 0. */
bool name_match(const struct name *name, struct str s, uint32_t *index, struct str *middle);
/* The index-th of a numbered name. */
void name_write(const struct name *name, uint32_t index, struct name_text *out);
/* prefix, middle, suffix; cut at the maximum. */
void name_join(const char *prefix, struct str middle, const char *suffix, struct name_text *out);

#endif
