/* dialogue.c - see dialogue.h. Cuts what comes into lines, finds the command, lets its function answer.
 *
 * A line ends with CRLF. One that ends with LF alone, holds a NUL or is too long is refused and not looked
 * at: what some server before this one took for one line must not be two here. */
#include "engine/submission/dialogue.h"

#include "engine/base/units.h"
#include "engine/submission/arguments.h"
#include "engine/submission/dialogue_parts.h"

#include <stdlib.h>

bool turn_close(struct turn *turn, const char *line)
{
    answer(turn->out, line);
    turn->dialogue->state = DIALOGUE_OVER;
    turn->event = DIALOGUE_CLOSE;
    return false;
}

bool turn_count_error(struct turn *turn)
{
    struct dialogue *dialogue = turn->dialogue;
    if (++dialogue->errors < dialogue->rules->config->max_errors || turn->event == DIALOGUE_CLOSE)
        return false;
    return turn_close(turn, "421 4.7.0 too many errors: closing");
}

bool turn_refuse(struct turn *turn, const char *line)
{
    answer(turn->out, line);
    return turn_count_error(turn);
}

void turn_wait(struct turn *turn, enum dialogue_event event)
{
    turn->dialogue->state = DIALOGUE_WAITING;
    turn->event = event;
}

void dialogue_reset(struct dialogue *dialogue)
{
    parcel_reset(&dialogue->parcel);
    dialogue->data = (struct data_reader){0};
    dialogue->chunked = dialogue->last = dialogue->broken = false;
}

/* ---- commands ---- */

static bool no_argument(struct turn *turn, struct str text)
{
    return text.n == 0 || turn_refuse(turn, "501 5.5.4 this command takes no argument");
}

static bool take_name(struct turn *turn, struct str text)
{
    struct dialogue *dialogue = turn->dialogue;
    if (text.n == 0)
        return turn_refuse(turn, "501 5.5.4 say who you are: a host name or an address in brackets");
    if (text.n > DOMAIN_MAX)
        return turn_refuse(turn, "501 5.5.4 the name is too long");
    char *name = str_dup(text);
    if (name == NULL)
        return turn_refuse(turn, "451 4.3.0 no memory: try again later");
    for (char *p = name; *p != '\0'; p++)
        if ((*p >= 0 && *p <= ' ') || *p == 0x7f) {
            free(name);
            return turn_refuse(turn, "501 5.5.4 expected one name");
        }
    free(dialogue->helo);
    dialogue->helo = name;
    dialogue_reset(dialogue);
    return true;
}

static bool helo_command(struct turn *turn, struct str text)
{
    if (!take_name(turn, text))
        return false;
    turn->dialogue->extended = false;
    buf_printf(turn->out, "250 %s\r\n", turn->dialogue->rules->hostname);
    return true;
}

static void offer(struct turn *turn)
{
    const struct dialogue *dialogue = turn->dialogue;
    const struct config_submission *config = dialogue->rules->config;
    struct buf *out = turn->out;
    char until[UNITS_TEXT_MAX];
    time_format(turn->now.wall_ms + HOLD_MAX_S * MS_PER_S, until);
    buf_printf(out, "250-%s\r\n250-PIPELINING\r\n250-SIZE %llu\r\n", dialogue->rules->hostname,
               (unsigned long long)config->max_size);
    buf_add_z(out, "250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n250-ENHANCEDSTATUSCODES\r\n"
                   "250-CHUNKING\r\n250-BINARYMIME\r\n");
    if (dialogue->rules->has_tls && !dialogue->secured)
        buf_add_z(out, "250-STARTTLS\r\n");
    if (auth_offered(dialogue) && dialogue->user == NULL)
        buf_add_z(out, "250-AUTH PLAIN LOGIN\r\n");
    buf_printf(out, "250-FUTURERELEASE %lld %.19sZ\r\n", (long long)HOLD_MAX_S, until);
    buf_add_z(out, "250-DELIVERBY\r\n250-MT-PRIORITY\r\n250-LIMITS");
    if (config->max_messages > 0)
        buf_printf(out, " MAILMAX=%u", config->max_messages);
    buf_printf(out, " RCPTMAX=%u\r\n", config->max_recipients);
    buf_add_z(out, "250-ETRN\r\n250 HELP\r\n");
}

