/* jobs.c - jobs, and what can be done with one: look, pause, resume, cancel, retry, purge. */
#include "tools/bounces.h"
#include "tools/commands.h"
#include "tools/http.h"
#include "tools/recipients.h"
#include "tools/table.h"

#include <stdlib.h>
#include <string.h>

static const char *const count_names[] = {"ready",   "deferred",  "delivered", "bounced",
                                          "expired", "cancelled", "suppressed"};
#define COUNTS (sizeof count_names / sizeof *count_names)

static const char *eta_text(char text[FIGURE_MAX], const json_t *job)
{
    text[0] = '\0';
    return json_is_number(json_object_get(job, "eta_s")) ? figure_span(text, member_number(job, "eta_s"))
                                                         : text;
}

/* ---- jobs ---- */

static void jobs_row(struct table *table, const json_t *job)
{
    const json_t *counts = json_object_get(job, "counts");
    char text[FIGURE_MAX];
    table_text(table, member_text(job, "job"));
    table_text(table, member_text(job, "state"));
    table_text(table, or_dash(member_text(job, "tenant")));
    table_text(table, or_dash(member_text(job, "campaign")));
    table_number(table, member_number(job, "total"));
    table_number(table, member_number(job, "queued"));
    table_number(table, member_number(counts, "delivered"));
    table_number(table, member_number(counts, "bounced"));
    table_number(table, member_number(counts, "expired"));
    table_printf(table, "%.0f", json_number_value(json_object_get(job, "rate")));
    table_text(table, eta_text(text, job));
    table_text(table, figure_time(text, member_text(job, "created")));
}

static void print_jobs(struct cli *cli, json_t *answer)
{
    static const char *const heads[] = {"JOB",       "-STATE",  "-TENANT", "-CAMPAIGN", "TOTAL", "QUEUED",
                                        "DELIVERED", "BOUNCED", "EXPIRED", "RATE/S",    "ETA",   "-CREATED"};
    const json_t *jobs = json_object_get(answer, "jobs"), *job;
    struct table table;
    size_t i;
    (void)cli;
    table_init(&table, 12, heads);
    json_array_foreach(jobs, i, job) jobs_row(&table, job);
    table_print(&table, stdout, true);
    table_free(&table);
    if (json_array_size(jobs) == 0)
        puts("No jobs. Hand one in with 'postrider submit FILE'.");
    if (json_is_string(json_object_get(answer, "before")))
        printf("older ones: postrider jobs --before %s\n", member_text(answer, "before"));
}

static const struct cli_option jobs_options[] = {
    {"tenant", "NAME", "of this tenant"},
    {"campaign", "NAME", "of this campaign"},
    {"state", "STATE", "uploading, active, paused, cancelled or ended"},
    {"limit", "N", "so many, newest first (default 100)"},
    {"before", "JOB", "older than this one"},
};

static int run_jobs(struct cli *cli)
{
    struct buf path;
    path_start(&path, "/v1/jobs", NULL, "");
    for (size_t i = 0; i < cli->command->option_count; i++)
        path_add(&path, jobs_options[i].name, cli->values[i]);
    int code = http_show(cli, NULL, path_done(&path), print_jobs);
    buf_free(&path);
    return code;
}

const struct command command_jobs = {
    .name = "jobs",
    .args = "",
    .help = "Jobs, newest first, with their counts.",
    .run = run_jobs,
    .json = true,
    OPTIONS(jobs_options),
};

/* ---- one job ---- */

static void line(struct table *table, const char *name, const char *value)
{
    if (value[0] == '\0')
        return;
    table_text(table, name);
    table_text(table, value);
}

static void print_statuses(const json_t *statuses)
{
    static const char *const heads[] = {"-STATUS", "COUNT", "-MEANING"};
    const json_t *status;
    struct table table;
    size_t i;
    table_init(&table, 3, heads);
    json_array_foreach(statuses, i, status)
    {
        table_text(&table, or_dash(member_text(status, "status")));
        table_number(&table, member_number(status, "count"));
        table_text(&table, member_text(status, "phrase"));
    }
    if (table.rows > 0)
        putchar('\n');
    table_print(&table, stdout, true);
    table_free(&table);
}

