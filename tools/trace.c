/* trace.c - the dialogue of some sessions to a site, as it goes. */
#include "tools/commands.h"
#include "tools/http.h"
#include "tools/table.h"

#include <string.h>

/* "2026-11-30T01:02:03.456Z" to "01:02:03.456"; else as it is. */
static struct str clock_of(struct str time)
{
    return time.n == 24 ? str_make(time.p + 11, 12) : time;
}

static void print_line(const json_t *line)
{
    const char *what = member_text(line, "what");
    if (strcmp(what, "dropped") == 0) {
        printf("(%lld lines left out: too many came)\n", member_number(line, "lines"));
        return;
    }
    printf("%.*s #%lld ", STR_ARG(clock_of(str_of(member_text(line, "time")))),
           member_number(line, "session"));
    print_safe(stdout, member_text(line, "host"));
    if (strcmp(what, "sent") == 0 || strcmp(what, "heard") == 0)
        fputs(what[0] == 's' ? " > " : " < ", stdout);
    else
        printf(" %s%s", what, member_text(line, "line")[0] ? ": " : "");
    print_safe(stdout, member_text(line, "line"));
    putchar('\n');
}

static bool on_line(void *user, struct str text)
{
    const struct cli *cli = user;
    if (cli->json) {
        fwrite(text.p, 1, text.n, stdout);
        putchar('\n');
    } else {
        json_t *line = json_loadb(text.p, text.n, 0, NULL);
        print_line(line);
        json_decref(line);
    }
    return fflush(stdout) == 0; /* a reader that went away ends us */
}

static int run_trace(struct cli *cli)
{
    struct buf path;
    path_start(&path, "/v1/trace", NULL, "");
    path_add(&path, "site", cli->args[0]);
    int code = http_lines(cli, path_done(&path), true, on_line, cli);
    buf_free(&path);
    return code;
}

const struct command command_trace = {
    .name = "trace",
    .args = "SITE",
    .help = "The SMTP dialogue of some of the sessions to a site, as it goes, until interrupted. Logins are "
            "hidden, messages are given as sizes.",
    .run = run_trace,
    .min_args = 1,
    .max_args = 1,
    .json = true,
};
