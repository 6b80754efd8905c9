/* main.c - sendmail: the program that others call to send a message, for postriderd.
 *
 * The message comes on standard input, as Unix has it. It is handed over by SMTP on the daemon's Unix socket
 * and is on disk when this ends with 0; when the daemon is down the code is EX_TEMPFAIL, and the caller has
 * the message still. */
#include "tools/sendmail/exchange.h"
#include "tools/sendmail/letter.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define SOCKET "/run/postrider/smtp.sock"

enum mode { MODE_SEND, MODE_SMTP, MODE_QUEUE, MODE_RUN, MODE_NOTHING };

struct options {
    enum mode mode;
    bool from_header;   /* -t */
    bool dot_is_text;   /* -i */
    const char *sender; /* -f; NULL: the caller */
    const char *name;   /* -F */
    const char *notify, *envid, *ret;
    const char *site; /* -qR: the domain whose queue is tried */
    char **rcpts;
    int rcpt_count;
};

static void usage(FILE *out)
{
    fputs("usage: sendmail [-t] [-i] [-f SENDER] [-F NAME] [-N WHEN] [-V ID] [-R hdrs|full] [RECIPIENT…]\n"
          "       sendmail -bs | -bp | -q | -qRDOMAIN\n"
          "Hands the message on standard input to postriderd.\n"
          "  -t         recipients are those in To, Cc and Bcc, beside the ones named\n"
          "  -i, -oi    a line that is a dot alone does not end the message\n"
          "  -f SENDER  who gets reports (\"<>\": nobody); else you. -r is the same\n"
          "  -F NAME    your name, for a From field where the message has none\n"
          "  -N WHEN    what is reported: never, or of success, failure, delay a list\n"
          "  -V ID      an identifier for these reports; -R: how much of the message they return\n"
          "  -bs        speak SMTP on standard input and output\n"
          "  -bp, -q    the queue, as postrider mailq shows it; try all of it now, or a domain's\n"
          "The socket is " SOCKET ", or $POSTRIDER_SMTP. Other options of sendmail are\n"
          "taken and mean nothing. Exit: as sysexits.h has it; 75: try again later.\n",
          out);
}

/* ---- options ---- */

/* Those of Sendmail and Postfix that mean nothing here; with a colon, that take a value; with two, maybe. */
#define IGNORED "A:B:C:DEGL:M:O:TUX:cd::e:h:mno:p:svx"

/* "-q", "-q30m", "-qRdomain": what stands behind it. */
static int take_run(struct options *options, const char *value)
{
    options->mode = MODE_RUN;
    if (value != NULL && value[0] == 'R')
        options->site = value + 1;
    else if (value != NULL && (value[0] < '0' || value[0] > '9'))
        return complain(EX_USAGE, "-q%s is not known here: see --help", value);
    return 0;
}

static int take_mode(struct options *options, char mode)
{
    switch (mode) {
    case 'm':
        return 0;
    case 's':
        options->mode = MODE_SMTP;
        return 0;
    case 'p':
        options->mode = MODE_QUEUE;
        return 0;
    case 'i': /* newaliases: there are none */
        options->mode = MODE_NOTHING;
        return 0;
    default:
        return complain(EX_USAGE, "-b%c is not known here: see --help", mode);
    }
}

/* Nothing that a caller passes on, perhaps from a stranger, may end a line of SMTP or begin a parameter. */
static int check_text(const char *what, const char *text, bool spaces)
{
    for (const char *p = text; p != NULL && *p != '\0'; p++)
        if ((*p >= 0 && *p < ' ') || *p == 0x7f || (*p == ' ' && !spaces))
            return complain(EX_USAGE, "%s holds a %s: nothing was sent", what,
                            *p == ' ' ? "space" : "control character");
    return 0;
}

/* A bracket within the address would end it, and what stands behind would be parameters of MAIL. */
static int check_sender(const char *sender)
{
    struct str text = str_trim(str_of(sender != NULL ? sender : ""));
    size_t open = str_find(text, '<', 0), close = str_find(text, '>', 0);
    bool bare = open == SIZE_MAX && close == SIZE_MAX;
    bool around = open < close && close == text.n - 1 && str_find(text, '<', open + 1) == SIZE_MAX;
    if (bare || around)
        return 0;
    return complain(EX_USAGE, "the sender holds a < or > that is not around its address: nothing was sent");
}

