/* config_table.c - every option there is: what is not here is unknown.
 *
 * An option is added by a line here and a field in config.h; reading, defaults, bounds, `config show` and the
 * man page follow. */
#include "engine/config_table.h"

#include "engine/limits.h"

#include <stddef.h>

#define SECOND     UINT64_C(1000)
#define MINUTE     (60 * SECOND)
#define HOUR       (60 * MINUTE)
#define DAY        (24 * HOUR)
#define MIB        (UINT64_C(1) << 20)
#define TIB        (UINT64_C(1) << 40)
#define SOCKET_MAX 107 /* sun_path with its NUL */

#define AT(type, field)    .offset = offsetof(struct type, field)
#define BETWEEN(low, high) .min = (low), .max = (high)
#define SECTION(label, type, list)                                                                           \
    {                                                                                                        \
        .name = label, .size = sizeof(struct type), .options = list, .count = sizeof list / sizeof *list     \
    }
#define KEYED(label, type, list)                                                                             \
    {                                                                                                        \
        .name = label, .size = sizeof(struct type), .key = &(list)[0], .options = list,                      \
        .count = sizeof list / sizeof *list                                                                  \
    }

static const struct option jobs_options[] = {
    {"unix", KIND_PATH, AT(config_jobs, unix_path), .preset = "/run/postrider/jobs.sock",
     BETWEEN(1, SOCKET_MAX), .help = "The Unix socket of the job API."},
    {"mode", KIND_MODE, AT(config_jobs, mode), .preset = "0660", .help = "Permissions of that socket."},
    {"group", KIND_NAME, AT(config_jobs, group),
     .help = "Group that owns the socket; unset, the group of the daemon."},
    {"tenants", KIND_UIDS, AT(config_jobs, tenants),
     .count_offset = offsetof(struct config_jobs, tenant_count),
     .help = "User ids bound to a tenant: a process of that user may submit for this tenant alone."},
};
static const struct section jobs_section = SECTION("jobs", config_jobs, jobs_options);

static const struct option control_options[] = {
    {"unix", KIND_PATH, AT(config_control, unix_path), BETWEEN(1, SOCKET_MAX),
     .help = "The Unix socket for operators: the job and the admin API. Unset, the jobs socket serves both."},
    {"mode", KIND_MODE, AT(config_control, mode), .preset = "0600", .help = "Permissions of that socket."},
};
static const struct section control_section = SECTION("control", config_control, control_options);

static const struct option admin_options[] = {
    {"listen", KIND_LISTEN, AT(config_admin, listen),
     .help = "Address and port of the job and admin API over TCP, as on the control socket, for who has the "
             "token. It is not encrypted: stay on loopback, or put a proxy with TLS before it. Unset: none."},
    {"token_file", KIND_PATH, AT(config_admin, token_file), BETWEEN(1, 3000),
     .help = "A file whose first line is the token that clients send (Authorization: Bearer TOKEN); nobody "
             "else may read it."},
};
static const struct section admin_section = SECTION("admin", config_admin, admin_options);

