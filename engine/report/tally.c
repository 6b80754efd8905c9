/* tally.c - see tally.h. */
#include "engine/report/tally.h"

#include "engine/report/status_json.h"

#include <stdio.h>
#include <stdlib.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define EXAMPLES_MAX 3
/* Different ones; real mail has a few dozen. With their examples, each byte escaped, in HTTP_STREAM_MAX. */
#define STATUSES_MAX 200

struct examples {
    unsigned n;
    struct example {
        char *to, *reply;
        uint16_t code;
    } list[EXAMPLES_MAX];
};

struct status_entry {
    uint32_t number;
    struct status status;
    uint64_t count;
    struct examples examples;
    UT_hash_handle hh;
};

struct place_entry { /* a domain or a site */
    uint64_t bounced, expired;
    UT_hash_handle hh;
    char name[];
};

struct places {
    struct place_entry *table;
    uint64_t others; /* failed where no entry was had */
};

struct tally {
    struct status_entry *statuses, *classes; /* classes: detail 0, no examples */
    struct places domains, sites;
    struct {
        uint64_t count;
        struct examples examples;
    } categories[BOUNCE_CATEGORIES];
    uint64_t bounced, expired;
    bool failed;
};

/* ---- counting ---- */

/* With too many different ones it is that of the class alone. NULL: no memory. */
static struct status_entry *status_entry_of(struct status_entry **table, struct status status)
{
    uint32_t number = status_number(status);
    struct status_entry *entry;
    HASH_FIND(hh, *table, &number, sizeof number, entry);
    if (entry != NULL)
        return entry;
    if (HASH_COUNT(*table) >= STATUSES_MAX && (status.subject != 0 || status.detail != 0))
        return status_entry_of(table, (struct status){status.class_, 0, 0});
    entry = calloc(1, sizeof *entry);
    if (entry == NULL)
        return NULL;
    entry->number = number;
    entry->status = status;
    HASH_ADD(hh, *table, number, sizeof entry->number, entry);
    if (entry->hh.tbl != NULL)
        return entry;
    free(entry);
    return NULL;
}

/* The first few whose words differ. */
static void add_example(struct examples *examples, const struct rcpt_info *info)
{
    if (examples->n == EXAMPLES_MAX)
        return;
    for (unsigned i = 0; i < examples->n; i++) {
        if (str_eq(str_of(examples->list[i].reply), info->reply))
            return;
    }
    struct example example = {str_dup(info->to), str_dup(info->reply), info->code};
    if (example.to != NULL && example.reply != NULL) {
        examples->list[examples->n++] = example;
        return;
    }
    free(example.to);
    free(example.reply);
}

static void count_place(struct places *places, struct str name, bool expired)
{
    struct place_entry *entry;
    HASH_FIND(hh, places->table, name.p, name.n, entry);
    if (entry == NULL && HASH_COUNT(places->table) < TALLY_PLACES_MAX &&
        (entry = calloc(1, sizeof *entry + name.n + 1)) != NULL) {
        if (name.n > 0)
            memcpy(entry->name, name.p, name.n);
        HASH_ADD(hh, places->table, name[0], name.n, entry);
        if (entry->hh.tbl == NULL) {
            free(entry);
            entry = NULL;
        }
    }
    if (entry == NULL)
        places->others++;
    else if (expired)
        entry->expired++;
    else
        entry->bounced++;
}

void tally_add(struct tally *tally, const struct rcpt_info *info)
{
    bool expired = info->state == RCPT_EXPIRED;
    if (!expired && info->state != RCPT_BOUNCED)
        return;
    struct status class_ = {info->status.class_, info->status.subject, 0};
    struct status_entry *entry = status_entry_of(&tally->statuses, info->status);
    struct status_entry *in_class = status_entry_of(&tally->classes, class_);
    enum bounce_category category = failure_category(info);
    tally->failed |= entry == NULL || in_class == NULL;
    if (entry != NULL) {
        entry->count++;
        add_example(&entry->examples, info);
    }
    if (in_class != NULL)
        in_class->count++;
    *(expired ? &tally->expired : &tally->bounced) += 1;
    tally->categories[category].count++;
    add_example(&tally->categories[category].examples, info);
    count_place(&tally->domains, info->domain, expired);
    count_place(&tally->sites, info->site, expired);
}

/* ---- its life ---- */

struct tally *tally_create(void)
{
    return calloc(1, sizeof(struct tally));
}

static void free_examples(struct examples *examples)
{
    for (unsigned i = 0; i < examples->n; i++) {
        free(examples->list[i].to);
        free(examples->list[i].reply);
    }
}

static void free_statuses(struct status_entry *table)
{
    struct status_entry *entry, *next;
    HASH_ITER(hh, table, entry, next)
    {
        HASH_DEL(table, entry);
        free_examples(&entry->examples);
        free(entry);
    }
}

