/* pack.c - the window of an upload, on the caller's thread: recipients as they come, then, sorted by domain,
 * in batches as they will lie on disk. The writer has only to put in lane numbers and to copy. */
#include "queue/admit.h"

#include <errno.h>
#include <stdlib.h>

/* The domain's entry in the window, made at its first recipient. */
static struct window_domain *domain_of(struct window *window, struct str name)
{
    struct window_domain *domain = window->domain_n == 1 ? window->list[0] : NULL;
    if (domain != NULL && str_eq(domain->name, name))
        return domain;
    HASH_FIND(hh, window->domains, name.p, name.n, domain);
    if (domain != NULL)
        return domain;
    domain = arena_alloc(&window->names, sizeof *domain);
    *domain = (struct window_domain){.name = arena_copy(&window->names, name),
                                     .number = (uint32_t)window->domain_n};
    if (window->domain_n == 1) /* a table is made for two, so that a job of one recipient has none */
        HASH_ADD_KEYPTR(hh, window->domains, window->list[0]->name.p, window->list[0]->name.n,
                        window->list[0]);
    if (window->domain_n > 0)
        HASH_ADD_KEYPTR(hh, window->domains, domain->name.p, domain->name.n, domain);
    window->list =
        mem_grow(window->list, &window->domain_cap, window->domain_n + 1, sizeof(struct window_domain *));
    window->list[window->domain_n++] = domain;
    return domain;
}

static bool rcpt_check(const struct rcpt_spec *rcpt, size_t size, struct err *err)
{
    if (rcpt->domain.n == 0 || rcpt->domain.n > DOMAIN_MAX)
        return err_set(err, 0, "the recipient's domain has %zu bytes; 1 to %d are possible", rcpt->domain.n,
                       DOMAIN_MAX);
    if (rcpt->to.n == 0 || rcpt->to.n > ADDRESS_MAX)
        return err_set(err, 0, "the recipient's address has %zu bytes; 1 to %d are possible", rcpt->to.n,
                       ADDRESS_MAX);
    if (size > RCPT_RECORD_MAX)
        return err_set(err, 0, "the recipient takes %zu bytes with its variables; at most %d are possible",
                       size, RCPT_RECORD_MAX);
    return true;
}

bool admit_add(struct admit *admit, const struct rcpt_spec *rcpt, struct err *err)
{
    struct window *window = &admit->window;
    struct rcpt_record record = {.to = rcpt->to,
                                 .id = rcpt->id,
                                 .orcpt = rcpt->orcpt,
                                 .metadata = rcpt->metadata,
                                 .vars = rcpt->vars,
                                 .notify = rcpt->notify};
    if (admit->posted) {
        window_clear(window);
        admit->posted = false;
    }
    size_t size = rcpt_record_size(&record), offset = window->bytes.len;
    if (!rcpt_check(rcpt, size, err))
        return false;
    if (window->rcpt_n >= ADMIT_WINDOW_RCPTS)
        return err_set(err, ENOMEM, "no room for another recipient in the window; it must be posted first");
    if (!rcpt_record_encode(&record, &window->bytes) ||
        !mem_try_grow(&window->rcpts, &window->rcpt_cap, window->rcpt_n + 1, sizeof *window->rcpts)) {
        window->bytes.len = offset;
        window->bytes.failed = false;
        return err_set(err, ENOMEM, "no memory for another recipient");
    }
    struct window_domain *domain = domain_of(window, rcpt->domain);
    domain->count++;
    window->rcpts[window->rcpt_n++] =
        (struct window_rcpt){.domain = domain->number, .offset = (uint32_t)offset, .size = (uint32_t)size};
    admit->count++;
    return true;
}

bool admit_window_full(const struct admit *admit)
{
    const struct window *window = &admit->window;
    return window->bytes.len >= ADMIT_WINDOW_MAX || window->rcpt_n >= ADMIT_WINDOW_RCPTS;
}

/* Indexes of the recipients, those of a domain together and in the order they came: a counting sort. */
static uint32_t *sorted(struct window *window)
{
    uint32_t place = 0, *order = calloc(window->rcpt_n + 1, sizeof *order);
    if (order == NULL)
        return NULL;
    for (size_t n = 0; n < window->domain_n; n++) {
        window->list[n]->next = place;
        place += window->list[n]->count;
    }
    for (size_t n = 0; n < window->rcpt_n; n++)
        order[window->list[window->rcpts[n].domain]->next++] = (uint32_t)n;
    return order;
}

