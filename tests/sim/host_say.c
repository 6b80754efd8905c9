/* host_say.c - what a host answers, and when, and how the answer goes wrong on its way. See host.h. */
#include "tests/sim/host_parts.h"

#include "tests/sim/drive.h"
#include "tests/sim/faults.h"
#include "tests/sim/late.h"
#include "tests/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- what is heard ---- */

enum mark_kind { MARK_RCPT, MARK_END };
struct say_mark {
    enum mark_kind kind;
    struct txn *txn;
    size_t rcpt;
    uint16_t code; /* 250, or a 5xx that is final */
};

/* The reply just written is of this meaning. */
static void mark(struct smtp *smtp, enum mark_kind kind, size_t rcpt, uint16_t code)
{
    struct say_mark *made = sim_alloc(sizeof *made);
    *made = (struct say_mark){kind, smtp->txn, rcpt, code};
    smtp->txn->refs++;
    net_mark(smtp->link, made);
}

void host_heard(struct link *link, void *marked, bool sure)
{
    struct say_mark *made = marked;
    (void)link;
    for (size_t i = 0; i < made->txn->rcpt_n; i++) {
        struct txn_rcpt *one = &made->txn->rcpts[i];
        if (one->rcpt == NULL || (made->kind == MARK_RCPT ? i != made->rcpt : !one->accepted))
            continue;
        if (made->code >= 500) {
            book_heard_refused(one->rcpt, made->code, sure);
            continue;
        }
        book_heard_landed(one->rcpt, sure);
        if (sure)
            late_heard(one->rcpt);
    }
    txn_unref(made->txn);
    free(made);
}

/* ---- writing ---- */

static void murk_rcpt(const struct smtp *smtp, struct book_rcpt *rcpt)
{
    rcpt->murky |= smtp->murky;
    rcpt->astray |= smtp->astray;
}

static void murk(struct smtp *smtp, bool astray)
{
    smtp->murky = true;
    smtp->astray |= astray;
    if (smtp->txn != NULL)
        book_murk(smtp->txn->job, smtp->astray);
    for (size_t i = 0; smtp->txn != NULL && i < smtp->txn->rcpt_n; i++)
        if (smtp->txn->rcpts[i].rcpt != NULL)
            murk_rcpt(smtp, smtp->txn->rcpts[i].rcpt);
}

static int64_t reply_time(struct smtp *smtp)
{
    int64_t at_ns = sim.now.mono_ns + sim_between(DICE_HOSTS, 0, 10 * NS_PER_MS) + smtp->host->think_ns;
    if (fault_now(FAULT_LATE, 60)) /* longer than any time-out, now and then */
        at_ns += sim_once_in(DICE_HOSTS, 5) ? sim_between(DICE_HOSTS, 5 * 60, 15 * 60) * NS_PER_S
                                            : sim_between(DICE_HOSTS, 0, 30 * NS_PER_S);
    if (fault_now(FAULT_JOINED, 6)) /* with those behind it */
        at_ns += 300 * NS_PER_MS;
    if (at_ns > smtp->last_ns)
        smtp->last_ns = at_ns;
    return smtp->last_ns;
}

/* "250-text\r\n250 text\r\n"; the lines of text are separated by '\n'. False: it is not said, or not
 * all of it. */
static bool say(struct smtp *smtp, unsigned code, const char *text)
{
    char *reply = smtp->said;
    size_t n = 0, room = sizeof smtp->said;
    if (fault_now(FAULT_LOST, 300))
        smtp->silent = true;
    if (smtp->silent || net_is_broken(smtp->link))
        return false;
    for (;;) {
        size_t line = strcspn(text, "\n");
        bool last = text[line] == '\0', many = last && fault_now(FAULT_MANY_LINES, 8);
        if (many)
            n += (size_t)snprintf(reply + n, room - n, "%u-%.*s\r\n", code, (int)line, text);
        n += (size_t)snprintf(reply + n, room - n, "%u%c%.*s\r\n", code, last ? ' ' : '-', (int)line, text);
        if (last)
            break;
        text += line + 1;
    }
    trace("link %u < %.*s", smtp->link->id, (int)n - 2, reply);
    return net_reply(smtp->link, reply, n, reply_time(smtp));
}