static const struct option submission_options[] = {
    {"listen", KIND_LISTEN, AT(config_submission, listen), .required = true,
     .help = "Where mail is taken in over SMTP. Who can open a Unix socket may send, for the tenant that "
             "\"jobs.tenants\" binds the user id to, if there is one."},
    {"mode", KIND_MODE, AT(config_submission, mode), .preset = "0660",
     .help = "Permissions of a Unix socket."},
    {"group", KIND_NAME, AT(config_submission, group),
     .help = "Group that owns a Unix socket; unset, the group of the daemon."},
    {"tls_certificate", KIND_FILE, AT(config_submission, tls_certificate), BETWEEN(1, 3000),
     .help = "The certificate with its chain (PEM); with it, STARTTLS is offered. A reload reads it again."},
    {"tls_key", KIND_FILE, AT(config_submission, tls_key), BETWEEN(1, 3000),
     .help = "The certificate's private key (PEM), without passphrase."},
    {"implicit_tls", KIND_SWITCH, AT(config_submission, implicit_tls), .preset = "no",
     .help = "Every connection begins with TLS, as on port 465."},
    {"require_tls", KIND_SWITCH, AT(config_submission, require_tls), .preset = "no",
     .help = "No message without TLS: MAIL is answered 530 before STARTTLS."},
    {"users_file", KIND_FILE, AT(config_submission, users_file), BETWEEN(1, 3000),
     .help = "Who may log in (AUTH), a line each: see USERS. It is read again when it has changed."},
    {"require_auth", KIND_SWITCH, AT(config_submission, require_auth), .preset = "no",
     .help = "Everybody has to log in, also from the networks: MAIL is answered 530 before."},
    {"plaintext_auth", KIND_SWITCH, AT(config_submission, plaintext_auth), .preset = "no",
     .help = "Passwords are also taken without TLS: for networks where nobody listens in."},
    {"networks", KIND_NETWORKS, AT(config_submission, networks),
     .help = "Clients that may send without logging in, by address. Unset, none."},
    {"tenant", KIND_NAME, AT(config_submission, tenant),
     .help = "The tenant of clients that no user and no user id binds to one; unset, they may name one "
             "(X-Postrider-Tenant)."},
    {"return_domains", KIND_PATTERNS, AT(config_submission, return_domains),
     .help = "Domains of return paths (a job's \"from\"): mail to them is a bounce or a complaint, and is "
             "taken from anybody."},
    {"feedback", KIND_NAMES, AT(config_submission, feedback),
     .help =
         "Local parts at these domains that only the operators of feedback loops know: what comes there is "
         "believed even where it hides whom it is about."},
    {"max_size", KIND_SIZE, AT(config_submission, max_size), .preset = "35M", BETWEEN(64 * 1024, 45 * MIB),
     .help = "Octets of a message."},
    {"max_connections", KIND_NUMBER, AT(config_submission, max_connections), .preset = "1000",
     BETWEEN(1, 100000), .help = "Clients at once; one more is answered 421."},
    {"max_per_address", KIND_NUMBER, AT(config_submission, max_per_address), .preset = "100",
     BETWEEN(1, 100000),
     .help = "The same from one address outside \"networks\"; of IPv6 the first 64 bits are one."},
    {"max_recipients", KIND_NUMBER, AT(config_submission, max_recipients), .preset = "1000",
     BETWEEN(1, SUBMISSION_RCPTS_MAX), .help = "Recipients of a message."},
    {"max_messages", KIND_NUMBER, AT(config_submission, max_messages), .preset = "0", BETWEEN(0, 1000000),
     .help = "Messages in a connection; 0: no limit."},
    {"max_errors", KIND_NUMBER, AT(config_submission, max_errors), .preset = "20", BETWEEN(1, 100000),
     .help = "Commands refused without a message accepted between, after which a client is sent away (421)."},
    {"max_commands", KIND_NUMBER, AT(config_submission, max_commands), .preset = "1000", BETWEEN(10, 1000000),
     .help = "The same for commands of any kind, without a message or recipient accepted between."},
    {"timeout", KIND_DURATION, AT(config_submission, timeout_ms), .preset = "5m", BETWEEN(100, HOUR),
     .help = "How long a client may say nothing, or take for one command, before it is sent away (421)."},
    {"message_timeout", KIND_DURATION, AT(config_submission, message_timeout_ms), .preset = "30m",
     BETWEEN(100, DAY), .help = "How long a message may take from MAIL to its end."},
};
static const struct section submission_section = SECTION("submission", config_submission, submission_options);

static const struct option dns_options[] = {
    {"servers", KIND_SERVERS, AT(config_dns, servers),
     .help = "Resolvers to ask, as address or address:port; unset, those of /etc/resolv.conf."},
    {"timeout", KIND_DURATION, AT(config_dns, timeout_ms), .preset = "5s", BETWEEN(100, 2 * MINUTE),
     .help = "How long a question may take over all tries."},
    {"ipv6", KIND_SWITCH, AT(config_dns, ipv6), .preset = "yes",
     .help = "Also ask for and use IPv6 addresses."},
    {"dnssec", KIND_DNSSEC, AT(config_dns, dnssec), .preset = "auto",
     .help =
         "Whether what the resolvers call validated is believed, as DANE needs: \"auto\": if all of them are "
         "on this host; \"yes\": the way to them is safe too; \"no\"."},
};
static const struct section dns_section = SECTION("dns", config_dns, dns_options);

