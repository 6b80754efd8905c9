/* gather.c - see gather.h. */
#include "engine/report/gather.h"

#include "engine/report/shape.h"

#include <stdlib.h>

bool gather_init(struct gather *gather, const struct config_consumer *wanted, const char *hostname,
                 uint64_t read)
{
    *gather = (struct gather){.wanted = wanted, .hostname = hostname, .read = read};
    buf_init(&gather->text, CONSUMER_BYTES_MAX);
    gather->records = calloc(wanted->batch, sizeof *gather->records);
    gather->texts = calloc(wanted->batch, sizeof *gather->texts);
    return gather->records != NULL && gather->texts != NULL;
}

void gather_free(struct gather *gather)
{
    buf_free(&gather->text);
    free(gather->records);
    free(gather->texts);
}

bool gather_full(const struct gather *gather)
{
    return gather->count == gather->wanted->batch || gather->text.len > CONSUMER_BYTES_MAX / 2;
}

static bool is_wanted(const struct config_consumer *wanted, const struct event *event)
{
    if (wanted->events != 0 && !(wanted->events & 1U << event->type))
        return false;
    for (size_t i = 0; i < wanted->tenants.count; i++)
        if (str_eq(event->tenant, str_of(wanted->tenants.list[i])))
            return true;
    return wanted->tenants.count == 0;
}

static bool visit(const struct event *event, void *user)
{
    struct gather *gather = user;
    gather->missed += event->seq - gather->read - 1;
    gather->read = event->seq;
    gather->seen_ms = event->time_ms;
    if (!is_wanted(gather->wanted, event) ||
        !shape_event(gather->wanted->shape, event, gather->hostname, &gather->text))
        return true;
    gather->records[gather->count++] = (struct gather_record){event->seq, event->time_ms, gather->text.len};
    return !gather_full(gather);
}

bool gather_more(struct gather *gather, struct store *store)
{
    uint64_t before = gather->read;
    if (!gather_full(gather)) {
        uint64_t last = query_events(store, before, visit, gather);
        gather->missed += last - gather->read; /* at the end of what was looked at */
        gather->read = last;
    }
    return gather->read != before;
}

const struct str *gather_texts(struct gather *gather)
{
    for (size_t i = 0, begin = 0; i < gather->count; begin = gather->records[i++].end)
        gather->texts[i] = str_make(gather->text.data + begin, gather->records[i].end - begin);
    return gather->texts;
}

void gather_drop(struct gather *gather, size_t n)
{
    size_t bytes = n > 0 ? gather->records[n - 1].end : 0;
    buf_shift(&gather->text, bytes);
    gather->count -= n;
    memmove(gather->records, gather->records + n, gather->count * sizeof *gather->records);
    for (size_t i = 0; i < gather->count; i++)
        gather->records[i].end -= bytes;
}

uint64_t gather_read(const struct gather *gather, size_t n)
{
    return n < gather->count ? gather->records[n].seq - 1 : gather->read;
}
