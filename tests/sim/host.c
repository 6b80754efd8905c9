/* host.c - see host.h: hosts, the SMTP dialogue, and what is made of it. What a host answers to a command is
 * in host_say.c. */
#include "tests/sim/host_parts.h"

#include "tests/sim/faults.h"
#include "tests/sim/late.h"
#include "tests/sim/sim.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BODY_MAX (8 << 20)

static struct host hosts[PLAN_HOSTS_MAX];

/* ---- hosts ---- */

void hosts_begin(void)
{
    for (unsigned i = 0; i < plan.hosts; i++) {
        struct host *host = &hosts[i];
        *host = (struct host){.number = i};
        host->pipelining = !fault_is_on(FAULT_NO_PIPELINING) || sim_once_in(DICE_PLAN, 2);
        host->ehlo = !fault_is_on(FAULT_NO_EHLO) || !sim_once_in(DICE_PLAN, 4);
        host->greylists = fault_is_on(FAULT_GREYLISTED) && sim_once_in(DICE_PLAN, 3);
        host->size = sim_once_in(DICE_PLAN, 2);
        host->eight_bit = sim_once_in(DICE_PLAN, 2);
        host->dsn = sim_once_in(DICE_PLAN, 3);
        host->chunking = sim_once_in(DICE_PLAN, 3);
        host->mail_told = sim_once_in(DICE_PLAN, 5) ? (unsigned)sim_between(DICE_PLAN, 1, 8) : 0;
        host->rcpt_told = sim_once_in(DICE_PLAN, 5) ? (unsigned)sim_between(DICE_PLAN, 1, 8) : 0;
        host->think_ns = sim_between(DICE_PLAN, 0, 100) * NS_PER_MS;
        if (fault_is_on(FAULT_RCPT_TOO_MANY) && sim_once_in(DICE_PLAN, 3))
            host->rcpts_max = (unsigned)sim_between(DICE_PLAN, 1, 5);
        host->bounces_late = fault_is_on(FAULT_BOUNCED_LATE) && sim_once_in(DICE_PLAN, 2);
        if (!host->ehlo) {
            host->mail_told = host->rcpt_told = 0;
            host->pipelining = host->size = host->eight_bit = host->dsn = host->chunking = false;
        }
        if (!host->pipelining)
            fault_count(FAULT_NO_PIPELINING);
    }
}

struct host *host_at(const struct sockaddr *address)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;
    uint32_t ip = ntohl(in->sin_addr.s_addr); /* 10.0.host.address */
    unsigned number = ip >> 8 & 0xff;
    return number < plan.hosts ? &hosts[number] : NULL;
}

const char *host_name(const struct host *host)
{
    return plan.host[host->number].name;
}

unsigned host_number(const struct host *host)
{
    return host->number;
}

bool host_is_down(const struct host *host)
{
    return !sim.calm && host->down_until_ns > sim.now.mono_ns;
}

void host_take_down(unsigned number, int64_t ns)
{
    hosts[number].down_until_ns = sim.now.mono_ns + ns;
}

/* ---- transactions ---- */

void txn_unref(struct txn *txn)
{
    if (txn == NULL || --txn->refs > 0)
        return;
    free(txn->rcpts);
    free(txn);
}

void smtp_begin_txn(struct smtp *smtp)
{
    txn_unref(smtp->txn);
    smtp->txn = sim_alloc(sizeof *smtp->txn);
    smtp->txn->refs = 1;
}

void smtp_end_txn(struct smtp *smtp)
{
    txn_unref(smtp->txn);
    smtp->txn = NULL;
}

/* ---- the message ---- */

/* As it was before dots were doubled. */
static struct str unstuff(char *data, size_t n)
{
    size_t out = 0;
    for (size_t i = 0; i < n; i++)
        if (data[i] != '.' || (i > 0 && data[i - 1] != '\n'))
            data[out++] = data[i];
    return str_make(data, out);
}

static void check_message(const struct txn *txn, struct str message)
{
    const char *body = memmem(message.p, message.n, "\r\n\r\n", 4);
    if (body == NULL)
        sim_fail("content", "a message has no body");
    body += 4;
    size_t size = (size_t)(message.p + message.n - body);
    for (size_t i = 0; i < txn->rcpt_n; i++) {
        const struct book_rcpt *rcpt = txn->rcpts[i].rcpt;
        if (rcpt == NULL || !txn->rcpts[i].accepted)
            continue;
        const struct book_job *job = &book_jobs[rcpt->job];
        if (size != job->body_size || memcmp(body, job->body, size) != 0)
            sim_fail("content", "r%u.j%u gets a message of %zu bytes that is not its own (%zu)", rcpt->number,
                     rcpt->job, size, job->body_size);
        char to[80];
        size_t n = (size_t)snprintf(to, sizeof to, "\nTo: r%u.j%u@", rcpt->number, rcpt->job);
        if (!plan.job[rcpt->job].same_for_all && memmem(message.p, message.n - size, to, n) == NULL)
            sim_fail("content", "r%u.j%u gets a message to somebody else", rcpt->number, rcpt->job);
    }
}

