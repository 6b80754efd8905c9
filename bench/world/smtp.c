/* smtp.c - the receiver's side of SMTP (RFC 5321, 2920, 1870, 6152, 3207, 2034), as strict about the client
 * as a test wants: what a lenient server would forgive is counted as a violation. Commands are handled one by
 * one from what was read; a host that delays its replies stops after each. */
#include "bench/world/message.h"
#include "bench/world/path.h"
#include "bench/world/stage.h"

#include <stdio.h>

struct command {
    const char *verb;
    size_t n;
    bool ends_group; /* must be the last of a pipelined group, RFC 2920 3.1 */
    void (*run)(struct session *s, struct str args);
};

static void reset_transaction(struct session *s)
{
    s->mail = s->mail_tried = s->rcpt_tried = s->body_8bit = s->body_binary = s->chunked = false;
    s->recipients = 0;
    s->declared = 0;
    buf_clear(&s->from);
    buf_clear(&s->rcpts);
    buf_clear(&s->numbers);
}

void smtp_begin(struct session *s)
{
    const struct character *character = s->host->character;
    const struct rule *words;
    uint32_t cap = character->max_connections;
    s->quiet = true;
    if (cap && host_shared_counts(s->host)->connections_now > cap) {
        for (struct counts *counts = &s->host->counts; counts; counts = counts->up)
            counts->over_cap++;
        if (character->over_cap == OVER_CAP_CLOSE)
            s->end = END_NOW;
        else
            say(s, 421, "4.7.0", "Too many connections from your address, closing");
        return;
    }
    if (!stage_pass(s, STAGE_CONNECT, STR(""), &words))
        return;
    char text[512];
    snprintf(text, sizeof text, "%s %s", s->host->name, character->banner ? character->banner : "ESMTP");
    say_good(s, words, 220, "", text);
    s->pause_ns += (int64_t)character->banner_delay_ms * NS_PER_MS;
}

void smtp_idle(struct session *s)
{
    say(s, 421, "4.4.2", "Idle for too long, closing");
}

void smtp_spoke_early(struct session *s)
{
    violate(s, s->greeted ? VIOLATION_PIPELINED : VIOLATION_EARLY, STR("before the reply was sent"));
}

/* ---- commands ---- */

static bool take_helo(struct session *s, struct str name)
{
    bool ok = name.n > 0 && name.n <= 255 && str_find(name, ' ', 0) == SIZE_MAX;
    if (!ok) {
        violate(s, VIOLATION_SYNTAX, STR("EHLO or HELO without one name"));
        say(s, 501, "5.5.4", "A name is wanted");
        return false;
    }
    reset_transaction(s);
    s->want_reset = false;
    buf_clear(&s->helo);
    buf_add_str(&s->helo, name);
    s->greeted = true;
    return true;
}

static void run_ehlo(struct session *s, struct str args)
{
    const struct character *character = s->host->character;
    const struct rule *words;
    if (character->no_ehlo) {
        say(s, 502, "5.5.1", "EHLO is not implemented");
        return;
    }
    if (!stage_pass(s, STAGE_EHLO, STR(""), &words) || !take_helo(s, args))
        return;
    s->pipelining = !character->no_pipelining;
    s->eight_bit = !character->no_8bitmime;
    s->sizes = !character->no_size;
    s->chunking = character->chunking;
    s->binary = character->chunking && character->binary;
    char text[512], size[32] = "";
    if (s->sizes && character->size)
        snprintf(size, sizeof size, "SIZE %u\n", character->size);
    else if (s->sizes)
        snprintf(size, sizeof size, "SIZE\n");
    snprintf(text, sizeof text, "%s greets you\n%s%s%s%s%s%s%sHELP", s->host->name,
             s->pipelining ? "PIPELINING\n" : "", size, s->eight_bit ? "8BITMIME\n" : "",
             s->chunking ? "CHUNKING\n" : "", s->binary ? "BINARYMIME\n" : "",
             character->starttls != STARTTLS_ABSENT && !s->encrypted ? "STARTTLS\n" : "",
             character->no_enhanced ? "" : "ENHANCEDSTATUSCODES\n");
    say_good(s, words, 250, "", text);
}

static void run_helo(struct session *s, struct str args)
{
    const struct rule *words;
    if (!stage_pass(s, STAGE_EHLO, STR(""), &words) || !take_helo(s, args))
        return;
    s->pipelining = s->eight_bit = s->sizes = s->chunking = s->binary = false;
    say_good(s, words, 250, "", s->host->name);
}

