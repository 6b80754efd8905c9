/* host.c - see host.h. Entries are kept in the order of their last change (uthash keeps the order of
 * insertion), so that the stalest is the first. */
#include "engine/route/host.h"

#include <stdlib.h>

struct host_memory {
    UT_hash_handle hh;
    struct sockaddr_storage address;
    struct host_state state;
};

static struct host_memory *host_find(struct router *router, const struct sockaddr_storage *address)
{
    struct host_memory *host;
    HASH_FIND(hh, router->hosts, address, sizeof *address, host);
    return host;
}

/* Finds or makes it, and moves it to the end: the freshest. NULL: no memory, then nothing is remembered. */
static struct host_memory *host_touch(struct router *router, const struct sockaddr_storage *address)
{
    struct host_memory *host = host_find(router, address);
    if (host != NULL) {
        HASH_DEL(router->hosts, host);
    } else {
        if (HASH_COUNT(router->hosts) >= HOSTS_REMEMBERED_MAX) {
            struct host_memory *stalest = router->hosts;
            HASH_DEL(router->hosts, stalest);
            free(stalest);
        }
        host = calloc(1, sizeof *host);
        if (host == NULL)
            return NULL;
        host->address = *address;
    }
    HASH_ADD(hh, router->hosts, address, sizeof host->address, host);
    return host;
}

int64_t host_failed(struct router *router, const struct sockaddr_storage *address,
                    const struct config_site *settings)
{
    struct host_memory *host = host_touch(router, address);
    unsigned before = host ? host->state.failures : 0;
    int64_t delay_ms =
        retry_pause_ms(settings->dead_host_delay_ms, settings->dead_host_delay_max_ms, before, &router->prng);
    int64_t until_ns = router->now.mono_ns + delay_ms * NS_PER_MS;
    if (host != NULL) {
        /* Sessions that fail together are one failure: the delay doubles only once it was waited for. */
        if (host->state.dead_until_ns > router->now.mono_ns)
            return host->state.dead_until_ns;
        host->state.failures++;
        host->state.dead_until_ns = until_ns;
    }
    return until_ns;
}

void host_set_asked(struct router *router, const struct sockaddr_storage *address, bool asked)
{
    struct host_memory *host = host_find(router, address);
    if (host != NULL)
        host->state.asked = asked;
}

bool host_has_asked(struct router *router, const struct sockaddr_storage *address)
{
    const struct host_memory *host = host_find(router, address);
    return host != NULL && host->state.asked;
}

void host_lost(struct router *router, const struct sockaddr_storage *address, int64_t opened_ns, bool told,
               const struct config_site *settings)
{
    struct host_memory *host = host_touch(router, address);
    int64_t now_ns = router->now.mono_ns;
    if (host == NULL)
        return;
    struct host_state *state = &host->state;
    if (state->lost_at_ns == 0)
        state->lost_at_ns = now_ns;
    if (!told && opened_ns >= state->lost_last_ns) { /* else it fell with others */
        state->lost_last_ns = now_ns;
        state->losses++;
    }
    if (state->losses > HOST_LOSSES_MAX || now_ns - state->lost_at_ns >= HOST_LOST_AGAIN_MS * NS_PER_MS)
        host_failed(router, address, settings);
}

bool host_works(struct router *router, const struct sockaddr_storage *address)
{
    struct host_memory *host = host_find(router, address);
    if (host == NULL)
        return false;
    bool had_failed = host->state.failures != 0 || host->state.dead_until_ns != 0;
    host->state.failures = 0;
    host->state.dead_until_ns = 0;
    host->state.lost_at_ns = host->state.lost_last_ns = 0;
    host->state.losses = 0;
    return had_failed;
}

bool host_get(struct router *router, const struct sockaddr_storage *address, struct host_state *state)
{
    const struct host_memory *host = host_find(router, address);
    if (host != NULL)
        *state = host->state;
    return host != NULL;
}

void host_set(struct router *router, const struct sockaddr_storage *address, const struct host_state *state)
{
    struct host_memory *host = host_touch(router, address);
    if (host != NULL)
        host->state = *state;
}

int64_t host_dead_until_ns(struct router *router, const struct sockaddr_storage *address)
{
    struct host_memory *host = host_find(router, address);
    return host != NULL && host->state.dead_until_ns > router->now.mono_ns ? host->state.dead_until_ns : 0;
}

void host_set_plain(struct router *router, const struct sockaddr_storage *address)
{
    struct host_memory *host = host_touch(router, address);
    if (host != NULL)
        host->state.plain_until_ns = router->now.mono_ns + HOST_PLAIN_MS * NS_PER_MS;
}

bool host_is_plain(struct router *router, const struct sockaddr_storage *address)
{
    struct host_memory *host = host_find(router, address);
    return host != NULL && host->state.plain_until_ns > router->now.mono_ns;
}

void host_set_by_data(struct router *router, const struct sockaddr_storage *address)
{
    struct host_memory *host = host_touch(router, address);
    if (host != NULL)
        host->state.by_data_until_ns = router->now.mono_ns + HOST_BY_DATA_MS * NS_PER_MS;
}

bool host_is_by_data(struct router *router, const struct sockaddr_storage *address)
{
    struct host_memory *host = host_find(router, address);
    return host != NULL && host->state.by_data_until_ns > router->now.mono_ns;
}

void host_forget_all(struct router *router)
{
    struct host_memory *host, *next;
    HASH_ITER(hh, router->hosts, host, next)
    {
        HASH_DEL(router->hosts, host);
        free(host);
    }
}