static void free_places(struct places *places)
{
    struct place_entry *entry, *next;
    HASH_ITER(hh, places->table, entry, next)
    {
        HASH_DEL(places->table, entry);
        free(entry);
    }
}

void tally_free(struct tally *tally)
{
    if (tally == NULL)
        return;
    free_statuses(tally->statuses);
    free_statuses(tally->classes);
    free_places(&tally->domains);
    free_places(&tally->sites);
    for (unsigned i = 0; i < BOUNCE_CATEGORIES; i++)
        free_examples(&tally->categories[i].examples);
    free(tally);
}

/* ---- JSON, each list by falling count ---- */

static int by_count(const struct status_entry *a, const struct status_entry *b)
{
    return a->count != b->count ? (a->count < b->count) - (a->count > b->count)
                                : (a->number > b->number) - (a->number < b->number);
}

static int by_failed(const struct place_entry *a, const struct place_entry *b)
{
    uint64_t x = a->bounced + a->expired, y = b->bounced + b->expired;
    return x != y ? (x < y) - (x > y) : strcmp(a->name, b->name);
}

static json_t *classes_json(struct tally *tally)
{
    json_t *list = json_array();
    HASH_SORT(tally->classes, by_count);
    for (struct status_entry *entry = tally->classes; entry != NULL; entry = entry->hh.next) {
        char name[16];
        json_t *item = json_object();
        snprintf(name, sizeof name, "%u.%u", entry->status.class_, entry->status.subject);
        js_set(item, "class", entry->status.class_ ? json_string(name) : json_null());
        js_set(item, "subject", json_string(registry_subject(entry->status)));
        js_set_int(item, "count", entry->count);
        json_array_append_new(list, item);
    }
    return list;
}

static json_t *examples_json(const struct examples *examples)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < examples->n; i++) {
        json_t *item = json_object();
        js_set(item, "to", js_text(str_of(examples->list[i].to)));
        js_set_int(item, "code", examples->list[i].code);
        js_set(item, "reply", js_text(str_of(examples->list[i].reply)));
        json_array_append_new(list, item);
    }
    return list;
}

static json_t *statuses_json(struct tally *tally)
{
    json_t *list = json_array();
    HASH_SORT(tally->statuses, by_count);
    for (struct status_entry *entry = tally->statuses; entry != NULL; entry = entry->hh.next) {
        json_t *item = json_object();
        js_set(item, "status", js_status(entry->status));
        js_set(item, "phrase", json_string(registry_phrase(entry->status)));
        js_set_int(item, "count", entry->count);
        js_set(item, "examples", examples_json(&entry->examples));
        json_array_append_new(list, item);
    }
    return list;
}

static json_t *categories_json(const struct tally *tally)
{
    json_t *list = json_array();
    bool done[BOUNCE_CATEGORIES] = {false};
    for (;;) {
        int best = -1;
        for (int i = 0; i < BOUNCE_CATEGORIES; i++) {
            if (!done[i] && tally->categories[i].count > 0 &&
                (best < 0 || tally->categories[i].count > tally->categories[best].count))
                best = i;
        }
        if (best < 0)
            return list;
        done[best] = true;
        json_t *item = json_object();
        js_set(item, "category", json_string(bounce_category_name((enum bounce_category)best)));
        js_set_int(item, "count", tally->categories[best].count);
        js_set(item, "examples", examples_json(&tally->categories[best].examples));
        json_array_append_new(list, item);
    }
}

static json_t *places_json(struct places *places, const char *key, uint64_t *others)
{
    json_t *list = json_array();
    size_t shown = 0;
    *others = places->others;
    HASH_SORT(places->table, by_failed);
    for (struct place_entry *entry = places->table; entry != NULL; entry = entry->hh.next) {
        if (shown++ >= TALLY_PLACES_SHOWN) {
            *others += entry->bounced + entry->expired;
            continue;
        }
        json_t *item = json_object();
        js_set(item, key, js_text(str_of(entry->name)));
        js_set_int(item, "failed", entry->bounced + entry->expired);
        js_set_int(item, "bounced", entry->bounced);
        js_set_int(item, "expired", entry->expired);
        json_array_append_new(list, item);
    }
    return list;
}

bool tally_report(struct tally *tally, json_t *root)
{
    uint64_t others;
    js_set_int(root, "failed", tally->bounced + tally->expired);
    js_set_int(root, "bounced", tally->bounced);
    js_set_int(root, "expired", tally->expired);
    js_set(root, "classes", classes_json(tally));
    js_set(root, "statuses", statuses_json(tally));
    js_set(root, "categories", categories_json(tally));
    js_set(root, "domains", places_json(&tally->domains, "domain", &others));
    js_set_int(root, "other_domains", others);
    js_set(root, "sites", places_json(&tally->sites, "site", &others));
    js_set_int(root, "other_sites", others);
    return !tally->failed;
}
