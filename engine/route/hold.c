/* hold.c - see hold.h. First what is pure, then the list. */
#include "engine/route/hold.h"

#include "engine/base/codec.h"
#include "engine/base/inbox.h"
#include "engine/base/log.h"
#include "engine/base/reserve.h"
#include "engine/route/handover.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define VERSION 1

const char *hold_kind_name(enum hold_kind kind)
{
    static const char *const names[] = {"", "fix", "job", "sender", "suspension"};
    return names[kind];
}

/* ---- matching ---- */

static bool field_matches(struct str asked, struct str is)
{
    return asked.p == NULL || (is.p != NULL && str_eq_nocase(asked, is));
}

static bool hold_matches(const struct hold_filter *what, const struct hold_filter *subject)
{
    return (what->job == 0 || what->job == subject->job) && field_matches(what->tenant, subject->tenant) &&
           field_matches(what->campaign, subject->campaign) && field_matches(what->domain, subject->domain) &&
           field_matches(what->site, subject->site) && field_matches(what->sender, subject->sender);
}

const struct hold *hold_find(const struct hold_set *set, const struct hold_filter *subject)
{
    for (unsigned i = 0; set != NULL && i < set->count; i++)
        if (hold_matches(&set->list[i]->what, subject))
            return set->list[i];
    return NULL;
}

bool hold_is_of_lane(const struct hold *hold, struct str tenant, struct str domain, struct str site)
{
    const struct hold_filter *what = &hold->what;
    return field_matches(what->tenant, tenant) && field_matches(what->domain, domain) &&
           field_matches(what->site, site);
}

static struct str copy_to(char **at, struct str s)
{
    struct str copy = str_make(*at, s.n);
    if (s.n > 0)
        memcpy(*at, s.p, s.n);
    *at += s.n;
    return copy;
}

struct store_except *hold_of_lane(const struct hold_set *set, struct str tenant, struct str domain,
                                  struct str site)
{
    unsigned count = 0;
    size_t bytes = 0;
    for (unsigned i = 0; set != NULL && i < set->count; i++) {
        const struct hold_filter *what = &set->list[i]->what;
        if (!hold_is_of_lane(set->list[i], tenant, domain, site))
            continue;
        count++;
        bytes += what->campaign.n + what->sender.n;
    }
    if (count == 0)
        return NULL;
    struct store_except *except = store_except_create(count, bytes);
    char *at = (char *)&except->list[count];
    unsigned n = 0;
    for (unsigned i = 0; i < set->count && n < count; i++) {
        const struct hold_filter *what = &set->list[i]->what;
        if (!hold_is_of_lane(set->list[i], tenant, domain, site))
            continue;
        struct store_held *held = &except->list[n++];
        held->job = what->job;
        held->campaign = copy_to(&at, what->campaign);
        if (what->sender.p != NULL)
            held->sender = copy_to(&at, what->sender);
        except->all |= what->job == 0 && what->campaign.n == 0 && what->sender.p == NULL;
    }
    return except;
}

static void add_option(struct buf *out, const char *name, struct str value)
{
    if (value.p != NULL)
        buf_printf(out, " --%s %.*s", name, value.n > 0 ? (int)value.n : 2, value.n > 0 ? value.p : "''");
}

void hold_remedy(const struct hold *hold, struct buf *out)
{
    const struct hold_filter *what = &hold->what;
    buf_add_z(out, "postrider resume");
    add_option(out, "tenant", what->tenant);
    add_option(out, "campaign", what->campaign);
    if (what->job != 0)
        buf_printf(out, " --job %" PRIu64, what->job);
    add_option(out, "sender", what->sender);
    add_option(out, "domain", what->domain);
    add_option(out, "site", what->site);
}

/* ---- on disk ---- */

/* What is not set is told from what is empty. */
static void add_field(struct buf *out, struct str s)
{
    buf_add_char(out, s.p != NULL);
    if (s.p != NULL)
        buf_add_field(out, s);
}

static struct str read_set_field(struct reader *r)
{
    return read_u8(r) != 0 ? read_field(r) : (struct str){0};
}

