/* notice_words.c - bounces written for people only, as qmail (QSBMF), older Exim, sendmail, Exchange, Domino,
 * Yahoo and many others send them.
 *
 * All of them name an address and say, on its line or below it, what went wrong; most add a copy of the
 * message behind a line of dashes. So: an address that begins a line begins a block, whose words go on up to
 * the next such address or the copy, but not over a blank line once a reason was found. Where no line begins
 * with one, the first address in a sentence will do. Addresses of the mailer, and those to which the notice
 * itself went, are none. */
#include "engine/inbound/notice_parts.h"

#include "engine/message/lines.h"
#include "engine/smtp/words.h"

#define BLOCK_MAX 2048 /* bytes of words kept of one block */
#define LINES_MAX 2000 /* looked at, before the copy of the message */

/* ---- HTML to text, for notices that have nothing else ---- */

static bool tag_breaks(struct str tag)
{
    static const char *const names[] = {"br", "p", "div", "tr", "td", "li", "h1", "h2", "h3", "table", "pre"};
    size_t n = tag.n > 0 && tag.p[0] == '/' ? 1 : 0, from = n;
    while (n < tag.n && tag.p[n] != ' ' && tag.p[n] != '/' && tag.p[n] != '\n' && tag.p[n] != '\r')
        n++;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_eq_nocase(str_make(tag.p + from, n - from), str_of(names[i])))
            return true;
    return false;
}

/* Length of the entity at p, 0 for none of those that bounces use; *c is what it stands for. */
static size_t entity_length(struct str at, char *c)
{
    static const struct {
        struct str text;
        char c;
    } known[] = {
        {{"&lt;", 4}, '<'},   {{"&gt;", 4}, '>'},  {{"&amp;", 5}, '&'},
        {{"&quot;", 6}, '"'}, {{"&#64;", 5}, '@'}, {{"&nbsp;", 6}, ' '},
        {{"&#39;", 5}, '\''}, {{"&#43;", 5}, '+'}, {{"&#160;", 6}, ' '},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (str_starts_nocase(at, known[i].text)) {
            *c = known[i].c;
            return known[i].text.n;
        }
    }
    return 0;
}

static struct str without_tags(struct reading *reading, struct str html)
{
    struct buf text;
    buf_init(&text, NOTICE_MESSAGE_MAX + 64);
    for (size_t i = 0; i < html.n;) {
        struct str at = str_make(html.p + i, html.n - i);
        char c = html.p[i];
        size_t n = 1;
        if (c == '<' && at.n > 1 && at.p[1] != ' ') {
            bool style = str_starts_nocase(at, STR("<style")) || str_starts_nocase(at, STR("<!--"));
            size_t end = str_find(at, '>', 0);
            n = end == SIZE_MAX ? at.n : end + 1;
            if (!style && n > 2 && tag_breaks(str_make(at.p + 1, n - 2)))
                buf_add_char(&text, '\n');
        } else if (c == '&' && (n = entity_length(at, &c)) > 0) {
            buf_add_char(&text, c);
        } else {
            n = 1;
            buf_add_char(&text, html.p[i]);
        }
        i += n;
    }
    struct str kept = reading_keep(reading, buf_str(&text));
    buf_free(&text);
    return kept;
}

/* ---- lines ---- */

/* A line behind which a copy of the message stands. */
static bool begins_copy(struct str line)
{
    static const char *const dashed[] = {"copy of",          "original message",   "message follows",
                                         "header follows",   "message header",     "unsent message",
                                         "returned message", "undelivered message"};
    line = str_trim(line);
    if (str_starts_nocase(line, STR("original message headers")))
        return true;
    if (!str_starts(line, STR("--")))
        return false;
    for (size_t i = 0; i < sizeof dashed / sizeof *dashed; i++)
        if (text_has(line, dashed[i]))
            return true;
    return false;
}

