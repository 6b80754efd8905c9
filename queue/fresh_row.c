/* fresh_row.c - a small job as one row: all that its application needs.
 *
 * version u8, job be64, flags u8, job row (field), domains (count, fields), domain number of each group
 * (count, varints), batch: slots, groups, parts (varints), bytes (field); a bit a slot (32 bytes) where some
 * are suppressed; with a key: hash, digest (32 bytes each), ttl varint, answer (field); content (field). Lane
 * numbers in the batch mean nothing here: a crash
 * may have given them to others. */
#include "queue/admit.h"
#include "queue/fresh.h"

#include <stdlib.h>

enum { HAS_KEY = 1, HAS_SUPPRESSED = 2 };

bool fresh_row_encode(const struct admit *admit, struct buf *out)
{
    const struct window *window = &admit->window;
    const struct packed_batch *batch = &window->batches[0];
    struct buf row;
    uint8_t job[8];
    buf_init(&row, VALUE_MAX);
    put_be64(job, admit->job);
    buf_add_char(out, ROW_VERSION);
    buf_add(out, job, sizeof job);
    buf_add_char(out,
                 (char)((admit->key.set ? HAS_KEY : 0) | (batch->suppressed_n > 0 ? HAS_SUPPRESSED : 0)));
    job_row_encode(&admit->row, &row);
    buf_add_field(out, buf_str(&row));
    out->failed |= row.failed;
    buf_free(&row);
    buf_add_varint(out, window->domain_n);
    for (size_t n = 0; n < window->domain_n; n++)
        buf_add_field(out, window->list[n]->name);
    buf_add_varint(out, window->order_n);
    for (size_t n = 0; n < window->order_n; n++)
        buf_add_varint(out, window->order[n]);
    buf_add_varint(out, batch->slots);
    buf_add_varint(out, batch->groups);
    buf_add_varint(out, batch->parts);
    buf_add_field(out, str_make(window->packed.data + batch->offset, batch->size));
    if (batch->suppressed_n > 0)
        buf_add(out, batch->suppressed.bits, sizeof batch->suppressed.bits);
    if (admit->key.set) {
        buf_add(out, admit->key.key_hash, sizeof admit->key.key_hash);
        buf_add(out, admit->key.digest, sizeof admit->key.digest);
        buf_add_varint(out, (uint64_t)admit->key.ttl_ms);
        buf_add_field(out, admit->key.answer);
    }
    buf_add_field(out, str_make(admit->content, admit->row.content_size));
    return !out->failed;
}

static void strings_copy(struct admit *admit)
{
    struct job_row *row = &admit->row;
    row->tenant = arena_copy(&admit->strings, row->tenant);
    row->campaign = arena_copy(&admit->strings, row->campaign);
    row->pool = arena_copy(&admit->strings, row->pool);
    row->from = arena_copy(&admit->strings, row->from);
    row->envid = arena_copy(&admit->strings, row->envid);
    row->metadata = arena_copy(&admit->strings, row->metadata);
}

static bool window_read(struct reader *r, struct window *window)
{
    uint64_t domains = read_varint(r);
    for (uint64_t n = 0; n < domains && !r->bad; n++) {
        struct window_domain *domain = arena_alloc(&window->names, sizeof *domain);
        *domain =
            (struct window_domain){.name = arena_copy(&window->names, read_field(r)), .number = (uint32_t)n};
        window->list =
            mem_grow(window->list, &window->domain_cap, window->domain_n + 1, sizeof *window->list);
        window->list[window->domain_n++] = domain;
    }
    uint64_t order = read_varint(r);
    for (uint64_t n = 0; n < order && !r->bad; n++) {
        uint64_t number = read_varint(r);
        r->bad |= number >= domains;
        window->order =
            mem_grow(window->order, &window->order_cap, window->order_n + 1, sizeof *window->order);
        window->order[window->order_n++] = (uint32_t)number;
    }
    struct packed_batch batch = {.slots = (uint16_t)read_varint(r)};
    batch.groups = (uint16_t)read_varint(r);
    batch.parts = (uint16_t)read_varint(r);
    struct str bytes = read_field(r);
    struct batch head;
    batch.size = bytes.n;
    r->bad |= !batch_decode_head(bytes, &head) || head.slots != batch.slots || head.groups != batch.groups ||
              head.parts != batch.parts || batch.groups != order ||
              (bytes.n + VALUE_MAX - 1) / VALUE_MAX != batch.parts || !buf_add_str(&window->packed, bytes);
    window->batches = mem_grow(window->batches, &window->batch_cap, 1, sizeof *window->batches);
    window->batches[window->batch_n++] = batch;
    return !r->bad;
}

static void suppressed_read(struct reader *r, struct packed_batch *batch)
{
    struct str bits = read_bytes(r, sizeof batch->suppressed.bits);
    if (r->bad)
        return;
    memcpy(batch->suppressed.bits, bits.p, bits.n);
    for (unsigned slot = 0; slot_set_next(&batch->suppressed, &slot); slot++)
        batch->suppressed_n++;
}

static void key_read(struct reader *r, struct admit *admit)
{
    struct str hash = read_bytes(r, 32), digest = read_bytes(r, 32);
    admit->key.set = hash.n == 32 && digest.n == 32;
    if (admit->key.set) {
        memcpy(admit->key.key_hash, hash.p, 32);
        memcpy(admit->key.digest, digest.p, 32);
    }
    admit->key.ttl_ms = (int64_t)read_varint(r);
    admit->key.answer = arena_copy(&admit->strings, read_field(r));
}

struct admit *fresh_row_decode(struct store *store, struct str row)
{
    struct reader r = reader_of(row.p, row.n);
    uint8_t version = read_u8(&r);
    struct str job = read_bytes(&r, 8);
    uint8_t flags = read_u8(&r);
    struct str fields = read_field(&r);
    struct admit *admit = reserve_must(sizeof *admit);
    *admit = (struct admit){.store = store, .final = true, .posted = true};
    atomic_init(&admit->references, 1);
    buf_init(&admit->window.bytes, 0);
    buf_init(&admit->window.packed, row.n);
    bool ok = version == ROW_VERSION && job.n == 8 && job_row_decode(fields, &admit->row) &&
              window_read(&r, &admit->window);
    if (ok && (flags & HAS_SUPPRESSED))
        suppressed_read(&r, &admit->window.batches[0]);
    if (ok && (flags & HAS_KEY))
        key_read(&r, admit);
    struct str content = read_field(&r);
    ok = ok && !r.bad && r.at == r.end && content.n == admit->row.content_size;
    if (!ok) {
        admit_unref(admit);
        return NULL;
    }
    admit->job = get_be64((const uint8_t *)job.p);
    admit->alone = admit->row.own_content;
    strings_copy(admit);
    admit->count = admit->window.batches[0].slots;
    admit->suppressed = admit->window.batches[0].suppressed_n;
    admit->content = reserve_must(content.n + 1);
    memcpy(admit->content, content.p, content.n);
    return admit;
}
