/* commands.c - the table of commands, and its text for help. */
#include "tools/commands.h"

#include "engine/base/wrap.h"

/* One a line: each is added apart from the others. */
/* clang-format off */
const struct command *const cli_commands[] = {
    &command_submit,
    &command_preview,
    &command_status,
    &command_top,
    &command_queue,
    &command_mailq,
    &command_jobs,
    &command_job,
    &command_recipient,
    &command_bounces,
    &command_sites,
    &command_site,
    &command_suspensions,
    &command_suspend,
    &command_resume,
    &command_sources,
    &command_source,
    &command_explain,
    &command_trace,
    &command_retry,
    &command_bounce,
    &command_suppress,
    &command_events,
    &command_consumers,
    &command_inbound,
    &command_rule,
    &command_flush,
    &command_reload,
    &command_resolve,
    &command_backup,
    &command_probe,
    &command_config,
    &command_version,
    &command_help,
    &command_roff,
};
/* clang-format on */
const size_t cli_command_count = sizeof cli_commands / sizeof *cli_commands;

/* A name in a column of this width, and beside it what it is. */
static void print_row(FILE *out, int width, const char *name, const char *help)
{
    int n = fprintf(out, "  %-*s ", width, name);
    wrap_print(out, (size_t)n, (size_t)width + 3, help);
}

void cli_print_commands(FILE *out)
{
    fputs("usage: postrider [-s SOCKET] COMMAND [ARGUMENT...]\n"
          "Talks to a running postriderd. The socket is SOCKET, $POSTRIDER_SOCKET,\n"
          "/run/postrider/control.sock or /run/postrider/jobs.sock.\n\n",
          out);
    for (size_t i = 0; i < cli_command_count; i++)
        if (!cli_commands[i]->hidden)
            print_row(out, 10, cli_commands[i]->name, cli_commands[i]->help);
    fputs("\n'postrider help COMMAND' says more. With --json a command gives the API's JSON.\n"
          "Exit: 0 done, 1 failed (one line on stderr says why), 2 usage.\n",
          out);
}

void cli_print_command(FILE *out, const struct command *command)
{
    char usage[256];
    int n = fprintf(out, "usage: postrider ");
    snprintf(usage, sizeof usage, "[-s SOCKET] %s%s%s%s", command->name,
             command->option_count > 0 || command->json ? " [OPTION...]" : "", command->args[0] ? " " : "",
             command->args);
    wrap_print(out, (size_t)n, (size_t)n, usage);
    wrap_print(out, 0, 0, command->help);
    for (size_t i = 0; i < command->option_count; i++) {
        const struct cli_option *option = &command->options[i];
        char name[64];
        snprintf(name, sizeof name, "--%s%s%s", option->name, option->value ? " " : "",
                 option->value ? option->value : "");
        print_row(out, 24, name, option->help);
    }
    if (command->json)
        print_row(out, 24, "--json", "print JSON");
}
