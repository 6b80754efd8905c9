/* envelope.c - see envelope.h. */
#include "engine/message/envelope.h"

#include "engine/message/address.h"
#include "engine/message/merge.h"

static bool is_rid(const struct merge_variable *v)
{
    return str_eq(v->name, STR("rid")) && v->fallback.p == NULL && !v->unescaped;
}

size_t envelope_expand(struct str from, struct str rid, char out[ADDRESS_MAX])
{
    struct merge_variable v;
    const char *why;
    size_t n = 0, at = 0;
    for (;;) {
        enum merge_found found = merge_next(from, at, &v, &why);
        size_t end = found == MERGE_NONE ? from.n : v.start;
        if (found == MERGE_MALFORMED || end - at > ADDRESS_MAX - n)
            return SIZE_MAX;
        if (end > at)
            memcpy(out + n, from.p + at, end - at);
        n += end - at;
        if (found == MERGE_NONE)
            return n;
        if (!is_rid(&v) || rid.n > ADDRESS_MAX - n)
            return SIZE_MAX;
        if (rid.n > 0)
            memcpy(out + n, rid.p, rid.n);
        n += rid.n;
        at = v.end;
    }
}

/* Every variable must be {{rid}}. */
static bool check_variables(struct str from, bool *per_recipient, struct err *err)
{
    struct merge_variable v = {.end = 0};
    const char *why;
    *per_recipient = false;
    for (;;) {
        switch (merge_next(from, v.end, &v, &why)) {
        case MERGE_NONE:
            return true;
        case MERGE_MALFORMED:
            return err_set(err, 0, "the envelope sender: %s", why);
        case MERGE_VARIABLE:
            if (!is_rid(&v))
                return err_set(err, 0, "the envelope sender may hold {{rid}} but not {{%.*s}}",
                               STR_ARG(v.name));
            *per_recipient = true;
        }
    }
}

bool envelope_check(struct str from, size_t rid_max, bool *per_recipient, bool *utf8, struct err *err)
{
    char rid[ADDRESS_MAX], text[ADDRESS_MAX];
    struct address address;
    *utf8 = false;
    if (!check_variables(from, per_recipient, err))
        return false;
    if (from.n == 0)
        return true;
    memset(rid, 'r', sizeof rid);
    if (rid_max > sizeof rid)
        rid_max = sizeof rid;
    size_t n = envelope_expand(from, str_make(rid, rid_max), text);
    if (n == SIZE_MAX)
        return err_set(err, 0, "the envelope sender is longer than %d octets", ADDRESS_MAX);
    if (!address_parse(str_make(text, n), &address, err))
        return err_prefix(err, "the envelope sender");
    *utf8 = address.utf8_local;
    return true;
}
