/* plan.c - see plan.h. */
#include "tests/sim/plan.h"

#include "tests/sim/sim.h"

#include <inttypes.h>
#include <stdio.h>

#define DICE DICE_PLAN

struct plan plan;

static unsigned pick(unsigned low, unsigned high)
{
    return low + (unsigned)sim_below(DICE, high - low + 1);
}

static bool once_in(unsigned n)
{
    return sim_once_in(DICE, n);
}

const char *plan_tenant_name(unsigned tenant)
{
    static const char *const names[PLAN_TENANTS_MAX] = {"default", "t1", "t2"};
    return tenant < PLAN_TENANTS_MAX ? names[tenant] : names[0];
}

/* ---- receivers ---- */

static struct plan_rate rate_make(unsigned low, unsigned high, unsigned longest)
{
    static const int64_t periods_ms[] = {MS_PER_S, MINUTE_MS, HOUR_MS};
    struct plan_rate rate = {.count = pick(low, high)};
    rate.per_ms = periods_ms[pick(0, longest)];
    return rate;
}

/* Field by field here and below: the order in which an initializer's dice are thrown is the compiler's. */
static void site_make(struct plan_site *site)
{
    *site = (struct plan_site){0};
    site->connections = once_in(3) ? 1 : pick(2, 12);
    site->messages = once_in(2) ? 0 : pick(1, 10);
    site->rcpts = once_in(3) ? 1 : pick(2, 30);
    if (once_in(3))
        site->rate = rate_make(20, 200, 2);
    if (once_in(4))
        site->connection_rate = rate_make(2, 60, 1);
}

static void host_make(struct plan_host *host, unsigned number, unsigned site)
{
    *host = (struct plan_host){
        .site = site, .limits = site < plan.sites ? site : 0, .addresses = pick(1, PLAN_ADDRESSES_MAX)};
    snprintf(host->name, sizeof host->name, "mx%u.s%u.example", number, site);
}

static void domain_make(struct plan_domain *domain, unsigned number, unsigned mx_hosts)
{
    *domain = (struct plan_domain){.site = plan.host[pick(0, mx_hosts - 1)].site};
    snprintf(domain->name, sizeof domain->name, "d%u.test", number);
    if (number > 0 && once_in(10))
        domain->mail = pick(MAIL_IMPLICIT, MAIL_NOWHERE);
    if (domain->mail == MAIL_IMPLICIT && plan.hosts == PLAN_HOSTS_MAX)
        domain->mail = MAIL_MX;
    if (domain->mail != MAIL_IMPLICIT)
        return;
    /* It is its own host, whose site is named by the domain. */
    domain->site = PLAN_SITES_MAX + number;
    struct plan_host *host = &plan.host[plan.hosts++];
    host_make(host, 0, domain->site);
    memcpy(host->name, domain->name, sizeof host->name);
}

/* ---- mail ---- */

static void job_make(struct plan_job *job)
{
    *job = (struct plan_job){0};
    job->rcpts = once_in(2) ? 1 : once_in(12) ? pick(100, 400) : pick(2, 40);
    job->domains = pick(1, plan.domains);
    job->first_domain = pick(0, plan.domains - 1);
    job->tenant = pick(0, plan.tenants - 1);
    job->sender_domain = pick(0, plan.domains - 1);
    job->lines = once_in(20) ? pick(1000, 6000) : pick(0, 40);
    job->class_ = once_in(3) ? CLASS_TRANSACTIONAL : CLASS_BULK;
    job->bounces = once_in(2) ? BOUNCES_DSN : once_in(2) ? BOUNCES_REPORT : BOUNCES_NONE;
    job->null_sender = once_in(6);
    job->same_for_all = once_in(2);
    job->keyed = once_in(3);
    job->verp = once_in(6);
    job->envid = once_in(3);
    job->at_ns = once_in(3) ? 0 : sim_between(DICE, 0, plan.horizon_ns * 3 / 4);
    job->lifetime_ms = once_in(5) ? sim_between(DICE, MINUTE_MS, plan.lifetime_ms) : 0;
    unsigned number = (unsigned)(job - plan.job);
    job->like = number;
    job->hashed = job->lines > 20 || once_in(2);
    if (number > 0 && once_in(4)) {
        const struct plan_job *other = &plan.job[pick(0, number - 1)];
        job->like = other->like;
        job->lines = other->lines;
        job->same_for_all = other->same_for_all;
        job->hashed = other->hashed;
    }
    if (once_in(6))
        job->not_before_ms = sim_between(DICE, 1, plan.horizon_ns / NS_PER_MS / 2);
}

