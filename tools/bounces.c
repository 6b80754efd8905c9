/* bounces.c - see bounces.h; and the command of that name, over all jobs of a tenant. */
#include "tools/bounces.h"

#include "tools/commands.h"
#include "tools/http.h"

int bounces_show(struct cli *cli, const char *start, const char *name)
{
    bool csv = cli_value(cli, "csv") != NULL, html = cli_value(cli, "html") != NULL;
    struct buf path;
    if (csv + html + cli->json > 1)
        return cli_usage("%s: --csv, --html and --json exclude each other", cli->command->name);
    path_start(&path, start, name, "/bounces");
    path_add(&path, "format", csv ? "csv" : html ? "html" : cli->json ? "json" : "text");
    path_add(&path, "since", cli_value(cli, "since"));
    int code = http_copy(cli, path_done(&path));
    buf_free(&path);
    return code;
}

static const struct cli_option bounces_options[] = {
    {"tenant", "NAME", "of this tenant (default: the one named default)"},
    {"since", "WHEN", "what failed since: how long ago (24h), or a time (2026-01-31T00:00:00Z)"},
    {"csv", NULL, "a row a recipient, as CSV"},
    {"html", NULL, "a page for a browser, with charts"},
};

static int run_bounces(struct cli *cli)
{
    const char *tenant = cli_value(cli, "tenant");
    return bounces_show(cli, "/v1/tenants/", tenant ? tenant : "default");
}

const struct command command_bounces = {
    .name = "bounces",
    .args = "",
    .help = "The bounce report of a tenant: what failed, why, where, in whose words. Of one job: "
            "'postrider job JOB bounces'.",
    .run = run_bounces,
    .json = true,
    OPTIONS(bounces_options),
};
