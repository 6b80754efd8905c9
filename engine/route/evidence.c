/* evidence.c - see evidence.h. */
#include "engine/route/evidence.h"

#include "engine/base/codec.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define VERSION  1
#define SAVE_MAX 200 /* rows in one go */

bool evidence_add(struct evidence_window *window, bool bad)
{
    if (window->seen >= JOB_HOLD_WINDOW) { /* older ones count for less and less */
        window->seen /= 2;
        window->bad /= 2;
    }
    window->seen++;
    window->bad += bad;
    return window->bad >= JOB_HOLD_REPLIES && window->bad * JOB_HOLD_SHARE >= window->seen;
}

/* ---- the table ---- */

/* In the order of their last complaint. */
struct pair {
    UT_hash_handle hh;
    struct evidence_window window;
    int64_t last_ms;
    bool dirty;
    size_t key_size;
    char key[]; /* eight bytes of job, then the site's name */
};

struct evidence_table {
    pthread_mutex_t lock;
    struct pair *pairs;
    struct pair *gone; /* their rows are to be deleted; linked by hh.next */
};

#define KEY_ROOM (sizeof(uint64_t) + DOMAIN_MAX)

static size_t pair_key(char key[KEY_ROOM], struct str site, uint64_t job)
{
    size_t n = site.n < DOMAIN_MAX ? site.n : DOMAIN_MAX;
    memcpy(key, &job, sizeof job);
    memcpy(key + sizeof job, site.p, n);
    return sizeof job + n;
}

static struct pair *pair_find(struct evidence_table *table, const char *key, size_t size)
{
    struct pair *pair;
    HASH_FIND(hh, table->pairs, key, size, pair);
    return pair;
}

static void pair_out(struct evidence *evidence, struct pair *pair)
{
    struct evidence_table *table = evidence->table;
    HASH_DEL(table->pairs, pair);
    atomic_fetch_sub_explicit(&evidence->count, 1, memory_order_relaxed);
    pair->hh.next = table->gone;
    table->gone = pair;
}

static uint64_t pair_job(const struct pair *pair)
{
    uint64_t job;
    memcpy(&job, pair->key, sizeof job);
    return job;
}

static void pair_mark(struct evidence *evidence, const struct pair *pair)
{
    uint64_t job = pair_job(pair);
    atomic_fetch_or_explicit(&evidence->jobs[job % EVIDENCE_BITS / 64], UINT64_C(1) << (job % 64),
                             memory_order_relaxed);
}

/* Some went: bits that are nobody's any more go. Under the lock. */
static void pairs_mark(struct evidence *evidence)
{
    uint64_t jobs[EVIDENCE_BITS / 64] = {0};
    for (const struct pair *pair = evidence->table->pairs; pair != NULL; pair = pair->hh.next) {
        uint64_t job = pair_job(pair);
        jobs[job % EVIDENCE_BITS / 64] |= UINT64_C(1) << (job % 64);
    }
    for (size_t i = 0; i < sizeof jobs / sizeof *jobs; i++)
        atomic_store_explicit(&evidence->jobs[i], jobs[i], memory_order_relaxed);
}

static bool pair_put(struct evidence *evidence, struct pair *pair)
{
    struct evidence_table *table = evidence->table;
    if (HASH_COUNT(table->pairs) >= EVIDENCE_MAX)
        pair_out(evidence, table->pairs);
    HASH_ADD(hh, table->pairs, key, pair->key_size, pair);
    if (pair->hh.tbl == NULL)
        return false;
    pair_mark(evidence, pair);
    atomic_fetch_add_explicit(&evidence->count, 1, memory_order_relaxed);
    return true;
}

static struct pair *pair_make(struct evidence *evidence, const char *key, size_t size)
{
    struct pair *pair = calloc(1, sizeof *pair + size);
    if (pair == NULL)
        return NULL;
    pair->key_size = size;
    memcpy(pair->key, key, size);
    if (pair_put(evidence, pair))
        return pair;
    free(pair);
    return NULL;
}

bool evidence_bad(struct evidence *evidence, struct str site, uint64_t job, int64_t now_ms)
{
    struct evidence_table *table = evidence->table;
    char key[KEY_ROOM];
    size_t size = pair_key(key, site, job);
    bool enough = false;
    pthread_mutex_lock(&table->lock);
    struct pair *pair = pair_find(table, key, size);
    if (pair != NULL) { /* to the end: the freshest */
        HASH_DEL(table->pairs, pair);
        HASH_ADD(hh, table->pairs, key, pair->key_size, pair);
    } else {
        pair = pair_make(evidence, key, size);
    }
    if (pair != NULL) {
        pair->last_ms = now_ms;
        pair->dirty = true;
        enough = evidence_add(&pair->window, true);
        if (enough)
            pair_out(evidence, pair);
    }
    pthread_mutex_unlock(&table->lock);
    return enough;
}