static void run_starttls(struct session *s, struct str args)
{
    const struct character *character = s->host->character;
    const struct rule *words;
    if (character->starttls == STARTTLS_ABSENT || s->encrypted || args.n) {
        violate(s, args.n ? VIOLATION_SYNTAX : VIOLATION_NOT_OFFERED, STR("STARTTLS"));
        say(s, args.n ? 501 : 502, "5.5.1", "STARTTLS is not possible now");
        return;
    }
    if (!stage_pass(s, STAGE_STARTTLS, STR(""), &words))
        return;
    if (character->starttls == STARTTLS_REFUSED) {
        say(s, 454, "4.7.0", "TLS is not available just now");
        return;
    }
    say_good(s, words, 220, "2.0.0", "Begin the handshake");
    s->greeted = false;
    reset_transaction(s);
    s->want_tls = character->starttls == STARTTLS_GOOD;
    if (!s->want_tls)
        s->state = SESSION_BROKEN_TLS;
}

/* False after a reply that refuses. */
static bool take_mail_parameters(struct session *s, struct str args)
{
    struct str name, value;
    while (path_parameter(&args, &name, &value)) {
        if (s->sizes && str_eq_nocase(name, STR("SIZE")) && str_u64(value, UINT64_MAX, &s->declared))
            continue;
        if (s->eight_bit && str_eq_nocase(name, STR("BODY")) && str_eq_nocase(value, STR("8BITMIME"))) {
            s->body_8bit = true;
            continue;
        }
        if (s->binary && str_eq_nocase(name, STR("BODY")) && str_eq_nocase(value, STR("BINARYMIME"))) {
            s->body_8bit = s->body_binary = true;
            continue;
        }
        if (s->eight_bit && str_eq_nocase(name, STR("BODY")) && str_eq_nocase(value, STR("7BIT")))
            continue;
        violate(s, VIOLATION_NOT_OFFERED, name);
        say(s, 555, "5.5.4", "That parameter of MAIL was not offered");
        return false;
    }
    return true;
}

/* What a host limits at MAIL: messages on the connection, and a rate. */
static bool within_limits(struct session *s)
{
    const struct character *character = s->host->character;
    int64_t now_ns = s->world->loop.now.mono_ns;
    if (character->messages_per_connection && s->messages >= character->messages_per_connection) {
        say(s, 421, "4.7.0", "Max message per connection reached, closing transmission channel");
        return false;
    }
    if (character->max_rate &&
        window_sum(&host_shared_counts(s->host)->mails, now_ns) >= character->max_rate) {
        for (struct counts *counts = &s->host->counts; counts; counts = counts->up)
            counts->over_rate++;
        say(s, 421, "4.7.28", "Unusual rate of mail from your IP address, try again later");
        return false;
    }
    counts_mail(&s->host->counts, now_ns);
    return true;
}

static void run_mail(struct session *s, struct str args)
{
    const struct character *character = s->host->character;
    const struct rule *words;
    struct str address;
    if (!s->greeted || s->mail || s->want_reset) {
        violate(s, VIOLATION_SEQUENCE,
                s->want_reset ? STR("MAIL after a failed BDAT")
                : s->mail     ? STR("MAIL inside a transaction")
                              : STR("MAIL before EHLO"));
        say(s, 503, "5.5.1", "Bad sequence of commands");
        return;
    }
    reset_transaction(s);
    s->mail_tried = true;
    if (!path_take(&args, STR("FROM:"), true, &address)) {
        violate(s, VIOLATION_SYNTAX, args);
        say(s, 501, "5.5.4", "Syntax: MAIL FROM:<address>");
        return;
    }
    if (!within_limits(s) || !stage_pass(s, STAGE_MAIL, address, &words) || !take_mail_parameters(s, args))
        return;
    if (s->sizes && character->size && s->declared > character->size) {
        say(s, 552, "5.3.4", "The message is larger than is accepted here");
        return;
    }
    buf_add_str(&s->from, address);
    s->mail = true;
    say_good(s, words, 250, "2.1.0", "Sender OK");
}

static bool greylisted(struct session *s, struct str address)
{
    const struct character *character = s->host->character;
    if (character->greylist_ms == 0)
        return false;
    uint64_t key =
        mix(mix(s->host->identity, s->client), mix(str_hash(buf_str(&s->from)), str_hash(address)));
    int64_t *first_ns = memory_at(&s->world->memory, key);
    int64_t now_ns = s->world->loop.now.mono_ns;
    if (first_ns && *first_ns == 0)
        *first_ns = now_ns;
    return first_ns && now_ns - *first_ns < (int64_t)character->greylist_ms * NS_PER_MS;
}

