/* model.h - what a worker knows: lanes, strands, pools, paths, hosts, and how they hang together.
 *
 * Internal to engine/route and worker.c; everything here belongs to one worker and its thread.
 *
 *     lane ──< strand >── pool ──< carrier (a session)
 *     (store's queue)       │
 *                          path (site, source)
 *
 * A *lane* is the store's queue of one (tenant, class, source pool, domain). When it is announced its domain
 * is resolved; the MX hosts name the *site* and the lane then has one *strand* for each source it may leave
 * from. A strand belongs to a *pool*: the connections that mail for the same hosts may share. Pools of one
 * source to one site share a *path*, where limits are counted and back-off is kept. Recipients wait in
 * strands; a session that could carry another message pulls one through its pool (pool_pull), which asks the
 * path's limits first and then the strands by class, tenant and turn.
 *
 * Who owns a recipient: its strand while it waits, its shipment while a session has it, then the settle list,
 * which the worker hands to the store once a step. `buffered` and `in_flight` count them at each level. */
#ifndef POSTRIDER_ROUTE_MODEL_H
#define POSTRIDER_ROUTE_MODEL_H

#include "engine/base/log.h"
#include "engine/config.h"
#include "engine/dns/dns.h"
#include "engine/message/template.h"
#include "engine/route/learnt.h"
#include "engine/route/ledger.h"
#include "engine/smtp/session.h"
#include "engine/tls/sts.h"
#include "engine/tls/wish.h"
#include "queue/memory.h"
#include "queue/retry.h"
#include "queue/store.h"

#include <limits.h>
#include <sys/queue.h>

struct router;
struct path;
struct pool;
struct lane;
struct flow;
struct loan;
struct lend_word;
struct hold_set;
struct holds;
struct evidence;
struct edits;
struct aside;
struct sender_rate;
struct sts_keeper;
struct rpt;
struct lane_sts;
struct setup;
struct renewed;

/* Recipients of a lane that will leave from one source. */
struct strand {
    struct lane *lane;
    struct pool *pool;
    struct flow *flow;
    struct taken *head, **tail;
    unsigned buffered;
    struct strand *turn_next, *turn_prev;  /* the flow's ring, while buffered > 0 */
    struct strand *pool_next, **pool_back; /* all of the pool's */
    unsigned source;                       /* index in config.sources */
};

TAILQ_HEAD(lane_list, lane);

/* Lanes that wait for room in memory: lane_line.h. */
struct lane_line {
    struct lane_list turns[CLASS_TRANSACTIONAL + 1]; /* by class, one lane of each tenant */
};

enum lane_state {
    LANE_RESOLVING, /* its domain's MX is being asked for */
    LANE_ROUTED,
    LANE_DOOMED, /* its domain takes no mail: whatever is taken is failed with `doom` */
    LANE_HELD,   /* its domain could not be resolved: asked again at hold_until_ns */
};

struct lane {
    UT_hash_handle hh; /* by id */
    struct router *router;
    uint32_t id;
    enum job_class class_;
    enum lane_state state;
    bool idle;      /* the store said that it has nothing more */
    bool taking;    /* a store_take is under way */
    bool renewed;   /* announced again meanwhile: the store's "idle" in the answer to come is out of date */
    bool asking;    /* a DNS question is under way */
    bool sampled;   /* held: one batch was taken and deferred */
    bool reaping;   /* in the router's list of lanes that may be over */
    bool held_back; /* the store has more of it, which is held; it rests with the held ones */
    unsigned buffered, in_flight;
    unsigned want, asked; /* how many it asks for; how many it has asked for */
    unsigned failures;    /* of DNS, in a row */
    const struct config_tenant *tenant;
    struct limit *limit; /* the tenant's rate; NULL: none */
    const struct config_pool *sources;
    struct dns_query query;
    struct lane_sts *sts; /* its policy of MTA-STS is being asked for; NULL: not */
    struct dns_mx *mx;
    struct verdict *doom;
    struct wheel_timer timer;
    struct taken *given;         /* came unasked while it was being resolved */
    struct store_except *except; /* what is held of it; NULL: nothing */
    int64_t hold_until_ns;
    int64_t fresh_until_ns; /* the MX answer serves until then */
    struct lane_line *line; /* in which it waits for room in memory; NULL: in none */
    TAILQ_ENTRY(lane) wait; /* there: in turns when it leads those of its tenant, else among its followers */
    struct lane_list followers;
    bool leads;
    const struct config_tenant *waits_for;
    struct lane *reap_next;
    TAILQ_ENTRY(lane) rest;
    bool resting; /* over, and kept for when it is announced again */
    int64_t rest_until_ns;
    struct dns_mx *handed; /* its hosts, when it was handed over; and to which worker */
    unsigned handed_to;
    struct path *asked_path; /* whose `asked` it counts in while taking */
    struct loan *loan;       /* it takes from another worker, not from the store */
    unsigned strand_count;
    struct strand *strands; /* one a source; NULL until routed */
    struct aside *asides;   /* of slowed senders: aside.h; */
    unsigned set_aside;     /* of buffered, those that wait there */
    char tenant_name[NAME_MAX_BYTES + 1];
    char pool_name[NAME_MAX_BYTES + 1]; /* with the sender's domain behind an @ where routes ask for it */
    char domain[];                      /* with its NUL */
};