void evidence_good(struct evidence *evidence, struct str site, uint64_t job)
{
    struct evidence_table *table = evidence->table;
    char key[KEY_ROOM];
    size_t size = pair_key(key, site, job);
    pthread_mutex_lock(&table->lock);
    struct pair *pair = pair_find(table, key, size);
    if (pair != NULL) {
        evidence_add(&pair->window, false);
        pair->dirty = true;
    }
    pthread_mutex_unlock(&table->lock);
}

/* ---- on disk ---- */

static size_t pair_name(const struct pair *pair, char name[POLICY_NAME_MAX])
{
    int n = snprintf(name, POLICY_NAME_MAX, "job %" PRIu64 " %.*s", pair_job(pair),
                     (int)(pair->key_size - sizeof(uint64_t)), pair->key + sizeof(uint64_t));
    return (size_t)n;
}

static bool pair_save(const struct pair *pair, struct edits *edits)
{
    char name[POLICY_NAME_MAX];
    struct buf row;
    buf_init(&row, POLICY_VALUE_MAX);
    buf_add_char(&row, VERSION);
    buf_add_varint(&row, pair->window.seen);
    buf_add_varint(&row, pair->window.bad);
    buf_add_varint(&row, (uint64_t)pair->last_ms);
    buf_add(&row, pair->key, pair->key_size);
    bool saved = edits_policy(edits, POLICY_EVIDENCE, str_make(name, pair_name(pair, name)), buf_str(&row));
    buf_free(&row);
    return saved;
}

void evidence_save(struct evidence *evidence, struct edits *edits, int64_t now_ms)
{
    struct evidence_table *table = evidence->table;
    char name[POLICY_NAME_MAX];
    pthread_mutex_lock(&table->lock);
    while (table->pairs != NULL && table->pairs->last_ms + EVIDENCE_MS < now_ms)
        pair_out(evidence, table->pairs);
    if (table->gone != NULL)
        pairs_mark(evidence);
    unsigned n = 0;
    for (struct pair *pair; (pair = table->gone) != NULL && n < SAVE_MAX; n++) {
        if (!edits_policy(edits, POLICY_EVIDENCE, str_make(name, pair_name(pair, name)), STR("")))
            break;
        table->gone = pair->hh.next;
        free(pair);
    }
    for (struct pair *pair = table->pairs; pair != NULL && n < SAVE_MAX; pair = pair->hh.next)
        if (pair->dirty && pair_save(pair, edits)) {
            pair->dirty = false;
            n++;
        }
    pthread_mutex_unlock(&table->lock);
}

static bool load_one(struct str name, struct str value, void *user)
{
    struct evidence *evidence = user;
    struct reader r = reader_of(value.p, value.n);
    if (!str_starts(name, STR("job ")) || read_u8(&r) != VERSION)
        return true;
    struct evidence_window window = {.seen = (unsigned)read_varint(&r)};
    window.bad = (unsigned)read_varint(&r);
    int64_t last_ms = (int64_t)read_varint(&r);
    size_t size = (size_t)(r.end - r.at);
    if (r.bad || size <= sizeof(uint64_t) || size > KEY_ROOM)
        return true;
    struct pair *pair = pair_make(evidence, (const char *)r.at, size);
    if (pair != NULL) {
        pair->window = window;
        pair->last_ms = last_ms;
    }
    return true;
}

static int by_last(const struct pair *a, const struct pair *b)
{
    return (a->last_ms > b->last_ms) - (a->last_ms < b->last_ms);
}

bool evidence_init(struct evidence *evidence, struct store *store)
{
    evidence->table = calloc(1, sizeof *evidence->table);
    if (evidence->table == NULL)
        return false;
    pthread_mutex_init(&evidence->table->lock, NULL);
    if (store != NULL)
        query_policy(store, POLICY_EVIDENCE, load_one, evidence);
    HASH_SORT(evidence->table->pairs, by_last);
    return true;
}

void evidence_free(struct evidence *evidence)
{
    struct evidence_table *table = evidence->table;
    if (table == NULL)
        return;
    struct pair *pair, *next;
    HASH_ITER(hh, table->pairs, pair, next)
    {
        HASH_DEL(table->pairs, pair);
        free(pair);
    }
    for (; table->gone != NULL; table->gone = next) {
        next = table->gone->hh.next;
        free(table->gone);
    }
    pthread_mutex_destroy(&table->lock);
    free(table);
}
