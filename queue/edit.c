/* edit.c - edits on their way: gathered as rows ready to be put, written by the writer, read back; edit.h.
 *
 * What an edit needs is encoded where it is gathered, on the caller's thread, so that the writer only puts
 * rows. Keys and values lie one after another in `bytes`, and edits name them by offset. */
#include "queue/edit.h"

#include "queue/edits.h"
#include "queue/read.h"
#include "queue/retention.h"
#include "queue/suppress.h"

#include <stdlib.h>

#define EDITS_BYTES_MAX (EDITS_MAX * (KEY_MAX + VALUE_MAX))

_Static_assert(1 + POLICY_NAME_MAX <= KEY_MAX, "a policy's key");
_Static_assert(POLICY_VALUE_MAX <= VALUE_MAX, "a policy's value");
_Static_assert(SUPPRESSION_REASON_MAX + NAME_MAX_BYTES + 3 * VARINT_MAX < VALUE_MAX, "a suppression's value");

enum edit_act { EDIT_PUT, EDIT_DELETE, EDIT_EVENT, EDIT_STRIKE };

struct edit_field {
    size_t at, n; /* in bytes */
};

struct edit {
    enum edit_act act;
    enum table table;
    struct edit_field key, value; /* of a row */
    struct edit_field strikes;    /* STRIKE: the key of the count */
    unsigned at;                  /* and what it must come to; the row is put then: */
    bool put;
    int64_t time_ms;
    struct event_item event; /* its strings are set when it is written, from these: */
    struct edit_field site, source, mx, tls, reply;
};

struct edits {
    struct inbox_node node; /* WRITER_EDIT */
    struct edits *next;     /* in the writer's queue */
    bool in_change;
    unsigned count, room, changed;
    struct edit *list;
    struct buf bytes;
    edits_done *done;
    void *user;
};

/* ---- gathering ---- */

struct edits *edits_create(void)
{
    struct edits *edits = calloc(1, sizeof *edits);
    if (edits != NULL)
        buf_init(&edits->bytes, EDITS_BYTES_MAX);
    return edits;
}

void edits_free(struct edits *edits)
{
    if (edits == NULL)
        return;
    buf_free(&edits->bytes);
    free(edits->list);
    free(edits);
}

unsigned edits_count(const struct edits *edits)
{
    return edits->count;
}

static struct edit *edit_room(struct edits *edits)
{
    if (edits->count == EDITS_MAX)
        return NULL;
    if (edits->count == edits->room) {
        unsigned room = edits->room ? edits->room * 2 : 4;
        struct edit *list = realloc(edits->list, room * sizeof *list);
        if (list == NULL)
            return NULL;
        edits->list = list;
        edits->room = room;
    }
    struct edit *edit = &edits->list[edits->count];
    *edit = (struct edit){.act = EDIT_PUT};
    return edit;
}

static struct edit_field field_add(struct edits *edits, struct str s)
{
    struct edit_field field = {edits->bytes.len, s.n};
    buf_add_str(&edits->bytes, s);
    return field;
}

/* Counts the edit that was filled in last, or forgets it where its bytes found no room. */
static bool edit_add(struct edits *edits, size_t before)
{
    if (edits->bytes.failed) {
        edits->bytes.failed = false;
        edits->bytes.len = before;
        return false;
    }
    edits->count++;
    return true;
}

static bool row_add(struct edits *edits, enum edit_act act, enum table table, struct str key,
                    struct str value)
{
    struct edit *edit = edit_room(edits);
    size_t before = edits->bytes.len;
    if (edit == NULL || key.n == 0 || key.n > KEY_MAX || value.n > VALUE_MAX)
        return false;
    edit->act = act;
    edit->table = table;
    edit->key = field_add(edits, key);
    edit->value = field_add(edits, value);
    return edit_add(edits, before);
}

bool edits_policy(struct edits *edits, enum policy_kind kind, struct str name, struct str value)
{
    char key[KEY_MAX] = {(char)kind};
    if (name.n == 0 || name.n > POLICY_NAME_MAX || value.n > POLICY_VALUE_MAX)
        return false;
    memcpy(key + 1, name.p, name.n);
    return row_add(edits, value.n > 0 ? EDIT_PUT : EDIT_DELETE, T_POLICY, str_make(key, 1 + name.n), value);
}

