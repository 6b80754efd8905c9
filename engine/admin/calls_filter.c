/* calls_filter.c - which of the queue is meant: the filter of retry, bounce and the list of what is queued.
 *
 * It comes as query parameters or as a JSON object of strings, each name once. A site is turned into the
 * domains that have mail queued for it, as the workers know them now. */
#include "engine/admin/calls.h"
#include "engine/base/units.h"
#include "engine/message/address.h"

#include <stdlib.h>

#define FIELDS 7

/* In the order of `names`; p NULL: any. */
struct wish {
    struct str field[FIELDS];
};
enum { TENANT, CAMPAIGN, JOB, DOMAIN, SITE, STATUS, AGE };
static const char *const names[FIELDS] = {"tenant", "campaign", "job", "domain", "site", "status", "age"};

static void bad_member(struct http_request *request, const char *const *known, unsigned count,
                       const char *name)
{
    struct buf list;
    buf_init(&list, 256);
    for (unsigned i = 0; i < count; i++)
        buf_printf(&list, "%s%s", i == 0 ? "" : i + 1 < count ? ", " : " and ", known[i]);
    http_fail(request, 400, "bad_parameter", "\"%.100s\": the filter has %.*s, each a string, each once",
              name, (int)list.len, list.data);
    buf_free(&list);
}

/* A name that is empty, as of a variable that was not set, must not mean everybody. */
static bool check_texts(struct http_request *request, const char *const *known, unsigned count,
                        const struct str *texts)
{
    for (unsigned i = 0; i < count; i++) {
        if (texts[i].p == NULL || (texts[i].n > 0 && texts[i].n <= DOMAIN_MAX))
            continue;
        http_fail(request, 400, "bad_parameter", texts[i].n == 0 ? "%s is empty" : "%s is too long",
                  known[i]);
        return false;
    }
    return true;
}

/* By index in the names; the texts are views into *root. */
static bool read_body(struct http_request *request, const char *const *known, unsigned count, json_t **root,
                      struct str *texts)
{
    struct str body = str_trim(http_body(request));
    const char *name;
    json_t *value;
    json_error_t error;
    if (body.n == 0)
        return true;
    *root = json_loadb(body.p, body.n, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(*root)) {
        http_fail(request, 400, "bad_json", "the body must be an object of strings: %s", error.text);
        return false;
    }
    json_object_foreach(*root, name, value)
    {
        unsigned i = 0;
        while (i < count && strcmp(name, known[i]) != 0)
            i++;
        if (i == count || !json_is_string(value) || texts[i].p != NULL) {
            bad_member(request, known, count, name);
            return false;
        }
        texts[i] = str_make(json_string_value(value), json_string_length(value));
    }
    return true;
}

bool filter_texts_take(struct http_request *request, const char *const *known, unsigned count, json_t **root,
                       struct str *texts)
{
    *root = NULL;
    for (unsigned i = 0; i < count; i++)
        texts[i] = http_parameter(request, known[i]);
    return read_body(request, known, count, root, texts) && check_texts(request, known, count, texts);
}

/* ">2h": accepted more than two hours ago, as "2h" alone; "<30m": not yet so long. */
static bool take_age(struct http_request *request, struct str text, int64_t now_ms,
                     struct store_filter *filter)
{
    bool younger = text.n > 0 && text.p[0] == '<';
    bool sign = younger || (text.n > 0 && text.p[0] == '>');
    int64_t age_ms;
    if (text.p == NULL)
        return true;
    if (!duration_parse(str_make(text.p + sign, text.n - sign), &age_ms)) {
        http_fail(request, 400, "bad_parameter",
                  "age must be such as >2h (accepted before that) or <30m (since), not \"%.*s\"",
                  STR_ARG(text));
        return false;
    }
    int64_t since_ms = now_ms > age_ms ? now_ms - age_ms : 1;
    *(younger ? &filter->accepted_after_ms : &filter->accepted_before_ms) = since_ms;
    return true;
}

static struct str keep(char text[DOMAIN_MAX + 1], struct str s)
{
    memcpy(text, s.n > 0 ? s.p : "", s.n);
    text[s.n] = '\0';
    return str_make(text, s.n);
}

static bool take_wish(struct http_request *request, const struct wish *wish, struct now now,
                      struct queue_filter *filter)
{
    struct store_filter *store = &filter->store;
    struct str job = wish->field[JOB], domain = wish->field[DOMAIN];
    struct err err;
    store->tenant = keep(filter->tenant, wish->field[TENANT]);
    store->campaign = keep(filter->campaign, wish->field[CAMPAIGN]);
    if (job.p != NULL && (!str_u64(job, UINT64_MAX, &store->job) || store->job == 0)) {
        http_fail(request, 400, "bad_parameter", "job must be a job's id, not \"%.*s\"", STR_ARG(job));
        return false;
    }
    if (domain.n > 0) {
        if (!domain_to_ascii(domain, filter->domain, &store->domain.n, &err)) {
            http_fail(request, 400, "bad_parameter", "domain: %s", err.text);
            return false;
        }
        store->domain.p = filter->domain;
    }
    return take_status(request, wish->field[STATUS], &store->has_status, &store->status) &&
           take_age(request, wish->field[AGE], now.wall_ms, store);
}

/* ---- a site's domains ---- */

static void add_domain(const char *domain, void *user)
{
    struct queue_filter *filter = user;
    if (filter->store.domain_count == filter->domain_room) {
        size_t room = filter->domain_room > 0 ? 2 * filter->domain_room : 16;
        struct str *grown = reallocarray(filter->domains, room, sizeof *grown);
        if (grown == NULL) {
            filter->failed = true;
            return;
        }
        filter->domains = grown;
        filter->domain_room = room;
    }
    char *copy = strdup(domain);
    if (copy == NULL)
        filter->failed = true;
    else
        filter->domains[filter->store.domain_count++] = str_of(copy);
}

static int domain_cmp(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static bool take_site(struct api *api, struct http_request *request, struct str site,
                      struct queue_filter *filter)
{
    if (site.n == 0)
        return true;
    char *name = str_dup(site);
    filter->failed |= name == NULL || !visit_site_domains(api, name, add_domain, filter);
    free(name);
    if (filter->failed) {
        http_fail(request, 500, "failed", "no memory for the site's domains");
        return false;
    }
    if (filter->store.domain_count == 0) {
        http_fail(request, 404, "not_found", "nothing that is queued goes to the site %.*s", STR_ARG(site));
        return false;
    }
    qsort(filter->domains, filter->store.domain_count, sizeof *filter->domains, domain_cmp);
    filter->store.domains = filter->domains;
    return true;
}

bool queue_filter_take(struct api *api, struct http_request *request, struct now now,
                       struct queue_filter *filter)
{
    struct wish wish;
    json_t *root = NULL;
    *filter = (struct queue_filter){.narrow = str_eq(http_parameter(request, "all"), STR("1"))};
    bool good = filter_texts_take(request, names, FIELDS, &root, wish.field) &&
                take_wish(request, &wish, now, filter) && take_site(api, request, wish.field[SITE], filter);
    for (unsigned i = 0; i < FIELDS; i++)
        filter->narrow |= wish.field[i].n > 0;
    json_decref(root);
    if (!good)
        queue_filter_free(filter);
    return good;
}

void queue_filter_free(struct queue_filter *filter)
{
    for (size_t i = 0; i < filter->store.domain_count; i++)
        free((char *)(uintptr_t)filter->domains[i].p);
    free(filter->domains);
    *filter = (struct queue_filter){0};
}
