/* config.h - the configuration: what an operator may set (postrider.yaml), checked, as plain structs.
 *
 * One table of options (config_table.c: name, type, default, bounds, help) drives reading, `config show` and
 * the man page. config_yaml.c is the only file that includes libfyaml.h.
 *
 * A struct config is immutable once loaded, and so shared by all threads; it owns everything it points to
 * until config_free. A reload loads a new one: who keeps pointers into the old one says when it may go.
 * Strings are never NULL; "" means unset where the comment says so. Durations are milliseconds. */
#ifndef POSTRIDER_CONFIG_H
#define POSTRIDER_CONFIG_H

#include "engine/base/buf.h"
#include "engine/base/units.h"
#include "engine/rules/rules.h"
#include "engine/smtp/proxy.h"
#include "engine/tls/policy.h"
#include "queue/query.h"
#include "queue/retry.h"

#include <sys/socket.h>

#define CONFIG_TEXT_MAX   (64 * 1024 * 1024) /* of one option, shown */
#define CONFIG_PATH_MAX   4096               /* with its NUL */
#define CONFIG_ERRORS_MAX (256 * 1024)       /* a good maximum for the buffer of config_load */

struct config_strings {
    const char **list;
    size_t count;
};

/* A user id of the system bound to a tenant. */
struct config_uid {
    uint32_t uid;
    const char *tenant;
};

struct config_jobs {
    const char *unix_path; /* the job API's socket */
    unsigned mode;
    const char *group; /* "": left as it is */
    struct config_uid *tenants;
    size_t tenant_count;
};

struct config_control {
    const char *unix_path; /* "": the jobs socket serves both */
    unsigned mode;
};

/* Whose word counts for what is signed: resolvers' on this host, all, nobody's. */
enum config_dnssec { CONFIG_DNSSEC_AUTO, CONFIG_DNSSEC_YES, CONFIG_DNSSEC_NO };

/* The admin API over TCP. */
struct config_admin {
    const char *listen;              /* "127.0.0.1:8025"; "": there is none */
    struct sockaddr_storage address; /* of it */
    socklen_t address_len;
    const char *token_file; /* "" only without it */
};

/* A listener for mail by SMTP. */
struct config_submission {
    const char *listen;              /* "127.0.0.1:2587", "[::1]:587", "unix:/run/postrider/smtp.sock" */
    struct sockaddr_storage address; /* of it */
    socklen_t address_len;           /* 0: it is a Unix socket */
    unsigned mode;                   /* of that one's file */
    const char *group;               /* "": left as it is */
    const char *tls_certificate, *tls_key; /* ""; both or neither */
    bool implicit_tls, require_tls, require_auth, plaintext_auth;
    const char *users_file;               /* "": nobody logs in */
    struct config_strings networks;       /* whose clients may send without a user */
    const char *tenant;                   /* of who is bound to none; "": whatever they say, or "default" */
    struct config_strings return_domains; /* patterns for str_glob_nocase */
    struct config_strings feedback;       /* local parts there that only feedback loops know */
    uint64_t max_size;
    unsigned max_connections, max_per_address, max_recipients, max_messages /* 0: no limit */, max_errors,
        max_commands;
    int64_t timeout_ms, message_timeout_ms;
};

struct config_dns {
    struct config_strings servers; /* "127.0.0.1:5353"; none: resolv.conf */
    const char *servers_joined;    /* the same, comma-separated, as dns.h wants them */
    int64_t timeout_ms;
    bool ipv6;
    enum config_dnssec dnssec;
};

/* How policies of MTA-STS are had. */
struct config_mta_sts {
    bool enabled;
    int64_t timeout_ms;
    const char *ca_file; /* "": the system's */
    uint16_t port;
};

/* Reports about TLS. */
struct config_tls_reports {
    bool enabled;
    const char *organization, *contact; /* never "" where enabled */
    const char *ca_file;                /* "": the system's */
    int64_t period_ms;
};

struct config_queue {
    uint64_t max_size, reserve; /* bytes */
    uint64_t events_max;        /* bytes of the event log */
    int64_t lifetime_ms, delay_warning_ms, retain_ms;
};

struct config_source {
    const char *name;
    const char *address;                   /* "": the system chooses */
    struct sockaddr_storage address_value; /* port 0; address_len 0: the system chooses */
    socklen_t address_len;
    const char *ehlo;       /* never "": the hostname by default */
    const char *proxy_text; /* "": it is a local address */
    const char *proxy_user, *proxy_password_file;
    struct proxy proxy; /* the same */
};

