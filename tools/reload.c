/* reload.c - the daemon reads its configuration again. */
#include "tools/commands.h"
#include "tools/http.h"
#include "tools/table.h"

#include <stdio.h>

static void print_options(const char *before, const json_t *list)
{
    const json_t *name;
    size_t i;
    fputs(before, stdout);
    json_array_foreach(list, i, name)
    {
        fputs(i > 0 ? ", " : "", stdout);
        print_safe(stdout, json_string_value(name));
    }
    putchar('\n');
}

static void print_reloaded(struct cli *cli, json_t *answer)
{
    const json_t *changed = json_object_get(answer, "changed"), *restart = json_object_get(answer, "restart");
    (void)cli;
    if (json_array_size(changed) > 0)
        print_options("in force: ", changed);
    else
        puts("in force; nothing that a reload applies has changed");
    if (json_array_size(restart) > 0)
        print_options("as before, until a restart: ", restart);
    if (!member_true(answer, "complete"))
        puts("a worker is busy and follows in a while: the log says more");
}

static int run_reload(struct cli *cli)
{
    return http_show(cli, "POST", "/v1/reload", print_reloaded);
}

const struct command command_reload = {
    .name = "reload",
    .args = "",
    .help =
        "Have the daemon read its configuration again, as SIGHUP does: says what has changed, and what takes "
        "a restart. With anything wrong in the file nothing changes, and the first error is shown.",
    .run = run_reload,
    .json = true,
};