/* It is the host's now, whatever becomes of the reply. */
void smtp_take(struct smtp *smtp)
{
    struct txn *txn = smtp->txn;
    struct str message =
        smtp->in_chunk ? str_make(smtp->body.data, smtp->body_n) : unstuff(smtp->body.data, smtp->body_n);
    const struct late_mail mail = {host_name(smtp->host), txn->from, txn->envid, message};
    check_message(txn, message);
    for (size_t i = 0; i < txn->rcpt_n; i++) {
        if (!txn->rcpts[i].accepted)
            continue;
        if (txn->rcpts[i].rcpt == NULL) {
            book_report(txn->rcpts[i].report, message);
            continue;
        }
        book_landed(txn->rcpts[i].rcpt);
        if (smtp->host->bounces_late)
            late_taken(&mail, txn->rcpts[i].rcpt);
    }
}

/* ---- bytes in ---- */

void host_accept(struct link *link)
{
    struct smtp *smtp = sim_alloc(sizeof *smtp);
    smtp->link = link;
    smtp->host = link->host;
    smtp->last_ns = sim.now.mono_ns;
    buf_init(&smtp->line, 64 * 1024);
    buf_init(&smtp->body, BODY_MAX);
    link->smtp = smtp;
    say_greeting(smtp);
}

void host_gone(struct link *link)
{
    struct smtp *smtp = link->smtp;
    if (smtp == NULL)
        return;
    smtp_end_txn(smtp);
    buf_free(&smtp->line);
    buf_free(&smtp->body);
    free(smtp);
    link->smtp = NULL;
}

/* The body as far as it is here; true when its end is. The dot and its line end may come in pieces. */
static bool body_ends(struct smtp *smtp)
{
    static const char end[] = "\r\n.\r\n";
    size_t from = smtp->body_seen;
    const char *at = NULL;
    if (smtp->body.len >= 3 && memcmp(smtp->body.data, ".\r\n", 3) == 0) {
        smtp->body_n = 0;
        smtp->body_seen = 3;
        return true;
    }
    if (smtp->body.len > from)
        at = memmem(smtp->body.data + from, smtp->body.len - from, end, sizeof end - 1);
    if (at == NULL) {
        smtp->body_seen = smtp->body.len > 4 ? smtp->body.len - 4 : 0;
        return false;
    }
    smtp->body_n = (size_t)(at - smtp->body.data) + 2;
    smtp->body_seen = smtp->body_n + 3;
    return true;
}

/* Whether the connection breaks while the last bytes of the message arrive. */
static bool breaks_in_the_dot(struct smtp *smtp)
{
    return fault_now(FAULT_LOST_IN_THE_DOT, 30) && (net_break(smtp->link), true);
}

static void take_body(struct smtp *smtp)
{
    if (!body_ends(smtp) || breaks_in_the_dot(smtp))
        return;
    struct buf rest;
    buf_init(&rest, BODY_MAX);
    buf_add(&rest, smtp->body.data + smtp->body_seen, smtp->body.len - smtp->body_seen);
    smtp->in_data = false;
    say_end(smtp);
    buf_clear(&smtp->body);
    smtp->body_seen = 0;
    if (!net_is_broken(smtp->link))
        host_input(smtp->link, rest.data, rest.len);
    buf_free(&rest);
}

/* A part of the chunk under way; returns how much of it that was. */
static size_t take_chunk(struct smtp *smtp, const char *bytes, size_t n)
{
    size_t part = n < smtp->chunk_left ? n : smtp->chunk_left;
    buf_add(&smtp->body, bytes, part);
    smtp->chunk_left -= part;
    if (smtp->chunk_left > 0)
        return part;
    if (!smtp->last_chunk) {
        say_chunk(smtp);
    } else if (!breaks_in_the_dot(smtp)) {
        smtp->body_n = smtp->body.len;
        say_end(smtp);
        buf_clear(&smtp->body);
    }
    smtp->in_chunk = false;
    return part;
}

static void take_line(struct smtp *smtp)
{
    struct str line = buf_str(&smtp->line);
    if (line.n < 2 || line.p[line.n - 2] != '\r')
        sim_fail("protocol", "%s gets a line that does not end with CRLF: %.*s", host_name(smtp->host),
                 STR_ARG(line));
    line.n -= 2;
    trace("link %u > %.*s", smtp->link->id, STR_ARG(line));
    if (!smtp->pipelining && smtp->greeted && !smtp->murky && !net_all_heard(smtp->link))
        sim_fail("protocol",
                 "%s offers no PIPELINING, and gets %.*s before its reply to what came before was read",
                 host_name(smtp->host), STR_ARG(line));
    say_line(smtp, line);
    buf_clear(&smtp->line);
}

void host_input(struct link *link, const char *bytes, size_t n)
{
    struct smtp *smtp = link->smtp;
    while ((n > 0 || (smtp->in_chunk && smtp->chunk_left == 0)) && !net_is_broken(link)) {
        if (smtp->in_chunk) {
            size_t part = take_chunk(smtp, bytes, n);
            bytes += part;
            n -= part;
            continue;
        }
        if (smtp->in_data) {
            if (!smtp->heard_354 && !smtp->murky && !net_all_heard(link))
                sim_fail("protocol", "%s gets a message before its 354 was read", host_name(smtp->host));
            smtp->heard_354 = true;
            buf_add(&smtp->body, bytes, n);
            take_body(smtp);
            return;
        }
        const char *end = memchr(bytes, '\n', n);
        size_t part = end ? (size_t)(end - bytes) + 1 : n;
        buf_add(&smtp->line, bytes, part);
        bytes += part;
        n -= part;
        if (end != NULL)
            take_line(smtp);
    }
}