bool edits_cursor(struct edits *edits, struct str name, uint64_t seq)
{
    uint8_t value[8];
    put_be64(value, seq);
    return name.n <= NAME_MAX_BYTES &&
           row_add(edits, EDIT_PUT, T_CURSORS, name, str_make((const char *)value, sizeof value));
}

bool edits_cursor_delete(struct edits *edits, struct str name)
{
    return name.n <= NAME_MAX_BYTES && row_add(edits, EDIT_DELETE, T_CURSORS, name, STR(""));
}

/* ---- suppressions ---- */

/* version, time, reason, source */
bool edits_suppress(struct edits *edits, const struct suppression *suppression)
{
    char key[KEY_MAX];
    size_t n = suppression_row_key(suppression->scope, suppression->address, key);
    if (n == 0 || suppression->reason.n > SUPPRESSION_REASON_MAX || suppression->source.n > NAME_MAX_BYTES)
        return false;
    struct buf row;
    buf_init(&row, VALUE_MAX);
    bool added = buf_add_char(&row, ROW_VERSION) && buf_add_varint(&row, (uint64_t)suppression->added_ms) &&
                 buf_add_field(&row, suppression->reason) && buf_add_field(&row, suppression->source) &&
                 row_add(edits, EDIT_PUT, T_SUPPRESSIONS, str_make(key, n), buf_str(&row));
    buf_free(&row);
    return added;
}

_Static_assert(1 + NAME_MAX_BYTES + 1 + ADDRESS_MAX + 8 <= KEY_MAX, "the key of a count of strikes");

bool edits_strike(struct edits *edits, struct str why, unsigned at, const struct suppression *suppression)
{
    char key[KEY_MAX] = {POLICY_STRIKE};
    size_t before = edits->bytes.len;
    if (!edits_suppress(edits, suppression))
        return false;
    struct edit *edit = &edits->list[edits->count - 1];
    size_t n = edit->key.n;
    memcpy(key + 1, edits->bytes.data + edit->key.at, n);
    put_be64((uint8_t *)key + 1 + n, str_hash(why));
    edit->act = EDIT_STRIKE;
    edit->at = at;
    edit->time_ms = suppression->added_ms;
    edit->strikes = field_add(edits, str_make(key, 1 + n + 8));
    edits->count--;
    return edit_add(edits, before);
}

bool edits_unsuppress(struct edits *edits, struct str scope, struct str address)
{
    char key[KEY_MAX];
    size_t n = suppression_row_key(scope, address, key);
    return row_add(edits, EDIT_DELETE, T_SUPPRESSIONS, str_make(key, n), STR(""));
}

/* ---- events ---- */

bool edits_late_event(struct edits *edits, const struct late_event *event)
{
    struct edit *edit = edit_room(edits);
    size_t before = edits->bytes.len;
    if (edit == NULL || event->mx.n > DOMAIN_MAX || event->reply.n > STORED_REPLY_MAX)
        return false;
    QUEUE_ASSERT(event->type == EVENT_COMPLAINED || event->type == EVENT_BOUNCED_LATE);
    edit->act = EDIT_EVENT;
    edit->event = (struct event_item){.type = event->type,
                                      .form = ITEM_ONE,
                                      .rid = event->rid,
                                      .time_ms = event->time_ms,
                                      .code = event->code,
                                      .status = event->status};
    edit->mx = field_add(edits, event->mx);
    edit->reply = field_add(edits, event->reply);
    return edit_add(edits, before);
}

bool edits_alert(struct edits *edits, struct str site, struct str source, struct str tenant, struct str words,
                 int64_t time_ms)
{
    struct edit *edit = edit_room(edits);
    size_t before = edits->bytes.len;
    if (edit == NULL || site.n > DOMAIN_MAX || source.n > NAME_MAX_BYTES || tenant.n > NAME_MAX_BYTES ||
        words.n > STORED_REPLY_MAX)
        return false;
    edit->act = EDIT_EVENT;
    edit->event = (struct event_item){.type = EVENT_ALERT, .form = ITEM_ONE, .time_ms = time_ms};
    edit->site = field_add(edits, site);
    edit->source = field_add(edits, source);
    edit->tls = field_add(edits, tenant); /* where an alert's tenant stands: record.h */
    edit->reply = field_add(edits, words);
    return edit_add(edits, before);
}