static const struct option mta_sts_options[] = {
    {"enabled", KIND_SWITCH, AT(config_mta_sts, enabled), .preset = "yes",
     .help = "Look for policies of MTA-STS (RFC 8461) of the domains that mail goes to, and hold to them."},
    {"timeout", KIND_DURATION, AT(config_mta_sts, timeout_ms), .preset = "30s", BETWEEN(100, 5 * MINUTE),
     .help = "How long a policy may take to be fetched; a domain's mail waits for it."},
    {"ca_file", KIND_PATH, AT(config_mta_sts, ca_file), BETWEEN(1, 3000),
     .help = "Certificates (PEM) that may vouch for policy hosts, in place of the system's."},
    {"port", KIND_PORT, AT(config_mta_sts, port), .preset = "443", BETWEEN(1, 65535),
     .help = "The port of policy hosts; another than 443 is for tests."},
};
static const struct section mta_sts_section = SECTION("mta_sts", config_mta_sts, mta_sts_options);

static const struct option tls_reports_options[] = {
    {"enabled", KIND_SWITCH, AT(config_tls_reports, enabled), .preset = "no",
     .help = "Send domains that ask for it a report of how sessions went, by policies of MTA-STS, by TLSA "
             "records, or without either (RFC 8460)."},
    {"organization", KIND_NAME, AT(config_tls_reports, organization),
     .help = "Who sends them; unset, the hostname."},
    {"contact", KIND_MAILBOX, AT(config_tls_reports, contact),
     .help = "The address that they come from and that may be asked; unset, postmaster at the hostname."},
    {"ca_file", KIND_PATH, AT(config_tls_reports, ca_file), BETWEEN(1, 3000),
     .help = "Certificates (PEM) that may vouch for who takes them by HTTPS, in place of the system's."},
    {"period", KIND_DURATION, AT(config_tls_reports, period_ms), .preset = "1d", BETWEEN(SECOND, 7 * DAY),
     .help = "The time that a report is about; another than a day is for tests."},
};
static const struct section tls_reports_section =
    SECTION("tls_reports", config_tls_reports, tls_reports_options);

static const struct option queue_options[] = {
    {"max_size", KIND_SIZE, AT(config_queue, max_size), .preset = "100G", BETWEEN(64 * MIB, 64 * TIB),
     .help = "How large the queue's database may grow; intake stops there."},
    {"reserve", KIND_SIZE, AT(config_queue, reserve), .preset = "1G", BETWEEN(0, TIB),
     .help = "Disk space set aside, given up when the disk is full so that outcomes are still recorded."},
    {"lifetime", KIND_DURATION, AT(config_queue, lifetime_ms), .live = true, .preset = "4d12h",
     BETWEEN(SECOND, 365 * DAY), .help = "How long a recipient is tried, where the job says nothing."},
    {"delay_warning", KIND_DURATION, AT(config_queue, delay_warning_ms), .live = true, .preset = "4h",
     BETWEEN(0, 365 * DAY),
     .help = "Who is still tried after so long is said to be delayed: an event, and a report to the sender "
             "where the job asks for reports. 0: nobody is."},
    {"retain", KIND_DURATION, AT(config_queue, retain_ms), .live = true, .preset = "7d",
     BETWEEN(0, 365 * DAY),
     .help = "How long ended jobs and their events can still be looked up; longer where a consumer has not "
             "read them."},
    {"events_max", KIND_SIZE, AT(config_queue, events_max), .preset = "10G", BETWEEN(MIB, 64 * TIB),
     .help = "How large the event log may grow. Beyond it the oldest events go that every consumer has read; "
             "while there are none, intake stops."},
};
static const struct section queue_section = SECTION("queue", config_queue, queue_options);

static const struct option source_options[] = {
    {"name", KIND_NAME, AT(config_source, name), .required = true,
     .help = "Its name, for pools and reports."},
    {"address", KIND_ADDRESS, AT(config_source, address),
     .help = "The local IP address to send from; unset, the system chooses."},
    {"ehlo", KIND_HOST, AT(config_source, ehlo),
     .help = "What it says in EHLO: best the name that the address resolves to; unset, the hostname."},
    {"proxy", KIND_PROXY, AT(config_source, proxy_text),
     .help = "A proxy by way of which it sends, where the address is another machine's: "
             "socks5://ADDRESS:PORT, or "
             "haproxy://ADDRESS:PORT, which is told address and the mail host by the PROXY protocol, version "
             "2. While it "
             "cannot be reached mail waits without an attempt."},
    {"proxy_user", KIND_USER, AT(config_source, proxy_user),
     .help = "The user at a socks5 proxy; unset, none."},
    {"proxy_password_file", KIND_PATH, AT(config_source, proxy_password_file), BETWEEN(1, 3000),
     .help = "A file with that user's password in its first line, read at each connection."},
};
static const struct section source_section = KEYED("sources", config_source, source_options);