static bool ehlo_command(struct turn *turn, struct str text)
{
    if (!take_name(turn, text))
        return false;
    turn->dialogue->extended = true;
    offer(turn);
    return true;
}

static bool rset_command(struct turn *turn, struct str text)
{
    if (!no_argument(turn, text))
        return false;
    dialogue_reset(turn->dialogue);
    answer(turn->out, "250 2.0.0 forgotten");
    return true;
}

static bool noop_command(struct turn *turn, struct str text)
{
    (void)text; /* RFC 5321 4.1.1.9: to be ignored */
    answer(turn->out, "250 2.0.0 ok");
    return true;
}

static bool quit_command(struct turn *turn, struct str text)
{
    return no_argument(turn, text) && turn_close(turn, "221 2.0.0 goodbye");
}

/* Neither yes nor no, since either would serve those who collect addresses (RFC 5321 7.3). */
static bool vrfy_command(struct turn *turn, struct str text)
{
    if (text.n == 0)
        return turn_refuse(turn, "501 5.5.4 expected an address");
    answer(turn->out, "252 2.0.0 not told: send mail to it, and it will be tried");
    return true;
}

static bool starttls_command(struct turn *turn, struct str text)
{
    struct dialogue *dialogue = turn->dialogue;
    if (!no_argument(turn, text))
        return false;
    if (dialogue->secured)
        return turn_refuse(turn, "503 5.5.1 TLS is on already");
    if (!dialogue->rules->has_tls)
        return turn_refuse(turn, "502 5.5.1 there is no TLS here: no certificate is configured");
    if (turn->in->n > 0) { /* put there by somebody in between, to be taken for what came through TLS */
        *turn->in = str_make(turn->in->p, 0);
        return turn_refuse(turn,
                           "501 5.5.1 nothing may follow STARTTLS before the handshake: it was dropped");
    }
    answer(turn->out, "220 2.0.0 ready to start TLS");
    turn_wait(turn, DIALOGUE_TLS);
    return true;
}

static bool etrn_command(struct turn *turn, struct str text)
{
    struct dialogue *dialogue = turn->dialogue;
    struct err err;
    size_t n;
    if (!dialogue_authorised(dialogue))
        return turn_refuse(turn, dialogue->rules->has_users ? "530 5.7.0 log in first (AUTH)"
                                                            : "550 5.7.1 not from where you are");
    if (dialogue->parcel.begun)
        return turn_refuse(turn, "503 5.5.1 not within a transaction");
    if (str_starts(text, STR("@"))) /* and its subdomains: those have queues of their own */
        text = str_make(text.p + 1, text.n - 1);
    if (!domain_to_ascii(text, dialogue->domain, &n, &err)) {
        answer_with(turn->out, "501 5.5.4 %s", err.text);
        return turn_count_error(turn);
    }
    turn_wait(turn, DIALOGUE_RETRY);
    return true;
}

static bool help_command(struct turn *turn, struct str text);

typedef bool run_command_fn(struct turn *turn, struct str text);

static const struct command {
    struct str name;
    run_command_fn *run; /* NULL: `words` is the reply */
    const char *words;   /* of HELP */
} commands[] = {
    {{"MAIL", 4}, mail_command, "MAIL FROM:<sender> [parameters]: begins a message"},
    {{"RCPT", 4}, rcpt_command, "RCPT TO:<recipient> [parameters]: names one of its recipients"},
    {{"DATA", 4}, data_command, "DATA: the message follows, up to a line that is a dot alone"},
    {{"BDAT", 4}, bdat_command, "BDAT octets [LAST]: so many octets of the message follow"},
    {{"RSET", 4}, rset_command, "RSET: forgets the message that was begun"},
    {{"NOOP", 4}, noop_command, "NOOP: does nothing"},
    {{"QUIT", 4}, quit_command, "QUIT: ends the connection"},
    {{"EHLO", 4}, ehlo_command, "EHLO name: says who you are, and asks what is offered"},
    {{"HELO", 4}, helo_command, "HELO name: says who you are"},
    {{"AUTH", 4}, auth_command, "AUTH PLAIN|LOGIN [answer]: logs in"},
    {{"STARTTLS", 8}, starttls_command, "STARTTLS: goes on through TLS"},
    {{"VRFY", 4}, vrfy_command, "VRFY address: is not told"},
    {{"EXPN", 4}, vrfy_command, "EXPN list: is not told"},
    {{"ETRN", 4}, etrn_command, "ETRN domain: tries what is queued for it now"},
    {{"HELP", 4}, help_command, "HELP [command]: this"},
    {{"SEND", 4}, NULL, "502 5.5.1 SEND is not there: nobody has a terminal here"},
    {{"SOML", 4}, NULL, "502 5.5.1 SOML is not there: nobody has a terminal here"},
    {{"SAML", 4}, NULL, "502 5.5.1 SAML is not there: nobody has a terminal here"},
    {{"TURN", 4}, NULL, "502 5.5.1 TURN is not there: it would give mail to whoever asks (RFC 5321 F.1)"},
    {{"ATRN", 4}, NULL, "502 5.5.1 ATRN is not there: mail is only sent to the hosts of its domain"},
};
#define COMMANDS (sizeof commands / sizeof *commands)

