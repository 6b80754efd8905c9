/* recipients.c - lists of recipients, of a job and of the whole queue, and one recipient. */
#include "tools/recipients.h"

#include "tools/commands.h"
#include "tools/filter.h"
#include "tools/http.h"
#include "tools/table.h"

#define PAGE_ROWS 1000
#define ALL_ROWS  "1000000000"

/* ---- lists ---- */

struct recipients {
    struct table table;
    bool json, failed;
    bool headed;          /* the heads are printed */
    long long seen, left; /* of this page; still wanted */
    char last[64];
};

static void recipients_init(struct recipients *list, const struct cli *cli)
{
    static const char *const heads[] = {"-RID", "-TO", "-STATE", "ATTEMPTS", "NEXT", "-STATUS", "-REPLY"};
    *list = (struct recipients){.json = cli->json, .left = INT64_MAX};
    table_init(&list->table, 7, heads);
}

static void print_page(struct recipients *list)
{
    table_print(&list->table, stdout, !list->headed);
    list->headed = true;
}

static void recipient_row(struct table *table, const json_t *rcpt)
{
    char text[FIGURE_MAX];
    table_text(table, member_text(rcpt, "rid"));
    table_text(table, member_text(rcpt, "to"));
    table_text(table, member_true(rcpt, "in_flight") ? "in flight" : member_text(rcpt, "state"));
    table_number(table, member_number(rcpt, "attempts"));
    table_text(table, figure_until(text, member_text(rcpt, "next")));
    table_text(table, or_dash(member_text(rcpt, "status")));
    table_text(table, member_text(rcpt, "reply"));
}

static bool on_recipient(void *user, struct str text)
{
    struct recipients *list = user;
    json_t *rcpt = json_loadb(text.p, text.n, 0, NULL);
    list->seen++;
    snprintf(list->last, sizeof list->last, "%s", member_text(rcpt, "rid"));
    if (list->json) {
        fwrite(text.p, 1, text.n, stdout);
        putchar('\n');
    } else {
        recipient_row(&list->table, rcpt);
        if (list->table.rows == PAGE_ROWS)
            print_page(list);
    }
    list->failed |= rcpt == NULL;
    json_decref(rcpt);
    return !list->failed && !ferror(stdout);
}

static int get_page(struct cli *cli, struct recipients *list, struct buf *path, bool endless)
{
    list->seen = 0;
    int code = http_lines(cli, path_done(path), endless, on_recipient, list);
    list->left -= list->seen;
    print_page(list);
    if (list->failed)
        return cli_fail("the daemon's answer is not JSON; are daemon and command of the same version?");
    return code;
}

/* One page of a job: code, and whether another one follows. */
static int job_page(struct cli *cli, struct recipients *list, bool *more)
{
    static const char *const filters[] = {"state", "status", "to"};
    long long wanted = list->left < PAGE_ROWS ? list->left : PAGE_ROWS;
    struct buf path;
    char limit[32];
    snprintf(limit, sizeof limit, "%lld", wanted);
    path_start(&path, "/v1/jobs/", cli->args[0], "/recipients");
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++)
        path_add(&path, filters[i], cli_value(cli, filters[i]));
    path_add(&path, "after", list->last[0] ? list->last : NULL);
    path_add(&path, "limit", limit);
    int code = get_page(cli, list, &path, false);
    buf_free(&path);
    *more = code == 0 && list->seen == wanted && list->left > 0;
    return code;
}

/* The value of --limit; false: it is none, or absent. */
static bool limit_number(const struct cli *cli, uint64_t *number)
{
    const char *limit = cli_value(cli, "limit");
    return limit != NULL && str_u64(str_of(limit), INT64_MAX, number) && *number > 0;
}

int recipients_of_job(struct cli *cli)
{
    struct recipients list;
    const char *limit = cli_value(cli, "limit"), *after = cli_value(cli, "after");
    uint64_t number = INT64_MAX;
    if (limit != NULL && !limit_number(cli, &number))
        return cli_usage("job: --limit takes a number, not '%s'", limit);
    recipients_init(&list, cli);
    list.left = (long long)number;
    snprintf(list.last, sizeof list.last, "%s", after ? after : "");
    int code;
    bool more;
    do {
        code = job_page(cli, &list, &more);
    } while (more);
    table_free(&list.table);
    return code;
}