/* What was not asked for, behind a reply. A reply that is said twice can be told from one to a message: by
 * DATA by the 354 between them, by BDAT by its status. Another can't by BDAT, nor when a message is due. */
static void say_more(struct smtp *smtp)
{
    const char *more = "250 2.0.0 and another thing\r\n";
    if (smtp->silent)
        return;
    if (smtp->said[0] != '\0' && fault_now(FAULT_TWICE, 300)) {
        more = smtp->said;
        murk(smtp, false);
    } else if (fault_now(FAULT_EXTRA, 300)) {
        murk(smtp, smtp->host->chunking || smtp->in_data);
    } else {
        return;
    }
    trace("link %u < %s", smtp->link->id, more);
    net_reply(smtp->link, more, strlen(more), smtp->last_ns);
}

static void close_with_421(struct smtp *smtp)
{
    say(smtp, 421, "4.3.2 sim closes the connection");
    net_hang_up(smtp->link, smtp->last_ns);
}

/* ---- the beginning ---- */

void say_greeting(struct smtp *smtp)
{
    if (fault_now(FAULT_BUSY_GREETING, 25)) {
        bool hard = sim_once_in(DICE_HOSTS, 3);
        say(smtp, hard ? 554 : 421, hard ? "no service here" : "4.3.2 too busy");
        net_hang_up(smtp->link, smtp->last_ns);
        return;
    }
    say(smtp, 220, "ESMTP sim");
}

static void say_ehlo(struct smtp *smtp)
{
    const struct host *host = smtp->host;
    char text[256], limits[64] = "";
    if (!host->ehlo) {
        fault_count(FAULT_NO_EHLO);
        say(smtp, 502, "5.5.1 what is EHLO?");
        return;
    }
    if (host->mail_told > 0 && host->rcpt_told > 0)
        snprintf(limits, sizeof limits, "\nLIMITS MAILMAX=%u RCPTMAX=%u", host->mail_told, host->rcpt_told);
    else if (host->mail_told + host->rcpt_told > 0)
        snprintf(limits, sizeof limits, "\nLIMITS %s=%u", host->mail_told ? "MAILMAX" : "RCPTMAX",
                 host->mail_told + host->rcpt_told);
    snprintf(text, sizeof text, "%s%s%s%s%s%s%s\nENHANCEDSTATUSCODES\nHELP", host_name(host),
             host->pipelining ? "\nPIPELINING" : "", host->size ? "\nSIZE 50000000" : "",
             host->eight_bit ? "\n8BITMIME" : "", host->dsn ? "\nDSN" : "",
             host->chunking ? "\nCHUNKING" : "", limits);
    say(smtp, 250, text);
    smtp->greeted = true;
    smtp->pipelining = host->pipelining;
}

/* ---- MAIL ---- */

static struct str argument(struct str line)
{
    const char *open = memchr(line.p, '<', line.n), *close = open ? memchr(open, '>', line.n) : NULL;
    if (close == NULL)
        sim_fail("protocol", "no address in: %.*s", STR_ARG(line));
    return str_make(open + 1, (size_t)(close - open - 1));
}

static void check_parameters(const struct smtp *smtp, struct str line)
{
    const struct host *host = smtp->host;
    if ((!host->size && memmem(line.p, line.n, " SIZE=", 6)) ||
        (!host->eight_bit && memmem(line.p, line.n, " BODY=", 6)) ||
        (!host->dsn && (memmem(line.p, line.n, " RET=", 5) || memmem(line.p, line.n, " NOTIFY=", 8) ||
                        memmem(line.p, line.n, " ENVID=", 7))))
        sim_fail("protocol", "%s does not offer what is asked in: %.*s", host_name(host), STR_ARG(line));
}

/* What ours look like needs no xtext (RFC 3461 4). */
static void note_envid(struct txn *txn, struct str line)
{
    static const char name[] = " ENVID=";
    const char *at = memmem(line.p, line.n, name, sizeof name - 1);
    size_t n = 0;
    if (at == NULL)
        return;
    at += sizeof name - 1;
    while (at + n < line.p + line.n && at[n] != ' ')
        n++;
    snprintf(txn->envid, sizeof txn->envid, "%.*s", (int)n, at);
}

