/* filter.c - see filter.h. */
#include "queue/filter.h"

#include <stdlib.h>

static int lane_cmp(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

void filter_lanes_find(const struct env *env, MDB_txn *txn, struct str domain, struct filter_lanes *lanes)
{
    uint8_t from[KEY_LANE_NAME];
    MDB_val key = {sizeof from, from}, value;
    MDB_cursor *cursor;
    *lanes = (struct filter_lanes){0};
    if (domain.n == 0 || mdb_cursor_open(txn, env->dbi[T_LANE_NAMES], &cursor) != 0)
        return;
    key_lane_name(str_hash(domain), 0, 0, from);
    lanes->known = true;
    int rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    for (; rc == 0 && key.mv_size == KEY_LANE_NAME && memcmp(key.mv_data, from, 8) == 0;
         rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        enum job_class class_;
        struct str tenant, pool, name;
        if (!lane_name_decode(str_make(value.mv_data, value.mv_size), &class_, &tenant, &pool, &name) ||
            !str_eq(name, domain))
            continue;
        lanes->known = lanes->n < FILTER_LANES_MAX;
        if (!lanes->known)
            break;
        lanes->list[lanes->n++] = get_be32((const uint8_t *)key.mv_data + 16);
    }
    mdb_cursor_close(cursor);
    qsort(lanes->list, lanes->n, sizeof *lanes->list, lane_cmp);
}

bool filter_lanes_next(const struct filter_lanes *lanes, uint32_t *lane)
{
    size_t low = 0, high = lanes->n;
    if (!lanes->known)
        return true;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (lanes->list[middle] < *lane)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == lanes->n)
        return false;
    *lane = lanes->list[low];
    return true;
}

/* Part by part, as the key sorts: where one is past what the pattern names, the part before it moves on. */
bool filter_status_next(const struct store_filter *filter, uint32_t *status)
{
    const struct status_pattern *pattern = &filter->status;
    if (!filter->has_status)
        return true;
    struct status at = status_of_number(*status);
    unsigned class_ = at.class_, subject = at.subject, detail = at.detail;
    if (pattern->detail >= 0 && detail > (unsigned)pattern->detail) {
        subject++;
        detail = 0;
    }
    if (pattern->detail >= 0)
        detail = (unsigned)pattern->detail;
    if (pattern->subject >= 0 && subject != (unsigned)pattern->subject) {
        class_ += subject > (unsigned)pattern->subject;
        subject = (unsigned)pattern->subject;
        detail = pattern->detail >= 0 ? (unsigned)pattern->detail : 0;
    }
    if (pattern->class_ >= 0 && class_ != (unsigned)pattern->class_) {
        if (class_ > (unsigned)pattern->class_)
            return false;
        class_ = (unsigned)pattern->class_;
        subject = pattern->subject >= 0 ? (unsigned)pattern->subject : 0;
        detail = pattern->detail >= 0 ? (unsigned)pattern->detail : 0;
    }
    uint64_t number = (uint64_t)class_ << 24 | (uint64_t)subject << 12 | detail;
    if (subject > 0xfff || number > UINT32_MAX)
        return false;
    *status = (uint32_t)number;
    return true;
}

bool filter_status(const struct store_filter *filter, struct status status)
{
    return !filter->has_status || status_matches(filter->status, status);
}

static int domain_cmp(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

bool filter_lane(const struct store_filter *filter, const struct lane_row *lane)
{
    return (filter->tenant.n == 0 || str_eq(filter->tenant, lane->tenant)) &&
           (filter->domain.n == 0 || str_eq(filter->domain, lane->domain)) &&
           (filter->domains == NULL || bsearch(&lane->domain, filter->domains, filter->domain_count,
                                               sizeof lane->domain, domain_cmp) != NULL);
}

bool filter_job(const struct store_filter *filter, uint64_t id, const struct job_row *job)
{
    return (filter->job == 0 || filter->job == id) &&
           (filter->tenant.n == 0 || str_eq(filter->tenant, job->tenant)) &&
           (filter->campaign.n == 0 || str_eq(filter->campaign, job->campaign)) &&
           (filter->accepted_before_ms == 0 || job->created_ms < filter->accepted_before_ms) &&
           job->created_ms >= filter->accepted_after_ms;
}

void filter_copy(struct store_filter *to, const struct store_filter *from, struct arena *strings)
{
    struct str *domains = from->domain_count > 0 ? reserve_must(from->domain_count * sizeof *domains) : NULL;
    QUEUE_ASSERT((from->domains == NULL) == (from->domain_count == 0));
    *to = *from;
    to->tenant = arena_copy(strings, from->tenant);
    to->campaign = arena_copy(strings, from->campaign);
    to->domain = arena_copy(strings, from->domain);
    for (size_t i = 0; i < from->domain_count; i++)
        domains[i] = arena_copy(strings, from->domains[i]);
    to->domains = domains;
}

void filter_free(struct store_filter *filter)
{
    free((struct str *)(uintptr_t)filter->domains);
    filter->domains = NULL;
}
