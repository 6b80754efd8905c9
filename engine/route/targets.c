/* targets.c - see targets.h. */
#include "engine/route/targets.h"

#include "engine/route/host.h"
#include "engine/route/pool.h"
#include "engine/route/secure.h"
#include "engine/route/tally.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

/* Of one host: its addresses, then, where that is of interest, its TLSA records. */
struct question {
    struct dns_query query;
    struct targets *targets;
    unsigned host;
    struct tlsa_set *tlsa; /* NULL: none that count */
};

#define TARGETS_MAX (MX_HOSTS_MAX * 4)

struct targets {
    struct pool *pool;
    struct target *list; /* of the tiers asked so far, by preference; room for `room`, at most TARGETS_MAX */
    unsigned count, room, turn;
    unsigned tier_end; /* hosts [0, tier_end) were asked for */
    unsigned asking;
    bool failed_for_now;     /* a host's addresses could not be had, though it may have some */
    struct verdict *missing; /* the last host that has no address; NULL: none such */
    int64_t expires_ns;
    struct question questions[]; /* one a host */
};

void targets_set_port(struct sockaddr_storage *address, unsigned port)
{
    if (address->ss_family == AF_INET6)
        ((struct sockaddr_in6 *)address)->sin6_port = htons((uint16_t)port);
    else if (address->ss_family == AF_INET)
        ((struct sockaddr_in *)address)->sin_port = htons((uint16_t)port);
}

/* A route's host may have one of its own. */
static uint16_t target_port(const struct pool *pool, unsigned host)
{
    uint16_t own = pool->hosts->hosts[host].port;
    return own ? own : pool->port;
}

static void target_add(struct targets *targets, unsigned host, const struct dns_address *address)
{
    if (targets->count == targets->room) {
        unsigned room = targets->room ? 2 * targets->room : 2; /* mostly one address, or one of each family */
        struct target *list = room <= TARGETS_MAX ? realloc(targets->list, room * sizeof *list) : NULL;
        if (list == NULL) {
            targets->failed_for_now = true; /* the others serve */
            return;
        }
        targets->list = list;
        targets->room = room;
    }
    struct target *target = &targets->list[targets->count++];
    memset(target, 0, sizeof *target); /* whole: host memory compares the bytes */
    target->host = host;
    target->len = address->len;
    memcpy(&target->address, &address->address, address->len);
    targets_set_port(&target->address, target_port(targets->pool, host));
}

static void targets_failed(struct targets *targets, unsigned host, enum dns_status status, const char *reason)
{
    struct verdict why;
    bool for_now = status == DNS_FAILED;
    targets->failed_for_now |= for_now;
    verdict_local(&why, SCOPE_HOST, for_now ? STATUS(4, 4, 3) : STATUS(5, 4, 4),
                  "the mail host %s has no address: %s", targets->pool->hosts->hosts[host].name, reason);
    if (for_now) {
        pool_target_failed(targets->pool, &why);
        return;
    }
    if (targets->missing == NULL)
        targets->missing = malloc(sizeof *targets->missing);
    if (targets->missing != NULL)
        *targets->missing = why;
}

static void question_over(struct question *question, int64_t expires_ns)
{
    struct targets *targets = question->targets;
    targets->asking--;
    if (expires_ns < targets->expires_ns)
        targets->expires_ns = expires_ns;
    if (targets->asking == 0)
        pool_touch(targets->pool);
}

/* All is known of the host that DNS says. */
static void targets_judge(struct targets *targets, unsigned host, enum dane_verdict dane,
                          struct tlsa_set *tlsa, const char *reason)
{
    struct pool *pool = targets->pool;
    struct verdict why;
    int64_t until_ns = 0;
    if (secure_refuses(pool, host, dane, reason, &why)) {
        until_ns = INT64_MAX; /* until all of it is asked anew */
        pool_target_failed(pool, &why);
        tally_refusal(pool, pool->hosts->hosts[host].name, dane);
    }
    for (unsigned i = 0; i < targets->count; i++) {
        struct target *target = &targets->list[i];
        if (target->host != host)
            continue;
        target->refused_until_ns = until_ns;
        target->dane = dane;
        target->tlsa = tlsa;
    }
}

