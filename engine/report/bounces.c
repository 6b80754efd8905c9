/* bounces.c - see bounces.h. The JSON of a report is its model: text and page are made from that. */
#include "engine/report/bounces.h"

#include "engine/base/csv.h"
#include "engine/base/units.h"
#include "engine/report/bounces_html.h"
#include "engine/report/bounces_text.h"
#include "engine/report/status_json.h"
#include "engine/report/tally.h"

#include <inttypes.h>
#include <stdlib.h>

#define CSV_HEADER "time,to,domain,site,category,status,code,reply,attempts,job,campaign,id\r\n"
#define JOBS_PAGE  64

struct bounces {
    struct store *store;
    enum bounces_format format;
    bool of_tenant, begun, done;
    struct buf *out; /* of the step under way */
    struct tally *tally;
    /* Of a tenant: */
    char tenant[NAME_MAX_BYTES + 1];
    int64_t since_ms;
    uint64_t jobs, before;
    size_t page_n, page_at; /* of `page`, those looked at before page_at */
    /* The job whose failures are read: page[page_at], or the only one. */
    struct rid after;
    uint64_t total, delivered, queued;
    struct job_info page[];
};

const char *bounces_format_name(unsigned format)
{
    static const char *const names[BOUNCES_FORMATS] = {"json", "csv", "html", "text"};
    return names[format];
}

const char *bounces_format_type(enum bounces_format format)
{
    static const char *const types[BOUNCES_FORMATS] = {
        "application/json", "text/csv; charset=utf-8; header=present", "text/html; charset=utf-8",
        "text/plain; charset=utf-8"};
    return types[format];
}

/* ---- CSV ---- */

/* A value that a spreadsheet would take for a formula is not changed: the file is for programs. */
static void csv_row(const struct rcpt_info *info, const struct job_info *job, struct buf *out)
{
    char time[UNITS_TEXT_MAX], status[STATUS_TEXT_MAX] = "";
    csv_add(out, str_make(time, info->last_ms ? time_format(info->last_ms, time) : 0), ',');
    csv_add(out, info->to, ',');
    csv_add(out, info->domain, ',');
    csv_add(out, info->site, ',');
    csv_add(out, str_of(bounce_category_name(failure_category(info))), ',');
    if (info->status.class_ != 0)
        status_format(info->status, status);
    csv_add(out, str_of(status), ',');
    buf_printf(out, "%u,", info->code);
    csv_add(out, info->reply, ',');
    buf_printf(out, "%" PRIu32 ",%" PRIu64 ",", info->attempts, job->id);
    csv_add(out, str_of(job->campaign), ',');
    csv_add(out, info->id, '\r');
    buf_add_char(out, '\n');
}

/* ---- what failed ---- */

static bool on_failure(const struct rcpt_info *info, void *user)
{
    struct bounces *bounces = user;
    if ((info->state != RCPT_EXPIRED && info->state != RCPT_BOUNCED) || info->last_ms < bounces->since_ms)
        return true;
    if (bounces->format == BOUNCES_CSV)
        csv_row(info, &bounces->page[bounces->page_at], bounces->out);
    else
        tally_add(bounces->tally, info);
    return true;
}

static bool wanted(const struct bounces *bounces, const struct job_info *job)
{
    return str_eq(str_of(bounces->tenant), str_of(job->tenant)) &&
           (job->ended_ms == 0 || job->ended_ms >= bounces->since_ms);
}

static void count_job(struct bounces *bounces, const struct job_info *job)
{
    bounces->jobs++;
    bounces->total += job->total;
    bounces->delivered += job->by_state[RCPT_DELIVERED];
    bounces->queued += job->by_state[RCPT_READY] + job->by_state[RCPT_DEFERRED];
}

/* The next page of jobs; false: there is none. */
static bool next_page(struct bounces *bounces)
{
    if (bounces->page_n > 0 && bounces->page_n < JOBS_PAGE)
        return false;
    bounces->page_n = query_jobs(bounces->store, bounces->before, bounces->page, JOBS_PAGE);
    bounces->page_at = 0;
    if (bounces->page_n == 0)
        return false;
    bounces->before = bounces->page[bounces->page_n - 1].id;
    return true;
}

