/* cli.h - what the commands of `postrider` share: their table, options, failures.
 *
 * A command is one entry of the table in commands.c and one function that returns an exit code: 0 done, 1
 * failed, 2 usage. What it prints goes to stdout, a failure is one line on stderr (cli_fail). The same table
 * drives parsing, help and the man page. One thread. */
#ifndef POSTRIDER_TOOLS_CLI_H
#define POSTRIDER_TOOLS_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define CLI_OPTIONS_MAX 16
#define CLI_ARGS_MAX    1000 /* of lists; longer ones come as a file */

struct cli;

struct cli_option {
    const char *name;  /* without the dashes */
    const char *value; /* what stands after it, for people: "DOMAIN"; NULL: a switch */
    const char *help;
};

struct command {
    const char *name;
    const char *args; /* for people: "FILE|-" */
    const char *help; /* one sentence */
    int (*run)(struct cli *cli);
    unsigned min_args, max_args;
    bool json;   /* takes --json */
    bool hidden; /* for the build: not listed */
    const struct cli_option *options;
    size_t option_count;
};

extern const struct command *const cli_commands[];
extern const size_t cli_command_count;

struct cli {
    const struct command *command;
    const char *socket; /* -s or $POSTRIDER_SOCKET; NULL: the usual places */
    bool json;
    const char
        *values[CLI_OPTIONS_MAX]; /* by index in the command's options; NULL: not given, "" for a switch */
    const char *args[CLI_ARGS_MAX];
    unsigned arg_count;
};

/* The value of an option of this command; NULL: not given. */
const char *cli_value(const struct cli *cli, const char *option);
/* "postrider: …" on stderr. Return 1 and 2, so that `return cli_fail(…)` reads as one step. */
int cli_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
int cli_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

void cli_print_command(FILE *out, const struct command *command);
void cli_print_commands(FILE *out);

/* Members of an answer, tolerant of what is missing: "", 0, false. */
const char *member_text(const json_t *object, const char *name);
long long member_number(const json_t *object, const char *name);
bool member_true(const json_t *object, const char *name);

#endif
