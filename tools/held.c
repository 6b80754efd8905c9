/* held.c - mail that is held: suspend, resume, suspensions; and a site's own: site. */
#include "tools/commands.h"
#include "tools/http.h"
#include "tools/table.h"

#include <string.h>

#define HELD_OPTIONS                                                                                         \
    {"tenant", "NAME", "of this tenant"}, {"campaign", "NAME", "of this campaign"},                          \
        {"job", "JOB", "of this job"}, {"domain", "DOMAIN", "to this domain"},                               \
        {"site", "SITE", "to this site"},                                                                    \
    {                                                                                                        \
        "sender", "DOMAIN", "whose envelope sender has this domain"                                          \
    }

/* ---- by filter ---- */

static int steer(struct cli *cli, const char *call, void (*print)(struct cli *cli, json_t *answer))
{
    const struct command *command = cli->command;
    struct buf path;
    bool given = false;
    path_start(&path, call, NULL, "");
    for (size_t i = 0; i < command->option_count; i++) {
        const char *value = cli->values[i];
        given |= value != NULL;
        path_add(&path, command->options[i].name,
                 value != NULL && command->options[i].value == NULL ? "1" : value);
    }
    int code = given
                   ? http_show(cli, "POST", path_done(&path), print)
                   : cli_usage("%s: say which, such as --domain example.com or --tenant acme", command->name);
    buf_free(&path);
    return code;
}

static void print_suspended(struct cli *cli, json_t *answer)
{
    (void)cli;
    puts(member_number(answer, "suspended") > 0 ? "suspended; what is in flight finishes"
                                                : "it was suspended already");
}

static int run_suspend(struct cli *cli)
{
    return steer(cli, "/v1/queue/suspend", print_suspended);
}

static const struct cli_option suspend_options[] = {HELD_OPTIONS};

const struct command command_suspend = {
    .name = "suspend",
    .args = "",
    .help = "Hold mail back: what matches every option given, now and when more of it comes, until it is "
            "resumed. Its lifetime goes on.",
    .run = run_suspend,
    .json = true,
    OPTIONS(suspend_options),
};

static void print_resumed(struct cli *cli, json_t *answer)
{
    (void)cli;
    long long released = member_number(answer, "released");
    if (released == 0)
        puts("nothing of that kind is held; 'postrider suspensions' lists what is");
    else
        printf("%lld released\n", released);
}

static int run_resume(struct cli *cli)
{
    return steer(cli, "/v1/queue/resume", print_resumed);
}

static const struct cli_option resume_options[] = {
    HELD_OPTIONS,
    {"all", NULL, "everything that is held"},
};

const struct command command_resume = {
    .name = "resume",
    .args = "",
    .help =
        "Let mail go that is held: the suspensions, and what receivers' replies have stopped or held, that "
        "say what every option given says.",
    .run = run_resume,
    .json = true,
    OPTIONS(resume_options),
};

/* ---- what is held ---- */

static void add_word(struct buf *words, const char *name, const char *value)
{
    if (value[0] != '\0')
        buf_printf(words, "%s%s %s", words->len > 0 ? ", " : "", name, value);
}

static void print_suspensions(struct cli *cli, json_t *answer)
{
    static const char *const heads[] = {"-KIND", "HELD", "-WHAT", "-SINCE", "-RESUME WITH", "-REPLY"};
    const json_t *list = json_object_get(answer, "suspensions"), *one;
    char text[FIGURE_MAX];
    struct table table;
    size_t i;
    (void)cli;
    table_init(&table, 6, heads);
    json_array_foreach(list, i, one)
    {
        static const char *const names[] = {"site",   "source",   "sender", "job",
                                            "tenant", "campaign", "domain"};
        struct buf what;
        buf_init(&what, 4096);
        for (size_t n = 0; n < sizeof names / sizeof *names; n++)
            add_word(&what, names[n], member_text(one, names[n]));
        table_text(&table, member_text(one, "kind"));
        table_number(&table, member_number(one, "held"));
        table_printf(&table, "%.*s", (int)what.len, what.len > 0 ? what.data : "");
        table_text(&table, figure_time(text, member_text(one, "since")));
        table_text(&table, member_text(one, "resume"));
        table_text(&table, member_text(one, "reply"));
        buf_free(&what);
    }
    table_print(&table, stdout, true);
    table_free(&table);
    if (json_array_size(list) == 0)
        puts("Nothing is held.");
    if (json_is_false(json_object_get(answer, "complete")))
        puts("A worker did not answer in time: the figures are not complete.");
}

