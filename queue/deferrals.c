/* deferrals.c - see deferrals.h. */
#include "queue/deferrals.h"

#include "queue/change.h"

/* ---- T_DEFERRED ---- */

static void row_key(const struct fates_row *row, uint16_t top, uint8_t key[RID_KEY_SIZE])
{
    rid_to_key((struct rid){row->job, row->batch, top}, key);
}

static void entries_remove(struct fates *fates, unsigned at, unsigned n)
{
    memmove(fates->slot + at, fates->slot + at + n, (fates->n - at - n) * sizeof *fates->slot);
    memmove(fates->fate + at, fates->fate + at + n, (fates->n - at - n) * sizeof *fates->fate);
    fates->n -= n;
}

/* The first `n` of the open row become rows of their own, the last of them their key; the rest stays. */
static void row_split(struct change *c, unsigned n)
{
    struct deferrals *d = &c->deferrals;
    struct fates *fates = &d->row.fates;
    uint8_t key[RID_KEY_SIZE];
    unsigned rest = fates->n - n;
    fates->n = n;
    for (unsigned from = 0; from < n;) {
        from += fates_encode(fates, from, &c->scratch);
        d->row.from = (uint16_t)(fates->slot[from - 1] + 1);
        row_key(&d->row, fates->slot[from - 1], key);
        change_put_scratch(c, T_DEFERRED, key, sizeof key);
    }
    fates->n = n + rest;
    entries_remove(fates, 0, n);
    d->dirty = true;
}

static void row_write(struct change *c)
{
    struct deferrals *d = &c->deferrals;
    struct fates *fates = &d->row.fates;
    uint8_t key[RID_KEY_SIZE];
    if (d->row.job == 0 || !d->dirty)
        return;
    while (fates->n > 0) {
        unsigned fit = fates_encode(fates, 0, &c->scratch);
        if (fit == fates->n)
            break;
        buf_clear(&c->scratch);
        /* Who comes in order leaves full rows behind; else both halves have room for more. */
        row_split(c, d->appended || fates->n < 2 ? fit : fates->n / 2);
    }
    row_key(&d->row, d->row.top, key);
    if (fates->n > 0)
        change_put_scratch(c, T_DEFERRED, key, sizeof key);
    else if (d->on_disk)
        change_del(c, T_DEFERRED, key, sizeof key);
    d->on_disk = fates->n > 0;
    d->dirty = false;
}

/* Opens the row that holds the slot, or would. Its strings are a copy that lives as long as the change. */
static void row_open(struct change *c, struct rid rid)
{
    struct deferrals *d = &c->deferrals;
    uint8_t key[KEY_MAX], batch[KEY_SLOTS];
    size_t size = RID_KEY_SIZE;
    struct str value;
    if (fates_row_has(&d->row, rid))
        return;
    row_write(c);
    key_slots(rid.job, rid.batch, batch);
    rid_to_key(rid, key);
    d->on_disk =
        change_seek(c, T_DEFERRED, key, &size, &value) && memcmp(key, batch, KEY_SLOTS) == 0 &&
        fates_row_read(&d->row, rid, str_make((const char *)key, size), arena_copy(&c->arena, value));
    d->dirty = d->appended = false;
    if (d->on_disk)
        return;
    d->row.job = rid.job;
    d->row.batch = rid.batch;
    d->row.from = rid.slot;
    d->row.top = FATES_TOP;
    d->row.fates.n = 0;
}

static void row_put(struct change *c, struct rid rid, const struct fate *fate)
{
    struct deferrals *d = &c->deferrals;
    struct fates *fates = &d->row.fates;
    unsigned at;
    row_open(c, rid);
    if (!fates_find(fates, rid.slot, &at)) {
        if (fates->n == FATES_MAX) {
            row_split(c, at == fates->n ? fates->n : fates->n / 2);
            row_open(c, rid); /* where the slot belongs now */
            fates_find(fates, rid.slot, &at);
        }
        d->appended = at == fates->n;
        memmove(fates->slot + at + 1, fates->slot + at, (fates->n - at) * sizeof *fates->slot);
        memmove(fates->fate + at + 1, fates->fate + at, (fates->n - at) * sizeof *fates->fate);
        fates->n++;
        fates->slot[at] = rid.slot;
    }
    fates->fate[at] = *fate;
    d->dirty = true;
}

