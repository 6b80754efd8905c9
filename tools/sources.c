/* sources.c - the addresses that mail leaves from: sources, source; and flush dns. */
#include "tools/commands.h"
#include "tools/http.h"
#include "tools/table.h"

#include <string.h>

static void print_sources(struct cli *cli, json_t *answer)
{
    static const char *const heads[] = {"-SOURCE", "-ADDRESS", "-EHLO",     "-STATE",   "SITES", "BLOCKED",
                                        "CONNS",   "FLYING",   "DELIVERED", "DEFERRED", "FAILED"};
    static const char *const figures[] = {"sites",     "blocked",  "connections", "in_flight",
                                          "delivered", "deferred", "failed"};
    const json_t *list = json_object_get(answer, "sources"), *source;
    const char *only = strcmp(cli->command->name, "source") == 0 ? cli->args[0] : NULL;
    struct table table;
    size_t i;
    table_init(&table, 11, heads);
    json_array_foreach(list, i, source)
    {
        if (only != NULL && strcmp(member_text(source, "source"), only) != 0)
            continue;
        table_text(&table, member_text(source, "source"));
        table_text(&table, or_dash(member_text(source, "address")));
        table_text(&table, member_text(source, "ehlo"));
        table_text(&table, member_true(source, "drained") ? "drained" : "enabled");
        for (size_t f = 0; f < sizeof figures / sizeof *figures; f++)
            table_number(&table, member_number(source, figures[f]));
    }
    table_print(&table, stdout, true);
    table_free(&table);
    if (json_is_false(json_object_get(answer, "complete")))
        puts("A worker did not answer in time: the figures are not complete.");
}

static int run_sources(struct cli *cli)
{
    return http_show(cli, NULL, "/v1/sources", print_sources);
}

const struct command command_sources = {
    .name = "sources",
    .args = "",
    .help = "The addresses that mail leaves from, and what leaves from each.",
    .run = run_sources,
    .json = true,
};

static void print_steered(struct cli *cli, json_t *answer)
{
    (void)cli;
    print_safe(stdout, member_text(answer, "source"));
    puts(member_true(answer, "drained") ? ": drained; nothing new leaves from it" : ": enabled");
}

static int run_source(struct cli *cli)
{
    const char *act = cli->arg_count > 1 ? cli->args[1] : NULL;
    struct buf path;
    if (act == NULL)
        return http_show(cli, NULL, "/v1/sources", print_sources);
    if (strcmp(act, "enable") != 0 && strcmp(act, "drain") != 0)
        return cli_usage("source: '%s' is none of enable and drain", act);
    path_start(&path, "/v1/sources/", cli->args[0], act[0] == 'e' ? "/enable" : "/drain");
    int code = http_show(cli, "POST", path_done(&path), print_steered);
    buf_free(&path);
    return code;
}

const struct command command_source = {
    .name = "source",
    .args = "SOURCE [enable|drain]",
    .help = "One source. drain lets what is under way finish and sends nothing more from it, also after a "
            "restart: mail goes by the other sources of its pool, or waits. enable ends that.",
    .run = run_source,
    .min_args = 1,
    .max_args = 2,
    .json = true,
};

static void print_flushed(struct cli *cli, json_t *answer)
{
    (void)cli;
    (void)answer;
    puts("What was known from DNS is forgotten.");
}

static int run_flush(struct cli *cli)
{
    if (strcmp(cli->args[0], "dns") != 0)
        return cli_usage("flush: '%s' is not dns", cli->args[0]);
    return http_show(cli, "POST", "/v1/dns/flush", print_flushed);
}

const struct command command_flush = {
    .name = "flush",
    .args = "dns",
    .help =
        "Forget what is known from DNS: domains are asked for anew with their next mail, at once where DNS "
        "had failed. Connections that are open stay.",
    .run = run_flush,
    .min_args = 1,
    .max_args = 1,
    .json = true,
};