static const struct command *find_command(struct str name)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (str_eq_nocase(name, commands[i].name))
            return &commands[i];
    return NULL;
}

static bool help_command(struct turn *turn, struct str text)
{
    const struct command *command = find_command(text);
    if (text.n > 0 && (command == NULL || command->run == NULL))
        return turn_refuse(turn, "504 5.5.4 there is no such command: HELP lists them");
    if (command != NULL) {
        answer_with(turn->out, "214 2.0.0 %s", command->words);
        return true;
    }
    for (size_t i = 0; i < COMMANDS; i++)
        if (commands[i].run != NULL)
            answer_with(turn->out, "214-2.0.0 %s", commands[i].words);
    answer(turn->out, "214 2.0.0 see postrider.yaml(5) for what is allowed");
    return true;
}

/* ---- lines ---- */

/* A web page can make a browser say anything to a port of its own host, behind the header of a request; and
 * TLS where none is expected can hold anything too. Neither gets as far as its second line. */
static bool is_foreign(struct str line, struct str name)
{
    static const struct str methods[] = {{"GET", 3},    {"POST", 4},    {"PUT", 3},
                                         {"HEAD", 4},   {"OPTIONS", 7}, {"CONNECT", 7},
                                         {"DELETE", 6}, {"PATCH", 5},   {"TRACE", 5}};
    if (line.n > 0 && (line.p[0] < ' ' || line.p[0] == 0x7f)) /* 8-bit ones are negative */
        return true;
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (str_eq_nocase(name, methods[i]))
            return true;
    return false;
}

static void run_line(struct turn *turn, struct str line)
{
    struct dialogue *dialogue = turn->dialogue;
    size_t blank = str_find(line, ' ', 0);
    struct str name = str_make(line.p, blank == SIZE_MAX ? line.n : blank);
    const struct command *command = find_command(name);
    if (++dialogue->commands > dialogue->rules->config->max_commands)
        turn_close(turn, "421 4.7.0 too many commands without a message: closing");
    else if (command == NULL && is_foreign(line, name))
        turn_close(turn, "421 4.7.0 SMTP is spoken here, and nothing else: closing");
    else if (command == NULL)
        turn_refuse(turn, "500 5.5.2 there is no such command");
    else if (command->run == NULL)
        turn_refuse(turn, command->words);
    else
        command->run(turn, str_trim(str_make(line.p + name.n, line.n - name.n)));
}

static void take_line(struct turn *turn, struct str line)
{
    struct dialogue *dialogue = turn->dialogue;
    bool is_auth = dialogue->state == DIALOGUE_AUTH;
    dialogue->steps++;
    if (dialogue->overlong) {
        dialogue->overlong = false;
        if (is_auth)
            auth_forget(dialogue);
        turn_refuse(turn, is_auth ? "500 5.5.6 the line is too long" : "500 5.5.2 the line is too long");
    } else if (line.n < 2 || line.p[line.n - 2] != '\r' || memchr(line.p, '\r', line.n - 2) != NULL) {
        turn_refuse(turn, "500 5.5.2 a line ends with CR and LF, and neither stands alone");
    } else if (memchr(line.p, '\0', line.n) != NULL) {
        turn_refuse(turn, "500 5.5.2 a line holds no NUL");
    } else if (is_auth) {
        auth_line(turn, str_make(line.p, line.n - 2));
    } else {
        run_line(turn, str_make(line.p, line.n - 2));
    }
}

