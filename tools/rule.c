/* rule.c - reply rules: list them, and say which one a reply meets. The daemon is asked, since its
 * configuration counts; with --config, or where none runs, the rules are evaluated here. */
#include "engine/rule_json.h"
#include "tools/commands.h"
#include "tools/http.h"
#include "tools/local.h"
#include "tools/table.h"

#include <string.h>
#include <unistd.h>

/* ---- printing ---- */

static void print_list(struct cli *cli, json_t *answer)
{
    static const char *const heads[] = {"-NAME", "-SITE", "-CODE", "-STATUS", "-ACTION", "-MATCH"};
    const json_t *rules = json_object_get(answer, "rules"), *rule;
    struct table table;
    size_t i;
    (void)cli;
    table_init(&table, 6, heads);
    json_array_foreach(rules, i, rule)
    {
        table_text(&table, member_text(rule, "name"));
        table_text(&table, or_dash(member_text(rule, "site")));
        table_text(&table, or_dash(member_text(rule, "code")));
        table_text(&table, or_dash(member_text(rule, "status")));
        table_text(&table, member_text(rule, "action"));
        table_text(&table, member_text(rule, "match"));
    }
    table_print(&table, stdout, true);
    table_free(&table);
    if (json_array_size(rules) == 0)
        puts("There is no rule.");
    if (json_is_false(json_object_get(answer, "default_replies")))
        puts("The built-in rules are switched off (default_replies).");
}

static void print_member(const char *before, const json_t *object, const char *name, const char *after)
{
    fputs(before, stdout);
    print_safe(stdout, member_text(object, name));
    fputs(after, stdout);
}

static void print_tested(struct cli *cli, json_t *answer)
{
    const json_t *rule = json_object_get(answer, "rule"), *near = json_object_get(answer, "near"), *one;
    size_t i;
    (void)cli;
    if (json_is_object(rule)) {
        print_member("", rule, "name", "");
        print_member(" (", rule, "where", "): ");
        print_member("", rule, "action", "\n");
        print_member("  does:   ", rule, "does", "\n");
    }
    print_member(json_is_object(rule) ? "  why:    " : "", answer, "why", "\n");
    if (member_text(answer, "mx")[0]) {
        print_member("  asked:  of ", answer, "mx", "");
        print_member(", site ", answer, "site", "");
        print_member(", receiver ", answer, "receiver", member_text(answer, "receiver")[0] ? "\n" : "none\n");
    }
    if (member_number(answer, "code") == 0)
        puts("  reply:  none, the connection was closed");
    else {
        printf("  reply:  %lld ", member_number(answer, "code"));
        print_member("", answer, "text", "\n");
    }
    json_array_foreach(near, i, one)
    {
        print_member(i == 0 ? "  nearly: " : "          ", one, "name", "");
        print_member(" (", one, "where", ", ");
        print_member("", one, "action", "): ");
        print_member("", one, "why", "\n");
    }
}

/* ---- here, without a daemon ---- */

static int print_local(struct cli *cli, const char *path, json_t *root, const struct err *err,
                       void (*print)(struct cli *cli, json_t *answer))
{
    if (root == NULL)
        return cli_fail("%s", err->text);
    if (cli->json) {
        json_object_set_new(root, "config", json_string(path ? path : ""));
        json_dumpf(root, stdout, JSON_COMPACT);
        putchar('\n');
    } else {
        printf("no daemon was asked: by %s\n", path ? path : "the built-in rules alone");
        print(cli, root);
    }
    json_decref(root);
    return 0;
}

static int run_local(struct cli *cli, const char *path, const struct rule_asked *asked)
{
    struct err err;
    struct config *config = local_config(path);
    if (config == NULL)
        return cli_fail("%s is not a configuration that postriderd would start with", path);
    int code = asked != NULL
                   ? print_local(cli, path, rule_test_json(config, asked, &err), &err, print_tested)
                   : print_local(cli, path, rule_list_json(config, str_of(cli_value(cli, "site")), &err),
                                 &err, print_list);
    config_free(config);
    return code;
}