/* The address with which a line begins, marks and a word before it apart; *behind is the rest of the line. */
static bool line_address(struct str line, struct str *address, struct str *behind)
{
    size_t at = 0, words = 0;
    if (!address_find(line, &at, address))
        return false;
    const char *p = line.p;
    while (p < address->p) {
        if (*p != ' ' && *p != '\t' && strchr("<('\"*-:;[", *p) == NULL) {
            if (words++ > 0)
                return false;
            while (p < address->p && strchr(" \t<:", *p) == NULL)
                p++;
            if (p == address->p || *p != ':') /* "Recipient: <ada@…" and "RCPT TO" is not */
                return false;
        }
        p++;
    }
    *behind = str_make(line.p + at, line.n - at);
    return true;
}

/* ---- reasons ---- */

/* Sentences in which notices, not replies, say what is wrong; what replies say is in smtp/words.h. */
static const struct {
    const char *phrase;
    struct status status;
} reasons[] = {
    {"could not be found", {5, 1, 1}},
    {"couldn't be found", {5, 1, 1}},
    {"wasn't found", {5, 1, 1}},
    {"was not found", {5, 1, 1}},
    {"not listed in", {5, 1, 1}},
    {"doesn't have a", {5, 1, 1}},
    {"does not have a", {5, 1, 1}},
    {"no mailbox here", {5, 1, 1}},
    {"no such address", {5, 1, 1}},
    {"address is unknown", {5, 1, 1}},
    {"existiert nicht", {5, 1, 1}},
    {"nicht bekannt", {5, 1, 1}},
    {"n'existe pas", {5, 1, 1}},
    {"no existe", {5, 1, 1}},
    {"non esiste", {5, 1, 1}},
    {"is no longer valid", {5, 1, 6}},
    {"no longer available", {5, 2, 1}},
    {"has been disabled", {5, 2, 1}},
    {"has been discontinued", {5, 2, 1}},
    {"account is closed", {5, 2, 1}},
    {"quota", {5, 2, 2}},
    {"out of space", {5, 2, 2}},
    {"storage limit", {5, 2, 2}},
    {"mailbox is full", {5, 2, 2}},
    {"unrouteable", {5, 4, 4}},
    {"unroutable", {5, 4, 4}},
    {"couldn't find any host", {5, 1, 2}},
    {"domain name not found", {5, 1, 2}},
    {"host unknown", {5, 1, 2}},
    {"unknown host", {5, 1, 2}},
    {"host not found", {5, 1, 2}},
    {"retry time", {4, 4, 7}},
    {"retry timeout", {4, 4, 7}},
    {"too long", {4, 4, 7}},
    {"timed out", {4, 4, 1}},
    {"connection refused", {4, 4, 1}},
    {"too large", {5, 3, 4}},
    {"size limit", {5, 2, 3}},
};

static struct status reason_of(struct str words)
{
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (text_has(words, reasons[i].phrase))
            return reasons[i].status;
    return STATUS(0, 0, 0);
}

/* Does it say why? */
static bool has_reason(struct reading *reading, struct str words)
{
    struct notice_rcpt trial = {.status = STATUS(0, 0, 0)};
    reading_set_reply(reading, &trial, words);
    return trial.code != 0 || trial.status.subject != 0 || reason_of(words).class_ != 0;
}

static void set_reason(struct reading *reading, struct notice_rcpt *rcpt, struct str words)
{
    rcpt->status = STATUS(0, 0, 0);
    reading_set_reply(reading, rcpt, words);
    struct status reason = reason_of(words);
    if (rcpt->status.subject == 0 && reason.class_ != 0)
        rcpt->status = reason;
}

/* ---- blocks ---- */

struct blocks {
    struct reading *reading;
    struct notice_rcpt *open;
    struct buf words; /* of the open block */
    bool reason, begun;
    unsigned with_reason;
};

static void close_block(struct blocks *blocks)
{
    if (blocks->open == NULL)
        return;
    set_reason(blocks->reading, blocks->open, buf_str(&blocks->words));
    blocks->with_reason += blocks->reason || has_reason(blocks->reading, buf_str(&blocks->words));
    blocks->open = NULL;
}

/* To whom one may turn, as sentences of notices say. */
static bool is_helper(struct str address)
{
    static const char *const names[] = {"mailer-daemon@", "postmaster@", "abuse@", "support@", "noreply@"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_starts_nocase(address, str_of(names[i])))
            return true;
    return false;
}

