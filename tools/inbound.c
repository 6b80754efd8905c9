/* inbound.c - hands a bounce or complaint to the daemon, as the end of a pipe from a mail server.
 *
 * Exit codes are for that server: 75 (EX_TEMPFAIL) whenever the daemon could not take it, so that it is kept
 * and tried again; 0 also for what the daemon ignores, since no second attempt would change that. */
#include "engine/limits.h"
#include "tools/commands.h"
#include "tools/http.h"
#include "tools/table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

#define LOOK_MS 50 /* before it is handed over again the first time */

/* What the daemon reads of a message; all of it is taken from the pipe, or its writer would be broken off. */
static bool read_message(struct buf *message)
{
    static char piece[65536];
    buf_init(message, NOTICE_MESSAGE_MAX);
    for (size_t n; (n = fread(piece, 1, sizeof piece, stdin)) > 0;) {
        size_t room = NOTICE_MESSAGE_MAX - message->len;
        if (!buf_add(message, piece, n < room ? n : room))
            return false;
    }
    return !ferror(stdin);
}

/* To whom it came: told, or as Postfix, qmail and others leave it to the programs they run. */
static const char *envelope_rcpt(const struct cli *cli)
{
    static const char *const names[] = {"ORIGINAL_RECIPIENT", "RECIPIENT"};
    const char *rcpt = cli_value(cli, "rcpt");
    for (size_t i = 0; rcpt == NULL && i < sizeof names / sizeof *names; i++) {
        rcpt = getenv(names[i]);
        if (rcpt != NULL && strchr(rcpt, '@') == NULL)
            rcpt = NULL;
    }
    return rcpt;
}

static void print_recipient(const json_t *rcpt)
{
    static const struct {
        const char *action, *words;
    } known[] = {
        {"unmatched", "no recipient of ours was found"},
        {"mismatch", "not the recipient that it speaks of: nothing was done"},
        {"under_way", "its delivery is not written down yet: to be handed in again"},
        {"queued", "still queued: nothing was done"},
        {"ended", "had not been delivered: nothing was done"},
        {"event", "written down"},
        {"suppress", "written down, and suppressed"},
        {"ignored", "ignored"},
    };
    const char *words = "";
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].action, member_text(rcpt, "action")) == 0)
            words = known[i].words;
    fputs(member_text(rcpt, "kind"), stdout);
    putchar(' ');
    print_safe(stdout, member_text(rcpt, "to")[0] ? member_text(rcpt, "to") : member_text(rcpt, "address"));
    if (member_text(rcpt, "rid")[0])
        printf(" (%s)", member_text(rcpt, "rid"));
    if (member_text(rcpt, "status")[0])
        printf(" %s", member_text(rcpt, "status"));
    if (member_text(rcpt, "reply")[0]) {
        putchar(' ');
        print_safe(stdout, member_text(rcpt, "reply"));
    }
    printf(": %s\n", words);
}

static void print_answer(const json_t *answer)
{
    const json_t *list = json_object_get(answer, "recipients"), *rcpt;
    size_t i;
    if (json_array_size(list) == 0)
        printf("%s: ignored\n", member_text(answer, "kind"));
    json_array_foreach(list, i, rcpt) print_recipient(rcpt);
}

static int handle_answer(const struct cli *cli, const struct http_answer *answer)
{
    if (answer->status >= 300) {
        http_refused(answer);
        return answer->status >= 500 ? EX_TEMPFAIL : 1;
    }
    json_t *json = json_loadb(answer->body.data, answer->body.len, 0, NULL);
    if (json == NULL) {
        cli_fail("the daemon's answer is not JSON; are daemon and command of the same version?");
        return EX_TEMPFAIL;
    }
    if (cli->json)
        fwrite(answer->body.data, 1, answer->body.len, stdout);
    else
        print_answer(json);
    json_decref(json);
    return 0;
}

/* A host may bounce a message before the daemon has written down that it took it. */
static bool is_too_early(const struct http_answer *answer)
{
    if (answer->status != 503)
        return false;
    json_t *json = json_loadb(answer->body.data, answer->body.len, 0, NULL);
    bool early = strcmp(member_text(json_object_get(json, "error"), "code"), "under_way") == 0;
    json_decref(json);
    return early;
}

/* Once, and again while it is too early. */
static int perform(const struct cli *cli, struct http_call *call)
{
    struct http_answer answer;
    for (long waited_ms = 0, wait_ms = LOOK_MS; http_perform(cli, call, &answer); wait_ms *= 2) {
        if (waited_ms >= INBOUND_WAIT_MS || !is_too_early(&answer)) {
            int code = handle_answer(cli, &answer);
            http_answer_free(&answer);
            return code;
        }
        http_answer_free(&answer);
        rewind(call->upload);
        if (wait_ms > INBOUND_WAIT_MS - waited_ms)
            wait_ms = INBOUND_WAIT_MS - waited_ms;
        nanosleep(&(struct timespec){.tv_sec = wait_ms / 1000, .tv_nsec = wait_ms % 1000 * 1000000}, NULL);
        waited_ms += wait_ms;
    }
    return EX_TEMPFAIL;
}

static int hand_over(const struct cli *cli, const struct buf *message)
{
    struct buf path;
    path_start(&path, "/v1/inbound", NULL, "");
    path_add(&path, "rcpt", envelope_rcpt(cli));
    path_add(&path, "tenant", cli_value(cli, "tenant"));
    path_add(&path, "trusted", cli_value(cli, "trusted") != NULL ? "1" : NULL);
    path_add(&path, "dry_run", cli_value(cli, "dry-run") != NULL ? "1" : NULL);
    struct http_call call = {.method = "POST", .path = path_done(&path), .content_type = "message/rfc822"};
    call.upload = fmemopen(message->data, message->len, "r");
    call.upload_size = (long long)message->len;
    int code = EX_TEMPFAIL;
    if (call.upload == NULL) {
        cli_fail("cannot keep the message: %s", strerror(errno));
    } else {
        code = perform(cli, &call);
        fclose(call.upload);
    }
    buf_free(&path);
    return code;
}

static int run_inbound(struct cli *cli)
{
    struct buf message;
    int code;
    if (!read_message(&message)) {
        cli_fail("cannot read the message: %s", strerror(errno));
        code = EX_TEMPFAIL;
    } else {
        code =
            message.len == 0 ? cli_fail("there is no message on standard input") : hand_over(cli, &message);
    }
    buf_free(&message);
    return code;
}

static const struct cli_option inbound_options[] = {
    {"rcpt", "ADDRESS",
     "to whom it came (default: $ORIGINAL_RECIPIENT or $RECIPIENT, then what its header says)"},
    {"tenant", "TENANT", "look among this tenant's jobs only"},
    {"trusted", NULL,
     "only those know this address who may be believed: suppress also where the recipient's address is not "
     "named"},
    {"dry-run", NULL, "say what would be done, and do nothing"},
};

const struct command command_inbound = {
    .name = "inbound",
    .args = "",
    .help =
        "Reads one message from standard input, a bounce or complaint that came by mail, and acts on it: an "
        "event, and a suppression where one is due. What is neither is ignored. Exit 75: the daemon did not "
        "take it, try again later.",
    .run = run_inbound,
    .json = true,
    OPTIONS(inbound_options),
};
