/* queue.c - what the daemon has and does: status, queue, sites, explain. */
#include "tools/commands.h"
#include "tools/http.h"
#include "tools/table.h"

#include <string.h>

/* "1.2" for rates: a receiver may take less than one a second. */
static const char *rate_text(char text[FIGURE_MAX], const json_t *object, const char *name)
{
    double rate = json_number_value(json_object_get(object, name));
    snprintf(text, FIGURE_MAX, rate > 0 && rate < 10 ? "%.1f" : "%.0f", rate);
    return text;
}

/* ---- status ---- */

static void print_status(struct cli *cli, json_t *answer)
{
    static const char *const counts[] = {"queued", "ready", "in_flight", "deferred",  "held",    "sessions",
                                         "sites",  "jobs",  "accepted",  "delivered", "bounced", "expired"};
    static const char *const heads[] = {"-", "-"};
    char text[FIGURE_MAX];
    struct table table;
    (void)cli;
    table_init(&table, 2, heads);
    table_text(&table, "version");
    table_text(&table, member_text(answer, "version"));
    table_text(&table, "up");
    table_text(&table, figure_span(text, member_number(answer, "uptime_s")));
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        table_printf(&table, "%s", strcmp(counts[i], "in_flight") == 0 ? "in flight" : counts[i]);
        table_number(&table, member_number(answer, counts[i]));
    }
    table_text(&table, "rate");
    table_printf(&table, "%s/s over the last minute", rate_text(text, answer, "rate_1m"));
    table_text(&table, "database");
    table_text(&table, figure_bytes(text, member_number(answer, "db_bytes")));
    table_text(&table, "disk free");
    table_text(&table, figure_bytes(text, member_number(answer, "disk_free")));
    table_text(&table, "memory");
    table_text(&table, figure_bytes(text, member_number(answer, "memory_bytes")));
    table_print(&table, stdout, false);
    table_free(&table);
    if (member_true(answer, "full"))
        puts("The disk or the queue is full: nothing is accepted; free disk space or raise queue.max_size.");
    if (member_true(answer, "stopping"))
        puts("The daemon is stopping: nothing is accepted.");
}

static int run_status(struct cli *cli)
{
    return http_show(cli, NULL, "/v1/status", print_status);
}

const struct command command_status = {
    .name = "status",
    .args = "",
    .help = "How the daemon is: queue, totals, rate, disk, memory.",
    .run = run_status,
    .json = true,
};

/* ---- queue ---- */

static const char *const queue_by[] = {"domain", "site", "tenant", "status", "age"};

static void queue_row(struct table *table, const json_t *row, const char *by, bool ends)
{
    char text[FIGURE_MAX];
    const char *key = member_text(row, by);
    bool is_status = strcmp(by, "status") == 0;
    table_text(table, key[0] ? key : "-");
    if (!is_status) {
        table_number(table, member_number(row, "queued"));
        table_number(table, member_number(row, "ready"));
    }
    table_number(table, member_number(row, "deferred"));
    if (!is_status && strcmp(by, "age") != 0)
        table_number(table, member_number(row, "held"));
    if (ends) {
        table_number(table, member_number(row, "delivered"));
        table_number(table, member_number(row, "bounced"));
        table_number(table, member_number(row, "expired"));
    }
    if (is_status)
        table_text(table, member_text(row, "phrase"));
    else if (strcmp(by, "age") != 0)
        table_text(table, figure_until(text, member_text(row, "next")));
}

static void print_queue(struct cli *cli, json_t *answer)
{
    static const char *const heads[] = {"-", "QUEUED", "READY", "DEFERRED", "HELD", "-NEXT RETRY"};
    static const char *const end_heads[] = {"-",         "QUEUED",  "READY",   "DEFERRED",   "HELD",
                                            "DELIVERED", "BOUNCED", "EXPIRED", "-NEXT RETRY"};
    static const char *const status_heads[] = {"-STATUS", "DEFERRED", "-MEANING"};
    const json_t *total = json_object_get(answer, "total"), *rows = json_object_get(answer, "rows"), *row;
    const char *by = member_text(answer, "by");
    char name[32] = "-";
    const char *named[9];
    bool by_name = strcmp(by, "status") != 0 && strcmp(by, "age") != 0;
    bool ends = by_name && cli_value(cli, "all") != NULL;
    struct table table;
    size_t i;
    memcpy(named, ends ? end_heads : heads, ends ? sizeof end_heads : sizeof heads);
    for (i = 0; by[i] && i < sizeof name - 2; i++)
        name[i + 1] = (char)(by[i] >= 'a' && by[i] <= 'z' ? by[i] - 'a' + 'A' : by[i]);
    named[0] = name;
    if (strcmp(by, "status") == 0)
        table_init(&table, 3, status_heads);
    else
        table_init(&table, ends ? 9 : by_name ? 6 : 4, named);
    json_array_foreach(rows, i, row) queue_row(&table, row, by, ends);
    table_print(&table, stdout, true);
    table_free(&table);
    if (member_number(answer, "more") > 0)
        printf("and %lld more rows\n", member_number(answer, "more"));
    printf("%s%lld queued: %lld ready, %lld deferred, %lld held, %lld in flight\n",
           json_array_size(rows) ? "\n" : "", member_number(total, "queued"), member_number(total, "ready"),
           member_number(total, "deferred"), member_number(total, "held"), member_number(total, "in_flight"));
}

