/* test_dns_ares.c - the resolver through c-ares and io_uring, against a DNS server that a thread of this
 * process plays. The first label of a name says how it behaves.
 *
 * With DNS_TEST_SERVER (an address with port) and DNS_TEST_NAMES ("mx:example.org a:host.example …") in the
 * environment it prints what it resolves instead, for tests against real servers. */
#include "engine/dns/dns.h"

#include "tests/unit/dns_wire.h"

#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
/* cmocka wants the above */
#include <cmocka.h>

/* ---- the server ---- */

struct server {
    int udp, tcp, stop;
    unsigned port;
    pthread_t thread;
    atomic_uint asked, asked_tcp, with_edns;
};

struct asked {
    unsigned id, type;
    bool edns;
    char name[256];
};

static bool question_read(const uint8_t *bytes, size_t n, struct asked *asked)
{
    struct reader reader = reader_of(bytes, n);
    struct str header = read_bytes(&reader, 12);
    size_t at = 0;
    if (header.n < 12)
        return false;
    asked->id = get_be16(bytes);
    asked->edns = get_be16(bytes + 10) > 0;
    for (uint8_t len; (len = read_u8(&reader)) != 0 && !reader.bad;) {
        struct str label = read_bytes(&reader, len);
        memcpy(asked->name + at, label.p, label.n);
        at += label.n;
        asked->name[at++] = '.';
    }
    asked->name[at > 0 ? at - 1 : 0] = '\0';
    struct str type = read_bytes(&reader, 2);
    if (type.n < 2)
        return false;
    asked->type = get_be16((const uint8_t *)type.p);
    return true;
}

static bool behaves(const struct asked *asked, const char *how)
{
    return strncmp(asked->name, how, strlen(how)) == 0;
}

static void records(struct wire *wire, const struct asked *asked, unsigned count)
{
    char text[64];
    for (unsigned i = 0; i < count; i++) {
        snprintf(text, sizeof text, asked->type == 1 ? "192.0.2.%u" : "2001:db8::%x", i + 1);
        if (asked->type == 1)
            wire_a(wire, asked->name, 300, text);
        else if (asked->type == 28)
            wire_aaaa(wire, asked->name, 300, text);
        snprintf(text, sizeof text, "mx%u.host.example", i + 1);
        if (asked->type == 15)
            wire_mx(wire, asked->name, 300, 10 * (i + 1), text);
    }
}

/* False: says nothing. */
static bool server_answer(struct server *server, const struct asked *asked, bool tcp, struct wire *wire)
{
    unsigned nth = atomic_fetch_add(&server->asked, 1);
    atomic_fetch_add(&server->asked_tcp, tcp);
    atomic_fetch_add(&server->with_edns, asked->edns);
    wire_begin(wire, asked->id, 0x8180, asked->name, asked->type);
    if (behaves(asked, "silent") || (behaves(asked, "second") && nth == 0))
        return false;
    if (behaves(asked, "servfail"))
        wire->bytes[3] |= 2;
    else if (behaves(asked, "refused"))
        wire->bytes[3] |= 5;
    else if (behaves(asked, "oldserver") && asked->edns)
        wire->bytes[3] |= 1;
    else if (behaves(asked, "big") && !tcp)
        wire->bytes[2] |= 2;
    else if (behaves(asked, "garbage"))
        put_be16(wire->bytes + WIRE_ANSWER, 7);
    else
        records(wire, asked, behaves(asked, "big") ? 30 : 2);
    return true;
}