static bool is_known(struct blocks *blocks, struct str address)
{
    const struct notice *notice = blocks->reading->notice;
    for (size_t i = 0; i < notice->to_count; i++)
        if (str_eq_nocase(notice->to[i], address))
            return true;
    for (size_t i = 0; i < notice->rcpt_count; i++)
        if (str_eq_nocase(notice->rcpts[i].address, address))
            return true;
    return false;
}

static void open_block(struct blocks *blocks, struct str address)
{
    close_block(blocks);
    buf_clear(&blocks->words);
    blocks->reason = false;
    blocks->open = reading_add_rcpt(blocks->reading, NOTICE_BOUNCE);
    if (blocks->open != NULL)
        blocks->open->address = address;
}

static void add_words(struct blocks *blocks, struct str line)
{
    if (blocks->open == NULL)
        return;
    size_t room = BLOCK_MAX - blocks->words.len;
    line = str_trim(line);
    if (line.n + 1 > room)
        line.n = room > 0 ? room - 1 : 0;
    if (room == 0)
        return;
    buf_add_str(&blocks->words, line);
    buf_add_char(&blocks->words, ' ');
}

static void take_line(struct blocks *blocks, struct str line)
{
    struct str address, behind, first;
    size_t at = 0;
    if (str_trim(line).n == 0) {
        if (blocks->open != NULL && !blocks->reason)
            blocks->reason = has_reason(blocks->reading, buf_str(&blocks->words));
        if (blocks->reason)
            close_block(blocks);
        return;
    }
    if (line_address(line, &address, &behind) && !is_known(blocks, address)) {
        open_block(blocks, address);
        add_words(blocks, behind);
    } else if (blocks->reading->notice->rcpt_count == 0 && address_find(line, &at, &first) &&
               !is_helper(first) && !is_known(blocks, first)) {
        open_block(blocks, first);
        add_words(blocks, line);
    } else {
        add_words(blocks, line);
    }
}

static struct str plain_text(struct reading *reading)
{
    if (reading->text_is_html)
        reading->text = without_tags(reading, reading->text);
    reading->text_is_html = false;
    return reading->text;
}

void read_words_of(struct reading *reading, struct notice_rcpt *rcpt)
{
    struct lines lines = lines_of(plain_text(reading));
    struct str line, address, behind;
    struct buf words;
    bool ended, found = false;
    buf_init(&words, BLOCK_MAX);
    for (unsigned i = 0; i < LINES_MAX && lines_next(&lines, &line, &ended); i++) {
        if (found && str_trim(line).n == 0)
            break;
        if (!found && line_address(line, &address, &behind) && str_eq_nocase(address, rcpt->address)) {
            found = true;
            line = behind;
        }
        if (found && !(buf_add_str(&words, str_trim(line)) && buf_add_char(&words, ' ')))
            break;
    }
    struct str said = buf_str(&words);
    while (said.n > 0 && strchr(" :>", said.p[0]) != NULL)
        said = str_make(said.p + 1, said.n - 1);
    if (said.n > 0)
        reading_set_reply(reading, rcpt, said);
    buf_free(&words);
}

bool read_words(struct reading *reading)
{
    struct notice *notice = reading->notice;
    struct blocks blocks = {.reading = reading};
    struct str text = plain_text(reading), line;
    bool ended, qmail = false;
    size_t before = notice->rcpt_count;
    struct lines lines = lines_of(text);
    buf_init(&blocks.words, BLOCK_MAX);
    for (unsigned i = 0; i < LINES_MAX && lines_next(&lines, &line, &ended); i++) {
        qmail |= !blocks.begun && str_starts(line, STR("Hi. This is the"));
        blocks.begun |= line.n > 0;
        if (begins_copy(line) || (qmail && str_starts(line, STR("-")))) {
            if (reading->returned.n == 0)
                reading->returned = str_trim(lines_rest(&lines));
            break;
        }
        take_line(&blocks, line);
    }
    close_block(&blocks);
    buf_free(&blocks.words);
    if (blocks.with_reason == 0)
        notice->rcpt_count = before; /* addresses, and nothing said against them */
    else if (qmail)
        notice->format = "qmail";
    return blocks.with_reason > 0;
}
