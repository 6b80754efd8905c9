/* letter.c - see letter.h. */
#include "tools/sendmail/letter.h"

#include "engine/base/utf8.h"
#include "engine/message/field.h"
#include "engine/message/mime.h"
#include "tools/sendmail/addresses.h"
#include "tools/sendmail/exchange.h"

#include <errno.h>
#include <pwd.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#define MESSAGE_MAX    (48 * 1024 * 1024)
#define NAME_MAX_SHOWN 1024

void letter_init(struct letter *letter)
{
    *letter = (struct letter){.host = ""};
    buf_init(&letter->text, MESSAGE_MAX);
    buf_init(&letter->rcpts, MESSAGE_MAX);
}

void letter_free(struct letter *letter)
{
    tdestroy(letter->known, free);
    buf_free(&letter->text);
    buf_free(&letter->rcpts);
}

/* ---- the message ---- */

/* What is read stays as it is, but for its line ends; and for the line that begins a message in a mailbox
 * file, which is none of its own. */
int letter_read(struct letter *letter, bool dot_is_text)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    for (bool first = true; (n = getline(&line, &room, stdin)) > 0; first = false) {
        struct str text = str_make(line, (size_t)n);
        while (text.n > 0 && (text.p[text.n - 1] == '\n' || text.p[text.n - 1] == '\r'))
            text.n--;
        if (!dot_is_text && str_eq(text, STR(".")))
            break;
        if (first && str_starts(text, STR("From ")))
            continue;
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

/* ---- who ---- */

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

/* In angle brackets; without a domain it is of the daemon's host. */
static void put_address(const struct letter *letter, struct buf *out, struct str address)
{
    buf_add_char(out, '<');
    buf_add_str(out, address);
    if (address.n > 0 && str_find(address, '@', 0) == SIZE_MAX)
        buf_printf(out, "@%s", letter->host);
    buf_add_char(out, '>');
}

/* What stands in angle brackets, if any do: "Ada <ada@example.com>", "<>". */
static struct str address_of(const char *option)
{
    struct str text = str_trim(str_of(option));
    size_t open = str_find(text, '<', 0);
    if (open != SIZE_MAX && text.p[text.n - 1] == '>')
        text = str_make(text.p + open + 1, text.n - open - 2);
    return text;
}

void letter_put_sender(const struct letter *letter, const char *option, struct buf *out)
{
    put_address(letter, out, option != NULL ? address_of(option) : str_of(caller()->pw_name));
}

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Whoever stands in two fields gets one message. */
static void add_rcpt(struct str address, void *user)
{
    struct letter *letter = user;
    char *copy = str_dup(address);
    void *found = copy != NULL ? tsearch(copy, &letter->known, by_text) : NULL;
    if (found == NULL)
        letter->rcpts.failed = true;
    if (found == NULL || *(char **)found != copy) {
        free(copy);
        return;
    }
    buf_add_z(&letter->rcpts, "RCPT TO:");
    put_address(letter, &letter->rcpts, address);
    if (letter->notify != NULL)
        buf_printf(&letter->rcpts, " NOTIFY=%s", letter->notify);
    buf_add(&letter->rcpts, "\r\n", 2);
    letter->rcpt_count++;
}

void letter_add_rcpts(struct letter *letter, struct str list)
{
    addresses_in(list, add_rcpt, letter);
}

/* ---- the header ---- */

enum { FIELDS_TO, FIELDS_RESENT, FIELDS_NONE };

/* Which recipients a field names: those of the message, or of who sends it on as it is (RFC 5322 3.6.6). */
static int field_names(struct str name)
{
    static const struct str names[] = {{"To", 2}, {"Cc", 2}, {"Bcc", 3}};
    bool resent = str_starts_nocase(name, STR("Resent-"));
    if (resent)
        name = str_make(name.p + strlen("Resent-"), name.n - strlen("Resent-"));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_eq_nocase(name, names[i]))
            return resent ? FIELDS_RESENT : FIELDS_TO;
    return FIELDS_NONE;
}

static void add_named(struct letter *letter, const struct mime_fields *fields)
{
    struct buf value;
    int wanted = FIELDS_TO;
    for (size_t i = 0; i < fields->count; i++)
        if (field_names(fields->at[i].name) == FIELDS_RESENT)
            wanted = FIELDS_RESENT;
    buf_init(&value, MESSAGE_MAX);
    for (size_t i = 0; i < fields->count; i++) {
        buf_clear(&value);
        if (field_names(fields->at[i].name) == wanted && mime_unfold(fields->at[i].value, &value))
            letter_add_rcpts(letter, buf_str(&value));
    }
    buf_free(&value);
}

int letter_read_header(struct letter *letter, bool named)
{
    struct mime_fields fields = {0};
    struct str body;
    struct err err;
    bool good = mime_read_header(buf_str(&letter->text), &fields, &body, &err);
    for (size_t i = 0; good && i < fields.count; i++)
        letter->has_from |= str_eq_nocase(fields.at[i].name, STR("From"));
    if (good && named)
        add_named(letter, &fields);
    free(fields.at);
    if (!good)
        return complain(EX_DATAERR, "%s", err.text);
    return letter->rcpts.failed ? complain(EX_OSERR, "no memory for the recipients") : 0;
}

static void put_name(struct buf *out, struct str name)
{
    struct field_writer field;
    struct buf text;
    if (str_trim(name).n == 0 || !utf8_valid(name))
        return;
    buf_init(&text, NAME_MAX_SHOWN);
    field_begin(&field, out, &text, strlen("From:"));
    field_step(&field, RECORD_TEXT, 0, name);
    field_step(&field, RECORD_PHRASE_END, 0, STR(""));
    buf_free(&text);
}

/* Of an entry of /etc/passwd: offices and phones stand behind the name. */
static struct str name_of(const struct passwd *user)
{
    return str_make(user->pw_gecos, strcspn(user->pw_gecos, ","));
}

int letter_add_from(struct letter *letter, const char *option, const char *name)
{
    struct buf text;
    if (name != NULL && strlen(name) > NAME_MAX_SHOWN)
        return complain(EX_USAGE, "the name is longer than %d bytes: nothing was sent", NAME_MAX_SHOWN);
    buf_init(&text, MESSAGE_MAX + 8192);
    buf_add_z(&text, "From:");
    put_name(&text, name != NULL ? str_of(name) : name_of(caller()));
    buf_add_char(&text, ' ');
    letter_put_sender(letter, option != NULL && address_of(option).n > 0 ? option : NULL, &text);
    buf_add_z(&text, "\r\n");
    buf_add_str(&text, buf_str(&letter->text));
    buf_free(&letter->text);
    letter->text = text;
    return text.failed ? complain(EX_OSERR, "no memory for the message") : 0;
}