/* ---- mailq ---- */

static int run_mailq(struct cli *cli)
{
    struct recipients list;
    const char *limit = cli_value(cli, "limit");
    uint64_t number;
    struct buf path;
    if (limit != NULL && !limit_number(cli, &number))
        return cli_usage("mailq: --limit takes a number, not '%s'", limit);
    path_start(&path, "/v1/queue/recipients", NULL, "");
    filter_path(cli, &path);
    path_add(&path, "state", cli_value(cli, "state"));
    path_add(&path, "limit", limit ? limit : ALL_ROWS);
    recipients_init(&list, cli);
    int code = get_page(cli, &list, &path, true);
    if (code == 0 && list.seen == 0 && !cli->json)
        puts("Nothing is queued that matches.");
    table_free(&list.table);
    buf_free(&path);
    return code;
}

static const struct cli_option mailq_options[] = {
    FILTER_OPTIONS,
    {"state", "STATE", "ready or deferred (default: both)"},
    {"limit", "N", "at most so many (default: all)"},
};

const struct command command_mailq = {
    .name = "mailq",
    .args = "",
    .help = "The recipients that are queued, with their last reply: those that wait for a retry by their "
            "status, then those that were never tried. With options, those that match each of them.",
    .run = run_mailq,
    .json = true,
    OPTIONS(mailq_options),
};

/* ---- one recipient ---- */

static void line(struct table *table, const char *name, const char *value)
{
    if (value[0] == '\0')
        return;
    table_text(table, name);
    table_text(table, value);
}

static void print_recipient(struct cli *cli, json_t *rcpt)
{
    static const char *const heads[] = {"-", "-"};
    static const char *const texts[] = {"rid", "job", "to", "domain", "id"};
    static const char *const times[] = {"first", "last", "next"};
    static const char *const heard[] = {"status", "reply", "mx", "source", "site", "orcpt"};
    const json_t *vars = json_object_get(rcpt, "vars"), *value;
    const char *name;
    char text[FIGURE_MAX];
    struct table table;
    (void)cli;
    table_init(&table, 2, heads);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        line(&table, texts[i], member_text(rcpt, texts[i]));
    line(&table, "state", member_true(rcpt, "in_flight") ? "in flight" : member_text(rcpt, "state"));
    table_text(&table, "attempts");
    table_number(&table, member_number(rcpt, "attempts"));
    for (size_t i = 0; i < sizeof times / sizeof *times; i++)
        if (member_text(rcpt, times[i])[0])
            line(&table, times[i], figure_time(text, member_text(rcpt, times[i])));
    if (member_number(rcpt, "code") > 0) {
        table_text(&table, "code");
        table_number(&table, member_number(rcpt, "code"));
    }
    for (size_t i = 0; i < sizeof heard / sizeof *heard; i++)
        line(&table, heard[i], member_text(rcpt, heard[i]));
    json_object_foreach((json_t *)(uintptr_t)vars, name, value)
    {
        table_printf(&table, "{{%s}}", name);
        table_text(&table, json_string_value(value));
    }
    table_print(&table, stdout, false);
    table_free(&table);
}

static int run_recipient(struct cli *cli)
{
    bool message = cli_value(cli, "message") != NULL;
    struct buf path;
    if (message && cli->json)
        return cli_usage("recipient: --message and --json exclude each other");
    path_start(&path, "/v1/recipients/", cli->args[0], message ? "/message" : "");
    int code =
        message ? http_copy(cli, path_done(&path)) : http_show(cli, NULL, path_done(&path), print_recipient);
    buf_free(&path);
    return code;
}

static const struct cli_option recipient_options[] = {
    {"message", NULL, "the message as it would be sent to it"},
};

const struct command command_recipient = {
    .name = "recipient",
    .args = "RID",
    .help = "One recipient: its state, attempts and last reply, or its message.",
    .run = run_recipient,
    .min_args = 1,
    .max_args = 1,
    .json = true,
    OPTIONS(recipient_options),
};