static bool glob_hits(const char *glob, struct str address)
{
    return glob && str_glob_nocase(str_of(glob), local_part(address));
}

/* The mailbox itself; false after a refusal. */
static bool mailbox_takes(struct session *s, struct str address)
{
    const struct character *character = s->host->character;
    uint32_t most = character->max_recipients ? character->max_recipients : WORLD_RECIPIENTS_MAX;
    if (s->recipients >= most)
        say(s, 452, "4.5.3", "Too many recipients");
    else if (glob_hits(character->unknown, address) || stage_drawn(s, character->unknown_odds, 1, address))
        say(s, 550, "5.1.1", "The mailbox does not exist");
    else if (greylisted(s, address))
        say(s, 451, "4.7.1", "Greylisted, please try again later");
    else if (glob_hits(character->full, address) || stage_drawn(s, character->full_odds, 2, address))
        say(s, 452, "4.2.2", "The mailbox is full");
    else
        return true;
    return false;
}

static bool keep_recipient(struct session *s, struct str address)
{
    uint64_t number = record_number(address);
    bool wanted = s->recipients == 0 || delivery_log_on(&s->world->log);
    if (wanted && (!buf_add_str(&s->rcpts, address) || !buf_add_char(&s->rcpts, '\n')))
        return false;
    if (!buf_add(&s->numbers, &number, sizeof number))
        return false;
    s->recipients++;
    return true;
}

static void run_rcpt(struct session *s, struct str args)
{
    const struct rule *words;
    struct str address, name, value;
    if (!s->mail) {
        if (!s->mail_tried)
            violate(s, VIOLATION_SEQUENCE, STR("RCPT without MAIL"));
        s->rcpt_tried = true;
        say(s, 503, "5.5.1", "MAIL first");
        return;
    }
    s->rcpt_tried = true;
    if (!path_take(&args, STR("TO:"), false, &address)) {
        violate(s, VIOLATION_SYNTAX, args);
        say(s, 501, "5.5.4", "Syntax: RCPT TO:<address>");
        return;
    }
    if (path_parameter(&args, &name, &value)) {
        violate(s, VIOLATION_NOT_OFFERED, name);
        say(s, 555, "5.5.4", "That parameter of RCPT was not offered");
        return;
    }
    if (!stage_pass(s, STAGE_RCPT, address, &words) || !mailbox_takes(s, address))
        return;
    if (!keep_recipient(s, address)) {
        say(s, 452, "4.3.1", "Out of memory");
        return;
    }
    say_good(s, words, 250, "2.1.5", "Recipient OK");
}

/* The room for a message's digests; false after a refusal. */
static bool begin_message(struct session *s, unsigned how)
{
    if (s->data == NULL && (s->data = data_create()) == NULL) {
        say(s, 452, "4.3.1", "Out of memory");
        return false;
    }
    data_begin(s->data, how | (delivery_log_on(&s->world->log) ? DATA_WHOLE : 0) |
                            (recorder_on(&s->world->recorder) ? DATA_PARTS : 0));
    return true;
}

static void run_data(struct session *s, struct str args)
{
    const struct rule *words;
    if (s->recipients == 0 || args.n || s->chunked || s->body_binary) {
        if (args.n)
            violate(s, VIOLATION_SYNTAX, STR("DATA with an argument"));
        else if (s->chunked || s->body_binary)
            violate(s, VIOLATION_SEQUENCE, STR("DATA after BDAT, or for binary content"));
        else if (!s->rcpt_tried)
            violate(s, VIOLATION_SEQUENCE, STR("DATA without RCPT"));
        say(s, s->rcpt_tried && s->mail ? 554 : 503, "5.5.1", "No valid recipients");
        return;
    }
    if (!stage_pass(s, STAGE_DATA, first_recipient(s), &words))
        return;
    if (!begin_message(s, 0))
        return;
    s->state = SESSION_DATA;
    say_good(s, words, 354, "", "Go ahead, end with a dot on a line of its own");
}

static void finish_chunk(struct session *s)
{
    const struct rule *words;
    s->state = SESSION_COMMAND;
    s->quiet = !s->pipelining;
    if (!s->chunk_good) {
        s->want_reset = true;
        say(s, s->mail ? 554 : 503, "5.5.1", s->mail ? "No valid recipients" : "MAIL and RCPT first");
        return;
    }
    if (!stage_pass(s, STAGE_DATA, first_recipient(s), &words)) {
        s->want_reset = true;
        return;
    }
    if (!s->chunk_last) {
        say_good(s, words, 250, "2.0.0", "A chunk");
        return;
    }
    data_end(s->data);
    s->want_reset = !message_came(s);
    reset_transaction(s);
}

