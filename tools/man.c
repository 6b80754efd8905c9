/* man.c - fills the pages of deploy/man with what the tables say, for the build: the lines @commands@ and
 * @options@ on standard input become the commands of this program and the options of the configuration, as
 * mdoc. */
#include "engine/base/roff.h"
#include "engine/config.h"
#include "tools/commands.h"

#include <string.h>

#define PAGE_MAX (4 * 1024 * 1024)

static void man_command(struct buf *out, const struct command *command)
{
    buf_add_z(out, ".Ss ");
    roff_text(out, command->name);
    buf_add_z(out, command->args[0] ? " " : "");
    roff_line(out, command->args);
    roff_line(out, command->help);
    if (command->option_count == 0 && !command->json)
        return;
    buf_add_z(out, ".Bl -tag -width Ds\n");
    for (size_t i = 0; i < command->option_count; i++) {
        buf_printf(out, ".It Fl \\-");
        roff_text(out, command->options[i].name);
        if (command->options[i].value != NULL) {
            buf_add_z(out, " Ar ");
            roff_text(out, command->options[i].value);
        }
        buf_add_char(out, '\n');
        roff_line(out, command->options[i].help);
    }
    if (command->json)
        buf_add_z(out, ".It Fl \\-json\nPrint JSON.\n");
    buf_add_z(out, ".El\n");
}

static int run_roff(struct cli *cli)
{
    struct buf out;
    char line[1024];
    (void)cli;
    buf_init(&out, PAGE_MAX);
    while (fgets(line, sizeof line, stdin) != NULL) {
        if (strcmp(line, "@options@\n") == 0)
            config_man(&out);
        else if (strcmp(line, "@commands@\n") != 0)
            buf_add_z(&out, line);
        else
            for (size_t i = 0; i < cli_command_count; i++)
                if (!cli_commands[i]->hidden)
                    man_command(&out, cli_commands[i]);
    }
    if (out.len > 0)
        fwrite(out.data, 1, out.len, stdout);
    int code = out.failed ? cli_fail("memory is out") : 0;
    buf_free(&out);
    return code;
}

const struct command command_roff = {
    .name = "roff",
    .args = "",
    .help = "Fill a page of deploy/man from standard input.",
    .run = run_roff,
    .hidden = true,
};