/* ---- the command ---- */

/* A shell hands on '\n' between single quotes as it stands; '-' is standard input. */
static bool take_reply(const char *text, struct buf *reply)
{
    buf_init(reply, RULE_REPLY_MAX);
    if (strcmp(text, "-") == 0) {
        char piece[4096];
        for (size_t n; (n = fread(piece, 1, sizeof piece, stdin)) > 0;)
            if (!buf_add(reply, piece, n))
                return false;
        return ferror(stdin) == 0 && buf_add_char(reply, '\0');
    }
    for (const char *p = text; *p != '\0'; p++) {
        bool ends = p[0] == '\\' && (p[1] == 'n' || p[1] == 'r');
        if (ends ? p[1] == 'n' && !buf_add_char(reply, '\n') : !buf_add_char(reply, *p))
            return false;
        p += ends;
    }
    return buf_add_char(reply, '\0');
}

static int run(struct cli *cli, const char *call, const struct rule_asked *asked)
{
    const char *file = cli_value(cli, "config");
    if (file != NULL || !http_is_there(cli))
        return run_local(cli,
                         file != NULL                     ? file
                         : access(CONFIG_FILE, R_OK) == 0 ? CONFIG_FILE
                                                          : NULL,
                         asked);
    struct buf path;
    path_start(&path, call, NULL, "");
    path_add(&path, "site", cli_value(cli, "site"));
    if (asked != NULL) {
        path_add(&path, "reply", asked->reply.p);
        path_add(&path, "mx", cli_value(cli, "mx"));
        path_add(&path, "at", cli_value(cli, "at"));
    }
    int code = http_show(cli, NULL, path_done(&path), asked != NULL ? print_tested : print_list);
    buf_free(&path);
    return code;
}

static int run_rule(struct cli *cli)
{
    bool is_test = strcmp(cli->args[0], "test") == 0;
    if (!is_test && strcmp(cli->args[0], "list") != 0)
        return cli_usage("rule: unknown action '%s'; usage: postrider rule %s", cli->args[0],
                         cli->command->args);
    if (is_test != (cli->arg_count == 2))
        return cli_usage("usage: postrider rule %s", cli->command->args);
    if (!is_test)
        return run(cli, "/v1/rules", NULL);
    struct buf reply;
    bool taken = take_reply(cli->args[1], &reply);
    struct rule_asked asked = {.reply = str_make(reply.data, reply.len ? reply.len - 1 : 0),
                               .site = str_of(cli_value(cli, "site")),
                               .mx = str_of(cli_value(cli, "mx")),
                               .at = str_of(cli_value(cli, "at"))};
    int code = taken ? run(cli, "/v1/rules/test", &asked)
                     : cli_fail("the reply cannot be read, or is longer than %d bytes", RULE_REPLY_MAX);
    buf_free(&reply);
    return code;
}

static const struct cli_option rule_options[] = {
    {"site", "SITE", "whose reply it is: a site, or a receiver such as gmail; list: the rules for it alone"},
    {"mx", "HOST", "the mail host that spoke; without it one of the site's"},
    {"at", "STEP", "where it came: greeting, mail, rcpt or data; without it anywhere"},
    {"config", "FILE", "do not ask the daemon: by this configuration"},
};

const struct command command_rule = {
    .name = "rule",
    .args = "test REPLY|- | list",
    .help =
        "Which reply rule a receiver's reply meets, where it is defined, and what it does; or all rules. The "
        "reply is whole, code and all lines ('\\n' between them); 'closed' is a connection closed without "
        "one. Where no daemon runs, " CONFIG_FILE " is read.",
    .run = run_rule,
    .min_args = 1,
    .max_args = 2,
    .json = true,
    OPTIONS(rule_options),
};
