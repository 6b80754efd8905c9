/* wish.c - see wish.h. */
#include "engine/tls/wish.h"

static const struct str suffixes[] = {{"", 0}, {"+requiretls", 11}, {"+anytls", 7}}; /* no name holds a '+' */

struct str wish_add(struct str pool, enum tls_wish wish, char room[WISH_NAME_MAX])
{
    struct str suffix = suffixes[wish];
    if (suffix.n == 0)
        return pool;
    if (pool.n + suffix.n > NAME_MAX_BYTES)
        return str_make("", 0);
    memcpy(room, pool.p, pool.n);
    memcpy(room + pool.n, suffix.p, suffix.n);
    return str_make(room, pool.n + suffix.n);
}

struct str wish_pool(struct str name)
{
    size_t end = str_find(name, '+', 0);
    return str_make(name.p, end == SIZE_MAX ? name.n : end);
}

enum tls_wish wish_of(struct str name)
{
    struct str pool = wish_pool(name), suffix = str_make(name.p + pool.n, name.n - pool.n);
    for (unsigned i = TLS_WISH_REQUIRED; i <= TLS_WISH_OPTIONAL; i++)
        if (str_eq(suffix, suffixes[i]))
            return (enum tls_wish)i;
    return TLS_WISH_NONE;
}