struct config_weight {
    const char *name;
    unsigned source; /* index in config.sources */
    unsigned weight;
};

struct config_pool {
    const char *name;
    struct config_weight *sources;
    size_t source_count;
};

/* Whether workers lend sessions of one site to others: when it pays, whenever a site has a backlog, never. */
enum config_lending { CONFIG_LENDING_AUTO, CONFIG_LENDING_ALWAYS, CONFIG_LENDING_NEVER };

/* What holds on a path: one source to one site. */
struct config_site {
    const char *name;
    struct config_strings mx; /* patterns for str_glob_nocase; none for "default" */
    unsigned max_connections;
    uint16_t port;
    enum tls_policy tls;
    const char *tls_ca_file;              /* "": the system's */
    unsigned max_messages_per_connection; /* 0: no limit */
    unsigned max_recipients_per_transaction;
    bool chunking;                   /* BDAT where the host offers it */
    struct rate max_rate;            /* messages; count 0: no limit */
    struct rate max_connection_rate; /* connections begun; count 0: no limit */
    int64_t idle_timeout_ms;         /* an open session that has nothing to send */
    int64_t connect_timeout_ms, greeting_timeout_ms, helo_timeout_ms, tls_timeout_ms, mail_timeout_ms,
        rcpt_timeout_ms, data_timeout_ms, block_timeout_ms, end_timeout_ms, quit_timeout_ms;
    int64_t dead_host_delay_ms,
        dead_host_delay_max_ms;     /* a host that cannot be reached: first, doubled up to */
    int64_t pause_ms, pause_max_ms; /* a path whose receiver says 4.7: first, doubled up to */
    int64_t recovery_ms;            /* in which the rate of a path that was slowed doubles again */
};

#define CONFIG_TLS_SITE TLS_POLICIES /* as its host's site says */

enum config_protocol { CONFIG_PROTOCOL_SMTP, CONFIG_PROTOCOL_LMTP };

/* One of a route's hosts. */
struct config_target {
    const char *host; /* a name (A and AAAA are asked for), an address, or unix:PATH */
    uint16_t port;    /* 0: unix */
    uint16_t preference;
};

/* How a route logs in (RFC 4954): smtp/login.h. */
struct config_login {
    const char *user;                       /* "": not at all */
    const char *password_file, *token_file; /* one of them; read anew each time */
    struct config_strings mechanisms;       /* as given; none: whatever there is */
    unsigned allowed;                       /* of them, a bit each */
    bool in_clear;                          /* also without TLS */
};

/* Mail goes to these hosts instead of the domain's MX. Patterns are for str_glob_nocase. */
struct config_route {
    const char *domain; /* of the recipient */
    const char *sender; /* of the envelope sender; "": any */
    const char *tenant; /* "": any */
    struct config_strings hosts;
    struct config_target *targets; /* the same, by preference; hosts.count of them */
    uint16_t port;                 /* of those that name none */
    enum config_protocol protocol;
    struct config_login login;
    unsigned tls; /* enum tls_policy, or CONFIG_TLS_SITE */
    bool tls_implicit;
    const char *tls_ca_file;               /* "": the site's */
    const char *tls_certificate, *tls_key; /* "": none is shown */
};

/* A name for mail hosts, for reply rules. */
struct config_receiver {
    const char *name;
    struct config_strings mx; /* patterns for str_glob_nocase */
};

/* A key that signs for a domain (DKIM); several may sign for one. */
struct config_dkim {
    const char *domain;   /* of the From field */
    const char *selector; /* the public key is at selector._domainkey.domain */
    const char *key;      /* path of the PEM file */
};

struct config_tenant {
    const char *name;
    unsigned weight;
    const char *pool;
    unsigned pool_index;  /* in config.pools */
    struct rate max_rate; /* messages; count 0: no limit */
};

/* What the body of a webhook looks like: ours, or one that platforms know already (report/shape.h). */
enum config_shape { CONFIG_SHAPE_NATIVE, CONFIG_SHAPE_LISTMONK, CONFIG_SHAPE_MAILGUN, CONFIG_SHAPE_SES };
enum config_start { CONFIG_START_NOW, CONFIG_START_OLDEST };
enum config_on_full { CONFIG_ON_FULL_STOP, CONFIG_ON_FULL_DROP };