static void run_unoffered(struct session *s, struct str args);

/* What it is worth is said when its bytes are there. */
static void run_bdat(struct session *s, struct str args)
{
    size_t space = str_find(args, ' ', 0);
    struct str rest = space == SIZE_MAX ? STR("") : str_make(args.p + space + 1, args.n - space - 1);
    if (!s->chunking) {
        run_unoffered(s, args);
        return;
    }
    if (!str_u64(str_make(args.p, args.n - rest.n - (space != SIZE_MAX)), UINT64_MAX, &s->chunk_left) ||
        (rest.n && !str_eq_nocase(rest, STR("LAST")))) {
        violate(s, VIOLATION_SYNTAX, STR("BDAT without a size, or with more than LAST"));
        say(s, 501, "5.5.4", "Syntax: BDAT size [LAST]");
        s->end = END_LINGER; /* where its bytes end is unknown */
        return;
    }
    s->chunk_last = rest.n > 0;
    s->chunk_good = s->recipients > 0 && !s->want_reset;
    if (!s->rcpt_tried)
        violate(s, VIOLATION_SEQUENCE, STR("BDAT without RCPT"));
    if (s->chunk_good && !s->chunked && !begin_message(s, DATA_PLAIN))
        s->end = END_LINGER;
    s->chunked = true;
    s->state = SESSION_CHUNK;
    s->quiet = false; /* its bytes may come */
    if (s->chunk_left == 0)
        finish_chunk(s);
}

static void run_rset(struct session *s, struct str args)
{
    const struct rule *words;
    (void)args;
    if (!stage_pass(s, STAGE_RSET, STR(""), &words))
        return;
    reset_transaction(s);
    s->want_reset = false;
    say_good(s, words, 250, "2.0.0", "OK");
}

static void run_noop(struct session *s, struct str args)
{
    (void)args;
    say(s, 250, "2.0.0", "OK");
}

static void run_vrfy(struct session *s, struct str args)
{
    (void)args;
    say(s, 252, "2.0.0", "Send mail and see");
}

static void run_help(struct session *s, struct str args)
{
    (void)args;
    say(s, 214, "2.0.0", "See RFC 5321");
}

static void run_quit(struct session *s, struct str args)
{
    const struct rule *words;
    (void)args;
    if (!stage_pass(s, STAGE_QUIT, STR(""), &words))
        return;
    reset_transaction(s);
    say_good(s, words, 221, "2.0.0", "Bye");
    s->end = END_LINGER;
}

static void run_unoffered(struct session *s, struct str args)
{
    (void)args;
    violate(s, VIOLATION_NOT_OFFERED, STR("a command of an extension"));
    say(s, 502, "5.5.1", "Not implemented");
}

#define VERB(text) text, sizeof(text) - 1

static const struct command commands[] = {
    {VERB("MAIL"), false, run_mail},     {VERB("RCPT"), false, run_rcpt},
    {VERB("DATA"), true, run_data},      {VERB("EHLO"), true, run_ehlo},
    {VERB("HELO"), true, run_helo},      {VERB("QUIT"), true, run_quit},
    {VERB("RSET"), false, run_rset},     {VERB("STARTTLS"), true, run_starttls},
    {VERB("NOOP"), true, run_noop},      {VERB("VRFY"), true, run_vrfy},
    {VERB("EXPN"), true, run_vrfy},      {VERB("HELP"), true, run_help},
    {VERB("BDAT"), false, run_bdat},     {VERB("AUTH"), true, run_unoffered},
    {VERB("ETRN"), true, run_unoffered},
};

/* ---- lines and data ---- */

/* What follows in the same read, although the client had to wait for this reply. */
static void judge_group(struct session *s, const struct command *command, struct str line, size_t more)
{
    s->quiet = command->ends_group || !s->pipelining;
    if (more == 0 || !s->quiet || command->run == run_bdat)
        return;
    if (command->run == run_starttls)
        violate(s, VIOLATION_AFTER_STARTTLS, line);
    else
        violate(s, command->ends_group ? VIOLATION_PIPELINED : VIOLATION_NOT_PIPELINING, line);
}

#define EACH_BYTE(c) (UINT64_C(0x0101010101010101) * (c))