/* How many recipients from order[from] on fit one value; at least 1. Counts their groups and bytes. */
static size_t batch_extent(const struct window *window, const uint32_t *order, size_t from,
                           struct packed_batch *batch)
{
    size_t n = 0, size = BATCH_HEAD_SIZE;
    uint16_t groups = 0;
    while (from + n < window->rcpt_n && n < BATCH_SLOTS_MAX) {
        const struct window_rcpt *rcpt = &window->rcpts[order[from + n]];
        bool group = n == 0 || rcpt->domain != window->rcpts[order[from + n - 1]].domain;
        size_t more = rcpt->size + (group ? BATCH_GROUP_SIZE : 0U);
        if (n > 0 && size + more > VALUE_MAX)
            break;
        size += more;
        groups = (uint16_t)(groups + group);
        n++;
    }
    batch->slots = (uint16_t)n;
    batch->groups = groups;
    batch->size = size;
    batch->parts = (uint16_t)((size + VALUE_MAX - 1) / VALUE_MAX);
    batch->suppressed_n = 0;
    batch->suppressed = (struct slot_set){0};
    return n;
}

/* The groups: lane 0 for now, and whose lane it will be in window.order. False: no memory. */
static bool groups_put(struct window *window, const uint32_t *order, size_t from,
                       const struct packed_batch *batch, uint8_t *at)
{
    struct batch_group group = {0};
    uint32_t domain = 0;
    for (uint16_t slot = 0; slot < batch->slots; slot++) {
        uint32_t number = window->rcpts[order[from + slot]].domain;
        if (slot == 0 || number != domain) {
            if (slot > 0) {
                batch_group_put(at, group);
                at += BATCH_GROUP_SIZE;
            }
            domain = number;
            group = (struct batch_group){.first = slot};
            if (!mem_try_grow(&window->order, &window->order_cap, window->order_n + 1, sizeof *window->order))
                return false;
            window->order[window->order_n++] = number;
        }
        group.count++;
    }
    batch_group_put(at, group);
    return true;
}

static bool batch_pack(struct admit *admit, const uint32_t *order, size_t from, struct packed_batch *batch)
{
    struct window *window = &admit->window;
    uint64_t before = admit->count - window->rcpt_n;
    uint8_t *at = (uint8_t *)buf_room(&window->packed, batch->size);
    if (at == NULL ||
        !mem_try_grow(&window->batches, &window->batch_cap, window->batch_n + 1, sizeof *window->batches))
        return false;
    batch->offset = window->packed.len;
    batch->first_domain = window->order_n;
    batch->batch = admit->row.batches++;
    batch_head_put(at, batch->parts, before + from, batch->slots, batch->groups);
    if (!groups_put(window, order, from, batch, at + BATCH_HEAD_SIZE))
        return false;
    at += BATCH_HEAD_SIZE + (size_t)batch->groups * BATCH_GROUP_SIZE;
    for (uint16_t slot = 0; slot < batch->slots; slot++) {
        const struct window_rcpt *rcpt = &window->rcpts[order[from + slot]];
        memcpy(at, window->bytes.data + rcpt->offset, rcpt->size);
        at += rcpt->size;
        if (rcpt->suppressed) {
            slot_set_add(&batch->suppressed, slot);
            batch->suppressed_n++;
        }
    }
    window->packed.len += batch->size;
    window->batches[window->batch_n++] = *batch;
    return true;
}

bool window_pack(struct admit *admit)
{
    struct window *window = &admit->window;
    uint32_t *order = sorted(window);
    bool ok = order != NULL;
    for (size_t from = 0; ok && from < window->rcpt_n;) {
        struct packed_batch batch;
        size_t n = batch_extent(window, order, from, &batch);
        ok = batch_pack(admit, order, from, &batch);
        from += n;
    }
    free(order);
    return ok;
}

void window_clear(struct window *window)
{
    HASH_CLEAR(hh, window->domains);
    arena_reset(&window->names);
    buf_clear(&window->bytes);
    buf_clear(&window->packed);
    window->domain_n = window->rcpt_n = window->checked = window->batch_n = window->order_n = 0;
}

void window_free(struct window *window)
{
    window_clear(window);
    arena_free(&window->names);
    buf_free(&window->bytes);
    buf_free(&window->packed);
    free(window->list);
    free(window->rcpts);
    free(window->batches);
    free(window->order);
}