static void targets_heard_tlsa(struct dns_query *query, const struct dns_records *answer)
{
    struct question *question = (struct question *)(void *)query;
    enum dane_verdict dane = secure_read_tlsa(answer, &question->tlsa);
    targets_judge(question->targets, question->host, dane, question->tlsa, answer->reason);
    question_over(question, answer->expires_ns);
}

/* RFC 7672 2.2.3: the records of a port stand under "_25._tcp." and the host's name. */
static void targets_ask_tlsa(struct question *question)
{
    struct targets *targets = question->targets;
    struct router *router = targets->pool->path->router;
    char name[DOMAIN_MAX + 16];
    int n = snprintf(name, sizeof name, "_%u._tcp.%s", target_port(targets->pool, question->host),
                     targets->pool->hosts->hosts[question->host].name);
    question->query.records = targets_heard_tlsa;
    dns_ask_records(router->dns, &question->query, DNS_RECORDS_TLSA, str_make(name, (size_t)n), router->now);
}

static void targets_answered(struct dns_query *query, const struct dns_addresses *answer)
{
    struct question *question = (struct question *)(void *)query;
    struct targets *targets = question->targets;
    if (answer->status == DNS_OK) {
        for (unsigned i = 0; i < answer->count; i++)
            target_add(targets, question->host, &answer->list[i]);
        if (secure_wants_tlsa(targets->pool, answer)) {
            if (answer->expires_ns < targets->expires_ns)
                targets->expires_ns = answer->expires_ns;
            targets_ask_tlsa(question);
            return;
        }
        targets_judge(targets, question->host, DANE_ABSENT, NULL, "");
    } else {
        targets_failed(targets, question->host, answer->status, answer->reason);
    }
    question_over(question, answer->expires_ns);
}