static void print_job(struct cli *cli, json_t *job)
{
    static const char *const heads[] = {"-", "-"};
    static const char *const texts[] = {"job",  "state", "tenant", "campaign", "class",
                                        "pool", "from",  "envid",  "bounces"};
    static const char *const times[] = {"created", "not_before", "expires", "ended"};
    const json_t *counts = json_object_get(job, "counts");
    char text[FIGURE_MAX];
    struct table table;
    (void)cli;
    table_init(&table, 2, heads);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        line(&table, texts[i], member_text(job, texts[i]));
    for (size_t i = 0; i < sizeof times / sizeof *times; i++)
        if (member_text(job, times[i])[0])
            line(&table, times[i], figure_time(text, member_text(job, times[i])));
    line(&table, "size", figure_bytes(text, member_number(job, "message_size")));
    table_text(&table, "total");
    table_number(&table, member_number(job, "total"));
    for (size_t i = 0; i < COUNTS; i++) {
        table_printf(&table, "  %s", count_names[i]);
        table_number(&table, member_number(counts, count_names[i]));
    }
    table_text(&table, "rate");
    table_printf(&table, "%.1f/s", json_number_value(json_object_get(job, "rate")));
    line(&table, "ETA", eta_text(text, job));
    table_print(&table, stdout, false);
    table_free(&table);
    print_statuses(json_object_get(job, "statuses"));
}

static void print_steered(struct cli *cli, json_t *answer)
{
    const char *what = cli->args[1];
    if (strcmp(what, "purge") == 0 && member_true(answer, "done")) {
        if (member_number(answer, "changed") < member_number(answer, "matched"))
            printf("job %s goes when every consumer has read its events\n", member_text(answer, "job"));
        else
            printf("job %s is gone, with %lld recipients\n", member_text(answer, "job"),
                   member_number(answer, "changed"));
        return;
    }
    printf("job %s is %s", member_text(answer, "job"), member_text(answer, "state"));
    if (!member_true(answer, "done")) {
        printf(": %s goes on as operation %s, %lld recipients so far\n", what, member_text(answer, "op"),
               member_number(answer, "changed"));
        return;
    }
    printf(": %lld recipients changed", member_number(answer, "changed"));
    if (member_number(answer, "in_flight") > 0)
        printf(", %lld in flight end as they are", member_number(answer, "in_flight"));
    putchar('\n');
}

static const struct cli_option job_options[] = {
    {"state", "STATE", "recipients: ready, deferred, delivered, bounced, expired, cancelled or suppressed"},
    {"status", "PATTERN", "recipients: with this enhanced status, such as 4.7.*"},
    {"to", "ADDRESS", "recipients: this address"},
    {"after", "RID", "recipients: from behind this one"},
    {"limit", "N", "recipients: at most so many (default: all)"},
    {"csv", NULL, "bounces: a row a recipient, as CSV"},
    {"html", NULL, "bounces: a page for a browser, with charts"},
};

/* ---- job ---- */

static int run_job(struct cli *cli)
{
    static const char *const actions[] = {"pause", "resume", "cancel", "retry"};
    const char *action = cli->arg_count > 1 ? cli->args[1] : NULL;
    bool purge = action != NULL && strcmp(action, "purge") == 0, post = false;
    struct buf path;
    int code;
    if (action != NULL && strcmp(action, "recipients") == 0)
        return recipients_of_job(cli);
    if (action != NULL && strcmp(action, "bounces") == 0)
        return bounces_show(cli, "/v1/jobs/", cli->args[0]);
    for (size_t i = 0; action != NULL && i < sizeof actions / sizeof *actions; i++)
        post |= strcmp(action, actions[i]) == 0;
    if (action != NULL && !post && !purge)
        return cli_usage("job: unknown action '%s'; usage: postrider job %s", action, cli->command->args);
    path_start(&path, "/v1/jobs/", cli->args[0], "");
    if (post)
        buf_printf(&path, "/%s", action);
    code = http_show(cli,
                     post    ? "POST"
                     : purge ? "DELETE"
                             : NULL,
                     path_done(&path), post || purge ? print_steered : print_job);
    buf_free(&path);
    return code;
}

const struct command command_job = {
    .name = "job",
    .args = "JOB [pause|resume|cancel|retry|bounces|recipients|purge]",
    .help = "One job: its counts, steering it, its bounce report, its recipients; purge forgets one that has "
            "ended.",
    .run = run_job,
    .min_args = 1,
    .max_args = 2,
    .json = true,
    OPTIONS(job_options),
};