/* Reads a page of jobs, or a page of the failures of one, passing over jobs that have none; true: there is
 * more. */
static bool read_some(struct bounces *bounces)
{
    for (; bounces->page_at < bounces->page_n; bounces->page_at++) {
        const struct job_info *job = &bounces->page[bounces->page_at];
        if (!wanted(bounces, job))
            continue;
        bool failures = job->by_state[RCPT_BOUNCED] + job->by_state[RCPT_EXPIRED] > 0;
        if (failures && query_job_failures(bounces->store, job->id, &bounces->after, on_failure, bounces))
            return true;
        count_job(bounces, job);
        bounces->after = (struct rid){0};
        if (failures && bounces->page_at + 1 < bounces->page_n) {
            bounces->page_at++;
            return true;
        }
    }
    return bounces->of_tenant && next_page(bounces);
}

/* ---- the report ---- */

static bool write_report(struct bounces *bounces, struct now now, struct buf *out)
{
    json_t *root = json_object();
    if (!bounces->of_tenant) {
        js_set(root, "job", js_id(bounces->page[0].id));
        js_set(root, "tenant", js_text(str_of(bounces->tenant)));
        js_set(root, "campaign", js_text(str_of(bounces->page[0].campaign)));
    } else {
        js_set(root, "tenant", js_text(str_of(bounces->tenant)));
        js_set(root, "since", js_time(bounces->since_ms));
        js_set_int(root, "jobs", bounces->jobs);
    }
    js_set(root, "generated", js_time(now.wall_ms));
    js_set_int(root, "total", bounces->total);
    js_set_int(root, "delivered", bounces->delivered);
    js_set_int(root, "queued", bounces->queued);
    bool whole = tally_report(bounces->tally, root);
    if (bounces->format == BOUNCES_JSON)
        return (js_write(out, root) && buf_add_char(out, '\n')) & whole;
    if (bounces->format == BOUNCES_HTML)
        bounces_html(root, out);
    else
        bounces_text(root, out);
    json_decref(root);
    return whole && !out->failed;
}

bool bounces_step(struct bounces *bounces, struct now now, struct buf *out)
{
    bounces->out = out;
    if (!bounces->begun && bounces->format == BOUNCES_CSV)
        buf_add_z(out, CSV_HEADER);
    bounces->begun = true;
    bounces->done = !read_some(bounces);
    if (bounces->done && bounces->format != BOUNCES_CSV && !write_report(bounces, now, out))
        return false;
    return !out->failed;
}

bool bounces_done(const struct bounces *bounces)
{
    return bounces->done;
}

/* ---- its life ---- */

static struct bounces *create(struct store *store, enum bounces_format format, size_t jobs)
{
    struct bounces *bounces = calloc(1, sizeof *bounces + jobs * sizeof *bounces->page);
    if (bounces == NULL)
        return NULL;
    bounces->store = store;
    bounces->format = format;
    bounces->tally = tally_create();
    if (bounces->tally != NULL)
        return bounces;
    free(bounces);
    return NULL;
}

struct bounces *bounces_of_job(struct store *store, enum bounces_format format, const struct job_info *job)
{
    struct bounces *bounces = create(store, format, 1);
    if (bounces == NULL)
        return NULL;
    bounces->page[0] = *job;
    bounces->page_n = 1;
    memcpy(bounces->tenant, job->tenant, sizeof bounces->tenant);
    return bounces;
}

struct bounces *bounces_of_tenant(struct store *store, enum bounces_format format, struct str tenant,
                                  int64_t since_ms)
{
    struct bounces *bounces = create(store, format, JOBS_PAGE);
    if (bounces == NULL)
        return NULL;
    bounces->of_tenant = true;
    bounces->since_ms = since_ms;
    memcpy(bounces->tenant, tenant.p, tenant.n);
    return bounces;
}

void bounces_free(struct bounces *bounces)
{
    if (bounces != NULL)
        tally_free(bounces->tally);
    free(bounces);
}