static int run_queue(struct cli *cli)
{
    const char *by = cli_value(cli, "by");
    bool known = by == NULL;
    for (size_t i = 0; i < sizeof queue_by / sizeof *queue_by && !known; i++)
        known = strcmp(by, queue_by[i]) == 0;
    if (!known)
        return cli_usage("queue: --by takes domain, site, tenant, status or age, not '%s'", by);
    struct buf path;
    path_start(&path, "/v1/queue", NULL, "");
    path_add(&path, "by", by);
    path_add(&path, "all", cli_value(cli, "all") != NULL ? "1" : NULL);
    path_add(&path, "limit", cli_value(cli, "limit"));
    int code = http_show(cli, NULL, path_done(&path), print_queue);
    buf_free(&path);
    return code;
}

static const struct cli_option queue_options[] = {
    {"by", "KEY", "domain (default), site, tenant, status or age"},
    {"all", NULL, "with what became of those that ended, also where nothing is queued any more"},
    {"limit", "N", "rows at most (default 1000)"},
};

const struct command command_queue = {
    .name = "queue",
    .args = "",
    .help = "What is queued, summed up by domain, site, tenant, status or age.",
    .run = run_queue,
    .json = true,
    OPTIONS(queue_options),
};

/* ---- sites ---- */

static void print_sites(struct cli *cli, json_t *answer)
{
    static const char *const heads[] = {"-SITE",    "CONN",   "MAX",    "IDLE", "IN FLIGHT", "DELIVERED",
                                        "DEFERRED", "FAILED", "RATE/S", "HELD", "WAITS",     "-FOR"};
    const json_t *sites = json_object_get(answer, "sites"), *site;
    char text[FIGURE_MAX];
    struct table table;
    size_t i;
    (void)cli;
    table_init(&table, 12, heads);
    json_array_foreach(sites, i, site)
    {
        const char *by = member_text(site, "blocked_by"), *reason = member_text(site, "reason");
        table_text(&table, member_text(site, "site"));
        table_number(&table, member_number(site, "connections"));
        table_number(&table, member_number(site, "max_connections"));
        table_number(&table, member_number(site, "idle"));
        table_number(&table, member_number(site, "in_flight"));
        table_number(&table, member_number(site, "delivered"));
        table_number(&table, member_number(site, "deferred"));
        table_number(&table, member_number(site, "failed"));
        table_text(&table, rate_text(text, site, "rate_1m"));
        table_number(&table, member_number(site, "held"));
        table_text(&table, figure_until(text, member_text(site, "blocked_until")));
        table_printf(&table, "%s%s%s", by, by[0] && reason[0] ? ": " : "", reason);
    }
    table_print(&table, stdout, true);
    table_free(&table);
    if (json_array_size(sites) == 0)
        puts("No site is in use: nothing has been sent since the daemon started, or all of it is long done.");
    if (json_is_false(json_object_get(answer, "complete")))
        puts("A worker did not answer in time: the figures are not complete.");
}

static int run_sites(struct cli *cli)
{
    return http_show(cli, NULL, "/v1/sites", print_sites);
}

const struct command command_sites = {
    .name = "sites",
    .args = "",
    .help = "Receivers in use: connections, rates, and which limit holds them until when.",
    .run = run_sites,
    .json = true,
};

/* ---- explain ---- */

static void print_explained(struct cli *cli, json_t *answer)
{
    const json_t *answers = json_object_get(answer, "answers"), *one;
    char text[FIGURE_MAX], left[FIGURE_MAX];
    size_t i;
    (void)cli;
    json_array_foreach(answers, i, one)
    {
        const char *rid = member_text(one, "rid");
        if (rid[0]) {
            printf("%s to ", rid);
            print_safe(stdout, member_text(one, "to"));
            printf(": %s, %lld attempts\n", member_text(one, "state"), member_number(one, "attempts"));
        } else {
            print_safe(stdout, member_text(one, "domain"));
            fputs(" (tenant ", stdout);
            print_safe(stdout, member_text(one, "tenant"));
            printf("): %lld ready, %lld deferred\n", member_number(one, "ready"),
                   member_number(one, "deferred"));
        }
        fputs("  ", stdout);
        print_safe(stdout, member_text(one, "why"));
        const char *until = member_text(one, "until");
        if (until[0])
            printf(" (until %s, %s)", figure_time(text, until), figure_until(left, until));
        putchar('\n');
        if (member_text(one, "tls")[0] != '\0')
            printf("  TLS: %s\n", member_text(one, "tls"));
    }
}

/* "17-0-42": three numbers. */
static bool is_rid(const char *text)
{
    unsigned dashes = 0;
    for (const char *p = text; *p; p++) {
        if (*p == '-' && p > text && p[-1] != '-')
            dashes++;
        else if (*p < '0' || *p > '9')
            return false;
    }
    return dashes == 2;
}

static int run_explain(struct cli *cli)
{
    const char *what = cli->args[0];
    struct buf path;
    path_start(&path, "/v1/explain", NULL, "");
    path_add(&path, strchr(what, '@') ? "to" : is_rid(what) ? "rid" : "domain", what);
    int code = http_show(cli, NULL, path_done(&path), print_explained);
    buf_free(&path);
    return code;
}

const struct command command_explain = {
    .name = "explain",
    .args = "RID|ADDRESS|DOMAIN",
    .help = "Why a recipient or a domain waits, and until when.",
    .run = run_explain,
    .min_args = 1,
    .max_args = 1,
    .json = true,
};