static const struct option pool_options[] = {
    {"name", KIND_NAME, AT(config_pool, name), .required = true, .help = "Its name, for tenants and jobs."},
    {"sources", KIND_WEIGHTS, AT(config_pool, sources),
     .count_offset = offsetof(struct config_pool, source_count), BETWEEN(1, 1000), .required = true,
     .help = "Sources with their weights: {a: 3, b: 1} uses a for three quarters."},
};
static const struct section pool_section = KEYED("pools", config_pool, pool_options);

#define TIMEOUT(label, field, value, text)                                                                   \
    {                                                                                                        \
        label, KIND_DURATION, AT(config_site, field), .preset = value, BETWEEN(100, HOUR), .help = text      \
    }

static const struct option site_options[] = {
    {"name", KIND_NAME, AT(config_site, name), .required = true,
     .help = "Its name. The site \"default\" holds what the others start from, and every host that none "
             "matches."},
    {"mx", KIND_PATTERNS, AT(config_site, mx), .help = "Patterns of the MX hosts that belong to it."},
    {"max_connections", KIND_NUMBER, AT(config_site, max_connections), .preset = "32", BETWEEN(1, 100000),
     .help = "Connections at once from one source."},
    {"port", KIND_PORT, AT(config_site, port), .preset = "25", BETWEEN(1, 65535),
     .help = "The port to connect to."},
    {"tls", KIND_TLS, AT(config_site, tls), .preset = "may",
     .help =
         "\"none\": plain; \"may\": STARTTLS where the host offers it, in the clear where it fails; "
         "\"encrypt\": never in the clear, whoever the host may be; \"verify\": and its certificate must be "
         "vouched for and bear its name; \"dane\": and it must match TLSA records. See TLS."},
    {"tls_ca_file", KIND_PATH, AT(config_site, tls_ca_file), BETWEEN(1, 3000),
     .help = "Certificates (PEM) of the authorities to trust in place of the system's."},
    {"max_messages_per_connection", KIND_NUMBER, AT(config_site, max_messages_per_connection),
     .preset = "100", BETWEEN(0, 1000000),
     .help = "After so many messages a connection is closed; 0: no limit."},
    {"max_recipients_per_transaction", KIND_NUMBER, AT(config_site, max_recipients_per_transaction),
     .preset = "100", BETWEEN(1, TXN_RCPTS_MAX),
     .help = "Recipients that may share one message on the wire."},
    {"chunking", KIND_SWITCH, AT(config_site, chunking), .preset = "yes",
     .help = "Messages go by BDAT where the host offers CHUNKING, and by DATA for a day where its replies to "
             "that "
             "did not fit; \"no\": by DATA always."},
    {"max_rate", KIND_RATE, AT(config_site, max_rate), .preset = "none", .help = "Messages from one source."},
    {"max_connection_rate", KIND_RATE, AT(config_site, max_connection_rate), .preset = "none",
     .help = "New connections from one source."},
    TIMEOUT("idle_timeout", idle_timeout_ms, "10s", "How long a connection with nothing to send is kept."),
    TIMEOUT("connect_timeout", connect_timeout_ms, "30s", "Wait for a connection to one address."),
    TIMEOUT("greeting_timeout", greeting_timeout_ms, "5m", "Wait for the greeting."),
    TIMEOUT("helo_timeout", helo_timeout_ms, "5m", "Wait for the reply to EHLO or HELO."),
    TIMEOUT("tls_timeout", tls_timeout_ms, "2m", "Wait for STARTTLS and the handshake."),
    TIMEOUT("mail_timeout", mail_timeout_ms, "5m", "Wait for the reply to MAIL."),
    TIMEOUT("rcpt_timeout", rcpt_timeout_ms, "5m", "Wait for the reply to RCPT."),
    TIMEOUT("data_timeout", data_timeout_ms, "2m", "Wait for the reply to DATA."),
    TIMEOUT("block_timeout", block_timeout_ms, "3m", "Wait until the host takes more of a message."),
    TIMEOUT("end_timeout", end_timeout_ms, "10m",
            "Wait for the reply to the final dot; a shorter one sends messages twice."),
    TIMEOUT("quit_timeout", quit_timeout_ms, "10s", "Wait for the reply to QUIT or RSET."),
    {"dead_host_delay", KIND_DURATION, AT(config_site, dead_host_delay_ms), .preset = "1m", BETWEEN(100, DAY),
     .help = "How long a host that cannot be reached, or refuses a login, is left alone, doubled each time."},
    {"dead_host_delay_max", KIND_DURATION, AT(config_site, dead_host_delay_max_ms), .preset = "1h",
     BETWEEN(100, 7 * DAY), .help = "Up to this."},
    {"pause", KIND_DURATION, AT(config_site, pause_ms), .preset = "1m", BETWEEN(100, DAY),
     .help = "How long sending stops after a reply about policy or rate (4.7), doubled each time."},
    {"pause_max", KIND_DURATION, AT(config_site, pause_max_ms), .preset = "1h", BETWEEN(100, 7 * DAY),
     .help = "Up to this."},
    {"recovery", KIND_DURATION, AT(config_site, recovery_ms), .preset = "10m", BETWEEN(100, 7 * DAY),
     .help =
         "How long it takes until the rate of a path that was slowed, and its connections, double again."},
};
const struct section config_site_section = KEYED("sites", config_site, site_options);

