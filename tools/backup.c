/* backup.c - a copy of the queue in a new directory, made by the daemon while it works. */
#include "tools/commands.h"
#include "tools/http.h"
#include "tools/progress.h"
#include "tools/table.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOOK_EVERY_NS 200000000L

/* Until it is done: the last answer, or NULL (reported). */
static json_t *follow(const struct cli *cli, json_t *answer)
{
    struct progress progress;
    progress_start(&progress, "backup", true);
    while (answer != NULL && strcmp(member_text(answer, "state"), "running") == 0) {
        progress_draw(&progress, member_number(answer, "bytes"), member_number(answer, "total"), -1, "");
        nanosleep(&(struct timespec){.tv_nsec = LOOK_EVERY_NS}, NULL);
        json_decref(answer);
        answer = http_json(cli, NULL, "/v1/backup");
    }
    progress_end(&progress);
    return answer;
}

/* The daemon has a working directory of its own. False: reported. */
static bool whole_path(const char *directory, char path[PATH_MAX])
{
    char here[PATH_MAX] = "";
    if (directory[0] != '/' && getcwd(here, sizeof here) == NULL) {
        cli_fail("cannot tell the working directory: %s; give the whole path", strerror(errno));
        return false;
    }
    int n = snprintf(path, PATH_MAX, "%s%s%s", here, directory[0] == '/' ? "" : "/", directory);
    if (n >= PATH_MAX)
        cli_fail("the path %s is too long", directory);
    return n < PATH_MAX;
}

static int run_backup(struct cli *cli)
{
    char directory[PATH_MAX], figure[FIGURE_MAX];
    struct buf path;
    if (!whole_path(cli->args[0], directory))
        return 1;
    path_start(&path, "/v1/backup", NULL, "");
    path_add(&path, "directory", directory);
    json_t *answer = follow(cli, http_json(cli, "POST", path_done(&path)));
    buf_free(&path);
    if (answer == NULL)
        return 1;
    int code = 0;
    if (strcmp(member_text(answer, "state"), "done") != 0)
        code = cli_fail("%s", member_text(answer, "error"));
    else if (cli->json)
        json_dumpf(answer, stdout, JSON_COMPACT);
    else
        printf("%s: %s", member_text(answer, "directory"),
               figure_bytes(figure, member_number(answer, "bytes")));
    if (code == 0)
        putchar('\n');
    json_decref(answer);
    return code;
}

const struct command command_backup = {
    .name = "backup",
    .args = "DIRECTORY",
    .help = "Copy the whole queue, while it works, into a new directory of the daemon's machine. To restore: "
            "postriderd(8).",
    .run = run_backup,
    .min_args = 1,
    .max_args = 1,
    .json = true,
};