static void say_mail(struct smtp *smtp, struct str line)
{
    struct str from = argument(line);
    check_parameters(smtp, line);
    smtp_begin_txn(smtp);
    book_message(smtp->host, smtp->link->source, ++smtp->messages);
    if (smtp->host->mail_told > 0 && smtp->messages > smtp->host->mail_told && !smtp->murky)
        sim_fail("limits", "%s told that it takes %u messages a connection, and gets one more",
                 host_name(smtp->host), smtp->host->mail_told);
    struct book_job *job = from.n > 0 ? book_find_sender(from) : NULL;
    if (from.n > 0 && job == NULL)
        sim_fail("content", "mail comes from %.*s, which is no job's sender", STR_ARG(from));
    smtp->txn->job = job;
    snprintf(smtp->txn->from, sizeof smtp->txn->from, "%.*s", STR_ARG(from));
    note_envid(smtp->txn, line);
    if (smtp->murky)
        book_murk(job, smtp->astray);
    if (fault_now(FAULT_POLICY, 80)) {
        say(smtp, 451, "4.7.0 sim has seen too much of you");
    } else if (job != NULL && fault_now(FAULT_MAIL_REFUSED, 60)) {
        bool hard = sim_once_in(DICE_HOSTS, 2);
        job->mail_refused |= hard;
        say(smtp, hard ? 554 : 451,
            hard ? "5.6.0 sim wants nothing of yours" : "4.3.0 sim wants nothing now");
    } else {
        say(smtp, 250, "2.1.0 sender ok");
        return;
    }
    smtp_end_txn(smtp);
}

/* ---- RCPT ---- */

static struct txn_rcpt *txn_add(struct txn *txn, struct str to)
{
    if (txn->rcpt_n == txn->rcpt_cap) {
        txn->rcpt_cap = txn->rcpt_cap ? 2 * txn->rcpt_cap : 8;
        txn->rcpts = realloc(txn->rcpts, txn->rcpt_cap * sizeof *txn->rcpts);
        if (txn->rcpts == NULL)
            abort();
    }
    struct txn_rcpt *one = &txn->rcpts[txn->rcpt_n++];
    *one = (struct txn_rcpt){.rcpt = book_find(to)};
    if (one->rcpt == NULL && (one->report = book_find_sender(to)) == NULL)
        sim_fail("truth", "mail comes to %.*s, whom nobody has named", STR_ARG(to));
    return one;
}

/* What a reply that refuses the recipient means to it: `code` 5xx is final unless a rule says otherwise. */
static void refuse(struct smtp *smtp, struct txn_rcpt *one, unsigned code, const char *text, bool is_final)
{
    if (one->rcpt != NULL)
        one->rcpt->was_refused |= is_final;
    if (say(smtp, code, text) && is_final && one->rcpt != NULL)
        mark(smtp, MARK_RCPT, (size_t)(one - smtp->txn->rcpts), code >= 500 ? (uint16_t)code : 599);
}

/* True: the host has said no. */
static bool greylists(struct smtp *smtp, struct txn_rcpt *one)
{
    struct book_rcpt *rcpt = one->rcpt;
    if (sim.calm || !smtp->host->greylists || rcpt == NULL)
        return false;
    if (rcpt->grey_until_ns == 0)
        rcpt->grey_until_ns = sim.now.mono_ns + sim_between(DICE_HOSTS, 1, 300) * NS_PER_S;
    if (rcpt->grey_until_ns <= sim.now.mono_ns)
        return false;
    fault_count(FAULT_GREYLISTED);
    refuse(smtp, one, 451, "4.7.1 Greylisted, please come back", false);
    return true;
}