bool hold_encode(const struct hold *hold, struct buf *out)
{
    buf_add_char(out, VERSION);
    buf_add_varint(out, hold->kind);
    buf_add_varint(out, hold->what.job);
    add_field(out, hold->what.tenant);
    add_field(out, hold->what.campaign);
    add_field(out, hold->what.domain);
    add_field(out, hold->what.site);
    add_field(out, hold->what.sender);
    buf_add_varint(out, (uint64_t)hold->since_ms);
    buf_add_varint(out, (uint64_t)hold->until_ms);
    buf_add_varint(out, hold->code);
    buf_add_varint(out, status_number(hold->status));
    buf_add_field(out, hold->reply);
    buf_add_field(out, hold->rule);
    return buf_add_field(out, hold->source);
}

bool hold_decode(struct str row, struct hold *hold)
{
    struct reader r = reader_of(row.p, row.n);
    *hold = (struct hold){0};
    if (read_u8(&r) != VERSION)
        return false;
    uint64_t kind = read_varint(&r);
    hold->kind = (enum hold_kind)kind;
    hold->what.job = read_varint(&r);
    hold->what.tenant = read_set_field(&r);
    hold->what.campaign = read_set_field(&r);
    hold->what.domain = read_set_field(&r);
    hold->what.site = read_set_field(&r);
    hold->what.sender = read_set_field(&r);
    hold->since_ms = (int64_t)read_varint(&r);
    hold->until_ms = (int64_t)read_varint(&r);
    hold->code = (uint16_t)read_varint(&r);
    hold->status = status_of_number((uint32_t)read_varint(&r));
    hold->reply = read_field(&r);
    hold->rule = read_field(&r);
    hold->source = read_field(&r);
    return !r.bad && kind >= HOLD_FIX && kind <= HOLD_SUSPENSION;
}

/* ---- the list ---- */

/* A hold with its row and its name in the store behind it. */
struct kept {
    struct hold hold;
    _Atomic unsigned refs; /* of sets */
    char name[32];
    char row[];
};

struct holds {
    struct store *store; /* NULL: nothing is written down, in tests */
    struct inbox *const *inboxes;
    unsigned workers;
    pthread_mutex_t lock;
    struct hold_set *set;
    unsigned asked; /* holds_end_jobs: where to go on */
};

static enum policy_kind policy_of(enum hold_kind kind)
{
    return kind == HOLD_SUSPENSION ? POLICY_SUSPENSION : POLICY_HOLD;
}

/* Its row is in the buf. NULL: no memory. */
static struct kept *kept_create(struct buf *row)
{
    struct kept *kept = row->failed ? NULL : malloc(sizeof *kept + row->len);
    if (kept == NULL)
        return NULL;
    memcpy(kept->row, row->data, row->len);
    atomic_init(&kept->refs, 0);
    if (!hold_decode(str_make(kept->row, row->len), &kept->hold)) {
        free(kept);
        return NULL;
    }
    const struct hold_filter *what = &kept->hold.what;
    uint64_t digest = what->job;
    const struct str fields[] = {what->tenant, what->campaign, what->domain, what->site, what->sender};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        digest = digest * 31 + str_hash(fields[i]) + (fields[i].p != NULL);
    snprintf(kept->name, sizeof kept->name, "%s %016" PRIx64, hold_kind_name(kept->hold.kind), digest);
    return kept;
}

static struct kept *kept_of(const struct hold *hold)
{
    return (struct kept *)(uintptr_t)hold; /* it is the first in it */
}

static void kept_unref(struct kept *kept)
{
    if (atomic_fetch_sub(&kept->refs, 1) == 1)
        free(kept);
}

static struct hold_set *set_create(unsigned room, uint64_t generation)
{
    struct hold_set *set = calloc(1, sizeof *set + room * sizeof set->list[0]);
    if (set == NULL)
        return NULL;
    atomic_init(&set->refs, 1);
    set->generation = generation;
    return set;
}

static void set_add(struct hold_set *set, struct kept *kept)
{
    atomic_fetch_add(&kept->refs, 1);
    set->list[set->count++] = &kept->hold;
}

void hold_set_unref(struct hold_set *set)
{
    if (set == NULL || atomic_fetch_sub(&set->refs, 1) > 1)
        return;
    for (unsigned i = 0; i < set->count; i++)
        kept_unref(kept_of(set->list[i]));
    free(set);
}

