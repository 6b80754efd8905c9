/* query_held.c - how many recipients of a lane are held, for people: walks its rows, as the taker does. */
#include "queue/query.h"
#include "queue/read.h"

struct held {
    struct read read;
    uint32_t lane;
    const struct store_except *except;
    struct held_count *counts;
};

/* Which of the list holds the job; NULL: none. */
static struct held_count *count_of(struct held *held, uint64_t job)
{
    const struct job_row *row = read_job(&held->read, job);
    for (unsigned i = 0; row != NULL && i < held->except->count; i++)
        if (store_held_matches(&held->except->list[i], job, row->campaign, row->from))
            return &held->counts[i];
    return NULL;
}

static void count_ready(struct held *held, struct str key, struct str value)
{
    const uint8_t *bytes = (const uint8_t *)key.p;
    struct held_count *count = count_of(held, get_be64(bytes + 4));
    struct ready_row row;
    if (count == NULL || !ready_row_decode(value, &row))
        return;
    struct str slots = read_slots(&held->read, get_be64(bytes + 4), get_be32(bytes + 12));
    for (unsigned n = row.first; n < (unsigned)row.first + row.count; n++) {
        enum rcpt_state state;
        count->ready += read_state(slots, (uint16_t)n, &state) && state == RCPT_READY;
    }
}

static void count_due(struct held *held, struct str key, struct str value)
{
    struct held_count *count = count_of(held, get_be64((const uint8_t *)key.p + 12));
    struct slot_set set;
    if (count == NULL || !slot_set_decode(value, &set))
        return;
    for (unsigned slot = 0; slot_set_next(&set, &slot); slot++)
        count->deferred++;
}

static void walk(struct held *held, enum table table, size_t key_size,
                 void (*count)(struct held *held, struct str key, struct str value))
{
    MDB_cursor *cursor;
    struct str key, value;
    uint8_t from[KEY_LANE];
    key_lane(held->lane, from);
    bool more = read_cursor(&held->read, table, &cursor) &&
                read_seek(&held->read, cursor, from, sizeof from, &key, &value);
    for (; more && key.n == key_size && get_be32((const uint8_t *)key.p) == held->lane;
         more = read_move(&held->read, cursor, MDB_NEXT, &key, &value))
        count(held, key, value);
}

void query_lane_held(struct store *store, uint32_t lane, const struct store_except *except,
                     struct held_count *counts)
{
    struct held held = {.lane = lane, .except = except, .counts = counts};
    for (unsigned i = 0; i < except->count; i++)
        counts[i] = (struct held_count){0};
    if (!read_begin_all(&held.read, store))
        return;
    walk(&held, T_READY, KEY_READY, count_ready);
    walk(&held, T_DUE, KEY_DUE, count_due);
    read_end(&held.read);
}