/* Up to the next LF, if it is there. */
static void take_some(struct turn *turn)
{
    struct dialogue *dialogue = turn->dialogue;
    struct str *in = turn->in, part = *in;
    const char *lf = memchr(in->p, '\n', in->n);
    if (lf != NULL)
        part.n = (size_t)(lf + 1 - in->p);
    *in = str_make(in->p + part.n, in->n - part.n);
    dialogue->overlong |= dialogue->line.len + part.n > SUBMISSION_LINE_MAX;
    if (lf != NULL && dialogue->line.len == 0) {
        take_line(turn, part);
        return;
    }
    if (!dialogue->overlong)
        dialogue->overlong = !buf_add_str(&dialogue->line, part);
    if (lf == NULL)
        return;
    struct buf line = dialogue->line; /* the command may need it for its own next line */
    buf_init(&dialogue->line, SUBMISSION_LINE_MAX);
    take_line(turn, buf_str(&line));
    if (line.data != NULL)
        explicit_bzero(line.data, line.cap); /* perhaps a password */
    buf_free(&line);
}

/* ---- life ---- */

void dialogue_begin(struct dialogue *dialogue, const struct dialogue_rules *rules, bool trusted, bool secured,
                    struct buf *out)
{
    *dialogue = (struct dialogue){.rules = rules, .trusted = trusted, .secured = secured};
    buf_init(&dialogue->line, SUBMISSION_LINE_MAX);
    parcel_init(&dialogue->parcel, rules->config->max_size);
    buf_printf(out, "220 %s ESMTP Postrider\r\n", rules->hostname);
}

void dialogue_free(struct dialogue *dialogue)
{
    auth_forget(dialogue);
    parcel_reset(&dialogue->parcel);
    buf_free(&dialogue->line);
    free(dialogue->helo);
    free(dialogue->user);
}

enum dialogue_event dialogue_feed(struct dialogue *dialogue, struct str *in, struct buf *out, struct now now)
{
    struct turn turn = {.dialogue = dialogue, .in = in, .out = out, .now = now};
    while (in->n > 0 && turn.event == DIALOGUE_MORE && out->len < SUBMISSION_REPLIES_MAX) {
        switch (dialogue->state) {
        case DIALOGUE_COMMAND:
        case DIALOGUE_AUTH:
            take_some(&turn);
            break;
        case DIALOGUE_DATA:
            data_take(&turn);
            break;
        case DIALOGUE_CHUNK:
            chunk_take(&turn);
            break;
        case DIALOGUE_WAITING:
        case DIALOGUE_OVER:
            return DIALOGUE_CLOSE;
        }
    }
    return turn.event;
}

void dialogue_secured(struct dialogue *dialogue)
{
    dialogue->secured = true;
    dialogue->extended = false;
    dialogue->state = DIALOGUE_COMMAND;
    dialogue_reset(dialogue);
    free(dialogue->helo);
    dialogue->helo = NULL;
}

enum dialogue_event dialogue_taken(struct dialogue *dialogue, bool accepted, const char *reply,
                                   struct buf *out)
{
    struct turn turn = {.dialogue = dialogue, .out = out};
    dialogue->state = DIALOGUE_COMMAND;
    dialogue_reset(dialogue);
    answer(out, reply);
    if (accepted) {
        dialogue->messages++;
        dialogue->commands = dialogue->errors = 0;
    } else {
        turn_count_error(&turn);
    }
    return turn.event;
}

enum dialogue_event dialogue_retried(struct dialogue *dialogue, bool started, struct buf *out)
{
    struct turn turn = {.dialogue = dialogue, .out = out};
    dialogue->state = DIALOGUE_COMMAND;
    if (started)
        answer_with(out, "250 2.0.0 what is queued for %s is tried now", dialogue->domain);
    else
        turn_refuse(&turn, "458 4.3.0 the queue can't be tried now: try again later");
    return turn.event;
}

void dialogue_end(struct dialogue *dialogue, const char *reply, struct buf *out)
{
    if (dialogue->state != DIALOGUE_OVER)
        answer(out, reply);
    dialogue->state = DIALOGUE_OVER;
}
