/* bounces.c - see bounces.h. */
#include "engine/report/bounces.h"

#include "engine/base/units.h"
#include "engine/report/status_json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define EXAMPLES_MAX  3
#define STATUSES_MAX  4096  /* different ones; real mail has a few dozen */
#define DOMAINS_MAX   50000 /* counted one by one */
#define DOMAINS_SHOWN 1000

struct example {
    char *to, *reply;
    uint16_t code;
};

struct status_entry {
    uint32_t number;
    struct status status;
    uint64_t count;
    unsigned examples;
    struct example example[EXAMPLES_MAX];
    UT_hash_handle hh;
};

struct domain_entry {
    uint64_t bounced, expired;
    UT_hash_handle hh;
    char name[];
};

struct tally {
    struct status_entry *statuses, *classes; /* classes: detail 0, no examples */
    struct domain_entry *domains;
    uint64_t categories[BOUNCE_CATEGORIES];
    uint64_t bounced, expired, other_domains;
    bool failed;
};

/* ---- counting ---- */

static struct status_entry *status_entry_of(struct status_entry **table, struct status status)
{
    uint32_t number = status_number(status);
    struct status_entry *entry;
    HASH_FIND(hh, *table, &number, sizeof number, entry);
    if (entry != NULL)
        return entry;
    entry = HASH_COUNT(*table) < STATUSES_MAX ? calloc(1, sizeof *entry) : NULL;
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
static void add_example(struct status_entry *entry, const struct rcpt_info *info)
{
    if (entry->examples == EXAMPLES_MAX)
        return;
    for (unsigned i = 0; i < entry->examples; i++) {
        if (str_eq(str_of(entry->example[i].reply), info->reply))
            return;
    }
    struct example example = {str_dup(info->to), str_dup(info->reply), info->code};
    if (example.to != NULL && example.reply != NULL) {
        entry->example[entry->examples++] = example;
        return;
    }
    free(example.to);
    free(example.reply);
}

static void count_domain(struct tally *tally, const struct rcpt_info *info)
{
    struct domain_entry *entry;
    HASH_FIND(hh, tally->domains, info->domain.p, info->domain.n, entry);
    if (entry == NULL && HASH_COUNT(tally->domains) < DOMAINS_MAX &&
        (entry = calloc(1, sizeof *entry + info->domain.n + 1)) != NULL) {
        memcpy(entry->name, info->domain.p, info->domain.n);
        HASH_ADD(hh, tally->domains, name[0], info->domain.n, entry);
        if (entry->hh.tbl == NULL) {
            free(entry);
            entry = NULL;
        }
    }
    if (entry == NULL)
        tally->other_domains++;
    else if (info->state == RCPT_EXPIRED)
        entry->expired++;
    else
        entry->bounced++;
}

static bool count_failure(const struct rcpt_info *info, void *user)
{
    struct tally *tally = user;
    if (info->state != RCPT_EXPIRED && info->state != RCPT_BOUNCED)
        return true;
    struct status class_ = {info->status.class_, info->status.subject, 0};
    struct status_entry *entry = status_entry_of(&tally->statuses, info->status);
    struct status_entry *in_class = status_entry_of(&tally->classes, class_);
    tally->failed |= entry == NULL || in_class == NULL;
    if (entry != NULL) {
        entry->count++;
        add_example(entry, info);
    }
    if (in_class != NULL)
        in_class->count++;
    *(info->state == RCPT_EXPIRED ? &tally->expired : &tally->bounced) += 1;
    tally->categories[failure_category(info)]++;
    count_domain(tally, info);
    return true;
}

static void free_statuses(struct status_entry *table)
{
    struct status_entry *entry, *next;
    HASH_ITER(hh, table, entry, next)
    {
        HASH_DEL(table, entry);
        for (unsigned i = 0; i < entry->examples; i++) {
            free(entry->example[i].to);
            free(entry->example[i].reply);
        }
        free(entry);
    }
}

static void tally_free(struct tally *tally)
{
    struct domain_entry *entry, *next;
    free_statuses(tally->statuses);
    free_statuses(tally->classes);
    HASH_ITER(hh, tally->domains, entry, next)
    {
        HASH_DEL(tally->domains, entry);
        free(entry);
    }
}

/* ---- JSON ---- */

static int by_count(const struct status_entry *a, const struct status_entry *b)
{
    return a->count != b->count ? (a->count < b->count) - (a->count > b->count)
                                : (a->number > b->number) - (a->number < b->number);
}

static int by_failed(const struct domain_entry *a, const struct domain_entry *b)
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

static json_t *examples_json(const struct status_entry *entry)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < entry->examples; i++) {
        json_t *item = json_object();
        js_set(item, "to", js_text(str_of(entry->example[i].to)));
        js_set_int(item, "code", entry->example[i].code);
        js_set(item, "reply", js_text(str_of(entry->example[i].reply)));
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
        js_set(item, "examples", examples_json(entry));
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
            if (!done[i] && tally->categories[i] > 0 &&
                (best < 0 || tally->categories[i] > tally->categories[best]))
                best = i;
        }
        if (best < 0)
            return list;
        done[best] = true;
        json_t *item = json_object();
        js_set(item, "category", json_string(bounce_category_name((enum bounce_category)best)));
        js_set_int(item, "count", tally->categories[best]);
        json_array_append_new(list, item);
    }
}

