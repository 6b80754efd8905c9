/* learnt.c - see learnt.h. */
#include "engine/route/learnt.h"

#include "engine/base/clock.h"
#include "engine/base/codec.h"
#include "engine/limits.h"

#define VERSION 1
#define DAY_NS  (24 * 3600 * NS_PER_S)

/* ---- fading ---- */

/* How often `recovery_ms` has passed since from_ms, as a factor of SCALE: 2 to that power, straight between
 * whole ones. */
#define SCALE       1024
#define DOUBLED_MAX 30

static int64_t grown(int64_t from_ms, int64_t recovery_ms, int64_t now_ms)
{
    if (now_ms <= from_ms)
        return SCALE;
    int64_t times = (now_ms - from_ms) / recovery_ms, rest_ms = (now_ms - from_ms) % recovery_ms;
    if (times >= DOUBLED_MAX)
        return (int64_t)SCALE << DOUBLED_MAX;
    return (SCALE + rest_ms * SCALE / recovery_ms) << times;
}

static int64_t interval_now(const struct learnt *learnt, int64_t recovery_ms, int64_t now_ms)
{
    return learnt->interval_ns * SCALE / grown(learnt->slow_from_ms, recovery_ms, now_ms);
}

static uint64_t cap_now(const struct learnt *learnt, int64_t recovery_ms, int64_t now_ms)
{
    if (learnt->cap == 0)
        return 0;
    return (uint64_t)learnt->cap * (uint64_t)grown(learnt->cap_from_ms, recovery_ms, now_ms) / SCALE;
}

bool learnt_look(struct learnt *learnt, unsigned max_connections, int64_t recovery_ms, int64_t now_ms,
                 struct learnt_now *now)
{
    *now = (struct learnt_now){.stopped = learnt->stopped_ms != 0};
    if (learnt->interval_ns != 0)
        now->interval_ns = interval_now(learnt, recovery_ms, now_ms);
    if (now->interval_ns * SLOW_OVER <= learnt->before_ns)
        now->interval_ns = learnt->interval_ns = learnt->before_ns = 0;
    uint64_t cap = cap_now(learnt, recovery_ms, now_ms);
    if (cap >= max_connections && now_ms > learnt->cap_from_ms)
        learnt->cap = 0;
    else
        now->cap = (uint32_t)cap;
    if (learnt->rcpts_until_ms > now_ms)
        now->rcpts_max = learnt->rcpts_max;
    if (learnt->messages_until_ms > now_ms)
        now->messages_max = learnt->messages_max;
    if (learnt->pause_until_ms > now_ms)
        now->pause_until_ms = learnt->pause_until_ms;
    now->tls_only = learnt->tls_until_ms > now_ms;
    return now->stopped || now->pause_until_ms != 0 || now->interval_ns != 0 || now->cap != 0 ||
           now->rcpts_max != 0 || now->messages_max != 0 || now->tls_only;
}

/* ---- learning ---- */

void learnt_slow(struct learnt *learnt, int64_t interval_ns, int64_t least_ns, int64_t for_ms,
                 int64_t recovery_ms, int64_t now_ms)
{
    int64_t allowed_ns = learnt->interval_ns ? interval_now(learnt, recovery_ms, now_ms) : 0;
    if (interval_ns == 0)
        interval_ns = SLOW_UNKNOWN_MS * NS_PER_MS / 2;
    if (learnt->before_ns == 0)
        learnt->before_ns = interval_ns;
    interval_ns = 2 * (interval_ns > allowed_ns ? interval_ns : allowed_ns);
    if (interval_ns > SLOW_LEAST_MS * NS_PER_MS)
        interval_ns = SLOW_LEAST_MS * NS_PER_MS;
    if (least_ns > DAY_NS)
        least_ns = DAY_NS;
    learnt->interval_ns = interval_ns > least_ns ? interval_ns : least_ns;
    if (learnt->slow_from_ms < now_ms + for_ms)
        learnt->slow_from_ms = now_ms + for_ms;
}

void learnt_cap(struct learnt *learnt, unsigned connections, int64_t for_ms, int64_t recovery_ms,
                int64_t now_ms)
{
    uint64_t cap = connections > 0 ? connections : 1, before = cap_now(learnt, recovery_ms, now_ms);
    learnt->cap = before > 0 && before < cap ? (uint32_t)before : (uint32_t)cap;
    if (learnt->cap_from_ms < now_ms + for_ms)
        learnt->cap_from_ms = now_ms + for_ms;
}

/* ---- on disk ---- */

static void add_time(struct buf *out, int64_t ms)
{
    buf_add_varint(out, ms > 0 ? (uint64_t)ms : 0);
}

static int64_t read_time(struct reader *r)
{
    uint64_t ms = read_varint(r);
    r->bad |= ms > INT64_MAX;
    return r->bad ? 0 : (int64_t)ms;
}

static uint32_t read_count(struct reader *r)
{
    uint64_t n = read_varint(r);
    r->bad |= n > UINT32_MAX;
    return (uint32_t)n;
}

bool learnt_encode(const struct learnt *learnt, struct str site, struct str source, struct buf *out)
{
    buf_add_char(out, VERSION);
    buf_add_field(out, site);
    buf_add_field(out, source);
    add_time(out, learnt->stopped_ms);
    add_time(out, learnt->pause_until_ms);
    buf_add_varint(out, learnt->pauses);
    add_time(out, learnt->interval_ns);
    add_time(out, learnt->slow_from_ms);
    add_time(out, learnt->before_ns);
    buf_add_varint(out, learnt->cap);
    add_time(out, learnt->cap_from_ms);
    buf_add_varint(out, learnt->rcpts_max);
    buf_add_varint(out, learnt->messages_max);
    add_time(out, learnt->rcpts_until_ms);
    add_time(out, learnt->messages_until_ms);
    add_time(out, learnt->tls_until_ms);
    add_time(out, learnt->since_ms);
    buf_add_varint(out, learnt->code);
    buf_add_varint(out, status_number(learnt->status));
    return buf_add_field(out, str_of(learnt->reason));
}

bool learnt_decode(struct str row, struct learnt *learnt, struct str *site, struct str *source)
{
    struct reader r = reader_of(row.p, row.n);
    *learnt = (struct learnt){0};
    if (read_u8(&r) != VERSION)
        return false;
    *site = read_field(&r);
    *source = read_field(&r);
    learnt->stopped_ms = read_time(&r);
    learnt->pause_until_ms = read_time(&r);
    learnt->pauses = read_count(&r);
    learnt->interval_ns = read_time(&r);
    learnt->slow_from_ms = read_time(&r);
    learnt->before_ns = read_time(&r);
    learnt->cap = read_count(&r);
    learnt->cap_from_ms = read_time(&r);
    learnt->rcpts_max = read_count(&r);
    learnt->messages_max = read_count(&r);
    learnt->rcpts_until_ms = read_time(&r);
    learnt->messages_until_ms = read_time(&r);
    learnt->tls_until_ms = read_time(&r);
    learnt->since_ms = read_time(&r);
    learnt->code = (uint16_t)read_varint(&r);
    learnt->status = status_of_number(read_count(&r));
    struct str reason = read_field(&r);
    size_t n = reason.n < sizeof learnt->reason ? reason.n : sizeof learnt->reason - 1;
    if (n > 0)
        memcpy(learnt->reason, reason.p, n);
    return !r.bad;
}