/* ---- the writer ---- */

void store_edit(struct store *store, struct edits *edits, edits_done *done, void *user)
{
    edits->done = done;
    edits->user = user;
    edits->node.kind = WRITER_EDIT;
    if (!atomic_load(&store->writer_gone)) {
        inbox_post(store->writer_inbox, &edits->node);
        return;
    }
    if (done != NULL)
        done(EDIT_STOPPING, 0, user);
    edits_free(edits);
}

void edits_init(struct writer *writer)
{
    writer->edits_tail = &writer->edits;
}

void edits_collect(struct writer *writer, struct inbox_node *node)
{
    struct edits *edits = (struct edits *)(void *)node;
    edits->next = NULL;
    *writer->edits_tail = edits;
    writer->edits_tail = &edits->next;
}

static struct str field_of(const struct edits *edits, struct edit_field field)
{
    return str_make(field.n > 0 ? edits->bytes.data + field.at : "", field.n);
}

/* False: its recipient was purged while it was posted, and nobody could tell any more of whom it speaks. */
static bool event_write(struct edits *edits, struct edit *edit, struct change *c)
{
    bool is_alert = edit->event.type == EVENT_ALERT;
    uint8_t key[KEY_BATCH];
    struct str row;
    key_batch(edit->event.rid.job, edit->event.rid.batch, 0, key); /* the job's own row is the last to go */
    if (!is_alert && !change_get(c, T_BATCHES, key, sizeof key, &row))
        return false;
    edit->event.site = field_of(edits, edit->site);
    edit->event.source = field_of(edits, edit->source);
    edit->event.mx = field_of(edits, edit->mx);
    edit->event.tls = field_of(edits, edit->tls);
    edit->event.reply = field_of(edits, edit->reply);
    change_event(c, &edit->event);
    if (!is_alert)
        retention_late(c->store, edit->event.rid.job, c->meta.last_seq);
    c->rows++;
    return true;
}

/* Of rows that no reply adds to any more, the one behind this: each strike takes one away, so that they do
 * not become ever more. */
static void strike_sweep(struct str from, int64_t now_ms, struct change *c)
{
    uint8_t key[KEY_MAX];
    size_t size = from.n;
    struct str row;
    memcpy(key, from.p, from.n);
    key[size++] = 0;
    if (!change_seek(c, T_POLICY, key, &size, &row) || key[0] != POLICY_STRIKE)
        return;
    struct reader r = reader_of(row.p, row.n);
    read_varint(&r);
    if ((int64_t)read_varint(&r) + STRIKE_MS < now_ms)
        change_del(c, T_POLICY, key, size);
}

/* Counts; true: it is enough, and the count is over. */
static bool strike_write(struct edits *edits, const struct edit *edit, struct change *c)
{
    struct str key = field_of(edits, edit->strikes), row;
    uint8_t value[2 * VARINT_MAX];
    uint64_t count = 1;
    if (change_get(c, T_POLICY, key.p, key.n, &row)) {
        struct reader r = reader_of(row.p, row.n);
        uint64_t before = read_varint(&r);
        if ((int64_t)read_varint(&r) + STRIKE_MS >= edit->time_ms)
            count += before;
    }
    if (count >= edit->at) {
        change_del(c, T_POLICY, key.p, key.n);
        return true;
    }
    size_t n = put_varint(value, count);
    n += put_varint(value + n, (uint64_t)edit->time_ms);
    change_put(c, T_POLICY, key.p, key.n, value, n);
    strike_sweep(key, edit->time_ms, c);
    return false;
}

static void edits_put(struct edits *edits, struct change *c)
{
    edits->changed = 0;
    for (unsigned n = 0; n < edits->count; n++) {
        struct edit *edit = &edits->list[n];
        struct str key = field_of(edits, edit->key), value = field_of(edits, edit->value), old;
        edit->put = edit->act == EDIT_PUT || (edit->act == EDIT_STRIKE && strike_write(edits, edit, c));
        if (edit->act == EDIT_EVENT) {
            edits->changed += event_write(edits, edit, c);
        } else if (edit->act == EDIT_DELETE) {
            edits->changed += change_del(c, edit->table, key.p, key.n);
        } else if (edit->put && (!change_get(c, edit->table, key.p, key.n, &old) || !str_eq(old, value))) {
            change_put(c, edit->table, key.p, key.n, value.p, value.n);
            edits->changed++;
        }
    }
}