struct hold_set *holds_get(struct holds *holds)
{
    pthread_mutex_lock(&holds->lock);
    struct hold_set *set = holds->set;
    atomic_fetch_add(&set->refs, 1);
    pthread_mutex_unlock(&holds->lock);
    return set;
}

/* Under the lock. Each worker hears, and before what the caller does next: the word waits for memory
 * (reserve.h). One that asked the store by the list of before would stand. */
static void set_publish(struct holds *holds, struct hold_set *set)
{
    hold_set_unref(holds->set);
    holds->set = set;
    for (unsigned i = 0; i < holds->workers; i++) {
        struct inbox_node *node = reserve_must(sizeof *node);
        *node = (struct inbox_node){.kind = HANDOVER_HOLDS};
        inbox_post(holds->inboxes[i], node);
    }
}

/* ---- rows: posted under the lock, so that their order is that of the changes ---- */

static void rows_post(struct holds *holds, struct edits *edits, edits_done *done, void *user)
{
    if (holds->store != NULL && edits != NULL && edits_count(edits) > 0)
        store_edit(holds->store, edits, done, user);
    else
        edits_free(edits);
}

/* False: no memory. */
static bool row_add(struct holds *holds, struct edits **edits, const struct kept *kept, struct str row)
{
    if (*edits != NULL && edits_count(*edits) == EDITS_MAX) {
        rows_post(holds, *edits, NULL, NULL);
        *edits = NULL;
    }
    if (*edits == NULL)
        *edits = edits_create();
    return *edits != NULL && edits_policy(*edits, policy_of(kept->hold.kind), str_of(kept->name), row);
}

/* ---- adding ---- */

/* Where one of the same mail stands; count: nowhere. */
static unsigned find_same(const struct hold_set *set, const struct kept *kept)
{
    unsigned at = 0;
    while (at < set->count && strcmp(kept_of(set->list[at])->name, kept->name) != 0)
        at++;
    return at;
}

static bool ends_later(const struct hold *hold, const struct hold *other)
{
    return other->until_ms != 0 && (hold->until_ms == 0 || hold->until_ms > other->until_ms);
}

static enum holds_result add_kept(struct holds *holds, struct kept *kept)
{
    const struct hold_set *old = holds->set;
    unsigned same = find_same(old, kept);
    if (same < old->count && !ends_later(&kept->hold, old->list[same]))
        return HOLDS_SAME;
    if (same == old->count && old->count >= HOLDS_MAX)
        return HOLDS_FULL;
    struct hold_set *set = set_create(old->count + 1, old->generation + 1);
    if (set == NULL)
        return HOLDS_FAILED;
    for (unsigned i = 0; i < old->count; i++)
        if (i != same)
            set_add(set, kept_of(old->list[i]));
    set_add(set, kept);
    set_publish(holds, set);
    return HOLDS_ADDED;
}

enum holds_result holds_add(struct holds *holds, const struct hold *hold, edits_done *done, void *user)
{
    enum holds_result result = HOLDS_FAILED;
    struct edits *edits = NULL;
    struct buf row;
    buf_init(&row, POLICY_VALUE_MAX);
    hold_encode(hold, &row);
    struct kept *kept = kept_create(&row);
    if (kept != NULL) {
        atomic_fetch_add(&kept->refs, 1);
        pthread_mutex_lock(&holds->lock);
        if (row_add(holds, &edits, kept, buf_str(&row)))
            result = add_kept(holds, kept);
        if (result == HOLDS_ADDED)
            rows_post(holds, edits, done, user);
        else
            edits_free(edits);
        pthread_mutex_unlock(&holds->lock);
        kept_unref(kept);
    }
    buf_free(&row);
    return result;
}

/* ---- ending ---- */

/* Keeps those that `keeps` says; returns how many went. */
static unsigned holds_filter(struct holds *holds, bool (*keeps)(const struct hold *hold, void *user),
                             void *of, edits_done *done, void *user)
{
    struct edits *edits = NULL;
    pthread_mutex_lock(&holds->lock);
    const struct hold_set *old = holds->set;
    struct hold_set *set = set_create(old->count, old->generation + 1);
    unsigned gone = 0;
    for (unsigned i = 0; set != NULL && i < old->count; i++) {
        const struct hold *hold = old->list[i];
        /* Without room for its row's end it stays: a restart would bring it back. */
        if (!keeps(hold, of) && row_add(holds, &edits, kept_of(hold), STR("")))
            gone++;
        else
            set_add(set, kept_of(hold));
    }
    if (gone > 0)
        set_publish(holds, set);
    else
        hold_set_unref(set);
    rows_post(holds, edits, done, user);
    pthread_mutex_unlock(&holds->lock);
    return gone;
}

