/* events.c - the durable event log, a line an event. */
#include "tools/commands.h"
#include "tools/http.h"
#include "tools/table.h"

struct events {
    bool json, follow, failed;
};

static bool on_event(void *user, struct str text)
{
    struct events *events = user;
    if (events->json) {
        fwrite(text.p, 1, text.n, stdout);
        putchar('\n');
    } else {
        json_t *event = json_loadb(text.p, text.n, 0, NULL);
        char time[FIGURE_MAX];
        events->failed = event == NULL;
        printf("%lld %s %-10s %s ", member_number(event, "seq"),
               figure_time(time, member_text(event, "time")), member_text(event, "type"),
               member_text(event, "rid"));
        print_safe(stdout, member_text(event, "to"));
        if (member_true(event, "late"))
            fputs(" (by mail)", stdout);
        if (member_text(event, "status")[0])
            printf(" %s", member_text(event, "status"));
        if (member_number(event, "code") > 0)
            printf(" %lld", member_number(event, "code"));
        if (member_text(event, "reply")[0]) {
            putchar(' ');
            print_safe(stdout, member_text(event, "reply"));
        }
        putchar('\n');
        json_decref(event);
    }
    /* Whoever follows wants to see each at once; a reader that went away ends us. */
    return !events->failed && !(events->follow && fflush(stdout) != 0) && !ferror(stdout);
}

static const struct cli_option events_options[] = {
    {"after", "SEQ", "those after this sequence number (default: all that are kept)"},
    {"follow", NULL, "stay and print each as it comes"},
    {"job", "JOB", "of this job"},
    {"type", "TYPE,...", "of these types, such as bounced,expired"},
    {"limit", "N", "at most so many"},
};

static int run_events(struct cli *cli)
{
    struct events events = {.json = cli->json, .follow = cli_value(cli, "follow") != NULL};
    struct buf path;
    path_start(&path, "/v1/events", NULL, "");
    for (size_t i = 0; i < cli->command->option_count; i++)
        if (events_options[i].value != NULL)
            path_add(&path, events_options[i].name, cli->values[i]);
    path_add(&path, "follow", events.follow ? "1" : NULL);
    int code = http_lines(cli, path_done(&path), true, on_event, &events);
    buf_free(&path);
    if (events.failed)
        return cli_fail("the daemon's answer is not JSON; are daemon and command of the same version?");
    return code;
}

const struct command command_events = {
    .name = "events",
    .args = "",
    .help = "The event log: what became of each recipient, in order.",
    .run = run_events,
    .json = true,
    OPTIONS(events_options),
};
