/* rid.c - see rid.h. */
#include "queue/rid.h"

#include "engine/base/codec.h"

size_t rid_format(struct rid rid, char text[RID_TEXT_MAX])
{
    size_t n = str_put_u64(text, rid.job);
    text[n++] = '-';
    n += str_put_u64(text + n, rid.batch);
    text[n++] = '-';
    n += str_put_u64(text + n, rid.slot);
    text[n] = '\0';
    return n;
}

/* One decimal number without leading zeros, so that a rid has one text only. */
static bool number_parse(struct str text, uint64_t max, uint64_t *out)
{
    return (text.n == 1 || (text.n > 1 && text.p[0] != '0')) && str_u64(text, max, out);
}

bool rid_parse(struct str text, struct rid *rid)
{
    size_t first = str_find(text, '-', 0);
    size_t second = first == SIZE_MAX ? SIZE_MAX : str_find(text, '-', first + 1);
    uint64_t job, batch, slot;
    if (second == SIZE_MAX || !number_parse(str_make(text.p, first), UINT64_MAX, &job) ||
        !number_parse(str_make(text.p + first + 1, second - first - 1), UINT32_MAX, &batch) ||
        !number_parse(str_make(text.p + second + 1, text.n - second - 1), UINT16_MAX, &slot))
        return false;
    *rid = (struct rid){job, (uint32_t)batch, (uint16_t)slot};
    return true;
}

void rid_to_key(struct rid rid, uint8_t key[RID_KEY_SIZE])
{
    put_be64(key, rid.job);
    put_be32(key + 8, rid.batch);
    put_be16(key + 12, rid.slot);
}

struct rid rid_from_key(const uint8_t key[RID_KEY_SIZE])
{
    return (struct rid){get_be64(key), get_be32(key + 8), get_be16(key + 12)};
}