static bool refuses_rcpt(struct smtp *smtp, struct txn_rcpt *one)
{
    static const char *const later[] = {"4.2.1 sim: mailbox busy", "4.2.2 sim: mailbox full",
                                        "4.3.0 sim: trouble"};
    static const char *const never[] = {"5.1.1 sim: no such user", "5.2.1 sim: disabled",
                                        "5.1.3 sim: bad address"};
    if (smtp->host->rcpts_max > 0 && smtp->txn->rcpt_n > smtp->host->rcpts_max && !sim.calm) {
        fault_count(FAULT_RCPT_TOO_MANY);
        refuse(smtp, one, 452, "4.5.3 too many recipients", false);
    } else if (fault_now(FAULT_RCPT_DEFERRED, 12)) {
        refuse(smtp, one, 450, later[sim_below(DICE_HOSTS, 3)], false);
    } else if (fault_now(FAULT_RCPT_REFUSED, 15)) {
        refuse(smtp, one, 550, never[sim_below(DICE_HOSTS, 3)], true);
    } else if (fault_now(FAULT_BY_RULE, 25)) {
        if (sim_once_in(DICE_HOSTS, 2))
            refuse(smtp, one, 550, "5.0.0 sim: later", false);
        else
            refuse(smtp, one, 450, "4.0.0 sim: never", true);
    } else {
        return greylists(smtp, one);
    }
    return true;
}

static void say_rcpt(struct smtp *smtp, struct str line)
{
    if (smtp->txn == NULL) {
        say(smtp, 503, "5.5.1 MAIL first");
        return;
    }
    check_parameters(smtp, line);
    struct txn_rcpt *one = txn_add(smtp->txn, argument(line));
    if (smtp->host->rcpt_told > 0 && smtp->txn->rcpt_n > smtp->host->rcpt_told && !smtp->murky)
        sim_fail("limits", "%s told that it takes %u recipients a message, and gets one more",
                 host_name(smtp->host), smtp->host->rcpt_told);
    if (one->rcpt != NULL) {
        murk_rcpt(smtp, one->rcpt);
        book_check_path(one->rcpt, str_of(smtp->txn->from));
        book_attempt(one->rcpt, smtp->host, (unsigned)smtp->txn->rcpt_n);
        if (smtp->txn->rcpt_n == 1)
            book_tenant_message(plan.job[one->rcpt->job].tenant);
    }
    if (refuses_rcpt(smtp, one))
        return;
    one->accepted = true;
    say(smtp, 250, "2.1.5 recipient ok");
}

/* ---- DATA ---- */

static size_t accepted(const struct txn *txn)
{
    size_t n = 0;
    for (size_t i = 0; txn != NULL && i < txn->rcpt_n; i++)
        n += txn->rcpts[i].accepted;
    return n;
}

/* All that were accepted are refused by one reply. */
static void refuse_all(struct smtp *smtp, unsigned code, const char *text, bool is_final)
{
    for (size_t i = 0; i < smtp->txn->rcpt_n; i++)
        if (smtp->txn->rcpts[i].rcpt != NULL && smtp->txn->rcpts[i].accepted)
            smtp->txn->rcpts[i].rcpt->was_refused |= is_final;
    if (say(smtp, code, text) && is_final)
        mark(smtp, MARK_END, 0, (uint16_t)code);
}

static void say_data(struct smtp *smtp)
{
    if (accepted(smtp->txn) == 0 && (smtp->txn == NULL || !sim_once_in(DICE_HOSTS, 3))) {
        say(smtp, 503, "5.5.1 RCPT first");
        smtp_end_txn(smtp);
    } else if (fault_now(FAULT_DATA_REFUSED, 40)) {
        bool hard = sim_once_in(DICE_HOSTS, 2);
        refuse_all(smtp, hard ? 554 : 451, hard ? "5.6.0 sim wants no data" : "4.3.0 sim wants no data now",
                   hard);
        smtp_end_txn(smtp);
    } else {
        smtp->in_data = true;
        smtp->heard_354 = false;
        say(smtp, 354, "go on");
    }
}