/* Eight bytes at a time: none is above 127, falls below 0 when ' ' is taken off, or reaches 128 when 1 is
 * added. Carries between bytes come only from bytes that fail already. */
static bool printable(struct str line)
{
    uint64_t word, bad = 0;
    size_t at = 0;
    for (; line.n - at >= sizeof word; at += sizeof word) {
        memcpy(&word, line.p + at, sizeof word);
        bad |= word | (word - EACH_BYTE(' ')) | (word + EACH_BYTE(1));
    }
    if (at < line.n) {
        word = EACH_BYTE(' ');
        memcpy(&word, line.p + at, line.n - at);
        bad |= word | (word - EACH_BYTE(' ')) | (word + EACH_BYTE(1));
    }
    return (bad & EACH_BYTE(0x80)) == 0;
}

/* A verb's letters in one number, in either case; 0 for what is no verb's length. */
static uint64_t verb_key(struct str verb)
{
    uint64_t key = 0;
    if (verb.n > sizeof key)
        return 0;
    memcpy(&key, verb.p, verb.n);
    return key | EACH_BYTE(0x20);
}

static void handle_command(struct session *s, struct str line, size_t more)
{
    if (!printable(line)) {
        violate(s, VIOLATION_COMMAND_8BIT, line);
        say(s, 501, "5.5.2", "Commands are printable ASCII");
        return;
    }
    size_t space = str_find(line, ' ', 0);
    struct str verb = str_make(line.p, space == SIZE_MAX ? line.n : space);
    struct str args = space == SIZE_MAX ? STR("") : str_make(line.p + space + 1, line.n - space - 1);
    uint64_t key = verb_key(verb);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (key != verb_key(str_make(commands[i].verb, commands[i].n)))
            continue;
        judge_group(s, &commands[i], line, more);
        commands[i].run(s, args);
        return;
    }
    violate(s, VIOLATION_UNKNOWN_COMMAND, line);
    say(s, 500, "5.5.2", "Unknown command");
}

/* One command line, if it is whole; how many bytes it took, 0 if it is not. */
static size_t take_command(struct session *s, const char *p, size_t n)
{
    const char *lf = memchr(p, '\n', n);
    if (lf == NULL && n < WORLD_COMMAND_MAX)
        return 0;
    size_t used = lf ? (size_t)(lf + 1 - p) : n;
    if (lf == NULL || used > WORLD_COMMAND_MAX) {
        violate(s, VIOLATION_LONG_COMMAND, str_make(p, 80));
        say(s, 500, "5.5.2", "The line is too long");
        s->end = END_LINGER;
        return used;
    }
    struct str line = str_make(p, used - 1);
    if (line.n > 0 && line.p[line.n - 1] == '\r')
        line.n--;
    else
        violate(s, VIOLATION_BARE_LF, line);
    handle_command(s, line, n - used);
    return used;
}

static size_t take_data(struct session *s, const char *p, size_t n)
{
    bool done;
    size_t used = data_feed(s->data, p, n, &done);
    if (!done)
        return used;
    s->state = SESSION_COMMAND;
    s->quiet = !s->pipelining;
    if (used < n && s->quiet)
        violate(s, VIOLATION_NOT_PIPELINING, STR("a command behind the final dot"));
    message_came(s);
    reset_transaction(s);
    return used;
}

static size_t take_chunk(struct session *s, const char *p, size_t n)
{
    bool done;
    size_t used = n < s->chunk_left ? n : (size_t)s->chunk_left;
    if (s->chunk_good && used > 0)
        data_feed(s->data, p, used, &done);
    s->chunk_left -= used;
    if (s->chunk_left > 0)
        return used;
    if (used < n && !s->pipelining)
        violate(s, VIOLATION_NOT_PIPELINING, STR("a command behind a chunk"));
    finish_chunk(s);
    return used;
}

size_t smtp_input(struct session *s, const char *p, size_t n)
{
    size_t at = 0;
    while (at < n && s->pause_ns == 0 && s->end == END_NOT && !s->want_tls) {
        size_t used;
        if (s->state == SESSION_DATA)
            used = take_data(s, p + at, n - at);
        else if (s->state == SESSION_CHUNK)
            used = take_chunk(s, p + at, n - at);
        else if (s->state == SESSION_COMMAND)
            used = take_command(s, p + at, n - at);
        else
            return n; /* silent from here, or TLS about to be spoilt: the rest does not count */
        if (used == 0)
            break;
        at += used;
    }
    return at;
}
