/* local.c - commands that need no daemon: config, version, help. */
#include "tools/local.h"

#include "tools/check_dkim.h"
#include "tools/commands.h"

#include <string.h>
#include <unistd.h>

#define SHOW_MAX (64 * 1024 * 1024)

struct config *local_config(const char *path)
{
    struct config *config;
    struct buf errors;
    buf_init(&errors, CONFIG_ERRORS_MAX);
    if (!config_load(path, &config, &errors))
        fwrite(errors.data, 1, errors.len, stderr);
    buf_free(&errors);
    return config;
}

static int run_config(struct cli *cli)
{
    const char *action = cli->args[0], *path = cli->arg_count > 1 ? cli->args[1] : CONFIG_FILE;
    bool show = strcmp(action, "show") == 0;
    if (!show && strcmp(action, "check") != 0)
        return cli_usage("config: unknown action '%s'; usage: postrider config check|show [FILE]", action);
    if (cli->arg_count < 2 && access(path, F_OK) != 0)
        return cli_fail("there is no %s; name the file: postrider config %s FILE", path, action);
    struct config *config = local_config(path);
    if (config == NULL)
        return cli_fail("%s is not a configuration that postriderd would start with", path);
    if (show) {
        struct buf out;
        buf_init(&out, SHOW_MAX);
        config_show(config, &out);
        fwrite(out.data, 1, out.len, stdout);
        buf_free(&out);
    }
    int code = show ? 0 : check_dkim(config, cli_value(cli, "dns") != NULL);
    if (!show && code == 0)
        printf("%s is good\n", path);
    config_free(config);
    return code;
}

static const struct cli_option config_options[] = {
    {"dns", NULL, "also compare the DKIM keys with what DNS publishes of them"},
};

const struct command command_config = {
    .name = "config",
    .args = "check|show [FILE]",
    .help = "Check a configuration, or show what is in effect with it (default: " CONFIG_FILE ").",
    .run = run_config,
    .min_args = 1,
    .max_args = 2,
    .options = config_options,
    .option_count = sizeof config_options / sizeof *config_options,
};

static int run_version(struct cli *cli)
{
    if (cli->json)
        printf("{\"version\":\"%s\"}\n", POSTRIDER_VERSION);
    else
        puts("postrider " POSTRIDER_VERSION);
    return 0;
}

const struct command command_version = {
    .name = "version",
    .args = "",
    .help = "Print the version of this command.",
    .run = run_version,
    .json = true,
};

static int run_help(struct cli *cli)
{
    if (cli->arg_count == 0) {
        cli_print_commands(stdout);
        return 0;
    }
    for (size_t i = 0; i < cli_command_count; i++)
        if (strcmp(cli_commands[i]->name, cli->args[0]) == 0) {
            cli_print_command(stdout, cli_commands[i]);
            return 0;
        }
    return cli_usage("unknown command '%s'; 'postrider help' lists them", cli->args[0]);
}

const struct command command_help = {
    .name = "help",
    .args = "[COMMAND]",
    .help = "List the commands, or say more about one.",
    .run = run_help,
    .max_args = 1,
};