static void server_udp(struct server *server)
{
    uint8_t bytes[2048];
    struct sockaddr_storage from;
    socklen_t len = sizeof from;
    ssize_t n = recvfrom(server->udp, bytes, sizeof bytes, MSG_DONTWAIT, (struct sockaddr *)&from, &len);
    struct asked asked;
    struct wire wire;
    if (n <= 0 || !question_read(bytes, (size_t)n, &asked) || !server_answer(server, &asked, false, &wire))
        return;
    if (behaves(&asked, "forged")) { /* a wrong id first, and a wrong question */
        put_be16(wire.bytes, (uint16_t)(asked.id + 1));
        sendto(server->udp, wire.bytes, wire.n, 0, (struct sockaddr *)&from, len);
        put_be16(wire.bytes, (uint16_t)asked.id);
        wire.bytes[13] ^= 1;
        sendto(server->udp, wire.bytes, wire.n, 0, (struct sockaddr *)&from, len);
        wire.bytes[13] ^= 1;
    }
    sendto(server->udp, wire.bytes, wire.n, 0, (struct sockaddr *)&from, len);
}

static void server_tcp(struct server *server)
{
    int fd = accept(server->tcp, NULL, NULL);
    uint8_t bytes[2048];
    struct asked asked;
    struct wire wire;
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    if (fd < 0)
        return;
    while (poll(&poll_fd, 1, 200) == 1) {
        if (recv(fd, bytes, 2, MSG_WAITALL) != 2)
            break;
        size_t n = get_be16(bytes);
        if (n > sizeof bytes || recv(fd, bytes, n, MSG_WAITALL) != (ssize_t)n ||
            !question_read(bytes, n, &asked))
            break;
        if (!server_answer(server, &asked, true, &wire))
            continue;
        put_be16(bytes, (uint16_t)wire.n);
        /* In two pieces, split inside the length. */
        send(fd, bytes, 1, MSG_NOSIGNAL);
        usleep(1000);
        send(fd, bytes + 1, 1, MSG_NOSIGNAL);
        send(fd, wire.bytes, wire.n, MSG_NOSIGNAL);
    }
    close(fd);
}

static void *server_main(void *arg)
{
    struct server *server = arg;
    for (;;) {
        struct pollfd fds[3] = {{.fd = server->stop, .events = POLLIN},
                                {.fd = server->udp, .events = POLLIN},
                                {.fd = server->tcp, .events = POLLIN}};
        poll(fds, 3, 100);
        if (fds[0].revents)
            return NULL;
        if (fds[1].revents)
            server_udp(server);
        if (fds[2].revents)
            server_tcp(server);
    }
}

