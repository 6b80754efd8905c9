/* submit.c - hands jobs to the daemon, streamed from a file or standard input, and follows them if asked. */
#include "engine/base/clock.h"
#include "tools/commands.h"
#include "tools/http.h"
#include "tools/progress.h"
#include "tools/table.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define FOLLOW_JOBS_MAX 1000
#define POLL_MIN_MS     200
#define POLL_MAX_MS     2000

struct upload {
    struct progress progress;
    long long size; /* -1: not known */
};

static void on_upload(void *user, long long sent)
{
    struct upload *upload = user;
    const char *note = upload->size > 0 && sent >= upload->size ? "  (waiting until it is on disk)" : "";
    progress_draw(&upload->progress, sent, upload->size, -1, note);
}

/* ---- the answer ---- */

static void print_rejected(const json_t *job)
{
    const json_t *rejected = json_object_get(job, "rejected"), *one;
    size_t i;
    json_array_foreach(rejected, i, one)
    {
        if (json_object_get(one, "line"))
            printf("  line %lld: ", member_number(one, "line"));
        else
            printf("  recipient %lld: ", member_number(one, "index"));
        print_safe(stdout, member_text(one, "to"));
        fputs(member_text(one, "to")[0] ? ": " : "", stdout);
        print_safe(stdout, member_text(one, "error"));
        putchar('\n');
    }
    long long more = member_number(job, "rejected_count") - (long long)json_array_size(rejected);
    if (more > 0)
        printf("  and %lld more\n", more);
}

static void print_warnings(const json_t *job)
{
    const json_t *one;
    size_t i;
    json_array_foreach(json_object_get(job, "warnings"), i, one)
    {
        fputs("  warning: ", stdout);
        print_safe(stdout, json_string_value(one) ? json_string_value(one) : "");
        putchar('\n');
    }
}

static void print_jobs(const json_t *answer)
{
    const json_t *jobs = json_object_get(answer, "jobs"), *job;
    size_t i;
    json_array_foreach(jobs, i, job)
    {
        const json_t *rejected = json_object_get(job, "rejected");
        long long count = member_number(job, "rejected_count");
        if (count == 0)
            count = (long long)json_array_size(rejected);
        if (member_text(job, "job")[0])
            printf("job %s: %lld accepted", member_text(job, "job"), member_number(job, "accepted"));
        else
            printf("%lld would be accepted", member_number(job, "accepted"));
        if (member_number(job, "suppressed") > 0)
            printf(", %lld suppressed", member_number(job, "suppressed"));
        printf(count > 0 ? ", %lld rejected:\n" : "\n", count);
        print_rejected(job);
        print_warnings(job);
    }
}

/* ---- following ---- */

struct totals {
    long long total, queued, delivered, bounced, expired, deferred;
    double rate;
    bool paused;
};

static void add_job(struct totals *totals, const json_t *job)
{
    const json_t *counts = json_object_get(job, "counts");
    totals->total += member_number(job, "total");
    totals->queued += member_number(job, "queued");
    totals->delivered += member_number(counts, "delivered");
    totals->bounced += member_number(counts, "bounced");
    totals->expired += member_number(counts, "expired");
    totals->deferred += member_number(counts, "deferred");
    totals->rate += json_number_value(json_object_get(job, "rate"));
    totals->paused |= strcmp(member_text(job, "state"), "paused") == 0;
}

static void wait_ms(int64_t ms)
{
    struct timespec span = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&span, NULL);
}

/* Asks for each job; the jobs' own objects are kept in `last` for the end. */
static int ask_jobs(const struct cli *cli, const json_t *ids, struct totals *totals, json_t *last)
{
    const json_t *id;
    size_t i;
    *totals = (struct totals){0};
    json_array_clear(last);
    json_array_foreach(ids, i, id)
    {
        struct buf path;
        path_start(&path, "/v1/jobs/", json_string_value(id), "");
        json_t *job = http_json(cli, NULL, path_done(&path));
        buf_free(&path);
        if (job == NULL)
            return 1;
        add_job(totals, job);
        json_array_append_new(last, job);
    }
    return 0;
}

static void print_end(const struct cli *cli, const struct totals *totals, const json_t *last, double seconds)
{
    const json_t *job;
    size_t i;
    char span[FIGURE_MAX];
    if (cli->json) {
        json_array_foreach(last, i, job)
        {
            json_dumpf(job, stdout, JSON_COMPACT);
            putchar('\n');
        }
        return;
    }
    printf("%lld delivered, %lld bounced, %lld expired in %s", totals->delivered, totals->bounced,
           totals->expired, figure_span(span, (long long)(seconds + 0.5)));
    if (seconds > 0.5)
        printf(", %.0f/s", (double)(totals->total - totals->queued) / seconds);
    putchar('\n');
}