/* Who reads the event log, with a durable cursor. Either webhook or file is set. */
struct config_consumer {
    const char *name;
    const char *webhook, *file;
    enum config_shape shape;
    unsigned events;               /* a bit a type of event, 0: all */
    struct config_strings tenants; /* none: all */
    enum config_start start;       /* where one begins that is new */
    enum config_on_full on_full;
    unsigned batch;
    int64_t linger_ms;
    bool gzip;
    const char *secret_file;          /* "": nothing is signed */
    const char *user, *password_file; /* HTTP Basic; "": none */
    const char *ca_file;              /* "": the system's */
    int64_t timeout_ms, retry_ms, retry_max_ms;
    const char *dead_letters; /* "": NAME.dead.ndjson in the state directory */
    uint64_t rotate_size;     /* 0: never */
    int64_t rotate_age_ms;    /* 0: never */
    unsigned keep;            /* rotated files */
};

struct config {
    const char *hostname;
    const char *feedback_id; /* a pattern for Feedback-ID: intake/feedback.h; "": none is added */
    const char *state_directory;
    unsigned workers; /* 0: one a core */
    enum config_lending lending;
    int64_t stop_timeout_ms;
    struct config_jobs jobs;
    struct config_control control;
    struct config_admin admin;
    struct config_submission *submission;
    size_t submission_count;
    struct config_dns dns;
    struct config_mta_sts mta_sts;
    struct config_tls_reports tls_reports;
    struct config_queue queue;
    struct config_source *sources; /* at least one */
    size_t source_count;
    struct config_pool *pools; /* at least one, "default" among them */
    size_t pool_count;
    struct config_site *sites; /* in the order of matching, without "default" */
    size_t site_count;
    struct config_site site_default; /* for every host that no site matches */
    struct config_route *routes;
    size_t route_count;
    struct config_dkim *dkim;
    size_t dkim_count;
    struct retry_rule *retry; /* the operator's, for retry_table_create */
    size_t retry_count;
    bool default_replies;              /* the built-in rules count too */
    struct config_receiver *receivers; /* the operator's */
    size_t receiver_count;
    struct rule *replies; /* the operator's */
    size_t reply_count;
    struct config *built_in; /* with the receivers and replies of deploy/replies.yaml, and nothing else */
    struct rules *rules;     /* made of all of them; never NULL */
    struct config_tenant *tenants; /* "default" among them */
    size_t tenant_count;
    struct config_consumer *consumers;
    size_t consumer_count;
    struct config_block *blocks; /* the memory of all of it */
};

/* Reads the file and what it includes; NULL: only the defaults. True and *config, or false and all that is
 * wrong as text for a terminal, each error as file:line:column, what was expected, the line and a mark under
 * it. */
bool config_load(const char *path, struct config **config, struct buf *errors);
void config_free(struct config *config);

/* The options in which two differ, "queue.retain", "sites", …; live: a reload applies it, else it takes a
 * restart. */
typedef void config_change(const char *option, bool live, void *user);
void config_compare(const struct config *before, const struct config *after, config_change *change,
                    void *user);
/* The effective configuration as YAML that config_load accepts. */
void config_show(const struct config *config, struct buf *out);
/* The options as roff, for postrider.yaml(5): one .TP a option with type, default and bounds. */
void config_man(struct buf *out);

/* The first site whose mx pattern matches this host, or NULL: then the site is named by the host's
 * registrable domain and has site_default's limits. */
const struct config_site *config_site_of_host(const struct config *config, struct str host);
/* The first route that matches, or NULL; sender: the domain of the envelope sender, or empty. */
const struct config_route *config_route_of(const struct config *config, struct str domain, struct str sender,
                                           struct str tenant);
/* Whether some route of this tenant asks for the sender, and this one may be meant. */
bool config_routes_by_sender(const struct config *config, struct str sender, struct str tenant);
/* By name; an unknown tenant has the limits of "default". Never NULL. */
const struct config_tenant *config_tenant_of(const struct config *config, struct str name);
/* "native", …; static. */
const char *config_shape_name(enum config_shape shape);
/* Where the dead letters of a webhook go. */
void config_dead_letters(const struct config_consumer *consumer, const char *state_directory,
                         char path[CONFIG_PATH_MAX]);
/* A job's pool as its store keeps it: the pool's name, behind an @ the domain of the sender where routes ask
 * for that, and a wish (tls/wish.h), so that what takes different ways has lanes of its own. The name
 * alone. */
struct str config_pool_text(struct str pool);
struct str config_pool_sender(struct str pool); /* that domain; empty: none */
/* By name, or a job's pool; NULL if unknown. */
const struct config_pool *config_pool_of(const struct config *config, struct str name);

#endif
