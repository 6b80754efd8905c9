/* consumers.c - who reads the event log, and how far behind each is. */
#include "tools/commands.h"
#include "tools/http.h"
#include "tools/table.h"

static void print_consumers(struct cli *cli, json_t *answer)
{
    static const char *const heads[] = {"-consumer", "-kind",   "cursor", "lag",
                                        "behind",    "dropped", "dead",   "-last error"};
    size_t i;
    json_t *one;
    char text[FIGURE_MAX], when[FIGURE_MAX];
    struct table table;
    (void)cli;
    table_init(&table, sizeof heads / sizeof *heads, heads);
    json_array_foreach(json_object_get(answer, "consumers"), i, one)
    {
        const char *shape = member_text(one, "shape"), *error = member_text(one, "error");
        bool is_native = strcmp(shape, "native") == 0;
        table_text(&table, member_text(one, "consumer"));
        table_printf(&table, "%s%s%s", member_text(one, "kind"), is_native ? "" : ":",
                     is_native ? "" : shape);
        table_number(&table, member_number(one, "cursor"));
        table_number(&table, member_number(one, "lag"));
        table_text(&table, figure_span(text, member_number(one, "lag_ms") / 1000));
        table_number(&table, member_number(one, "dropped"));
        table_number(&table, member_number(one, "dead_lettered"));
        table_printf(&table, "%s%s%s", figure_time(when, member_text(one, "error_time")), error[0] ? " " : "",
                     error);
    }
    table_print(&table, stdout, true);
    table_free(&table);
}

static int run_consumers(struct cli *cli)
{
    return http_show(cli, NULL, "/v1/consumers", print_consumers);
}

const struct command command_consumers = {
    .name = "consumers",
    .args = "",
    .help = "Who reads the event log: how far each is and how far behind, what it missed, its last error.",
    .run = run_consumers,
    .json = true,
};