/* One tenant's strands in a pool and a class, served in turn; the tenants by deficit round robin. */
struct flow {
    struct flow *next, *prev; /* the class' ring, while it has strands that wait */
    const struct config_tenant *tenant;
    struct limit *limit;      /* the tenant's rate over all workers; NULL: none */
    struct sender_rate *rate; /* all of it is of this slowed sender; NULL: of others */
    struct strand *turn;      /* whose turn it is; NULL: none waits */
    int64_t deficit;
    unsigned strands;
    struct flow *pool_next; /* all of the pool's */
    enum job_class class_;
};

/* What mail asks of TLS, whatever host it goes to: secure.h. */
struct pool_tls {
    enum tls_policy policy;
    bool implicit;
    bool vouched; /* DNSSEC, or the operator, vouches for the list of hosts */
    bool tlsa;    /* their TLSA records count */
    enum tls_wish wish;
    enum sts_mode sts;
    uint32_t sts_hosts; /* a bit a host that the policy names */
    const struct trust *trust;
};

/* One address of a mail host, with the port. */
struct target {
    unsigned host;            /* index in the pool's hosts */
    int64_t refused_until_ns; /* its TLS was not what the pool asks: left alone by this pool; 0: no */
    enum dane_verdict dane;
    struct tlsa_set *tlsa; /* of DANE_REQUIRED; the host's */
    struct sockaddr_storage address;
    socklen_t len;
};

struct targets;

struct carrier; /* a session and what the pool knows of it: carrier.c */
TAILQ_HEAD(carrier_list, carrier);
LIST_HEAD(shipment_list, shipment);
LIST_HEAD(path_list_head, path);
LIST_HEAD(sign_list, sign_request);

struct pool {
    UT_hash_handle hh; /* by key, in its path */
    struct path *path;
    struct dns_mx *hosts;
    uint16_t port; /* of hosts that have none of their own */
    struct pool_tls tls;
    const struct config_route *route; /* whose hosts they are; NULL: found by MX */
    struct session_way way;
    struct auth_keys keys;
    struct strand *strands;
    unsigned strand_count;
    struct flow *flows;              /* all */
    struct flow *turn[2];            /* by class: the ring's current one */
    unsigned transactional_in_a_row; /* so that bulk keeps its share */
    unsigned in_flight;              /* recipients in its sessions' transactions */
    uint64_t backlog;                /* recipients in its strands */
    struct shipment_list on_way;     /* what its sessions carry */
    struct carrier_list carriers;    /* all */
    struct carrier_list idlers;      /* of them, those with nothing to do, the last to become so first */
    unsigned connecting, idle, open; /* how many; open counts all */
    struct targets *targets;         /* addresses of the hosts: targets.c */
    int64_t hold_until_ns;           /* unreachable: no host answers; 0: not held */
    bool held;                       /* it was, or its path was paused: lanes must be asked again */
    struct verdict *last_failure;
    unsigned login_failures; /* since a login last worked; those that fail together are one */
    struct wheel_timer timer;
    unsigned loans;    /* how many workers sessions of it are lent to */
    struct loan *loan; /* the sessions are lent by another worker */
    bool waiting;      /* in the path's list of pools that want a connection */
    struct pool *wait_next;
    bool touched; /* in the router's list of pools to look at this step */
    struct pool *touched_next;
    size_t key_size;
    char key[]; /* the hosts, the port and what is asked of TLS */
};

/* Deliveries of the last minute, by second. */
struct minute {
    uint32_t count[60];
    int64_t at_s;
};

struct figures {
    uint64_t delivered, deferred, failed;
    struct minute minute;
};

struct path {
    UT_hash_handle hh; /* by key: source index and site name */
    struct router *router;
    const struct config_site *settings;
    struct config_source source;     /* its names are kept: names.h */
    unsigned source_index;           /* in config.sources; PATH_SOURCE_GONE */
    struct session_settings session; /* made from settings */
    struct pool *pools;
    struct ledger *ledger, own;             /* the words it counts in; of a borrowed path the owner's */
    unsigned connections, connecting, idle; /* of this worker */
    unsigned loans, lent;                   /* how many, and of its connections how many are lent: loan.h */
    bool borrowed;                          /* it is another worker's, which lent sessions to this one */
    unsigned buffered, asked; /* recipients in its strands; asked for by lanes of which it is the first */
    unsigned set_aside;       /* of buffered, those of slowed senders: aside.h */
    struct lane_line hungry;
    /* What replies have taught: path_learn.h. */
    struct learnt learnt;
    bool dirty, learning; /* to be written down; in the router's list of learners */
    unsigned refusing;    /* share of its last transactions that nobody was accepted for, of REFUSING_ALL */
    bool parked;          /* lanes of it are held for the length of its pause */
    int64_t cut_ns;       /* when it was slowed or capped last */
    int64_t reconnect_ns;
    unsigned reconnects; /* in a row, and how many recipients were answered before the last */
    uint64_t reconnect_answered;
    struct path *renew_next;
    LIST_ENTRY(path) learner;
    char reason[256];                    /* of the pause or of the last failure */
    struct pool *wait_head, **wait_tail; /* pools that want a connection */
    bool in_line;                        /* in the router's line of paths that wait for any session to end */
    struct path *line_next;
    struct wheel_timer timer;
    struct figures figures;
    size_t key_size;
    char key[]; /* four bytes of source index, then the site's name with a NUL */
};