static json_t *domains_json(struct tally *tally)
{
    json_t *list = json_array();
    size_t shown = 0;
    HASH_SORT(tally->domains, by_failed);
    for (struct domain_entry *entry = tally->domains; entry != NULL; entry = entry->hh.next) {
        if (shown++ >= DOMAINS_SHOWN) {
            tally->other_domains += entry->bounced + entry->expired;
            continue;
        }
        json_t *item = json_object();
        js_set(item, "domain", js_text(str_of(entry->name)));
        js_set_int(item, "failed", entry->bounced + entry->expired);
        js_set_int(item, "bounced", entry->bounced);
        js_set_int(item, "expired", entry->expired);
        json_array_append_new(list, item);
    }
    return list;
}

bool bounces_json(struct store *store, const struct job_info *job, struct now now, struct buf *out)
{
    struct tally tally = {0};
    struct rid after = {0};
    while (query_job_failures(store, job->id, &after, count_failure, &tally))
        continue;
    json_t *root = json_object();
    js_set(root, "job", js_id(job->id));
    js_set(root, "tenant", js_text(str_of(job->tenant)));
    js_set(root, "campaign", js_text(str_of(job->campaign)));
    js_set(root, "generated", js_time(now.wall_ms));
    js_set_int(root, "total", job->total);
    js_set_int(root, "delivered", job->by_state[RCPT_DELIVERED]);
    js_set_int(root, "failed", tally.bounced + tally.expired);
    js_set_int(root, "bounced", tally.bounced);
    js_set_int(root, "expired", tally.expired);
    js_set_int(root, "queued", job->by_state[RCPT_READY] + job->by_state[RCPT_DEFERRED]);
    js_set(root, "classes", classes_json(&tally));
    js_set(root, "statuses", statuses_json(&tally));
    js_set(root, "categories", categories_json(&tally));
    js_set(root, "domains", domains_json(&tally));
    js_set_int(root, "other_domains", tally.other_domains);
    bool done = js_write(out, root) && buf_add_char(out, '\n') && !tally.failed;
    tally_free(&tally);
    return done;
}

/* ---- CSV ---- */

/* Quoted where RFC 4180 asks: commas, quotes, line ends; blanks at the ends too, which readers drop. */
static void csv_value(struct buf *out, struct str value, char end)
{
    bool quote = value.n > 0 && (value.p[0] == ' ' || value.p[value.n - 1] == ' ');
    for (size_t i = 0; i < value.n && !quote; i++)
        quote = value.p[i] == ',' || value.p[i] == '"' || value.p[i] == '\r' || value.p[i] == '\n';
    if (!quote) {
        buf_add_str(out, value);
    } else {
        buf_add_char(out, '"');
        for (size_t i = 0; i < value.n; i++) {
            if (value.p[i] == '"')
                buf_add_char(out, '"');
            buf_add_char(out, value.p[i]);
        }
        buf_add_char(out, '"');
    }
    buf_add_char(out, end);
}

struct csv {
    const struct job_info *job;
    struct buf *out;
};

static bool csv_row(const struct rcpt_info *info, void *user)
{
    const struct csv *csv = user;
    struct buf *out = csv->out;
    char time[UNITS_TEXT_MAX], status[STATUS_TEXT_MAX] = "";
    if (info->state != RCPT_EXPIRED && info->state != RCPT_BOUNCED)
        return true;
    csv_value(out, str_make(time, info->last_ms ? time_format(info->last_ms, time) : 0), ',');
    csv_value(out, info->to, ',');
    csv_value(out, info->domain, ',');
    csv_value(out, info->site, ',');
    csv_value(out, str_of(bounce_category_name(failure_category(info))), ',');
    if (info->status.class_ != 0)
        status_format(info->status, status);
    csv_value(out, str_of(status), ',');
    buf_printf(out, "%u,", info->code);
    csv_value(out, info->reply, ',');
    buf_printf(out, "%" PRIu32 ",%" PRIu64 ",", info->attempts, csv->job->id);
    csv_value(out, str_of(csv->job->campaign), ',');
    csv_value(out, info->id, '\r');
    return buf_add_char(out, '\n');
}

bool bounces_csv_page(struct store *store, const struct job_info *job, struct rid *after, struct buf *out)
{
    struct csv csv = {job, out};
    return query_job_failures(store, job->id, after, csv_row, &csv) && !out->failed;
}