static const struct option route_options[] = {
    {"domain", KIND_PATTERN, AT(config_route, domain), .preset = "*",
     .help = "The recipients' domain; may hold * and ?. The first route that matches in all of domain, "
             "sender and "
             "tenant is taken."},
    {"sender", KIND_PATTERN, AT(config_route, sender),
     .help = "The domain of the envelope sender, as its job says; unset, any."},
    {"tenant", KIND_NAME, AT(config_route, tenant), .help = "The tenant of the job; unset, any."},
    {"host", KIND_TARGETS, AT(config_route, hosts), .required = true,
     .help = "The host to deliver to, or several in the order of preference: a name (its MX is not asked "
             "for) or an "
             "address, with a port behind a colon if it is another, and a number before it where several are "
             "equal, as MX records have it: [\"10 a.example.com\", \"10 b.example.com:2525\", \"20 "
             "c.example.com\"]."},
    {"port", KIND_PORT, AT(config_route, port), .preset = "25", BETWEEN(1, 65535),
     .help = "Their port: 25, 587, 465 with tls_implicit, 2525."},
    {"protocol", KIND_PROTOCOL, AT(config_route, protocol), .preset = "smtp",
     .help = "\"smtp\", or \"lmtp\" for mailboxes on a server such as Dovecot, which answers for each "
             "recipient; its "
             "host may be a socket: unix:/run/dovecot/lmtp."},
    {"user", KIND_USER, AT(config_route, login.user),
     .help = "The user to log in as (AUTH). A login that is refused defers the route's mail, without an "
             "attempt, is told in the log, and is tried again after dead_host_delay; other routes use the "
             "host meanwhile."},
    {"password_file", KIND_PATH, AT(config_route, login.password_file), BETWEEN(1, 3000),
     .help = "A file with that user's password in its first line, for SCRAM-SHA-256, PLAIN or LOGIN. It is "
             "read at "
             "each login."},
    {"token_file", KIND_PATH, AT(config_route, login.token_file), BETWEEN(1, 3000),
     .help = "A file with an access token in its first line, for XOAUTH2, instead of a password; whoever "
             "renews it "
             "replaces the file. It is read at each login."},
    {"auth", KIND_NAMES, AT(config_route, login.mechanisms),
     .help = "The mechanisms that may be used: scram-sha-256, xoauth2, plain, login; unset, the best that "
             "the host "
             "offers."},
    {"auth_in_clear", KIND_SWITCH, AT(config_route, login.in_clear), .preset = "no",
     .help = "Whether to log in without TLS, too."},
    {"tls", KIND_ROUTE_TLS, AT(config_route, tls), .preset = "site",
     .help = "As for a site; \"site\": what the host's site says."},
    {"tls_implicit", KIND_SWITCH, AT(config_route, tls_implicit), .preset = "no",
     .help = "TLS from the first byte, as on port 465, without STARTTLS."},
    {"tls_ca_file", KIND_PATH, AT(config_route, tls_ca_file), BETWEEN(1, 3000),
     .help = "As for a site; unset, that of the host's site."},
    {"tls_certificate", KIND_PATH, AT(config_route, tls_certificate), BETWEEN(1, 3000),
     .help = "A certificate (PEM, with its chain) to show to the host."},
    {"tls_key", KIND_PATH, AT(config_route, tls_key), BETWEEN(1, 3000),
     .help = "Its private key (PEM, without passphrase)."},
};
static const struct section route_section = SECTION("routes", config_route, route_options);

