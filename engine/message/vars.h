/* vars.h - a recipient's variables as one blob: for each its name, then its value, both as length and bytes.
 *
 * The blob has no pointers and no header (no variables: no bytes), so it is stored in a row as it is and read
 * where it lies. Bounds: VARS_MAX bytes, VARS_COUNT_MAX variables, VAR_NAME_MAX bytes a name. A name may be
 * any text that is not empty, but a template can ask only for names it can spell (template.h); `to`, `rid`,
 * `id` and `job` are always the recipient's own and hide variables of that name. Values are UTF-8, of any
 * content. Reading is safe on any bytes and ends at the first thing malformed. */
#ifndef POSTRIDER_MESSAGE_VARS_H
#define POSTRIDER_MESSAGE_VARS_H

#include "engine/base/codec.h"
#include "engine/base/err.h"
#include "engine/limits.h"

/* Collects one recipient after another; one a thread, some 4 KiB. */
struct vars_builder {
    struct buf blob;
    size_t count;
    uint64_t hashes[VARS_COUNT_MAX];
};

void vars_builder_init(struct vars_builder *builder);
void vars_builder_free(struct vars_builder *builder);
/* Forgets what was added but keeps the memory. */
void vars_builder_clear(struct vars_builder *builder);
/* Copies both. False, with the builder as it was, for a name that is empty, too long or there already, and
 * when a bound is passed; err tells which variable and what to do. */
bool vars_add(struct vars_builder *builder, struct str name, struct str value, struct err *err);
/* The blob; valid until the builder's next use. */
struct str vars_blob(const struct vars_builder *builder);

/* Iteration: `struct reader r = vars_reader(blob); while (vars_next(&r, &name, &value)) …`. */
static inline struct reader vars_reader(struct str blob)
{
    return reader_of(blob.n ? blob.p : "", blob.n);
}

static inline bool vars_next(struct reader *r, struct str *name, struct str *value)
{
    if (r->at == r->end)
        return false;
    *name = read_field(r);
    *value = read_field(r);
    return !r->bad;
}

/* The value of a variable, valid as long as the blob; false if there is none. */
bool vars_find(struct str blob, struct str name, struct str *value);
/* Whether the whole blob reads well, for rows of doubtful origin. */
bool vars_valid(struct str blob);

#endif