static void say_bdat(struct smtp *smtp, struct str line)
{
    char text[64];
    unsigned long size;
    int used = 0;
    snprintf(text, sizeof text, "%.*s", STR_ARG(line));
    if (!smtp->host->chunking || sscanf(text, "BDAT %lu%n", &size, &used) != 1 ||
        (text[used] != '\0' && strcmp(text + used, " LAST") != 0))
        sim_fail("protocol", "%s gets %s, and does not know what it means", host_name(smtp->host), text);
    smtp->in_chunk = true;
    smtp->chunk_left = size;
    smtp->last_chunk = text[used] != '\0';
    if (smtp->last_chunk)
        fault_count(FAULT_CHUNKED);
}

void say_chunk(struct smtp *smtp)
{
    if (accepted(smtp->txn) == 0)
        say(smtp, 503, "5.5.1 RCPT first");
    else
        say(smtp, 250, "2.0.0 chunk ok");
    smtp->said[0] = '\0'; /* that is just what the last one of a message may say */
}

/* The reply to a message that was taken, or what is left of it. */
static void say_taken(struct smtp *smtp)
{
    smtp_take(smtp);
    if (fault_now(FAULT_LOST_BEFORE_THE_REPLY, 30)) {
        net_break(smtp->link);
    } else if (fault_now(FAULT_LOST_IN_THE_REPLY, 30)) {
        static const char reply[] = "250 2.0.0 taken\r\n";
        net_reply(smtp->link, reply, 1 + (size_t)sim_below(DICE_HOSTS, sizeof reply - 2), reply_time(smtp));
        net_break(smtp->link);
    } else if (say(smtp, 250, "2.0.0 taken")) {
        mark(smtp, MARK_END, 0, 250);
        drive_crash_soon(300);
    }
}

void say_end(struct smtp *smtp)
{
    trace("link %u > a message of %zu bytes", smtp->link->id, smtp->body_n);
    if (accepted(smtp->txn) == 0) { /* the 354 was more than it should have said */
        if (smtp->body_n > 0 && !smtp->in_chunk)
            sim_fail("protocol", "%s refused all recipients, and gets a message", host_name(smtp->host));
        say(smtp, 554, "5.5.1 no valid recipients");
    } else if (fault_now(FAULT_HUNG_UP, 80)) {
        net_hang_up(smtp->link, smtp->last_ns);
    } else if (fault_now(FAULT_END_DEFERRED, 20)) {
        refuse_all(smtp, 451, "4.3.0 sim: not now", false);
    } else if (fault_now(FAULT_END_REFUSED, 30)) {
        refuse_all(smtp, 554, "5.6.0 sim: such content", true);
    } else if (fault_now(FAULT_BY_RULE, 40)) {
        refuse_all(smtp, 554, "5.0.0 sim: later", false);
    } else {
        say_taken(smtp);
    }
    say_more(smtp);
    smtp_end_txn(smtp);
}

/* ---- commands ---- */

void say_line(struct smtp *smtp, struct str line)
{
    if (smtp->greeted && fault_now(FAULT_CLOSING_421, 150)) {
        close_with_421(smtp);
        return;
    }
    if (fault_now(FAULT_HUNG_UP, 200)) {
        net_hang_up(smtp->link, smtp->last_ns);
        return;
    }
    if (str_starts_nocase(line, STR("EHLO "))) {
        say_ehlo(smtp);
    } else if (str_starts_nocase(line, STR("HELO "))) {
        smtp->greeted = true;
        say(smtp, 250, "hello");
    } else if (str_starts_nocase(line, STR("MAIL FROM:"))) {
        say_mail(smtp, line);
    } else if (str_starts_nocase(line, STR("RCPT TO:"))) {
        say_rcpt(smtp, line);
    } else if (str_eq_nocase(line, STR("DATA"))) {
        say_data(smtp);
    } else if (str_starts_nocase(line, STR("BDAT "))) {
        say_bdat(smtp, line);
    } else if (str_eq_nocase(line, STR("RSET"))) {
        smtp_end_txn(smtp);
        say(smtp, 250, "2.0.0 reset");
    } else if (str_eq_nocase(line, STR("QUIT"))) {
        say(smtp, 221, "2.0.0 bye");
        net_hang_up(smtp->link, smtp->last_ns);
    } else {
        sim_fail("protocol", "%s gets an unknown command: %.*s", host_name(smtp->host), STR_ARG(line));
    }
    say_more(smtp);
}
