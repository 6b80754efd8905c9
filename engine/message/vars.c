/* vars.c - see vars.h. */
#include "engine/message/vars.h"

void vars_builder_init(struct vars_builder *builder)
{
    buf_init(&builder->blob, VARS_MAX);
    builder->count = 0;
}

void vars_builder_free(struct vars_builder *builder)
{
    buf_free(&builder->blob);
    builder->count = 0;
}

void vars_builder_clear(struct vars_builder *builder)
{
    buf_clear(&builder->blob);
    builder->count = 0;
}

/* The hashes spare a walk through the blob for every variable; equal ones are looked at. */
static bool is_there(const struct vars_builder *builder, struct str name, uint64_t hash)
{
    struct str value;
    for (size_t i = 0; i < builder->count; i++)
        if (builder->hashes[i] == hash)
            return vars_find(vars_blob(builder), name, &value);
    return false;
}

bool vars_add(struct vars_builder *builder, struct str name, struct str value, struct err *err)
{
    if (name.n == 0)
        return err_set(err, 0, "a variable has an empty name");
    if (name.n > VAR_NAME_MAX)
        return err_set(err, 0, "the name of variable \"%.40s…\" is longer than %d bytes", name.p,
                       VAR_NAME_MAX);
    if (builder->count == VARS_COUNT_MAX)
        return err_set(err, 0, "more than %d variables for one recipient", VARS_COUNT_MAX);
    uint64_t hash = str_hash(name);
    if (is_there(builder, name, hash))
        return err_set(err, 0, "variable \"%.*s\" is given twice", STR_ARG(name));
    size_t before = builder->blob.len;
    if (!buf_add_field(&builder->blob, name) || !buf_add_field(&builder->blob, value)) {
        builder->blob.len = before;
        builder->blob.failed = false;
        return err_set(err, 0, "variable \"%.*s\" makes this recipient's variables larger than %d bytes",
                       STR_ARG(name), VARS_MAX);
    }
    builder->hashes[builder->count++] = hash;
    return true;
}

struct str vars_blob(const struct vars_builder *builder)
{
    return buf_str(&builder->blob);
}

bool vars_find(struct str blob, struct str name, struct str *value)
{
    struct reader r = vars_reader(blob);
    struct str at;
    while (vars_next(&r, &at, value))
        if (str_eq(at, name))
            return true;
    return false;
}

bool vars_valid(struct str blob)
{
    struct reader r = vars_reader(blob);
    struct str name, value;
    while (vars_next(&r, &name, &value))
        if (name.n == 0 || name.n > VAR_NAME_MAX)
            return false;
    return !r.bad;
}
