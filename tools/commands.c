/* commands.c - the table of commands, and its text for help. */
#include "tools/commands.h"

const struct command *const cli_commands[] = {
    &command_submit, &command_status,  &command_queue,  &command_jobs,  &command_job,
    &command_sites,  &command_explain, &command_events, &command_retry, &command_resolve,
    &command_config, &command_version, &command_help,   &command_roff,
};
const size_t cli_command_count = sizeof cli_commands / sizeof *cli_commands;

void cli_print_commands(FILE *out)
{
    fputs("usage: postrider [-s SOCKET] COMMAND [ARGUMENT...]\n"
          "Talks to a running postriderd. The socket is SOCKET, $POSTRIDER_SOCKET,\n"
          "/run/postrider/control.sock or /run/postrider/jobs.sock.\n\n",
          out);
    for (size_t i = 0; i < cli_command_count; i++)
        if (!cli_commands[i]->hidden)
            fprintf(out, "  %-10s %s\n", cli_commands[i]->name, cli_commands[i]->help);
    fputs("\n'postrider help COMMAND' says more. With --json a command gives the API's JSON.\n"
          "Exit: 0 done, 1 failed (one line on stderr says why), 2 usage.\n",
          out);
}

void cli_print_command(FILE *out, const struct command *command)
{
    fprintf(out, "usage: postrider [-s SOCKET] %s%s%s%s\n%s\n", command->name,
            command->option_count > 0 || command->json ? " [OPTION...]" : "", command->args[0] ? " " : "",
            command->args, command->help);
    for (size_t i = 0; i < command->option_count; i++) {
        const struct cli_option *option = &command->options[i];
        char name[64];
        snprintf(name, sizeof name, "--%s%s%s", option->name, option->value ? " " : "",
                 option->value ? option->value : "");
        fprintf(out, "  %-24s %s\n", name, option->help);
    }
    if (command->json)
        fprintf(out, "  %-24s %s\n", "--json", "print the API's JSON");
}