static const struct option dkim_options[] = {
    {"domain", KIND_NAME, AT(config_dkim, domain), .required = true,
     .help = "The domain that signs: mail with an address of it in From gets a signature of each of its "
             "keys. Subdomains need keys of their own."},
    {"selector", KIND_NAME, AT(config_dkim, selector), .required = true,
     .help = "The public key stands in DNS as TXT of SELECTOR._domainkey.DOMAIN."},
    {"key", KIND_PATH, AT(config_dkim, key), .required = true, BETWEEN(1, 3000),
     .help = "The private key: a PEM file without passphrase, RSA (2048 bits; at least 1024) or Ed25519."},
};
static const struct section dkim_section = SECTION("dkim", config_dkim, dkim_options);

static const struct option retry_options[] = {
    {"status", KIND_STATUS, AT(retry_rule, status), .required = true,
     .help = "Enhanced status of class 4 that it is for: 4.2.2, 4.2.* or 4."},
    {"schedule", KIND_SCHEDULE, AT(retry_rule, count), .required = true, BETWEEN(0, 30 * DAY),
     .help = "Delays after the first attempt, the second, and so on; the last one repeats."},
    {"give_up", KIND_DURATION, AT(retry_rule, give_up_ms), BETWEEN(SECOND, 365 * DAY),
     .help = "Since the first attempt; unset, the job's lifetime decides alone."},
};
static const struct section retry_section = KEYED("retry", retry_rule, retry_options);

static const struct option receiver_options[] = {
    {"name", KIND_NAME, AT(config_receiver, name), .required = true, .help = "Its name, for reply rules."},
    {"mx", KIND_PATTERNS, AT(config_receiver, mx), .required = true, .help = "Patterns of its MX hosts."},
};
static const struct section receiver_section = KEYED("receivers", config_receiver, receiver_options);

static const struct option reply_options[] = {
    {"name", KIND_NAME, AT(rule, name),
     .help = "Its name, in events, explain and metrics; unset, replies.N for the Nth."},
    {"site", KIND_PATTERN, AT(rule, site),
     .help = "The site it is for, with * and ?, or a receiver; unset, every site."},
    {"at", KIND_STEPS, AT(rule, steps), BETWEEN(1, 4),
     .help = "Where in the dialogue the reply comes; unset, anywhere. \"greeting\" is everything up to TLS, "
             "\"data\" the message and the reply to its end."},
    {"code", KIND_CODES, AT(rule, codes), BETWEEN(1, RULE_CODES_MAX),
     .help = "The reply's code; unset, every reply."},
    {"status", KIND_STATUSES, AT(rule, statuses), BETWEEN(1, RULE_STATUSES_MAX),
     .help =
         "The enhanced status that the reply gives; x stands for any part, \"none\" for no status. Unset, "
         "whatever it gives."},
    {"match", KIND_EXPRESSION, AT(rule, match),
     .help = "What the reply's text holds, as a regular expression of Perl's kind (PCRE2), in any case. The "
             "lines are joined with a blank, without the enhanced status. Unset, any text."},
    {"action", KIND_ACTION, AT(rule, reaction), .required = true, .help = "What is done: see REPLY RULES."},
};
static const struct section reply_section = KEYED("replies", rule, reply_options);

static const struct option tenant_options[] = {
    {"name", KIND_NAME, AT(config_tenant, name), .required = true,
     .help = "The tenant that jobs name. \"default\" is for jobs that name none, or one that is not listed."},
    {"weight", KIND_NUMBER, AT(config_tenant, weight), .preset = "1", BETWEEN(1, 1000),
     .help = "Its share where tenants compete for a destination."},
    {"pool", KIND_NAME, AT(config_tenant, pool), .preset = "default",
     .help = "The pool of sources it sends from."},
    {"max_rate", KIND_RATE, AT(config_tenant, max_rate), .preset = "none",
     .help = "Messages to all destinations."},
};
static const struct section tenant_section = KEYED("tenants", config_tenant, tenant_options);

