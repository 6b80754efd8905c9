/* zone.c - see zone.h. */
#include "tests/sim/zone.h"

#include "engine/dns/dns_ares.h"
#include "tests/sim/daemon.h"
#include "tests/sim/events.h"
#include "tests/sim/faults.h"
#include "tests/sim/plan.h"
#include "tests/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>

#define TIMEOUT_NS (5 * NS_PER_S)

struct zone_domain {
    bool was_gone;
    unsigned site;        /* of its hosts now */
    unsigned first, most; /* of the site's hosts, from this one on, so many */
};
static struct zone_domain domains[PLAN_DOMAINS_MAX];

/* What is under way: with the question until it is answered. */
struct ask {
    struct ask *next, **back;
    struct dns_net *net;
    struct dns_question *question;
    bool fails;
};
struct dns_net {
    struct ask *asks;
};
static unsigned asks_n;
static int64_t gone_until_ns;

void zone_begin(void)
{
    gone_until_ns = 0;
    for (unsigned i = 0; i < plan.domains; i++) {
        enum plan_mail mail = plan.domain[i].mail;
        domains[i] = (struct zone_domain){.was_gone = mail == MAIL_NULL_MX || mail == MAIL_NOWHERE,
                                          .site = plan.domain[i].site};
        domains[i].first = (unsigned)sim_below(DICE_PLAN, plan.hosts);
        domains[i].most = 1 + (unsigned)sim_below(DICE_PLAN, 3);
    }
}

static struct zone_domain *domain_find(struct str name)
{
    for (unsigned i = 0; i < plan.domains; i++)
        if (str_eq(name, str_of(plan.domain[i].name)))
            return &domains[i];
    return NULL;
}

bool zone_was_gone(struct str domain)
{
    const struct zone_domain *found = domain_find(domain);
    return found != NULL && found->was_gone;
}

void zone_change(unsigned domain)
{
    if (plan.domain[domain].mail != MAIL_MX)
        return;
    unsigned host = (unsigned)sim_below(DICE_DRIVE, plan.hosts);
    if (plan.host[host].site >= PLAN_SITES_MAX)
        return;
    fault_count(FAULT_MX_CHANGED);
    domains[domain].site = plan.host[host].site;
    domains[domain].first = host;
    domains[domain].most = 1 + (unsigned)sim_below(DICE_DRIVE, 3);
    trace("the MX of %s is now %s", plan.domain[domain].name, plan.host[host].name);
}

void zone_go_away(int64_t ns)
{
    gone_until_ns = sim.now.mono_ns + ns;
}

/* ---- answers ---- */

static void answer_mx(const struct zone_domain *domain, struct dns_answer *answer)
{
    answer->kind = DNS_ANSWER_RECORDS;
    for (unsigned i = 0; i < plan.hosts && answer->count < domain->most; i++) {
        const struct plan_host *host = &plan.host[(domain->first + i) % plan.hosts];
        if (host->site != domain->site)
            continue;
        struct dns_mx_host *mx = &answer->hosts[answer->count];
        mx->preference = (uint16_t)(10 * (1 + answer->count / 2));
        snprintf(mx->name, sizeof mx->name, "%s", host->name);
        answer->count++;
    }
}

static void answer_addresses(const char *name, struct dns_answer *answer)
{
    answer->kind = DNS_ANSWER_NO_DOMAIN;
    for (unsigned i = 0; i < plan.hosts; i++) {
        if (strcmp(plan.host[i].name, name) != 0)
            continue;
        answer->kind = DNS_ANSWER_RECORDS;
        answer->count = plan.host[i].addresses;
        for (unsigned n = 0; n < answer->count; n++)
            answer->ips[n] = (struct dns_ip){{10, 0, (uint8_t)i, (uint8_t)(n + 1)}};
    }
}

static void answer_make(const struct dns_question *question, struct dns_answer *answer)
{
    struct str name = str_of(question->name);
    struct zone_domain *domain = domain_find(name);
    const struct plan_domain *from = domain ? &plan.domain[domain - domains] : NULL;
    answer->ttl_s = (uint32_t)sim_between(DICE_NAMES, 1, 1800);
    snprintf(answer->name, sizeof answer->name, "%s", question->name);
    if (domain != NULL && fault_now(FAULT_DNS_NOTHING, 40)) {
        domain->was_gone = true;
        answer->kind = DNS_ANSWER_NO_DOMAIN;
        answer->ttl_s = 5;
    } else if (domain == NULL || (question->type == DNS_TYPE_A && from->mail == MAIL_IMPLICIT)) {
        answer_addresses(question->name, answer);
    } else if (from->mail == MAIL_NOWHERE) {
        answer->kind = DNS_ANSWER_NO_DOMAIN;
    } else if (from->mail == MAIL_NULL_MX) {
        answer->kind = DNS_ANSWER_NULL_MX;
    } else if (from->mail == MAIL_IMPLICIT || question->type != DNS_TYPE_MX) {
        answer->kind = DNS_ANSWER_NO_DATA;
    } else {
        answer_mx(domain, answer);
    }
}

static void ask_end(struct ask *ask)
{
    *ask->back = ask->next;
    if (ask->next != NULL)
        ask->next->back = ask->back;
    asks_n--;
    free(ask);
}

static void on_answer(void *owner, const void *bytes, size_t n)
{
    static struct dns_answer answer;
    struct ask *ask = owner;
    struct dns_question *question = ask->question;
    (void)bytes;
    (void)n;
    memset(&answer, 0, sizeof answer);
    if (ask->fails)
        dns_answer_fail(&answer, "sim: the resolver says SERVFAIL or nothing");
    else
        answer_make(question, &answer);
    trace("%s of type %d: kind %d, %u records", question->name, (int)question->type, (int)answer.kind,
          answer.count);
    ask_end(ask);
    question->answered(question, &answer);
    daemon_rouse_workers();
}

/* ---- the seam ---- */

struct dns_net *dns_net_create(struct io *io, struct wheel *wheel, const struct dns_settings *settings,
                               struct err *err)
{
    (void)io;
    (void)wheel;
    (void)settings;
    (void)err;
    return sim_alloc(sizeof(struct dns_net));
}

void dns_net_ask(struct dns_net *net, struct dns_question *question, struct now now)
{
    struct ask *ask = sim_alloc(sizeof *ask);
    *ask = (struct ask){.next = net->asks, .back = &net->asks, .net = net, .question = question};
    if (net->asks != NULL)
        net->asks->back = &ask->next;
    net->asks = ask;
    asks_n++;
    int64_t at_ns = now.mono_ns + sim_between(DICE_NAMES, NS_PER_MS / 10, 50 * NS_PER_MS);
    bool gone = !sim.calm && now.mono_ns < gone_until_ns;
    if (gone || fault_now(FAULT_DNS_SILENT, 15)) {
        ask->fails = true;
        at_ns += TIMEOUT_NS;
    } else {
        ask->fails = fault_now(FAULT_DNS_FAILED, 15);
    }
    events_at(at_ns, on_answer, ask, NULL, 0);
}

void dns_net_destroy(struct dns_net *net)
{
    static struct dns_answer answer;
    if (net == NULL)
        return;
    while (net->asks != NULL) {
        struct dns_question *question = net->asks->question;
        events_forget(net->asks);
        ask_end(net->asks);
        dns_answer_fail(&answer, "the resolver is being shut down");
        question->answered(question, &answer);
    }
    free(net);
}

unsigned zone_asks(void)
{
    return asks_n;
}

void zone_end(void)
{
    if (asks_n > 0)
        sim_fail("leak", "%u questions to the resolver are left when all has ended", asks_n);
}