static void row_drop(struct change *c, struct rid rid)
{
    unsigned at;
    row_open(c, rid);
    if (!fates_find(&c->deferrals.row.fates, rid.slot, &at))
        return;
    entries_remove(&c->deferrals.row.fates, at, 1);
    c->deferrals.dirty = true;
}

bool deferral_load(struct change *c, struct rid rid, struct fate *fate)
{
    unsigned at;
    if (c->rc != 0)
        return false;
    row_open(c, rid);
    bool found = fates_find(&c->deferrals.row.fates, rid.slot, &at);
    if (found)
        *fate = c->deferrals.row.fates.fate[at];
    return found;
}

/* ---- T_DUE and T_BY_STATUS ---- */

static void set_write(struct change *c, struct deferral_set *open)
{
    uint8_t row[SLOT_SET_ROW_MAX];
    if (open->key_size == 0 || !open->dirty)
        return;
    size_t n = slot_set_encode(&open->set, row);
    if (n > 0)
        change_put(c, open->table, open->key, open->key_size, row, n);
    else if (open->on_disk)
        change_del(c, open->table, open->key, open->key_size);
    open->on_disk = n > 0;
    open->dirty = false;
}

static struct slot_set *set_open(struct change *c, enum table table, const uint8_t *key, size_t size)
{
    struct deferrals *d = &c->deferrals;
    struct str row;
    for (unsigned n = 0; n < DEFERRAL_SETS; n++) {
        struct deferral_set *open = &d->sets[n];
        if (open->key_size == size && open->table == table && memcmp(open->key, key, size) == 0) {
            open->dirty = true;
            return &open->set;
        }
    }
    struct deferral_set *open = &d->sets[d->next++ % DEFERRAL_SETS];
    set_write(c, open);
    *open = (struct deferral_set){.table = table, .key_size = size, .dirty = true};
    memcpy(open->key, key, size);
    open->on_disk = change_get(c, table, key, size, &row) && slot_set_decode(row, &open->set);
    return &open->set;
}

static struct slot_set *set_due(struct change *c, struct rid rid, const struct fate *fate)
{
    uint8_t key[KEY_DUE];
    key_due(fate->lane, fate->next_ms, rid, key);
    change_lane(c, fate->lane)->due_changed = true;
    return set_open(c, T_DUE, key, sizeof key);
}

static struct slot_set *set_status(struct change *c, struct rid rid, const struct fate *fate)
{
    uint8_t key[KEY_BY_STATUS];
    key_by_status(status_number(fate->status), fate->lane, rid, key);
    return set_open(c, T_BY_STATUS, key, sizeof key);
}

/* ---- together ---- */

void deferral_put(struct change *c, struct rid rid, const struct fate *old, const struct fate *fate)
{
    if (old != NULL) {
        slot_set_remove(set_due(c, rid, old), rid.slot);
        slot_set_remove(set_status(c, rid, old), rid.slot);
    }
    slot_set_add(set_due(c, rid, fate), rid.slot);
    slot_set_add(set_status(c, rid, fate), rid.slot);
    row_put(c, rid, fate);
}

void deferral_drop(struct change *c, struct rid rid, const struct fate *old)
{
    slot_set_remove(set_due(c, rid, old), rid.slot);
    slot_set_remove(set_status(c, rid, old), rid.slot);
    row_drop(c, rid);
}

void deferrals_flush(struct change *c)
{
    struct deferrals *d = &c->deferrals;
    row_write(c);
    for (unsigned n = 0; n < DEFERRAL_SETS; n++)
        set_write(c, &d->sets[n]);
    deferrals_clear(d);
}

void deferrals_clear(struct deferrals *deferrals)
{
    deferrals->row.job = 0;
    deferrals->dirty = false;
    for (unsigned n = 0; n < DEFERRAL_SETS; n++)
        deferrals->sets[n].key_size = 0;
}