static const struct option consumer_options[] = {
    {"name", KIND_NAME, AT(config_consumer, name), .required = true,
     .help =
         "Its name. How far it has read is kept under it; one that is no longer listed is forgotten at the "
         "next start."},
    {"webhook", KIND_URL, AT(config_consumer, webhook),
     .help = "Events are sent there by POST, in order; TLS is verified. Either this or file."},
    {"file", KIND_PATH, AT(config_consumer, file), BETWEEN(1, 3000),
     .help = "Events are appended to it, one a line, synced before they count as read. It may be moved away "
             "at any time."},
    {"shape", KIND_SHAPE, AT(config_consumer, shape), .preset = "native",
     .help = "What a webhook sends: batches of events as in postrider-api(7), or one event a request as "
             "listmonk's bounce webhook, Mailgun's webhooks, or Amazon SES by way of SNS."},
    {"events", KIND_EVENTS, AT(config_consumer, events),
     .help = "The types it gets; unset, all that its shape can say."},
    {"tenants", KIND_NAMES, AT(config_consumer, tenants),
     .help = "The tenants whose events it gets; unset, all."},
    {"start", KIND_START, AT(config_consumer, start), .preset = "now",
     .help = "Where a new one begins: with what happens from now on, or with the oldest event that is kept."},
    {"on_full", KIND_ON_FULL, AT(config_consumer, on_full), .preset = "stop",
     .help = "When the event log is full (events_max) and it has not read the oldest: \"stop\": intake waits "
             "for it; \"drop\": it misses events, which are counted."},
    {"batch", KIND_NUMBER, AT(config_consumer, batch), .preset = "500", BETWEEN(1, CONSUMER_BATCH_MAX),
     .help = "Events sent at once, at most."},
    {"linger", KIND_DURATION, AT(config_consumer, linger_ms), .preset = "1s", BETWEEN(0, HOUR),
     .help = "How long the first event of a batch may wait for others."},
    {"gzip", KIND_SWITCH, AT(config_consumer, gzip), .preset = "no",
     .help = "Compress what is sent (Content-Encoding: gzip)."},
    {"secret_file", KIND_PATH, AT(config_consumer, secret_file), BETWEEN(1, 3000),
     .help = "A file with the secret that requests are signed with (HMAC-SHA256); unset, they are not."},
    {"user", KIND_NAME, AT(config_consumer, user), .help = "The user to log in as (HTTP Basic)."},
    {"password_file", KIND_PATH, AT(config_consumer, password_file), BETWEEN(1, 3000),
     .help = "A file with that user's password."},
    {"ca_file", KIND_PATH, AT(config_consumer, ca_file), BETWEEN(1, 3000),
     .help = "Certificates (PEM) to trust in place of the system's."},
    {"timeout", KIND_DURATION, AT(config_consumer, timeout_ms), .preset = "30s", BETWEEN(100, HOUR),
     .help = "How long a request may take."},
    {"retry", KIND_DURATION, AT(config_consumer, retry_ms), .preset = "1s", BETWEEN(10, HOUR),
     .help =
         "How long it waits after a failure, doubled each time, and give or take a quarter; a Retry-After is "
         "honoured."},
    {"retry_max", KIND_DURATION, AT(config_consumer, retry_max_ms), .preset = "5m", BETWEEN(10, DAY),
     .help = "Up to this."},
    {"dead_letters", KIND_PATH, AT(config_consumer, dead_letters), BETWEEN(1, 3000),
     .help = "A file for the events that a webhook refuses for good (4xx but 408, 425 and 429); unset, "
             "NAME.dead.ndjson in the state directory. It is put aside by rotate_size and keep, too."},
    {"rotate_size", KIND_SIZE, AT(config_consumer, rotate_size), .preset = "100M", BETWEEN(0, TIB),
     .help = "A file of this size is put aside as FILE.1, those before it move up; 0: never."},
    {"rotate_age", KIND_DURATION, AT(config_consumer, rotate_age_ms), .preset = "1d", BETWEEN(0, 365 * DAY),
     .help = "The same for one this old; 0: never."},
    {"keep", KIND_NUMBER, AT(config_consumer, keep), .preset = "10", BETWEEN(1, 10000),
     .help = "How many files put aside are kept."},
};
static const struct section consumer_section = KEYED("consumers", config_consumer, consumer_options);

#define LIST_OF(label, field, field_count, of, is_live, text)                                                \
    {                                                                                                        \
        label, KIND_LIST, AT(config, field), .count_offset = offsetof(struct config, field_count),           \
                                             .section = &(of), .live = is_live, .help = text                 \
    }
#define LIST(label, field, field_count, of, text) LIST_OF(label, field, field_count, of, false, text)
/* That a reload applies. */
#define LIVE(label, field, field_count, of, text) LIST_OF(label, field, field_count, of, true, text)