/* A worker's context for everything in route/. */
struct router {
    struct io *io;
    struct wheel wheel;
    struct dns *dns;
    struct tls *tls;
    const struct trusts *trusts;
    struct sts_keeper *sts; /* NULL: policies of MTA-STS are not looked for */
    struct rpt *rpt;        /* NULL: nobody counts for reports about TLS */
    struct prng prng;
    struct now now;
    struct store *store;
    struct setup *setup; /* a reference; these four are views of it: */
    const struct config *config;
    const struct retry_table *retry;
    struct limit *tenant_limits; /* of config->tenants, shared by all workers */
    const struct dkim *dkim;
    unsigned renewed;           /* how often it was changed: renew.h */
    struct renewed *before;     /* those of before that sessions may still know */
    struct signers *signers;    /* NULL: no domain has keys */
    struct dkim_signer *signer; /* this worker's own, made when it is needed: shipment.c */
    struct sign_list signing;   /* what is with the signers */
    unsigned index, worker_count;
    struct inbox *const *inboxes; /* of all workers */
    struct session_context session_context;
    struct session_turns turns;
    int64_t short_until_ns; /* see path_ran_short */
    struct log_gate short_said, broken_said;
    unsigned sessions_max;          /* of all workers together, as descriptors allow */
    _Atomic unsigned *sessions_all; /* how many all of them have */
    bool stopping;

    struct lane *lanes;
    struct path *paths;
    unsigned gone_paths; /* how many had a source that is no more */
    unsigned site_count; /* sites with at least one path */
    struct host_memory *hosts;
    struct taken *settled; /* to hand to the store at the end of the step, */
    struct slab *words;    /* and the words and names that these share, */
    unsigned words_refs;   /* and so often: settle.c */
    unsigned taken, asked, in_flight,
        sessions;       /* recipients in memory, asked for, in transactions; connections */
    unsigned set_aside; /* of taken, those of slowed senders: aside.h */
    struct lane_line starved;
    struct lane *reap;
    struct lane_list resting; /* the longest resting first */
    unsigned resting_count;
    struct lane_list held_lanes; /* those that have nothing but what is held: the longest first */
    unsigned held_count;
    struct path_list_head learners;
    struct holds *holds;              /* hold.h: shared by all workers; */
    struct hold_set *held;            /* as last heard, */
    uint64_t held_walked;             /* and what is in memory was looked at for that generation */
    int64_t full_told_ms;             /* wall: when an alert said that no more can be held */
    struct evidence *evidence;        /* shared too */
    struct sender_rate *sender_rates; /* of its sites; NULL: no sender is slowed */
    struct edits *edits;              /* to be posted at the end of the step: remember.h */
    struct path *line, **line_tail;
    struct carrier_list idlers; /* of all pools, the longest idle first */
    struct shipment *free_shipments;
    struct pool *touched; /* see pool_touch */
    struct figures figures;

    char **drained; /* names of sources: source.h */
    unsigned drained_count;

    struct trace *traces[TRACES_MAX]; /* trace.h */
    unsigned trace_count;

    struct store_suppressed_msg *recalls; /* heard of, and to be looked for: recall.h */
    struct wheel_timer recall_timer;
    struct store_bounce_msg *given_up; /* to be answered: give_up.h */

    /* Lending: loan.h. */
    struct lend_word *lend_words;  /* of all workers, shared */
    struct loan *loans, *borrowed; /* lent by this worker; to it */
    unsigned loans_out;
    struct pool *lend_pool; /* the one that most messages come from, by vote: each message is one for its */
    unsigned lend_votes;    /* pool, or against another's */
    int64_t looked_ns, awake_ns;      /* when last looked, and how long it did not sleep since */
    unsigned busy_looks, spare_looks; /* in a row */
};

/* The source of a path is configured no more: its sessions end. */
#define PATH_SOURCE_GONE UINT_MAX

/* In a recipient's `worker`: how often a connection was lost under it, whether it is to share no transaction,
 * and whether its job was paused or cancelled while it was on its way. */
#define TAKEN_LOSSES  ((uintptr_t)0xff)
#define TAKEN_ALONE   ((uintptr_t)0x100)
#define TAKEN_DROPPED ((uintptr_t)0x200)

static inline bool taken_is_alone(const struct taken *taken)
{
    return ((uintptr_t)taken->worker & TAKEN_ALONE) != 0;
}

static inline const char *path_site(const struct path *path)
{
    return path->key + sizeof(uint32_t);
}

#endif