static int options_check(const struct options *options)
{
    int code = check_text("the sender", options->sender, true);
    code = code == 0 ? check_sender(options->sender) : code;
    code = code == 0 ? check_text("-N", options->notify, false) : code;
    code = code == 0 ? check_text("-V", options->envid, false) : code;
    code = code == 0 ? check_text("-R", options->ret, false) : code;
    for (int i = 0; code == 0 && i < options->rcpt_count; i++)
        code = check_text("a recipient", options->rcpts[i], true);
    return code;
}

static int options_read(struct options *options, int argc, char **argv)
{
    int code = 0;
    *options = (struct options){0};
    opterr = 0;
    for (int c; code == 0 && (c = getopt(argc, argv, "b:f:r:F:iIN:R:q::tV:" IGNORED)) != -1;) {
        switch (c) {
        case 'b':
            code = take_mode(options, optarg[0]);
            break;
        case 'f':
        case 'r':
            options->sender = optarg;
            break;
        case 'F':
            options->name = optarg;
            break;
        case 'i':
            options->dot_is_text = true;
            break;
        case 'o':
            options->dot_is_text |= strcmp(optarg, "i") == 0;
            break;
        case 'I': /* newaliases: there are none */
            options->mode = MODE_NOTHING;
            break;
        case 'N':
            options->notify = optarg;
            break;
        case 'R':
            options->ret = optarg;
            break;
        case 'V':
            options->envid = optarg;
            break;
        case 'q':
            code = take_run(options, optarg);
            break;
        case 't':
            options->from_header = true;
            break;
        case '?':
            code = complain(EX_USAGE, "unknown option -%c: see --help", optopt);
            break;
        default:
            break;
        }
    }
    options->rcpts = argv + optind;
    options->rcpt_count = argc - optind;
    return code == 0 ? options_check(options) : code;
}

/* ---- handing it over ---- */

static int say_mail(struct exchange *exchange, const struct letter *letter, const struct options *options)
{
    struct buf line;
    buf_init(&line, 8192);
    buf_add_z(&line, "MAIL FROM:");
    letter_put_sender(letter, options->sender, &line);
    bool ascii = str_is_ascii(buf_str(&line)) && str_is_ascii(buf_str(&letter->rcpts));
    buf_printf(&line, " SIZE=%zu BODY=8BITMIME%s", letter->text.len, ascii ? "" : " SMTPUTF8");
    if (options->ret != NULL)
        buf_printf(&line, " RET=%s", options->ret);
    if (options->envid != NULL)
        buf_printf(&line, " ENVID=%s", options->envid);
    buf_add_z(&line, "\r\n");
    int code = line.failed ? complain(EX_USAGE, "the sender, -R or -V is too long")
                           : exchange_say(exchange, buf_str(&line), "2");
    buf_free(&line);
    return code;
}

/* Those of the rest that one message may have. */
static int say_rcpts(struct exchange *exchange, struct str *rest, unsigned max)
{
    for (unsigned i = 0; i < max && rest->n > 0; i++) {
        size_t n = str_find(*rest, '\n', 0) + 1;
        int code = exchange_say(exchange, str_make(rest->p, n), "2");
        if (code != 0)
            return complain(code, "it was not sent, because of the recipient %.*s", (int)(n - 2 - 8),
                            rest->p + 8);
        *rest = str_make(rest->p + n, rest->n - n);
    }
    return 0;
}

/* How many recipients a message may have, from the reply to EHLO (LIMITS, RFC 9422). */
static unsigned rcpts_max(const struct exchange *exchange)
{
    unsigned max = UINT_MAX;
    const char *said = strstr(exchange->reply.data, " RCPTMAX=");
    return said != NULL && sscanf(said, " RCPTMAX=%u", &max) == 1 && max > 0 ? max : UINT_MAX;
}

/* In one piece: BDAT needs no dots, and its end cannot be mistaken. */
static int say_message(struct exchange *exchange, const struct letter *letter)
{
    struct buf text;
    buf_init(&text, letter->text.len + 64);
    buf_printf(&text, "BDAT %zu LAST\r\n", letter->text.len);
    buf_add_str(&text, buf_str(&letter->text));
    int code = text.failed ? complain(EX_OSERR, "no memory for the message")
                           : exchange_say(exchange, buf_str(&text), "2");
    buf_free(&text);
    return code;
}

