/* retention.c - see retention.h. The log is looked at once a minute, and once a second while it is too large;
 * whole values go, whose last event has been read. */
#include "queue/retention.h"

#include "engine/base/log.h"
#include "engine/base/units.h"

#include <inttypes.h>
#include <stdio.h>

#define SWEEP_EVERY_MS 60000
#define SWEEP_FULL_MS  1000
#define ROOM_PART      16 /* a log that was too large is swept down to its maximum less this part */

struct floors { /* the slowest cursors */
    uint64_t all;
    uint64_t hard; /* of those that must not miss anything */
    char slowest[NAME_MAX_BYTES + 1];
};

static bool may_miss(const struct store *store, struct str name)
{
    for (size_t i = 0; i < store->settings.dropper_count; i++)
        if (str_eq(name, str_of(store->settings.droppers[i])))
            return true;
    return false;
}

static void floors_find(struct change *c, struct floors *floors)
{
    uint8_t key[KEY_MAX] = {0};
    size_t size = 1;
    struct str row;
    *floors = (struct floors){.all = UINT64_MAX, .hard = UINT64_MAX};
    for (; change_seek(c, T_CURSORS, key, &size, &row); key[size++] = 0) { /* the next key there can be */
        uint64_t seq = row.n == 8 ? get_be64((const uint8_t *)row.p) : UINT64_MAX;
        struct str name = str_make((const char *)key, size);
        if (seq < floors->all)
            floors->all = seq;
        if (seq < floors->hard && !may_miss(c->store, name)) {
            floors->hard = seq;
            snprintf(floors->slowest, sizeof floors->slowest, "%.*s", STR_ARG(name));
        }
    }
}

/* The first value's key, and its row. */
static bool first_value(struct change *c, uint64_t from, uint64_t *first, struct str *row)
{
    uint8_t key[KEY_MAX] = {0};
    size_t size = 8;
    put_be64(key, from);
    if (!change_seek(c, T_EVENTS, key, &size, row))
        return false;
    *first = get_be64(key);
    return true;
}

uint64_t retention_read(struct change *c)
{
    struct floors floors;
    uint64_t first;
    struct str row;
    floors_find(c, &floors);
    if (!first_value(c, 0, &first, &row))
        first = c->event_first;
    return floors.all > first - 1 ? floors.all : first - 1;
}

/* Forgets late events that have been read. */
static void late_trim(struct writer *writer)
{
    unsigned n = 0;
    while (n < writer->late_n && writer->late[n].seq <= writer->events_read)
        n++;
    writer->late_n -= n;
    memmove(writer->late, writer->late + n, writer->late_n * sizeof *writer->late);
}

void retention_late(struct store *store, uint64_t job, uint64_t seq)
{
    struct writer *writer = &store->writer;
    if (writer->late_n == LATE_KNOWN)
        late_trim(writer);
    if (writer->late_n == LATE_KNOWN) {
        writer->late_seq = writer->late[0].seq;
        memmove(writer->late, writer->late + 1, --writer->late_n * sizeof *writer->late);
    }
    writer->late[writer->late_n++] = (struct late){job, seq};
}

bool retention_holds(struct store *store, uint64_t job, uint64_t until)
{
    struct writer *writer = &store->writer;
    late_trim(writer);
    for (unsigned n = 0; n < writer->late_n; n++)
        if (writer->late[n].job == job)
            return true;
    return writer->events_read < until || writer->events_read < writer->late_seq;
}

static uint64_t log_bytes(const struct change *c)
{
    return env_table_bytes(c->env, c->txn, T_EVENTS);
}

static bool is_older(struct str row, int64_t until_ms)
{
    struct event_strings strings;
    struct event_item item;
    struct reader r;
    return !event_value_begin(row, &strings, &r) || !event_item_next(&r, &strings, &item) ||
           item.time_ms <= until_ms;
}

/* The number of the last event of the value that begins with `first`. */
static uint64_t value_end(struct change *c, uint64_t first)
{
    struct str row;
    uint64_t next;
    return first_value(c, first + 1, &next, &row) ? next - 1 : c->event_first - 1;
}

/* Deletes from the front what may go. False: the change was spent before. */
static bool sweep(struct change *c, const struct floors *floors)
{
    const struct store_settings *settings = &c->store->settings;
    int64_t until_ms = c->now.wall_ms - atomic_load(&c->store->retain_ms);
    uint64_t max = settings->events_max, first;
    bool shrinking = max > 0 && log_bytes(c) > max;
    struct str row;
    while (!change_spent(c)) {
        uint8_t key[8];
        if (!first_value(c, 0, &first, &row))
            return true;
        bool older = is_older(row, until_ms);
        uint64_t end = value_end(c, first);
        shrinking = shrinking && log_bytes(c) > max - max / ROOM_PART;
        if (!(older && end <= floors->all) && !(shrinking && end <= floors->hard))
            return true;
        put_be64(key, first);
        change_del(c, T_EVENTS, key, sizeof key);
    }
    return false;
}

/* Admits are refused from here on, or accepted again. */
static void log_full(struct store *store, const struct change *c, const struct floors *floors, bool full)
{
    char size[UNITS_TEXT_MAX];
    size_format(store->settings.events_max, size);
    if (full) {
        struct err words;
        err_set(&words, 0,
                "the event log is full (queue.events_max, %s): the consumer \"%s\" has read up to %" PRIu64
                " of %" PRIu64 "; repair it, or take it out of the configuration",
                size, floors->slowest, floors->hard, c->meta.last_seq);
        pthread_mutex_lock(&store->lock);
        store->log_words = words;
        pthread_mutex_unlock(&store->lock);
    }
    if (full == atomic_load(&store->log_full))
        return;
    if (full)
        log_warn("new jobs are refused: %s", store->log_words.text);
    else
        log_info("the event log is below queue.events_max (%s) again: new jobs are accepted", size);
    atomic_store(&store->log_full, full);
}

void retention_sweep(struct store *store, struct change *c)
{
    struct floors floors;
    uint64_t max = store->settings.events_max;
    floors_find(c, &floors);
    if (!sweep(c, &floors))
        return; /* goes on in the next change */
    bool full = max > 0 && log_bytes(c) > (atomic_load(&store->log_full) ? max - max / ROOM_PART : max);
    /* What no consumer holds is only waiting for its commit. */
    log_full(store, c, &floors, full && floors.hard < c->meta.last_seq);
    store->writer.next_sweep_ms = c->now.wall_ms + (full ? SWEEP_FULL_MS : SWEEP_EVERY_MS);
    store->writer.swept_ms = c->now.wall_ms;
}

void retention_after(struct store *store, const struct change *c)
{
    struct writer *writer = &store->writer;
    int64_t soon_ms = writer->swept_ms + SWEEP_FULL_MS;
    if (store->settings.events_max > 0 && c->log_bytes > store->settings.events_max &&
        writer->next_sweep_ms > soon_ms)
        writer->next_sweep_ms = soon_ms;
    atomic_store(&store->figures.log_bytes, c->log_bytes);
}