bool targets_read_literal(const char *name, struct dns_address *address)
{
    *address = (struct dns_address){.len = 0};
    struct sockaddr_un *path = (struct sockaddr_un *)&address->address;
    struct sockaddr_in *v4 = (struct sockaddr_in *)&address->address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address->address;
    if (inet_pton(AF_INET, name, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        address->len = sizeof *v4;
    } else if (inet_pton(AF_INET6, name, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        address->len = sizeof *v6;
    } else if (strncmp(name, "unix:", 5) == 0) {
        path->sun_family = AF_UNIX;
        snprintf(path->sun_path, sizeof path->sun_path, "%s", name + 5);
        address->len = sizeof *path;
    }
    return address->len > 0;
}

static bool targets_literal(struct targets *targets, unsigned host)
{
    struct dns_address address;
    if (!targets_read_literal(targets->pool->hosts->hosts[host].name, &address))
        return false;
    target_add(targets, host, &address);
    targets_judge(targets, host, DANE_ABSENT, NULL, "");
    return true;
}

/* Asks for the hosts of the next preference, in random order, so that equal ones are shuffled. */
static void targets_ask_tier(struct targets *targets)
{
    struct router *router = targets->pool->path->router;
    const struct dns_mx *hosts = targets->pool->hosts;
    unsigned begin = targets->tier_end, end = begin;
    while (end < hosts->host_count && hosts->hosts[end].preference == hosts->hosts[begin].preference)
        end++;
    targets->tier_end = end;
    unsigned order[MX_HOSTS_MAX];
    for (unsigned i = begin; i < end; i++) {
        unsigned j = begin + (unsigned)prng_below(&router->prng, i - begin + 1);
        order[i] = order[j];
        order[j] = i;
    }
    for (unsigned i = begin; i < end; i++) {
        unsigned host = order[i];
        if (targets_literal(targets, host))
            continue;
        struct question *question = &targets->questions[host];
        *question = (struct question){.targets = targets, .host = host, .query.addresses = targets_answered};
        targets->asking++;
        dns_ask_addresses(router->dns, &question->query, str_of(hosts->hosts[host].name), router->now);
    }
}

bool targets_busy(const struct targets *targets)
{
    return targets != NULL && targets->asking > 0;
}

void targets_free(struct targets *targets)
{
    if (targets == NULL)
        return;
    for (unsigned i = 0; i < targets->pool->hosts->host_count; i++) {
        dns_cancel(&targets->questions[i].query);
        tlsa_set_unref(targets->questions[i].tlsa);
    }
    free(targets->list);
    free(targets->missing);
    free(targets);
}

const struct verdict *targets_missing(const struct targets *targets)
{
    return targets != NULL && targets->count == 0 && !targets->failed_for_now ? targets->missing : NULL;
}

bool targets_have_asked(const struct targets *targets)
{
    bool asked = false;
    for (unsigned i = 0; targets != NULL && i < targets->count; i++)
        asked |= host_has_asked(targets->pool->path->router, &targets->list[i].address);
    return asked;
}

static struct targets *targets_fresh(struct pool *pool)
{
    struct targets *targets = pool->targets;
    if (targets != NULL && (targets->asking > 0 || targets->expires_ns > pool->path->router->now.mono_ns))
        return targets;
    targets_free(targets);
    targets = pool->targets =
        calloc(1, sizeof *targets + pool->hosts->host_count * sizeof targets->questions[0]);
    if (targets == NULL)
        return NULL;
    targets->pool = pool;
    targets->expires_ns = pool->path->router->now.mono_ns + POOL_LINGER_MS * NS_PER_MS;
    return targets;
}

/* 0, or until when nothing goes there. */
static int64_t target_dead_until_ns(struct router *router, const struct target *target)
{
    int64_t dead_ns = host_dead_until_ns(router, &target->address);
    if (target->refused_until_ns > router->now.mono_ns && target->refused_until_ns > dead_ns)
        return target->refused_until_ns;
    return dead_ns;
}

bool targets_refuse(struct pool *pool, const struct sockaddr_storage *address, unsigned failures)
{
    struct targets *targets = pool->targets;
    struct router *router = pool->path->router;
    const struct config_site *settings = pool->path->settings;
    int64_t now_ns = router->now.mono_ns,
            delay_ms = retry_pause_ms(settings->dead_host_delay_ms, settings->dead_host_delay_max_ms,
                                      failures, &router->prng);
    bool news = false;
    for (unsigned i = 0; targets != NULL && i < targets->count; i++) {
        struct target *target = &targets->list[i];
        if (target->refused_until_ns > now_ns || memcmp(&target->address, address, sizeof *address) != 0)
            continue;
        target->refused_until_ns = now_ns + delay_ms * NS_PER_MS;
        news = true;
    }
    return news;
}

/* Counts the live addresses of the best tier that has one, and where that tier begins and ends in the list.
 */
static unsigned targets_live(struct targets *targets, unsigned *begin, unsigned *end, int64_t *until_ns)
{
    struct router *router = targets->pool->path->router;
    const struct dns_mx *hosts = targets->pool->hosts;
    *until_ns = INT64_MAX;
    for (*begin = 0; *begin < targets->count; *begin = *end) {
        unsigned live = 0;
        uint16_t preference = hosts->hosts[targets->list[*begin].host].preference;
        for (*end = *begin;
             *end < targets->count && hosts->hosts[targets->list[*end].host].preference == preference;
             ++*end) {
            int64_t dead_ns = target_dead_until_ns(router, &targets->list[*end]);
            if (dead_ns == 0)
                live++;
            else if (dead_ns < *until_ns)
                *until_ns = dead_ns;
        }
        if (live > 0)
            return live;
    }
    return 0;
}

enum targets_answer targets_pick(struct pool *pool, const struct target **target, int64_t *until_ns)
{
    struct router *router = pool->path->router;
    struct targets *targets = targets_fresh(pool);
    *until_ns = router->now.mono_ns + pool->path->settings->dead_host_delay_ms * NS_PER_MS;
    if (targets == NULL)
        return TARGETS_DEAD;
    for (;;) {
        if (targets->asking > 0)
            return TARGETS_ASKING;
        unsigned begin, end;
        int64_t dead_ns;
        unsigned live = targets_live(targets, &begin, &end, &dead_ns);
        if (live > 0) {
            unsigned skip = targets->turn++ % live;
            for (unsigned i = begin; i < end; i++) {
                if (target_dead_until_ns(router, &targets->list[i]) != 0)
                    continue;
                if (skip-- == 0) {
                    *target = &targets->list[i];
                    return TARGETS_FOUND;
                }
            }
        }
        if (targets->tier_end == pool->hosts->host_count) {
            if (dead_ns != INT64_MAX)
                *until_ns = dead_ns;
            return TARGETS_DEAD;
        }
        targets_ask_tier(targets);
    }
}