/* To as many at a time as a message may have. */
static int say_all(struct exchange *exchange, const struct letter *letter, const struct options *options)
{
    unsigned max = rcpts_max(exchange);
    struct str all = buf_str(&letter->rcpts), rest = all;
    while (rest.n > 0) {
        struct str before = rest;
        int code = say_mail(exchange, letter, options);
        code = code == 0 ? say_rcpts(exchange, &rest, max) : code;
        code = code == 0 ? say_message(exchange, letter) : code;
        if (code != 0 && before.n < all.n)
            return complain(code, "it was taken for the recipients before %.*s, not for the others",
                            (int)(str_find(before, '\r', 0) - 8), before.p + 8);
        if (code != 0)
            return code;
    }
    return 0;
}

static int hand_over(struct exchange *exchange, struct letter *letter, const struct options *options)
{
    char ehlo[300];
    letter->host = exchange->host;
    letter->notify = options->notify;
    for (int i = 0; i < options->rcpt_count; i++)
        letter_add_rcpts(letter, str_of(options->rcpts[i]));
    int code = letter_read_header(letter, options->from_header);
    if (code != 0)
        return code;
    if (letter->rcpt_count == 0)
        return complain(options->from_header ? EX_DATAERR : EX_USAGE,
                        options->from_header ? "the message names no recipients in To, Cc or Bcc"
                                             : "no recipients: name them, or use -t");
    if (!letter->has_from)
        code = letter_add_from(letter, options->sender, options->name);
    snprintf(ehlo, sizeof ehlo, "EHLO %.255s\r\n", exchange->host);
    code = code == 0 ? exchange_say(exchange, str_of(ehlo), "2") : code;
    code = code == 0 ? say_all(exchange, letter, options) : code;
    if (code == 0)
        (void)exchange_say(exchange, STR("QUIT\r\n"), "2");
    return code;
}

static int send_letter(const struct options *options, const char *socket)
{
    struct exchange exchange;
    struct letter letter;
    letter_init(&letter);
    int code = letter_read(&letter, options->dot_is_text);
    if (code == 0) {
        code = exchange_open(&exchange, socket);
        code = code == 0 ? hand_over(&exchange, &letter, options) : code;
        exchange_close(&exchange);
    }
    letter_free(&letter);
    return code;
}

/* ---- other modes ---- */

static int speak_smtp(const char *socket)
{
    struct exchange exchange;
    int code = exchange_open(&exchange, socket);
    if (code == 0)
        code = exchange_relay(&exchange);
    else
        fputs("421 4.3.2 postriderd does not answer: try again later\r\n", stdout);
    exchange_close(&exchange);
    return code;
}

/* `postrider` beside this program, or wherever the shell would find it. */
static int run_postrider(const char *const *args)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 16);
    for (; n > 0 && path[n - 1] != '/'; n--)
        continue;
    if (n > 0) {
        memcpy(path + n, "postrider", 10);
        execv(path, (char *const *)(uintptr_t)args);
    }
    execvp("postrider", (char *const *)(uintptr_t)args);
    return complain(EX_UNAVAILABLE, "cannot run postrider: %s", strerror(errno));
}

static int run_queue(const struct options *options)
{
    const char *all[] = {"postrider", "retry", "--all", NULL};
    const char *domain[] = {"postrider", "retry", "--domain", options->site, NULL};
    const char *shown[] = {"postrider", "mailq", NULL};
    return run_postrider(options->mode == MODE_QUEUE ? shown : options->site != NULL ? domain : all);
}

int main(int argc, char **argv)
{
    struct options options;
    const char *name = strrchr(argv[0], '/'), *socket = getenv("POSTRIDER_SMTP");
    name = name != NULL ? name + 1 : argv[0];
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "--version") == 0)) {
        if (argv[1][2] == 'h')
            usage(stdout);
        else
            puts("sendmail (postrider " POSTRIDER_VERSION ")");
        return 0;
    }
    int code = options_read(&options, argc, argv);
    if (code != 0)
        return code;
    if (strcmp(name, "mailq") == 0)
        options.mode = MODE_QUEUE;
    if (strcmp(name, "newaliases") == 0)
        options.mode = MODE_NOTHING;
    if (socket == NULL)
        socket = SOCKET;
    switch (options.mode) {
    case MODE_SMTP:
        return speak_smtp(socket);
    case MODE_QUEUE:
    case MODE_RUN:
        return run_queue(&options);
    case MODE_NOTHING:
        return 0;
    case MODE_SEND:
        break;
    }
    return send_letter(&options, socket);
}