static void world_make(void)
{
    plan.sites = pick(1, PLAN_SITES_MAX - 1);
    plan.hosts = pick(1, 10);
    plan.domains = pick(1, PLAN_DOMAINS_MAX);
    for (unsigned i = 0; i < plan.sites; i++)
        site_make(&plan.site[i]);
    /* One site more than is configured: "default" holds there. */
    for (unsigned i = 0; i < plan.hosts; i++)
        host_make(&plan.host[i], i, pick(1, plan.sites));
    unsigned mx_hosts = plan.hosts;
    for (unsigned i = 0; i < plan.domains; i++)
        domain_make(&plan.domain[i], i, mx_hosts);
}

/* ---- a run about shares ---- */

static void fair_make(void)
{
    plan.tenants = pick(2, PLAN_TENANTS_MAX);
    plan.sites = 2;
    plan.hosts = 1;
    plan.domains = plan.tenants;
    plan.jobs = plan.tenants;
    plan.horizon_ns = 2 * HOUR_MS * NS_PER_MS;
    plan.site[0] = plan.site[1] = (struct plan_site){.connections = pick(1, 4), .rcpts = 1};
    plan.site[1].rate = (struct plan_rate){600, MINUTE_MS};
    host_make(&plan.host[0], 0, 1);
    for (unsigned i = 0; i < plan.tenants; i++) {
        plan.tenant_weight[i] = pick(1, 3);
        plan.domain[i] = (struct plan_domain){.site = 1};
        snprintf(plan.domain[i].name, sizeof plan.domain[i].name, "d%u.test", once_in(2) ? i : 0);
        plan.job[i] = (struct plan_job){.rcpts = PLAN_FAIR_RCPTS,
                                        .domains = 1,
                                        .first_domain = i,
                                        .tenant = i,
                                        .lines = 4,
                                        .like = i,
                                        .class_ = CLASS_BULK};
    }
}

void plan_make(bool fair)
{
    static const char *const lendings[] = {"auto", "always", "never"};
    static const int64_t horizons_s[] = {60, 600, 3600, 4 * 3600, 12 * 3600};
    static const unsigned files[] = {16, 64, 400, 1024};
    static const int64_t holds_ms[] = {0, 30, FRESH_HOLD_MS};
    plan = (struct plan){.fair = fair, .retain_ms = 7 * 24 * HOUR_MS};
    if (once_in(3))
        plan.retain_ms = sim_between(DICE, 1, 60) * MINUTE_MS;
    plan.workers = pick(1, 3);
    plan.sources = pick(1, PLAN_SOURCES_MAX);
    plan.tenants = pick(1, PLAN_TENANTS_MAX);
    plan.horizon_ns = horizons_s[pick(0, once_in(4) ? 4 : 2)] * NS_PER_S;
    plan.lifetime_ms = sim_between(DICE, 1, 12) * HOUR_MS;
    plan.warning_ms = once_in(2) ? sim_between(DICE, MINUTE_MS, 4 * HOUR_MS) : 0;
    plan.hold_ms = holds_ms[pick(0, 2)];
    plan.first_delay_ms = sim_between(DICE, 1, 600) * MS_PER_S;
    plan.files = files[once_in(4) ? pick(0, 2) : 3];
    plan.dozes = !once_in(8);
    plan.lending = lendings[pick(0, 2)];
    plan.delay_ms = plan.first_delay_ms + sim_between(DICE, 0, 1800) * MS_PER_S;
    for (unsigned i = 0; i < PLAN_TENANTS_MAX; i++) {
        plan.tenant_weight[i] = pick(1, 4);
        if (!fair && once_in(6))
            plan.tenant_rate[i] = (struct plan_rate){pick(30, 300), MINUTE_MS};
    }
    if (fair) {
        fair_make();
        return;
    }
    world_make();
    plan.jobs = pick(1, once_in(3) ? PLAN_JOBS_MAX : 8);
    for (unsigned i = 0; i < plan.jobs; i++)
        job_make(&plan.job[i]);
}