static struct server *server_start(void)
{
    struct server *server = calloc(1, sizeof *server);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    for (int i = 0; i < 20; i++) { /* until both have the same port */
        server->udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        server->tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        address.sin_port = 0;
        assert_int_equal(bind(server->udp, (struct sockaddr *)&address, sizeof address), 0);
        getsockname(server->udp, (struct sockaddr *)&address, &len);
        if (bind(server->tcp, (struct sockaddr *)&address, sizeof address) == 0)
            break;
        close(server->udp);
        close(server->tcp);
    }
    assert_int_equal(listen(server->tcp, 10), 0);
    int size = 4 << 20;
    setsockopt(server->udp, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    server->port = ntohs(address.sin_port);
    server->stop = eventfd(0, EFD_CLOEXEC);
    assert_int_equal(pthread_create(&server->thread, NULL, server_main, server), 0);
    return server;
}

static void server_stop(struct server *server)
{
    eventfd_write(server->stop, 1);
    pthread_join(server->thread, NULL);
    close(server->udp);
    close(server->tcp);
    close(server->stop);
    free(server);
}

/* ---- the client ---- */

struct asker {
    struct dns_query query;
    struct dns_mx *mx;
    struct dns_addresses addresses;
    unsigned calls;
};

static void on_mx(struct dns_query *query, struct dns_mx *mx)
{
    struct asker *asker = (struct asker *)query;
    dns_mx_unref(asker->mx);
    asker->mx = mx;
    asker->calls++;
}

static void on_addresses(struct dns_query *query, const struct dns_addresses *addresses)
{
    struct asker *asker = (struct asker *)query;
    asker->addresses = *addresses;
    asker->calls++;
}

struct world {
    struct io *io;
    struct wheel wheel;
    struct prng prng;
    struct dns *dns;
};

static struct world world;

static void begin(const char *servers, int64_t timeout_ms)
{
    struct err err;
    struct dns_settings settings = {
        .servers = servers, .timeout_ms = timeout_ms, .ipv6 = true, .cache_max = 10000};
    world.io = io_create(16, &err);
    assert_non_null(world.io);
    wheel_init(&world.wheel, clock_now());
    world.prng.state = 1;
    world.dns = dns_create(world.io, &world.wheel, &world.prng, &settings, &err);
    if (world.dns == NULL)
        fail_msg("%s", err.text);
}

static void begin_with(const struct server *server, int64_t timeout_ms)
{
    char servers[64];
    snprintf(servers, sizeof servers, "127.0.0.1:%u", server->port);
    begin(servers, timeout_ms);
}

static void end(void)
{
    dns_destroy(world.dns);
    assert_int_equal(world.wheel.count, 0);
    io_destroy(world.io);
}

static void step(void)
{
    struct now now = clock_now();
    wheel_run(&world.wheel, now);
    dns_step(world.dns, now);
    int64_t wait = dns_busy(world.dns) ? 0 : wheel_next_ns(&world.wheel) - now.mono_ns;
    io_step(world.io, NULL, wait < 0 ? 0 : wait < 20 * NS_PER_MS ? wait : 20 * NS_PER_MS);
}

static void wait_for(const struct asker *asker)
{
    int64_t until = clock_now().mono_ns + 20 * NS_PER_S;
    while (asker->calls == 0 && clock_now().mono_ns < until)
        step();
    assert_int_equal(asker->calls, 1);
}

static struct asker *ask(bool mx, const char *name)
{
    struct asker *asker = calloc(1, sizeof *asker);
    asker->query.mx = on_mx;
    asker->query.addresses = on_addresses;
    if (mx)
        dns_ask_mx(world.dns, &asker->query, str_of(name), clock_now());
    else
        dns_ask_addresses(world.dns, &asker->query, str_of(name), clock_now());
    return asker;
}

static void asker_free(struct asker *asker)
{
    dns_cancel(&asker->query);
    dns_mx_unref(asker->mx);
    free(asker);
}

/* ---- tests ---- */

static void test_answers(void **state)
{
    (void)state;
    struct server *server = server_start();
    begin_with(server, 5000);
    struct asker *mx = ask(true, "fine.example"), *host = ask(false, "mx1.host.example");
    wait_for(mx);
    wait_for(host);
    assert_int_equal(mx->mx->status, DNS_OK);
    assert_int_equal(mx->mx->host_count, 2);
    assert_string_equal(mx->mx->hosts[0].name, "mx1.host.example");
    int64_t left = mx->mx->expires_ns - clock_now().mono_ns;
    assert_true(left > 298 * NS_PER_S && left <= 300 * NS_PER_S);
    assert_int_equal(host->addresses.status, DNS_OK);
    assert_int_equal(host->addresses.count, 4);
    assert_int_equal(server->asked, 3);
    assert_int_equal(server->with_edns, 3);
    asker_free(mx);
    asker_free(host);
    struct asker *forged = ask(true, "forged.example"); /* only the right answer counts */
    wait_for(forged);
    assert_int_equal(forged->mx->status, DNS_OK);
    asker_free(forged);
    end();
    server_stop(server);
}

static void test_time_out(void **state)
{
    (void)state;
    struct server *server = server_start();
    begin_with(server, 280);
    struct asker *asker = ask(true, "silent.example");
    int64_t start = clock_now().mono_ns;
    wait_for(asker);
    int64_t took = clock_now().mono_ns - start;
    assert_int_equal(asker->mx->status, DNS_FAILED);
    char says[128];
    snprintf(says, sizeof says, "no answer from the resolver (127.0.0.1 port %u) in 0.28 s", server->port);
    assert_string_equal(asker->mx->reason, says);
    assert_true(took > 200 * NS_PER_MS && took < 2 * NS_PER_S);
    assert_int_equal(server->asked, 3); /* tries */
    asker_free(asker);
    end();
    server_stop(server);
}

static void test_lost_datagram(void **state)
{
    (void)state;
    struct server *server = server_start();
    begin_with(server, 700);
    struct asker *asker = ask(true, "second.example");
    wait_for(asker);
    assert_int_equal(asker->mx->status, DNS_OK);
    assert_int_equal(server->asked, 2);
    asker_free(asker);
    end();
    server_stop(server);
}

static void test_tcp_after_truncation(void **state)
{
    (void)state;
    struct server *server = server_start();
    begin_with(server, 5000);
    struct asker *askers[5];
    char name[32];
    for (int i = 0; i < 5; i++) {
        snprintf(name, sizeof name, "big%d.example", i);
        askers[i] = ask(true, name);
    }
    for (int i = 0; i < 5; i++) {
        wait_for(askers[i]);
        assert_int_equal(askers[i]->mx->status, DNS_OK);
        assert_int_equal(askers[i]->mx->host_count, MX_HOSTS_MAX < 30 ? MX_HOSTS_MAX : 30);
        asker_free(askers[i]);
    }
    assert_int_equal(server->asked_tcp, 5);
    end();
    server_stop(server);
}

static void expect_failure(const char *name, const char *says)
{
    struct asker *asker = ask(true, name);
    wait_for(asker);
    assert_int_equal(asker->mx->status, DNS_FAILED);
    if (strstr(asker->mx->reason, says) == NULL)
        fail_msg("%s: %s", name, asker->mx->reason);
    asker_free(asker);
}

static void test_errors(void **state)
{
    (void)state;
    struct server *server = server_start();
    begin_with(server, 700);
    expect_failure("servfail.example", "the resolver answered SERVFAIL");
    expect_failure("refused.example", "the resolver answered REFUSED");
    assert_int_equal(server->asked, 2);
    expect_failure("garbage.example", "malformed");
    struct asker *asker = ask(true, "oldserver.example"); /* knows no EDNS: asked without */
    wait_for(asker);
    assert_int_equal(asker->mx->status, DNS_OK);
    asker_free(asker);
    end();
    server_stop(server);
}

static void test_several_servers(void **state)
{
    (void)state;
    struct server *gone = server_start(), *server = server_start();
    char servers[128];
    snprintf(servers, sizeof servers, "127.0.0.1:%u,127.0.0.1:%u", gone->port, server->port);
    server_stop(gone);
    begin(servers, 1400);
    struct asker *asker = ask(true, "fine.example");
    wait_for(asker);
    assert_int_equal(asker->mx->status, DNS_OK);
    asker_free(asker);
    expect_failure("servfail.example", "errors only");
    end();
    server_stop(server);
    begin(servers, 1400); /* both gone */
    expect_failure("fine.example", "unreachable");
    end();
}

static void test_thousands(void **state)
{
    (void)state;
    enum { N = 4000 };
    struct server *server = server_start();
    begin_with(server, 20000);
    struct asker **askers = calloc(N, sizeof(struct asker *));
    char name[32];
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "d%d.example", i % (N / 2)); /* each twice: shared */
        askers[i] = ask(true, name);
    }
    for (int i = 0; i < N; i++) {
        wait_for(askers[i]);
        assert_int_equal(askers[i]->mx->status, DNS_OK);
        asker_free(askers[i]);
    }
    assert_in_range(server->asked, N / 2, N * 3 / 4); /* retries of datagrams the loopback dropped */
    free(askers);
    end();
    server_stop(server);
}