static int follow(const struct cli *cli, const json_t *answer)
{
    json_t *ids = json_array(), *last = json_array();
    const json_t *jobs = json_object_get(answer, "jobs"), *job;
    struct progress progress;
    struct totals totals;
    size_t i;
    int code;
    json_array_foreach(jobs, i, job) if (member_text(job, "job")[0] && i < FOLLOW_JOBS_MAX)
        json_array_append(ids, json_object_get(job, "job"));
    progress_start(&progress, "delivering", false);
    fflush(stdout);
    int64_t begun_ns = clock_now().mono_ns;
    for (int64_t pause_ms = POLL_MIN_MS;; pause_ms = pause_ms < POLL_MAX_MS ? pause_ms + 50 : POLL_MAX_MS) {
        code = ask_jobs(cli, ids, &totals, last);
        if (code != 0 || totals.queued == 0)
            break;
        char note[64] = "";
        if (totals.paused)
            snprintf(note, sizeof note, "  (paused)");
        else if (totals.deferred > 0)
            snprintf(note, sizeof note, "  (%lld deferred)", totals.deferred);
        progress_draw(&progress, totals.total - totals.queued, totals.total, totals.rate, note);
        wait_ms(pause_ms);
    }
    progress_end(&progress);
    if (code == 0)
        print_end(cli, &totals, last, (double)(clock_now().mono_ns - begun_ns) / (double)NS_PER_S);
    json_decref(ids);
    json_decref(last);
    return code;
}

/* ---- submit ---- */

static const struct cli_option submit_options[] = {
    {"follow", NULL, "stay until every recipient has ended"},
    {"dry-run", NULL, "check the jobs, accept nothing"},
    {"idempotency-key", "KEY", "a repeat with the same key is answered as the first one was"},
};

static FILE *open_input(const char *name, long long *size)
{
    struct stat about;
    FILE *file = strcmp(name, "-") == 0 ? stdin : fopen(name, "re");
    *size = -1;
    if (file == NULL) {
        cli_fail("cannot open %s: %s", name, strerror(errno));
        return NULL;
    }
    if (fstat(fileno(file), &about) == 0 && S_ISREG(about.st_mode))
        *size = (long long)about.st_size;
    if (file == stdin && *size >= 0)
        *size = -1; /* it may stand anywhere in its file */
    else if (S_ISDIR(about.st_mode)) {
        cli_fail("%s is a directory", name);
        fclose(file);
        return NULL;
    }
    return file;
}

static int handle_answer(struct cli *cli, const struct http_answer *answer)
{
    json_t *json = json_loadb(answer->body.data, answer->body.len, 0, NULL);
    int code = 0;
    if (json == NULL && answer->status < 300) {
        code = cli_fail("the daemon's answer is not JSON; are daemon and command of the same version?");
    } else if (cli->json && answer->body.len > 0) {
        fwrite(answer->body.data, 1, answer->body.len, stdout);
        fputs(answer->body.data[answer->body.len - 1] == '\n' ? "" : "\n", stdout);
    } else {
        print_jobs(json);
    }
    if (answer->status >= 300)
        code = http_refused(answer);
    else if (code == 0 && cli_value(cli, "follow") != NULL && cli_value(cli, "dry-run") == NULL)
        code = follow(cli, json);
    json_decref(json);
    return code;
}

static int run_submit(struct cli *cli)
{
    const char *name = cli->args[0];
    struct upload upload;
    struct http_answer answer;
    FILE *file = open_input(name, &upload.size);
    if (file == NULL)
        return 1;
    struct http_call call = {
        .path = cli_value(cli, "dry-run") ? "/v1/jobs?dry_run=1" : "/v1/jobs",
        .upload = file,
        .upload_size = upload.size,
        .content_type =
            str_ends_nocase(str_of(name), STR(".json")) ? "application/json" : "application/x-ndjson",
        .idempotency_key = cli_value(cli, "idempotency-key"),
        .progress = on_upload,
        .user = &upload,
    };
    progress_start(&upload.progress, "uploading", true);
    bool answered = http_perform(cli, &call, &answer);
    progress_end(&upload.progress);
    if (file != stdin)
        fclose(file);
    if (!answered)
        return 1;
    int code = handle_answer(cli, &answer);
    http_answer_free(&answer);
    return code;
}

const struct command command_submit = {
    .name = "submit",
    .args = "FILE|-",
    .help =
        "Hand in jobs: NDJSON (one job line, then a line a recipient, and so on), or JSON from a .json file.",
    .run = run_submit,
    .min_args = 1,
    .max_args = 1,
    .json = true,
    OPTIONS(submit_options),
};
