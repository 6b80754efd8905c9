/* postrider.c - the command line: finds the command, reads its options, runs it.
 *
 * usage: postrider [-s SOCKET] COMMAND [ARGUMENT...]. Exit codes: 0 done; 1 failed, one line on stderr says
 * why; 2 usage. */
#include "engine/base/near.h"
#include "tools/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

static int say(int code, const char *format, va_list args)
{
    fflush(stdout);
    fputs("postrider: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    return code;
}

int cli_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int code = say(1, format, args);
    va_end(args);
    return code;
}

int cli_usage(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int code = say(2, format, args);
    va_end(args);
    return code;
}

/* Writes out what stdout holds; an error of it (a full disk) is a failure. Returns the exit code. */
static int finish(int code)
{
    bool failed = ferror(stdout) != 0;
    if (fflush(stdout) != 0 || failed)
        return cli_fail("cannot write the output: %s", strerror(errno));
    return code;
}

const char *cli_value(const struct cli *cli, const char *option)
{
    for (size_t i = 0; i < cli->command->option_count; i++)
        if (strcmp(cli->command->options[i].name, option) == 0)
            return cli->values[i];
    return NULL;
}

const char *member_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

long long member_number(const json_t *object, const char *name)
{
    return (long long)json_number_value(json_object_get(object, name));
}

bool member_true(const json_t *object, const char *name)
{
    return json_is_true(json_object_get(object, name));
}

/* ---- reading the arguments ---- */

struct arguments {
    char **at;
    int left;
};

static const char *next_argument(struct arguments *arguments)
{
    if (arguments->left == 0)
        return NULL;
    arguments->left--;
    return *arguments->at++;
}

/* The value of an option: behind its '=' or the next argument. */
static const char *option_value(struct arguments *arguments, const char *equals)
{
    return equals ? equals + 1 : next_argument(arguments);
}

static int unknown_option(const struct command *command, struct str name)
{
    struct near_name near = near_name_of(name);
    char hint[NEAR_TEXT_MAX];
    for (size_t i = 0; i < command->option_count; i++)
        near_name_try(&near, command->options[i].name);
    if (command->json)
        near_name_try(&near, "json");
    near_name_text(&near, hint);
    return cli_usage("%s: unknown option '--%.*s'%s%s see 'postrider help %s'", command->name, STR_ARG(name),
                     hint, hint[0] ? "" : ";", command->name);
}

static int read_option(struct cli *cli, struct arguments *arguments, const char *text)
{
    const struct command *command = cli->command;
    const char *equals = strchr(text, '=');
    struct str name = equals ? str_make(text, (size_t)(equals - text)) : str_of(text);
    if (command->json && str_eq(name, STR("json")) && equals == NULL) {
        cli->json = true;
        return 0;
    }
    for (size_t i = 0; i < command->option_count; i++) {
        const struct cli_option *option = &command->options[i];
        if (!str_eq(name, str_of(option->name)))
            continue;
        if (option->value == NULL && equals != NULL)
            return cli_usage("%s: --%s takes no value", command->name, option->name);
        const char *value = option->value ? option_value(arguments, equals) : "";
        if (value == NULL)
            return cli_usage("%s: --%s needs a value: --%s %s", command->name, option->name, option->name,
                             option->value);
        cli->values[i] = value;
        return 0;
    }
    return unknown_option(command, name);
}

static int read_argument(struct cli *cli, const char *text)
{
    if (cli->arg_count == cli->command->max_args)
        return cli_usage("%s: unexpected argument '%s'; usage: postrider %s %s", cli->command->name, text,
                         cli->command->name, cli->command->args);
    cli->args[cli->arg_count++] = text;
    return 0;
}

/* 0: go on; -1: help was printed. */
static int read_arguments(struct cli *cli, struct arguments *arguments)
{
    bool only_words = false;
    int code = 0;
    for (const char *text; code == 0 && (text = next_argument(arguments)) != NULL;) {
        if (only_words || text[0] != '-' || text[1] == '\0') {
            code = read_argument(cli, text);
        } else if (strcmp(text, "--") == 0) {
            only_words = true;
        } else if (strcmp(text, "-h") == 0 || strcmp(text, "--help") == 0) {
            cli_print_command(stdout, cli->command);
            return -1;
        } else if (strcmp(text, "-s") == 0) {
            if ((cli->socket = next_argument(arguments)) == NULL)
                code = cli_usage("-s needs the path of a socket");
        } else if (strncmp(text, "--", 2) == 0) {
            code = read_option(cli, arguments, text + 2);
        } else {
            code = cli_usage("%s: unknown option '%s'; see 'postrider help %s'", cli->command->name, text,
                             cli->command->name);
        }
    }
    if (code == 0 && cli->arg_count < cli->command->min_args)
        return cli_usage("usage: postrider %s %s", cli->command->name, cli->command->args);
    return code;
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < cli_command_count; i++)
        if (strcmp(cli_commands[i]->name, name) == 0)
            return cli_commands[i];
    return NULL;
}

static int unknown_command(const char *name)
{
    struct near_name near = near_name_of(str_of(name));
    char hint[NEAR_TEXT_MAX];
    for (size_t i = 0; i < cli_command_count; i++)
        if (!cli_commands[i]->hidden)
            near_name_try(&near, cli_commands[i]->name);
    near_name_text(&near, hint);
    return cli_usage("unknown command '%s'%s%s 'postrider help' lists them", name, hint, hint[0] ? "" : ";");
}

int main(int argc, char **argv)
{
    struct arguments arguments = {argv + 1, argc > 0 ? argc - 1 : 0};
    const char *environment = getenv("POSTRIDER_SOCKET");
    struct cli cli = {.socket = environment && environment[0] ? environment : NULL};
    const char *name;
    while ((name = next_argument(&arguments)) != NULL && name[0] == '-') {
        if (strcmp(name, "-s") == 0 && (cli.socket = next_argument(&arguments)) != NULL)
            continue;
        if (strcmp(name, "-h") == 0 || strcmp(name, "--help") == 0)
            name = "help";
        else if (strcmp(name, "-V") == 0 || strcmp(name, "--version") == 0)
            name = "version";
        else
            return cli_usage(
                "unknown option '%s'; usage: postrider [-s SOCKET] COMMAND; 'postrider help' lists them",
                name);
        break;
    }
    if (name == NULL) {
        cli_print_commands(stderr);
        return 2;
    }
    if ((cli.command = find_command(name)) == NULL)
        return unknown_command(name);
    int code = read_arguments(&cli, &arguments);
    if (code < 0)
        return finish(0);
    return code != 0 ? code : finish(cli.command->run(&cli));
}
