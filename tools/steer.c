/* steer.c - what is done to all that match a filter: retry, bounce; and the filter itself (filter.h). */
#include "tools/commands.h"
#include "tools/filter.h"
#include "tools/http.h"

static const struct cli_option filter_options[] = {FILTER_OPTIONS};
#define FILTERS (sizeof filter_options / sizeof *filter_options)

bool filter_path(const struct cli *cli, struct buf *path)
{
    bool given = cli_value(cli, "all") != NULL;
    path_add(path, "all", given ? "1" : NULL);
    for (size_t i = 0; i < FILTERS; i++) {
        const char *value = cli_value(cli, filter_options[i].name);
        path_add(path, filter_options[i].name, value);
        given |= value != NULL;
    }
    return given;
}

static int operate(struct cli *cli, const char *call, void (*print)(struct cli *cli, json_t *answer))
{
    struct buf path;
    path_start(&path, call, NULL, "");
    int code = filter_path(cli, &path)
                   ? http_show(cli, "POST", path_done(&path), print)
                   : cli_usage("%s: say which, such as --domain example.com or --status 4.2.2, or --all",
                               cli->command->name);
    buf_free(&path);
    return code;
}

/* `did`: what became of those that changed; `held`: how it is with those that workers had. */
static void print_progress(const json_t *answer, const char *did, const char *held)
{
    if (member_true(answer, "done"))
        printf("%lld %s, %lld of %lld that match %s\n", member_number(answer, "changed"), did,
               member_number(answer, "in_flight"), member_number(answer, "matched"), held);
    else
        printf("operation %s goes on: %lld %s so far\n", member_text(answer, "op"),
               member_number(answer, "changed"), did);
}

/* ---- retry ---- */

static void print_retried(struct cli *cli, json_t *answer)
{
    (void)cli;
    print_progress(answer, "due at once", "were in flight");
}

static int run_retry(struct cli *cli)
{
    return operate(cli, "/v1/queue/retry", print_retried);
}

static const struct cli_option retry_options[] = {
    FILTER_OPTIONS,
    {"all", NULL, "everything that is deferred"},
};

const struct command command_retry = {
    .name = "retry",
    .args = "",
    .help = "Make deferred recipients due at once: those that match every option given.",
    .run = run_retry,
    .json = true,
    OPTIONS(retry_options),
};

/* ---- bounce ---- */

static void print_bounced(struct cli *cli, json_t *answer)
{
    (void)cli;
    print_progress(answer, "bounced", "are in flight and end as they will");
}

static int run_bounce(struct cli *cli)
{
    return operate(cli, "/v1/queue/bounce", print_bounced);
}

static const struct cli_option bounce_options[] = {
    FILTER_OPTIONS,
    {"all", NULL, "everything that is queued"},
};

const struct command command_bounce = {
    .name = "bounce",
    .args = "",
    .help = "Give up on queued recipients: those that match every option given end as bounced, with what "
            "was last heard of them, and are reported as such. With --status only those that were tried.",
    .run = run_bounce,
    .json = true,
    OPTIONS(bounce_options),
};
