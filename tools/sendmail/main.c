/* main.c - sendmail: the program that others call to send a message, for postriderd.
 *
 * The message comes on standard input, as Unix has it. It is handed over by SMTP on the daemon's Unix socket
 * and is on disk when this ends with 0; when the daemon is down the code is EX_TEMPFAIL, and the caller has
 * the message still. */
#include "engine/base/buf.h"
#include "engine/limits.h"
#include "engine/message/lines.h"
#include "engine/message/mime.h"
#include "tools/sendmail/addresses.h"
#include "tools/sendmail/exchange.h"

#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#define SOCKET      "/run/postrider/smtp.sock"
#define MESSAGE_MAX (48 * 1024 * 1024)

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

struct letter {
    struct exchange exchange;
    const struct options *options;
    struct buf text;  /* the message, with CRLF */
    struct buf rcpts; /* RCPT commands, a line each */
    unsigned rcpt_count;
    bool has_from;
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

/* Those that mean nothing here; with a colon, that take a value. */
#define IGNORED "A:B:C:GL:O:UX:h:mno:p:sv"

/* "-q", "-q30m", "-qRdomain": what stands behind it. */
static void take_run(struct options *options, const char *value)
{
    options->mode = MODE_RUN;
    if (value != NULL && value[0] == 'R')
        options->site = value + 1;
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

static int options_read(struct options *options, int argc, char **argv)
{
    int code = 0;
    *options = (struct options){0};
    opterr = 0;
    for (int c; code == 0 && (c = getopt(argc, argv, "b:f:r:F:iN:R:q::tV:" IGNORED)) != -1;) {
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
            take_run(options, optarg);
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
    return code;
}

/* ---- the message ---- */

/* What is read stays as it is, but for its line ends. */
static int read_message(struct letter *letter)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    while ((n = getline(&line, &room, stdin)) > 0) {
        struct str text = str_make(line, (size_t)n);
        while (text.n > 0 && (text.p[text.n - 1] == '\n' || text.p[text.n - 1] == '\r'))
            text.n--;
        if (!letter->options->dot_is_text && str_eq(text, STR(".")))
            break;
        for (size_t i = 0; i < text.n; i++)
            if (text.p[i] == '\r' || text.p[i] == '\0')
                line[i] = ' ';
        buf_add_str(&letter->text, text);
        buf_add(&letter->text, "\r\n", 2);
    }
    free(line);
    if (ferror(stdin))
        return complain(EX_IOERR, "cannot read the message: %s", strerror(errno));
    return letter->text.failed ? complain(EX_DATAERR, "the message is larger than %d MiB", MESSAGE_MAX >> 20)
                               : 0;
}

/* Who calls: an entry of /etc/passwd, or somebody without one. */
static const struct passwd *caller(void)
{
    static struct passwd user;
    static char memory[4096], nobody[] = "nobody", unnamed[] = "";
    struct passwd *found = NULL;
    if (getpwuid_r(getuid(), &user, memory, sizeof memory, &found) != 0 || found == NULL)
        user = (struct passwd){.pw_name = nobody, .pw_gecos = unnamed};
    return &user;
}

/* The address in commands: without a domain it is of the daemon's host. */
static void put_address(const struct letter *letter, struct buf *out, struct str address)
{
    buf_add_char(out, '<');
    buf_add_str(out, address);
    if (address.n > 0 && str_find(address, '@', 0) == SIZE_MAX)
        buf_printf(out, "@%s", letter->exchange.host);
    buf_add_char(out, '>');
}

static void add_rcpt(struct str address, void *user)
{
    struct letter *letter = user;
    buf_add_z(&letter->rcpts, "RCPT TO:");
    put_address(letter, &letter->rcpts, address);
    if (letter->options->notify != NULL)
        buf_printf(&letter->rcpts, " NOTIFY=%s", letter->options->notify);
    buf_add(&letter->rcpts, "\r\n", 2);
    letter->rcpt_count++;
}

/* A From where there is none, and recipients where -t asks for them. */
static int read_header(struct letter *letter)
{
    static const struct str names[] = {{"To", 2}, {"Cc", 2}, {"Bcc", 3}};
    struct mime_fields fields = {0};
    struct str body;
    struct err err;
    struct buf value;
    buf_init(&value, MESSAGE_MAX);
    bool good = mime_read_header(buf_str(&letter->text), &fields, &body, &err);
    for (size_t i = 0; good && i < fields.count; i++) {
        letter->has_from |= str_eq_nocase(fields.at[i].name, STR("From"));
        for (size_t k = 0; letter->options->from_header && k < sizeof names / sizeof *names; k++) {
            if (!str_eq_nocase(fields.at[i].name, names[k]))
                continue;
            buf_clear(&value);
            if (mime_unfold(fields.at[i].value, &value))
                addresses_in(buf_str(&value), add_rcpt, letter);
        }
    }
    free(fields.at);
    buf_free(&value);
    return good ? 0 : complain(EX_DATAERR, "%s", err.text);
}

/* "From: Ada Lovelace <ada@host>" before all else. */
static bool add_from(struct letter *letter)
{
    const char *name = letter->options->name != NULL ? letter->options->name : caller()->pw_gecos;
    struct buf text;
    buf_init(&text, MESSAGE_MAX + 4096);
    buf_add_z(&text, "From: ");
    if (name[0] != '\0' && name[0] != ',') {
        buf_add_char(&text, '"');
        for (const char *p = name; *p != '\0' && *p != ',';
             p++) /* gecos: the name, then offices and phones */
            if (*p != '"' && *p != '\\' && ((unsigned char)*p >= ' ' && *p != 0x7f))
                buf_add_char(&text, *p);
        buf_add_z(&text, "\" ");
    }
    const char *sender = letter->options->sender;
    put_address(letter, &text,
                str_of(sender != NULL && sender[0] != '\0' && sender[0] != '<' ? sender : caller()->pw_name));
    buf_add_z(&text, "\r\n");
    buf_add_str(&text, buf_str(&letter->text));
    buf_free(&letter->text);
    letter->text = text;
    return !text.failed;
}

/* ---- handing it over ---- */

static int say_mail(struct letter *letter)
{
    const struct options *options = letter->options;
    struct str sender = str_of(options->sender != NULL ? options->sender : caller()->pw_name);
    struct buf line;
    if (sender.n >= 2 && sender.p[0] == '<' && sender.p[sender.n - 1] == '>')
        sender = str_make(sender.p + 1, sender.n - 2);
    buf_init(&line, 8192);
    buf_add_z(&line, "MAIL FROM:");
    put_address(letter, &line, sender);
    buf_printf(&line, " SIZE=%zu BODY=8BITMIME", letter->text.len);
    if (!str_is_ascii(sender) || !str_is_ascii(buf_str(&letter->rcpts)))
        buf_add_z(&line, " SMTPUTF8");
    if (options->ret != NULL)
        buf_printf(&line, " RET=%s", options->ret);
    if (options->envid != NULL)
        buf_printf(&line, " ENVID=%s", options->envid);
    buf_add_z(&line, "\r\n");
    int code = exchange_say(&letter->exchange, buf_str(&line), "2");
    buf_free(&line);
    return code;
}

static int say_rcpts(struct letter *letter)
{
    struct str rest = buf_str(&letter->rcpts);
    while (rest.n > 0) {
        size_t n = str_find(rest, '\n', 0) + 1;
        int code = exchange_say(&letter->exchange, str_make(rest.p, n), "2");
        if (code != 0)
            return complain(code, "nothing was sent, because of the recipient %.*s", (int)(n - 2 - 8),
                            rest.p + 8);
        rest = str_make(rest.p + n, rest.n - n);
    }
    return 0;
}

/* In one piece: BDAT needs no dots, and its end cannot be mistaken. */
static int say_message(struct letter *letter)
{
    struct buf text;
    buf_init(&text, letter->text.len + 64);
    buf_printf(&text, "BDAT %zu LAST\r\n", letter->text.len);
    buf_add_str(&text, buf_str(&letter->text));
    int code = text.failed ? complain(EX_OSERR, "no memory for the message")
                           : exchange_say(&letter->exchange, buf_str(&text), "2");
    buf_free(&text);
    return code;
}

static int hand_over(struct letter *letter)
{
    const struct options *options = letter->options;
    char ehlo[300];
    for (int i = 0; i < options->rcpt_count; i++)
        addresses_in(str_of(options->rcpts[i]), add_rcpt, letter);
    int code = read_header(letter);
    if (code != 0)
        return code;
    if (letter->rcpt_count == 0)
        return complain(options->from_header ? EX_DATAERR : EX_USAGE,
                        options->from_header ? "the message names no recipients in To, Cc or Bcc"
                                             : "no recipients: name them, or use -t");
    if (!letter->has_from && !add_from(letter))
        return complain(EX_OSERR, "no memory for the message");
    snprintf(ehlo, sizeof ehlo, "EHLO %.255s\r\n", letter->exchange.host);
    code = exchange_say(&letter->exchange, str_of(ehlo), "2");
    code = code == 0 ? say_mail(letter) : code;
    code = code == 0 ? say_rcpts(letter) : code;
    code = code == 0 ? say_message(letter) : code;
    if (code == 0)
        (void)exchange_say(&letter->exchange, STR("QUIT\r\n"), "2");
    return code;
}

static int send_letter(const struct options *options, const char *socket)
{
    struct letter letter = {.options = options};
    buf_init(&letter.text, MESSAGE_MAX);
    buf_init(&letter.rcpts, MESSAGE_MAX);
    int code = read_message(&letter);
    if (code == 0) {
        code = exchange_open(&letter.exchange, socket);
        code = code == 0 ? hand_over(&letter) : code;
        exchange_close(&letter.exchange);
    }
    buf_free(&letter.text);
    buf_free(&letter.rcpts);
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
