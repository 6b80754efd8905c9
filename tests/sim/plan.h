/* plan.h - what a seed sets up: the daemon's configuration, receivers, names, and jobs.
 *
 * Made once from the plan's dice and then read by everybody; what changes while it runs (who is down, where
 * the MX points) is its owner's. Index 0 of sites is what the configuration calls "default". */
#ifndef POSTRIDER_TESTS_SIM_PLAN_H
#define POSTRIDER_TESTS_SIM_PLAN_H

#include "engine/base/buf.h"
#include "queue/store.h"

#define PLAN_SITES_MAX     5
#define PLAN_HOSTS_MAX     16
#define PLAN_ADDRESSES_MAX 3
#define PLAN_DOMAINS_MAX   12
#define PLAN_SOURCES_MAX   3
#define PLAN_TENANTS_MAX   3
#define PLAN_JOBS_MAX      24
#define PLAN_FAIR_RCPTS    600 /* of each job of a run about shares */
#define PLAN_NAME_MAX      32

struct plan_rate {
    unsigned count; /* 0: none */
    int64_t per_ms;
};

/* What holds on a path to it, as configured. */
struct plan_site {
    unsigned connections, messages, rcpts; /* messages 0: no limit */
    struct plan_rate rate, connection_rate;
};

struct plan_host {
    char name[PLAN_NAME_MAX];
    unsigned site;   /* the name's; of an implicit MX one of its own */
    unsigned limits; /* index in sites of what holds: 0 where the site is not configured */
    unsigned addresses;
};

enum plan_mail { MAIL_MX, MAIL_IMPLICIT, MAIL_NULL_MX, MAIL_NOWHERE };
struct plan_domain {
    char name[PLAN_NAME_MAX];
    enum plan_mail mail;
    unsigned site; /* of all its hosts: a set of hosts of two sites would be counted at one of them */
};
#define PLAN_SITES_EVER (PLAN_SITES_MAX + PLAN_DOMAINS_MAX)

struct plan_job {
    unsigned rcpts, domains, first_domain; /* recipient r is at domain first_domain + r % domains */
    unsigned tenant, sender_domain, lines;
    unsigned like; /* the job whose message it has: an earlier one, or itself */
    bool hashed;   /* its message is named by a digest, so that jobs may share it */
    enum job_class class_;
    enum job_bounces bounces;
    bool null_sender, same_for_all, keyed;
    bool verp;  /* its sender holds {{rid}}: a return path for each recipient */
    bool envid; /* it has an envelope id (RFC 3461) */
    int64_t at_ns, not_before_ms, lifetime_ms; /* at_ns: since the start; not_before: after that; 0: none */
};

struct plan {
    unsigned workers, sources, tenants, sites, hosts, domains, jobs;
    struct plan_site site[PLAN_SITES_MAX];
    struct plan_host host[PLAN_HOSTS_MAX];
    struct plan_domain domain[PLAN_DOMAINS_MAX];
    struct plan_job job[PLAN_JOBS_MAX];
    struct plan_rate tenant_rate[PLAN_TENANTS_MAX];
    unsigned tenant_weight[PLAN_TENANTS_MAX];
    int64_t horizon_ns; /* faults and acts end then */
    int64_t lifetime_ms, retain_ms, hold_ms, warning_ms;
    int64_t first_delay_ms, delay_ms; /* the schedule of what is deferred: the first, and all others */
    unsigned files;                   /* descriptors that the daemon may have */
    bool fair;  /* a run about shares alone: one receiver, tenants with backlogs, no faults */
    bool dozes; /* nobody looks at the clock while there is nothing to do */
    const char *lending;
};
extern struct plan plan;

void plan_make(bool fair);
/* The configuration as YAML. */
void plan_configure(const char *directory, struct buf *out);
/* How long, once all is well, the last recipient may take: two of the longest delays, what pauses and dead
 * hosts are still left alone for, and what the slowest rate needs for all. */
int64_t plan_drain_ms(void);
/* Tenants are "default", "t1", …. */
const char *plan_tenant_name(unsigned tenant);

#endif