static void test_end_while_asking(void **state)
{
    (void)state;
    struct server *server = server_start();
    begin_with(server, 5000);
    struct asker *askers[700];
    for (int i = 0; i < 700; i++) {
        char name[32];
        snprintf(name, sizeof name, i % 7 ? "silent%d.example" : "big%d.example", i);
        askers[i] = ask(i % 2, name);
    }
    for (int i = 0; i < 3; i++)
        step();
    end();
    for (int i = 0; i < 700; i++) {
        assert_int_equal(askers[i]->calls, 1);
        asker_free(askers[i]);
    }
    server_stop(server);
}

static void test_bad_settings(void **state)
{
    (void)state;
    struct err err;
    struct wheel wheel;
    struct dns_settings settings = {.servers = "resolver.example", .timeout_ms = 1000};
    wheel_init(&wheel, clock_now());
    struct io *io = io_create(1, &err);
    assert_null(dns_create(io, &wheel, NULL, &settings, &err));
    assert_non_null(strstr(err.text, "cannot use the resolvers \"resolver.example\""));
    assert_non_null(strstr(err.text, "[::1]:5353"));
    settings.servers = NULL; /* resolv.conf, or 127.0.0.1 without one */
    struct dns *dns = dns_create(io, &wheel, NULL, &settings, &err);
    assert_non_null(dns);
    dns_destroy(dns);
    io_destroy(io);
}