static const struct option top_options[] = {
    {"hostname", KIND_HOST, AT(config, hostname),
     .help = "Name of this host in EHLO and reports; unset, the host's full name."},
    {"feedback_id", KIND_FEEDBACK, AT(config, feedback_id), .live = true,
     .help =
         "The Feedback-ID of messages that bring none, by which receivers such as Gmail count complaints: up "
         "to four parts with colons between. {{tenant}}, {{campaign}} and {{class}} are the job's; "
         "{{recipient_hash}} is the same for a recipient in every job, but makes each message one of its "
         "own. "
         "Unset, there is none."},
    {"state_directory", KIND_PATH, AT(config, state_directory), .preset = "/var/lib/postrider",
     BETWEEN(1, 3000), .help = "Where the queue is kept."},
    {"workers", KIND_NUMBER, AT(config, workers), .preset = "0", BETWEEN(0, 256),
     .help = "Threads that deliver; 0: one a core."},
    {"lending", KIND_LENDING, AT(config, lending), .live = true, .preset = "auto",
     .help = "Sessions of one site are lent to other threads: \"auto\": when its own is saturated and others "
             "have time; \"always\": whenever it has a backlog; \"never\"."},
    {"stop_timeout", KIND_DURATION, AT(config, stop_timeout_ms), .live = true, .preset = "30s",
     BETWEEN(0, HOUR), .help = "How long messages under way may take to finish when the daemon is stopped."},
    {"jobs", KIND_GROUP, AT(config, jobs), .section = &jobs_section, .help = "The job API for platforms."},
    {"admin", KIND_GROUP, AT(config, admin), .section = &admin_section,
     .help = "The job and admin API over TCP, with a token."},
    {"control", KIND_GROUP, AT(config, control), .section = &control_section,
     .help = "The API for operators."},
    {"dns", KIND_GROUP, AT(config, dns), .section = &dns_section, .help = "The resolver."},
    {"mta_sts", KIND_GROUP, AT(config, mta_sts), .section = &mta_sts_section, .help = "Policies of MTA-STS."},
    {"tls_reports", KIND_GROUP, AT(config, tls_reports), .section = &tls_reports_section,
     .help = "Reports about TLS."},
    {"queue", KIND_GROUP, AT(config, queue), .section = &queue_section, .help = "The queue on disk."},
    LIVE("sources", sources, source_count, source_section,
         "Local addresses to send from; unset, one named \"default\" that the system chooses."),
    LIVE("pools", pools, pool_count, pool_section,
         "Weighted sets of sources; unset, one named \"default\" with every source."),
    LIVE("sites", sites, site_count, config_site_section,
         "Limits by receiver. The first site with a pattern that matches an MX host is taken; a host that "
         "none "
         "matches belongs to a site named by its registrable domain. All limits hold for each source."),
    LIVE("routes", routes, route_count, route_section,
         "Mail that goes to hosts of its own instead of the MX: smarthosts."),
    LIVE("dkim", dkim, dkim_count, dkim_section, "Keys that sign mail (RFC 6376)."),
    LIVE("retry", retry, retry_count, retry_section,
         "When deferred recipients are tried again. The most specific entry that matches is taken, and any "
         "entry "
         "before every built-in one."),
    {"default_replies", KIND_SWITCH, AT(config, default_replies), .live = true, .preset = "yes",
     .help = "Whether the built-in reply rules count, after those below. \"no\" leaves the receivers known."},
    LIVE("receivers", receivers, receiver_count, receiver_section,
         "Names for the MX hosts of receivers, beside the built-in ones; patterns given for a built-in name "
         "are added to it."),
    LIVE("replies", replies, reply_count, reply_section,
         "What is done about replies. The first entry that matches is taken, and any entry before every "
         "built-in one; what none matches is decided by code and enhanced status."),
    LIVE("tenants", tenants, tenant_count, tenant_section, "Who shares this server, and with which limits."),
    LIST("consumers", consumers, consumer_count, consumer_section,
         "Who is told of every event, in order, at least once."),
    LIST("submission", submission, submission_count, submission_section,
         "Listeners that take mail in over SMTP; unset, there are none."),
    {"include", KIND_GLOBS,
     .help = "Further files, relative to the one that names them; their lists are joined. In the main file "
             "only."},
};
const struct section config_top = SECTION("", config, top_options);
