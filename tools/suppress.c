/* suppress.c - the addresses that get no mail: add, remove, list, import, export. */
#include "tools/commands.h"
#include "tools/http.h"
#include "tools/table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_ROWS 1000
#define ALL_ROWS  "1000000000"

static void scope_add(const struct cli *cli, struct buf *path)
{
    path_add(path, "scope", cli_value(cli, "everybody") ? "" : cli_value(cli, "tenant"));
}

/* ---- adding ---- */

static int print_added(const struct cli *cli, const struct http_answer *answer)
{
    json_t *root = json_loadb(answer->body.data, answer->body.len, 0, NULL), *one;
    const json_t *list = json_object_get(root, "rejected");
    long long rejected = member_number(root, "rejected_count"), accepted = member_number(root, "accepted");
    size_t i;
    if (root == NULL)
        return cli_fail("the daemon's answer is not JSON; are daemon and command of the same version?");
    if (cli->json)
        fwrite(answer->body.data, 1, answer->body.len, stdout);
    else
        printf("%lld suppressed, %lld of them new or changed\n", accepted, member_number(root, "changed"));
    json_array_foreach(list, i, one)
    {
        if (cli->json)
            break;
        printf("line %lld: ", member_number(one, "line"));
        print_safe(stdout, member_text(one, "error"));
        fputs(": ", stdout);
        print_safe(stdout, member_text(one, "text"));
        putchar('\n');
    }
    if (!cli->json && rejected > (long long)json_array_size(list))
        printf("and %lld more\n", rejected - (long long)json_array_size(list));
    json_decref(root);
    return rejected > 0 ? cli_fail("%lld of %lld lines are bad and left out", rejected, rejected + accepted)
                        : 0;
}

static int upload(struct cli *cli, FILE *file, const char *source)
{
    struct http_answer answer;
    struct buf path;
    path_start(&path, "/v1/suppressions", NULL, "");
    scope_add(cli, &path);
    path_add(&path, "reason", cli_value(cli, "reason"));
    path_add(&path, "source", source);
    struct http_call call = {.path = path_done(&path),
                             .upload = file,
                             .upload_size = -1,
                             .content_type = "application/octet-stream"};
    bool answered = http_perform(cli, &call, &answer);
    buf_free(&path);
    if (!answered)
        return 1;
    int code = answer.status >= 300 ? http_refused(&answer) : print_added(cli, &answer);
    http_answer_free(&answer);
    return code;
}

static int run_add(struct cli *cli)
{
    char *text = NULL;
    size_t n = 0;
    FILE *list = open_memstream(&text, &n);
    if (list == NULL)
        return cli_fail("memory is out");
    for (unsigned i = 1; i < cli->arg_count; i++) {
        json_t *line = json_pack("{s:s}", "address", cli->args[i]);
        if (line == NULL || json_dumpf(line, list, JSON_COMPACT) != 0) {
            json_decref(line);
            fclose(list);
            free(text);
            return cli_usage("suppress: '%s' is not UTF-8", cli->args[i]);
        }
        fputc('\n', list);
        json_decref(line);
    }
    fclose(list);
    FILE *file = fmemopen(text, n, "r");
    int code = file != NULL ? upload(cli, file, "cli") : cli_fail("memory is out");
    if (file != NULL)
        fclose(file);
    free(text);
    return code;
}

static int run_import(struct cli *cli)
{
    const char *name = cli->args[1];
    FILE *file = strcmp(name, "-") == 0 ? stdin : fopen(name, "re");
    if (file == NULL)
        return cli_fail("cannot open %s: %s", name, strerror(errno));
    int code = upload(cli, file, "import");
    if (file != stdin)
        fclose(file);
    return code;
}

/* ---- taking out ---- */

static int run_remove(struct cli *cli)
{
    int code = 0;
    for (unsigned i = 1; i < cli->arg_count && code == 0; i++) {
        struct buf path;
        path_start(&path, "/v1/suppressions", NULL, "");
        scope_add(cli, &path);
        path_add(&path, "address", cli->args[i]);
        json_t *answer = http_json(cli, "DELETE", path_done(&path));
        code = answer == NULL;
        if (answer != NULL && cli->json) {
            json_dumpf(answer, stdout, JSON_COMPACT);
            putchar('\n');
        } else if (answer != NULL) {
            printf("%s gets mail again\n", cli->args[i]);
        }
        json_decref(answer);
        buf_free(&path);
    }
    return code;
}

/* ---- the list ---- */

struct list {
    struct table table;
    bool json, failed, headed;
    long long seen;
};