struct release {
    const struct hold_filter *filter;
    bool all;
};

static bool keeps_unreleased(const struct hold *hold, void *user)
{
    const struct release *release = user;
    const struct hold_filter *f = release->filter, *what = &hold->what;
    return !release->all &&
           ((f->job != 0 && f->job != what->job) || !field_matches(f->tenant, what->tenant) ||
            !field_matches(f->campaign, what->campaign) || !field_matches(f->domain, what->domain) ||
            !field_matches(f->site, what->site) || !field_matches(f->sender, what->sender));
}

unsigned holds_release(struct holds *holds, const struct hold_filter *filter, bool all, edits_done *done,
                       void *user)
{
    return holds_filter(holds, keeps_unreleased, &(struct release){filter, all}, done, user);
}

struct expiry {
    int64_t now_ms, next_ms;
};

static bool keeps_unexpired(const struct hold *hold, void *user)
{
    struct expiry *expiry = user;
    if (hold->until_ms != 0 && hold->until_ms <= expiry->now_ms)
        return false;
    if (hold->until_ms != 0 && hold->until_ms < expiry->next_ms)
        expiry->next_ms = hold->until_ms;
    return true;
}

unsigned holds_expire(struct holds *holds, int64_t now_ms, int64_t *next_ms)
{
    struct expiry expiry = {now_ms, INT64_MAX};
    unsigned gone = holds_filter(holds, keeps_unexpired, &expiry, NULL, NULL);
    *next_ms = expiry.next_ms;
    return gone;
}

struct over {
    uint64_t jobs[HOLDS_ASKED];
    unsigned n;
};

static bool keeps_going(const struct hold *hold, void *user)
{
    const struct over *over = user;
    for (unsigned i = 0; i < over->n; i++)
        if (hold->what.job == over->jobs[i])
            return false;
    return true;
}

unsigned holds_end_jobs(struct holds *holds, bool (*is_over)(uint64_t job, void *user), void *user)
{
    struct hold_set *set = holds_get(holds);
    struct over over = {.n = 0};
    unsigned asked = 0;
    for (unsigned i = 0; i < set->count && asked < HOLDS_ASKED; i++) {
        const struct hold *hold = set->list[holds->asked++ % set->count];
        if (hold->what.job == 0)
            continue;
        asked++;
        if (is_over(hold->what.job, user))
            over.jobs[over.n++] = hold->what.job;
    }
    hold_set_unref(set);
    return over.n > 0 ? holds_filter(holds, keeps_going, &over, NULL, NULL) : 0;
}

static bool load_one(struct str name, struct str value, void *user)
{
    struct holds *holds = user;
    struct buf row;
    buf_init(&row, POLICY_VALUE_MAX);
    buf_add_str(&row, value);
    struct kept *kept = kept_create(&row);
    buf_free(&row);
    if (kept == NULL) {
        log_error("a hold on mail (%.*s) cannot be read from the store, and is not in force", STR_ARG(name));
        return true;
    }
    atomic_fetch_add(&kept->refs, 1);
    add_kept(holds, kept);
    kept_unref(kept);
    return true;
}

struct holds *holds_create(struct store *store, struct inbox *const *inboxes, unsigned workers)
{
    struct holds *holds = calloc(1, sizeof *holds);
    if (holds == NULL || (holds->set = set_create(0, 0)) == NULL) {
        free(holds);
        return NULL;
    }
    pthread_mutex_init(&holds->lock, NULL);
    holds->store = store;
    if (store != NULL) {
        query_policy(store, POLICY_HOLD, load_one, holds);
        query_policy(store, POLICY_SUSPENSION, load_one, holds);
    }
    holds->inboxes = inboxes;
    holds->workers = workers;
    return holds;
}

void holds_destroy(struct holds *holds)
{
    if (holds == NULL)
        return;
    hold_set_unref(holds->set);
    pthread_mutex_destroy(&holds->lock);
    free(holds);
}