/* ---- against a real server ---- */

static void print_asker(const char *what, const struct asker *asker)
{
    static const char *const statuses[] = {"ok", "no-domain", "no-mail", "null-mx", "failed"};
    char text[INET6_ADDRSTRLEN];
    int64_t now_ns = clock_now().mono_ns, expires = 0;
    enum dns_status status = asker->addresses.status;
    const char *reason = asker->addresses.reason;
    expires = asker->addresses.expires_ns;
    if (asker->mx != NULL) {
        status = asker->mx->status;
        reason = asker->mx->reason;
        expires = asker->mx->expires_ns;
    }
    printf("%s|%s|%s|%" PRId64 "|", what, statuses[status], reason, (expires - now_ns) / NS_PER_S + 1);
    for (unsigned i = 0; asker->mx != NULL && i < asker->mx->host_count; i++)
        printf("%s%u %s%s", i ? "," : "", asker->mx->hosts[i].preference, asker->mx->hosts[i].name,
               asker->mx->implicit ? " implicit" : "");
    for (unsigned i = 0; asker->mx == NULL && i < asker->addresses.count; i++) {
        const struct sockaddr_storage *address = &asker->addresses.list[i].address;
        const void *bytes = address->ss_family == AF_INET
                                ? (const void *)&((const struct sockaddr_in *)address)->sin_addr
                                : (const void *)&((const struct sockaddr_in6 *)address)->sin6_addr;
        printf("%s%s", i ? "," : "", inet_ntop(address->ss_family, bytes, text, sizeof text));
    }
    printf("\n");
}

static int print_names(const char *server, const char *names)
{
    char *copy = strdup(names), *rest = copy, *name;
    begin(server, 3000);
    while ((name = strsep(&rest, " ")) != NULL) {
        bool mx = strncmp(name, "mx:", 3) == 0;
        struct asker *asker = ask(mx, strchr(name, ':') + 1);
        wait_for(asker);
        print_asker(name, asker);
        asker_free(asker);
    }
    end();
    free(copy);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),       cmocka_unit_test(test_time_out),
        cmocka_unit_test(test_lost_datagram), cmocka_unit_test(test_tcp_after_truncation),
        cmocka_unit_test(test_errors),        cmocka_unit_test(test_several_servers),
        cmocka_unit_test(test_thousands),     cmocka_unit_test(test_end_while_asking),
        cmocka_unit_test(test_bad_settings),
    };
    const char *server = getenv("DNS_TEST_SERVER"), *names = getenv("DNS_TEST_NAMES");
    if (server != NULL && names != NULL)
        return print_names(server, names);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