static void print_page(struct list *list)
{
    table_print(&list->table, stdout, !list->headed);
    list->headed = true;
}

static bool on_line(void *user, struct str text)
{
    struct list *list = user;
    char time[FIGURE_MAX];
    list->seen++;
    if (list->json) {
        fwrite(text.p, 1, text.n, stdout);
        putchar('\n');
        return !ferror(stdout);
    }
    json_t *one = json_loadb(text.p, text.n, 0, NULL);
    list->failed = one == NULL;
    table_text(&list->table, member_text(one, "address"));
    table_text(&list->table, or_dash(member_text(one, "scope")));
    table_text(&list->table, figure_time(time, member_text(one, "time")));
    table_text(&list->table, or_dash(member_text(one, "source")));
    table_text(&list->table, member_text(one, "reason"));
    if (list->table.rows == PAGE_ROWS)
        print_page(list);
    json_decref(one);
    return !list->failed && !ferror(stdout);
}

static int run_list(struct cli *cli)
{
    static const char *const heads[] = {"-ADDRESS", "-TENANT", "-SINCE", "-SOURCE", "-REASON"};
    const char *limit = cli_value(cli, "limit");
    struct list list = {.json = cli->json};
    struct buf path;
    path_start(&path, "/v1/suppressions", NULL, "");
    scope_add(cli, &path);
    path_add(&path, "address", cli->arg_count > 1 ? cli->args[1] : NULL);
    path_add(&path, "limit", limit ? limit : ALL_ROWS);
    table_init(&list.table, 5, heads);
    int code = http_lines(cli, path_done(&path), true, on_line, &list);
    print_page(&list);
    if (list.failed)
        code = cli_fail("the daemon's answer is not JSON; are daemon and command of the same version?");
    else if (code == 0 && list.seen == 0 && !cli->json)
        puts("Nobody is suppressed.");
    table_free(&list.table);
    buf_free(&path);
    return code;
}

static bool to_stdout(void *user, struct str data)
{
    (void)user;
    return fwrite(data.p, 1, data.n, stdout) == data.n;
}

static int run_export(struct cli *cli)
{
    struct http_answer answer;
    struct buf path;
    path_start(&path, "/v1/suppressions", NULL, "");
    scope_add(cli, &path);
    path_add(&path, "format", "csv");
    path_add(&path, "limit", ALL_ROWS);
    struct http_call call = {.path = path_done(&path), .raw = to_stdout, .endless = true};
    bool answered = http_perform(cli, &call, &answer);
    buf_free(&path);
    if (!answered)
        return 1;
    int code = answer.status >= 300 ? http_refused(&answer) : 0;
    http_answer_free(&answer);
    return code;
}

static const struct action {
    const char *name;
    int (*run)(struct cli *cli);
    unsigned min_args, max_args; /* itself included */
} actions[] = {
    {"add", run_add, 2, CLI_ARGS_MAX}, {"remove", run_remove, 2, CLI_ARGS_MAX},
    {"list", run_list, 1, 2},          {"import", run_import, 2, 2},
    {"export", run_export, 1, 1},
};

static int run_suppress(struct cli *cli)
{
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
        const struct action *action = &actions[i];
        if (strcmp(cli->args[0], action->name) != 0)
            continue;
        if (cli->arg_count < action->min_args || cli->arg_count > action->max_args)
            return cli_usage("usage: postrider suppress %s", cli->command->args);
        if (cli_value(cli, "everybody") && cli_value(cli, "tenant"))
            return cli_usage("suppress: --everybody and --tenant exclude each other");
        return action->run(cli);
    }
    return cli_usage("suppress: unknown action '%s'; usage: postrider suppress %s", cli->args[0],
                     cli->command->args);
}

static const struct cli_option suppress_options[] = {
    {"tenant", "NAME", "this tenant's list (default: everybody's; of list and export: all)"},
    {"everybody", NULL, "list and export: everybody's only"},
    {"reason", "TEXT", "add and import: why, where a line does not say"},
    {"limit", "N", "list: at most so many (default: all)"},
};

const struct command command_suppress = {
    .name = "suppress",
    .args = "add|remove ADDRESS... | list [ADDRESS] | import FILE|- | export",
    .help = "Addresses that get no mail. import takes CSV (columns address,scope,reason,source,time; with a "
            "header in any order, others are passed over), a plain list of addresses, or NDJSON, and tells "
            "which lines are bad; export writes CSV.",
    .run = run_suppress,
    .min_args = 1,
    .max_args = CLI_ARGS_MAX,
    .json = true,
    OPTIONS(suppress_options),
};