void edits_write(struct writer *writer, struct change *c)
{
    unsigned before = c->rows;
    if (writer->edits == NULL)
        return;
    for (struct edits *edits = writer->edits; edits != NULL; edits = edits->next) {
        if (edits != writer->edits && change_spent(c))
            break;
        edits->in_change = true;
        edits_put(edits, c);
    }
    change_beside(c, c->rows - before);
    if (c->rc == 0)
        writer->suppressions = env_entries(c->env, c->txn, T_SUPPRESSIONS);
}

static bool is_suppression(const struct edit *edit)
{
    return edit->put && edit->table == T_SUPPRESSIONS;
}

/* What was committed, for those who read without a transaction; and word to the workers of whom they shall
 * not send to. */
static void suppressions_told(struct store *store, const struct edits *list)
{
    size_t count = 0, size = 0;
    for (const struct edits *edits = list; edits != NULL; edits = edits->next)
        for (unsigned n = 0; n < edits->count; n++)
            if (is_suppression(&edits->list[n])) {
                count++;
                size += edits->list[n].key.n;
            }
    suppress_committed(store, store->writer.suppressions, count > 0);
    for (unsigned worker = 0; count > 0 && worker < store->settings.workers; worker++) {
        struct store_suppressed_msg *msg = suppress_msg(count, size);
        for (const struct edits *edits = list; edits != NULL; edits = edits->next)
            for (unsigned n = 0; n < edits->count; n++)
                if (is_suppression(&edits->list[n]))
                    suppress_msg_add(msg, field_of(edits, edits->list[n].key));
        inbox_post(store->workers[worker], &msg->node);
    }
}

struct edits *edits_take(struct store *store, bool committed)
{
    struct writer *writer = &store->writer;
    struct edits *taken = writer->edits, **end = &taken;
    bool begun = taken != NULL && taken->in_change;
    if (taken == NULL || (committed && !begun))
        return NULL;
    while (*end != NULL && ((*end)->in_change || !begun)) /* a change that could not even begin refuses all */
        end = &(*end)->next;
    writer->edits = *end;
    *end = NULL;
    if (writer->edits == NULL)
        writer->edits_tail = &writer->edits;
    if (committed)
        suppressions_told(store, taken);
    return taken;
}

void edits_complete(struct edits *list, enum edit_result result)
{
    for (struct edits *next; list != NULL; list = next) {
        next = list->next;
        if (list->done != NULL)
            list->done(result, result == EDIT_OK ? list->changed : 0, list->user);
        edits_free(list);
    }
}

/* ---- reading ---- */

void query_policy(struct store *store, enum policy_kind kind, policy_visit *visit, void *user)
{
    struct read read;
    MDB_cursor *cursor;
    struct str key, value;
    uint8_t from = (uint8_t)kind;
    if (!read_begin(&read, store))
        return;
    bool more = read_cursor(&read, T_POLICY, &cursor) && read_seek(&read, cursor, &from, 1, &key, &value);
    while (more && (uint8_t)key.p[0] == from && visit(str_make(key.p + 1, key.n - 1), value, user))
        more = read_move(&read, cursor, MDB_NEXT, &key, &value);
    read_end(&read);
}

bool query_cursor(struct store *store, struct str name, uint64_t *seq)
{
    struct read read;
    struct str value;
    if (name.n == 0 || name.n > NAME_MAX_BYTES || !read_begin(&read, store))
        return false;
    bool found = read_get(&read, T_CURSORS, name.p, name.n, &value) && value.n == 8;
    if (found)
        *seq = get_be64((const uint8_t *)value.p);
    read_end(&read);
    return found;
}

void query_cursors(struct store *store, cursor_visit *visit, void *user)
{
    struct read read;
    MDB_cursor *cursor;
    struct str key, value;
    if (!read_begin(&read, store))
        return;
    bool more = read_cursor(&read, T_CURSORS, &cursor) && read_move(&read, cursor, MDB_FIRST, &key, &value);
    while (more && (value.n != 8 || visit(key, get_be64((const uint8_t *)value.p), user)))
        more = read_move(&read, cursor, MDB_NEXT, &key, &value);
    read_end(&read);
}