static int run_suspensions(struct cli *cli)
{
    return http_show(cli, NULL, "/v1/suspensions", print_suspensions);
}

const struct command command_suspensions = {
    .name = "suspensions",
    .args = "",
    .help = "What mail is held, since when, by which reply, how much of it, and what to type to let it go.",
    .run = run_suspensions,
    .json = true,
};

/* ---- one site ---- */

static void print_path(const json_t *path)
{
    char text[FIGURE_MAX];
    const char *by = member_text(path, "blocked_by"), *until = member_text(path, "blocked_until");
    fputs("source ", stdout);
    print_safe(stdout, member_text(path, "source"));
    printf(": %lld of %lld connections, window %lld, %lld in flight\n", member_number(path, "connections"),
           member_number(path, "max_connections"), member_number(path, "window"),
           member_number(path, "in_flight"));
    if (!json_is_null(json_object_get(path, "slowed_to")))
        printf("  slowed to %.2f messages a minute; it recovers gradually\n",
               json_number_value(json_object_get(path, "slowed_to")));
    if (member_number(path, "cap") > 0)
        printf("  no more than %lld connections for now\n", member_number(path, "cap"));
    if (member_number(path, "recipients_max") > 0)
        printf("  no more than %lld recipients a transaction for now\n",
               member_number(path, "recipients_max"));
    if (member_number(path, "messages_max") > 0)
        printf("  no more than %lld messages a connection for now\n", member_number(path, "messages_max"));
    printf("  TLS: %s%s\n", member_text(path, "tls"),
           member_true(path, "tls_only") ? ", only with it for now" : "");
    if (by[0] != '\0')
        printf("  held by %s%s%s\n", by, until[0] ? " until " : "", until[0] ? figure_time(text, until) : "");
    if (member_text(path, "reason")[0] != '\0') {
        fputs("  the last cause: ", stdout);
        print_safe(stdout, member_text(path, "reason"));
        putchar('\n');
    }
}

static void print_sender(const json_t *sender)
{
    fputs("mail from ", stdout);
    print_safe(stdout, member_text(sender, "sender"));
    printf(": slowed to %.2f messages a minute; it recovers gradually\n  by the reply: ",
           json_number_value(json_object_get(sender, "slowed_to")));
    print_safe(stdout, member_text(sender, "reason"));
    putchar('\n');
}

static void print_site(struct cli *cli, json_t *answer)
{
    const json_t *paths = json_object_get(answer, "paths"), *path;
    const json_t *senders = json_object_get(answer, "senders"), *sender;
    size_t i;
    (void)cli;
    print_safe(stdout, member_text(answer, "site"));
    printf(": %lld delivered, %lld deferred, %lld failed since the start; %lld held\n",
           member_number(answer, "delivered"), member_number(answer, "deferred"),
           member_number(answer, "failed"), member_number(answer, "held"));
    json_array_foreach(paths, i, path) print_path(path);
    json_array_foreach(senders, i, sender) print_sender(sender);
    if (member_number(answer, "held") > 0)
        puts("'postrider suspensions' says what is held and how to let it go.");
}

static void print_steered(struct cli *cli, json_t *answer)
{
    printf("%s: done on %lld path%s\n", cli->args[1], member_number(answer, "paths"),
           member_number(answer, "paths") == 1 ? "" : "s");
}

static int run_site(struct cli *cli)
{
    static const char *const acts[] = {"backoff", "normal", "reset"};
    const char *act = cli->arg_count > 1 ? cli->args[1] : NULL;
    struct buf path;
    char end[16] = "";
    bool known = act == NULL;
    for (size_t i = 0; i < sizeof acts / sizeof *acts && !known; i++)
        known = strcmp(act, acts[i]) == 0;
    if (!known)
        return cli_usage("site: '%s' is none of backoff, normal and reset", act);
    if (act != NULL)
        snprintf(end, sizeof end, "/%s", act);
    path_start(&path, "/v1/sites/", cli->args[0], end);
    int code = act == NULL ? http_show(cli, NULL, path_done(&path), print_site)
                           : http_show(cli, "POST", path_done(&path), print_steered);
    buf_free(&path);
    return code;
}

const struct command command_site = {
    .name = "site",
    .args = "SITE [backoff|normal|reset]",
    .help =
        "One receiver: its paths, and what replies have taught about them. backoff slows it as a complaint "
        "would; normal lets it go at full rate again; reset forgets all that was learnt, with pauses and "
        "stops.",
    .run = run_site,
    .min_args = 1,
    .max_args = 2,
    .json = true,
};