static int64_t rate_needs_ms(struct plan_rate rate, int64_t n)
{
    return rate.count > 0 ? n * rate.per_ms / rate.count : 0;
}

int64_t plan_drain_ms(void)
{
    int64_t n = 0, slowest_ms = 0;
    for (unsigned i = 0; i < plan.jobs; i++)
        n += 2 * plan.job[i].rcpts; /* some of them with a report */
    for (unsigned i = 0; i < plan.sites; i++) {
        int64_t ms = rate_needs_ms(plan.site[i].rate, n) + rate_needs_ms(plan.site[i].connection_rate, n);
        slowest_ms = ms > slowest_ms ? ms : slowest_ms;
    }
    for (unsigned i = 0; i < plan.tenants; i++)
        slowest_ms += rate_needs_ms(plan.tenant_rate[i], n);
    return 2 * plan.delay_ms * 11 / 10 + 3 * HOUR_MS + slowest_ms;
}

/* ---- the configuration ---- */

static void add_rate(struct buf *out, const char *name, struct plan_rate rate)
{
    if (rate.count > 0)
        buf_printf(out, ", %s: %u/%s", name, rate.count,
                   rate.per_ms == MS_PER_S    ? "s"
                   : rate.per_ms == MINUTE_MS ? "min"
                                              : "h");
}

static void add_site(struct buf *out, unsigned number)
{
    const struct plan_site *site = &plan.site[number];
    buf_printf(out, "  - { name: ");
    if (number == 0)
        buf_printf(out, "default");
    else
        buf_printf(out, "s%u, mx: [\"*.s%u.example\"]", number, number);
    buf_printf(out,
               ", tls: none, max_connections: %u, max_messages_per_connection: %u, "
               "max_recipients_per_transaction: %u",
               site->connections, site->messages, site->rcpts);
    add_rate(out, "max_rate", site->rate);
    add_rate(out, "max_connection_rate", site->connection_rate);
    buf_printf(out, " }\n");
}

void plan_configure(const char *directory, struct buf *out)
{
    buf_printf(out,
               "hostname: mta.sim.example\nstate_directory: %s\nworkers: %u\nlending: %s\n"
               "dns: { servers: [\"127.0.0.1\"], ipv6: no }\n"
               "queue: { max_size: 256M, reserve: 0, lifetime: %" PRId64 "s, retain: %" PRId64
               "s, delay_warning: %" PRId64 "s }\n"
               "default_replies: no\n",
               directory, plan.workers, plan.lending, plan.lifetime_ms / MS_PER_S, plan.retain_ms / MS_PER_S,
               plan.warning_ms / MS_PER_S);
    buf_printf(out, "sources:\n");
    for (unsigned i = 0; i < plan.sources; i++)
        buf_printf(out, "  - { name: a%u, address: 192.0.2.%u }\n", i, i + 1);
    buf_printf(out, "tenants:\n");
    for (unsigned i = 0; i < plan.tenants; i++) {
        buf_printf(out, "  - { name: %s, weight: %u", plan_tenant_name(i), plan.tenant_weight[i]);
        add_rate(out, "max_rate", plan.tenant_rate[i]);
        buf_printf(out, " }\n");
    }
    buf_printf(out, "sites:\n");
    for (unsigned i = 0; i < plan.sites; i++)
        add_site(out, i);
    buf_printf(out, "retry:\n  - { status: \"4\", schedule: [%" PRId64 "s, %" PRId64 "s] }\n",
               plan.first_delay_ms / MS_PER_S, plan.delay_ms / MS_PER_S);
    buf_printf(out, "replies:\n  - { match: 'sim: later', action: rcpt }\n"
                    "  - { match: 'sim: never', action: fail }\n");
}
