/* test_tls.c - TLS over buffers against OpenSSL's own server side, in memory: pieces of any size, bounds,
 * SNI, the sessions kept, and what is checked: names, authorities, TLSA records. */
#include "engine/tls/resume.h"
#include "engine/tls/tls.h"
#include "tests/unit/temporary.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static SSL_CTX *server_context;
static struct trusts *trusts;
static struct tls_demand may;

static int setup(void **state)
{
    (void)state;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    X509_sign(certificate, key, EVP_sha256());
    server_context = SSL_CTX_new(TLS_server_method());
    int ok = SSL_CTX_use_certificate(server_context, certificate) &&
             SSL_CTX_use_PrivateKey(server_context, key) &&
             SSL_CTX_set_session_id_context(server_context, (const unsigned char *)"t", 1);
    X509_free(certificate);
    EVP_PKEY_free(key);
    struct err err;
    trusts = trusts_create(&err);
    may = (struct tls_demand){.policy = TLS_POLICY_MAY, .trust = trusts_add(trusts, "", "", "", &err)};
    return ok && may.trust != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    SSL_CTX_free(server_context);
    trusts_destroy(trusts);
    return 0;
}

/* Both ends, and what they said. */
struct pair {
    struct tls *tls;
    struct tls_conn *conn;
    struct buf out, plain;
    SSL *server;
    struct err err;
};

static void pair_demand(struct pair *pair, struct tls *tls, const struct tls_demand *demand, const char *host,
                        SSL_CTX *context)
{
    *pair = (struct pair){.tls = tls};
    buf_init(&pair->out, TLS_OUT_MAX);
    buf_init(&pair->plain, 1 << 20);
    pair->conn = tls_start(tls, demand, host, "192.0.2.1", &pair->out, &pair->err);
    assert_non_null(pair->conn);
    assert_true(pair->out.len > 0);
    pair->server = SSL_new(context);
    SSL_set_bio(pair->server, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_accept_state(pair->server);
}

static void pair_start(struct pair *pair, struct tls *tls, const char *host)
{
    pair_demand(pair, tls, &may, host, server_context);
}

static void pair_end(struct pair *pair)
{
    tls_free(pair->conn);
    SSL_free(pair->server);
    buf_free(&pair->out);
    buf_free(&pair->plain);
}

/* What the client wrote, to the server. */
static void pair_up(struct pair *pair)
{
    if (pair->out.len > 0)
        assert_int_equal(BIO_write(SSL_get_rbio(pair->server), pair->out.data, (int)pair->out.len),
                         (int)pair->out.len);
    buf_clear(&pair->out);
}

/* What the server wrote, to the client, `step` bytes at a time. */
static enum tls_state pair_down(struct pair *pair, size_t step)
{
    static char data[TLS_FEED_MAX];
    enum tls_state state = TLS_HANDSHAKING;
    int n;
    while (state != TLS_FAILED && (n = BIO_read(SSL_get_wbio(pair->server), data, (int)step)) > 0) {
        struct str plain;
        char *copy = malloc((size_t)n);
        assert_non_null(copy);
        memcpy(copy, data, (size_t)n);
        state = tls_feed(pair->conn, copy, (size_t)n, &plain, &pair->err);
        free(copy);
        assert_true(buf_add_str(&pair->plain, plain));
    }
    return state;
}

static enum tls_state pair_negotiate(struct pair *pair, size_t step)
{
    enum tls_state state = TLS_HANDSHAKING;
    for (int round = 0; round < 6 && state != TLS_FAILED; round++) {
        pair_up(pair);
        SSL_do_handshake(pair->server);
        enum tls_state now = pair_down(pair, step);
        if (now != TLS_HANDSHAKING)
            state = now;
    }
    return state;
}

static void pair_handshake(struct pair *pair, size_t step)
{
    assert_int_equal(pair_negotiate(pair, step), TLS_OPEN);
    assert_true(SSL_is_init_finished(pair->server));
}

static struct tls *new_tls(void)
{
    struct err err;
    struct tls *tls = tls_create(&err);
    assert_non_null(tls);
    return tls;
}

static void test_pieces(void **state)
{
    (void)state;
    struct tls *tls = new_tls();
    static const size_t steps[] = {1, 7, 100, TLS_FEED_MAX};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct pair pair;
        pair_start(&pair, tls, "mx.example");
        assert_string_equal(tls_text(pair.conn), "");
        pair_handshake(&pair, steps[i]);
        assert_memory_equal(tls_text(pair.conn), "TLSv1.3 TLS_", 12);
        assert_string_equal(SSL_get_servername(pair.server, TLSEXT_NAMETYPE_host_name), "mx.example");

        /* Many small pieces and one that is larger than a record, up. */
        static char large[TLS_PIECE_MAX - 4 < 40000 ? TLS_PIECE_MAX - 4 : 40000];
        memset(large, 'L', sizeof large);
        struct iovec iov[] = {{"a", 1}, {"", 0}, {"bc", 2}, {large, sizeof large}, {"d", 1}};
        assert_true(tls_write(pair.conn, iov, 5, &pair.err));
        assert_true(pair.out.len < sizeof large + 4 + 4 * 64); /* three records, not five */
        pair_up(&pair);
        static char got[50000];
        size_t n = 0;
        int part;
        while ((part = SSL_read(pair.server, got + n, (int)(sizeof got - n))) > 0)
            n += (size_t)part;
        assert_int_equal(n, sizeof large + 4);
        assert_memory_equal(got, "abcL", 4);
        assert_int_equal(got[n - 1], 'd');

        /* Down, then close_notify. */
        assert_int_equal(SSL_write(pair.server, large, sizeof large), (int)sizeof large);
        assert_int_equal(pair_down(&pair, steps[i]), TLS_OPEN);
        assert_int_equal(pair.plain.len, sizeof large);
        SSL_shutdown(pair.server);
        assert_int_equal(pair_down(&pair, steps[i]), TLS_CLOSED);
        tls_shutdown(pair.conn);
        pair_up(&pair);
        assert_int_equal(SSL_read(pair.server, got, 1), 0);
        assert_int_equal(SSL_get_shutdown(pair.server) & SSL_RECEIVED_SHUTDOWN, SSL_RECEIVED_SHUTDOWN);
        pair_end(&pair);
    }
    tls_destroy(tls);
}

static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *host, *sni;
    } rows[] = {{"MX.Example", "MX.Example"}, {"mx.example.", "mx.example"}, {"[192.0.2.1]", NULL},
                {"192.0.2.1", NULL},          {"2001:db8::1", NULL},         {"", NULL}};
    struct tls *tls = new_tls();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct pair pair;
        pair_start(&pair, tls, rows[i].host);
        pair_handshake(&pair, TLS_FEED_MAX);
        const char *sni = SSL_get_servername(pair.server, TLSEXT_NAMETYPE_host_name);
        if (rows[i].sni == NULL)
            assert_null(sni);
        else
            assert_string_equal(sni, rows[i].sni);
        pair_end(&pair);
    }
    tls_destroy(tls);
}

static void test_resumed(void **state)
{
    (void)state;
    struct tls *tls = new_tls();
    static const char *const hosts[] = {"mx.example", "MX.example", "mx2.example"};
    for (size_t i = 0; i < 3; i++) {
        struct pair pair;
        pair_start(&pair, tls, hosts[i]);
        pair_handshake(&pair, TLS_FEED_MAX);
        assert_int_equal(tls_resumed(pair.conn), i == 1); /* the same host, in other letters */
        pair_end(&pair);
    }
    tls_destroy(tls);
}

/* A reload reads them again: what those of before vouched for is checked anew. */
static void test_not_resumed_with_other_authorities(void **state)
{
    (void)state;
    struct err err;
    struct tls *tls = new_tls();
    struct trusts *again = trusts_create(&err);
    assert_non_null(again);
    struct tls_demand demands[] = {may, may, may};
    demands[2].trust = trusts_add(again, "", "", "", &err);
    trusts_follow(again, trusts);
    assert_int_equal(trust_number(demands[2].trust), trust_number(may.trust));
    for (size_t i = 0; i < 3; i++) {
        struct pair pair;
        pair_demand(&pair, tls, &demands[i], "mx.example", server_context);
        pair_handshake(&pair, TLS_FEED_MAX);
        assert_int_equal(tls_resumed(pair.conn), i == 1);
        pair_end(&pair);
    }
    tls_destroy(tls);
    trusts_destroy(again);
}

static void test_garbage(void **state)
{
    (void)state;
    struct tls *tls = new_tls();
    struct pair pair;
    pair_start(&pair, tls, "mx.example");
    pair_handshake(&pair, TLS_FEED_MAX);
    struct str plain;
    assert_int_equal(
        tls_feed(pair.conn, "\x17\x03\x03\x00\x20xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 37, &plain, &pair.err),
        TLS_FAILED);
    assert_memory_equal(pair.err.text, "TLS connection failed: ", 23);
    assert_int_equal(tls_feed(pair.conn, "x", 1, &plain, &pair.err), TLS_FAILED);
    struct iovec iov = {"x", 1};
    assert_false(tls_write(pair.conn, &iov, 1, &pair.err));
    pair_end(&pair);

    pair_start(&pair, tls, "mx.example");
    assert_int_equal(tls_feed(pair.conn, "250 hello there\r\n", 17, &plain, &pair.err), TLS_FAILED);
    assert_memory_equal(pair.err.text, "TLS handshake failed: ", 22);
    pair_end(&pair);
    tls_destroy(tls);
}

static void test_out_is_bounded(void **state)
{
    (void)state;
    struct tls *tls = new_tls();
    struct pair pair;
    pair_start(&pair, tls, "mx.example");
    pair_handshake(&pair, TLS_FEED_MAX);
    pair_up(&pair);
    static char piece[TLS_PIECE_MAX];
    struct iovec iov = {piece, sizeof piece};
    assert_true(tls_write(pair.conn, &iov, 1, &pair.err));
    unsigned more = 0;
    while (more < 2 && tls_write(pair.conn, &iov, 1, &pair.err))
        more++;
    assert_true(more < 2);
    assert_non_null(strstr(pair.err.text, "too much waits"));
    pair_end(&pair);
    tls_destroy(tls);
}

static SSL_SESSION *kept_session(void)
{
    SSL_SESSION *session = SSL_SESSION_new();
    assert_non_null(session);
    SSL_SESSION_set1_id(session, (const unsigned char *)"id", 2);
    return session;
}

/* The least recently used goes when there are too many. */
static void test_kept_sessions(void **state)
{
    (void)state;
    struct resume resume = {0};
    char key[32];
    for (int i = 0; i < TLS_RESUME_MAX; i++) {
        snprintf(key, sizeof key, "host%d", i);
        assert_true(resume_keep(&resume, str_of(key), kept_session()));
    }
    assert_int_equal(resume_count(&resume), TLS_RESUME_MAX);
    assert_non_null(resume_find(&resume, STR("host0"))); /* now used last */
    assert_true(resume_keep(&resume, STR("one more"), kept_session()));
    assert_int_equal(resume_count(&resume), TLS_RESUME_MAX);
    assert_non_null(resume_find(&resume, STR("host0")));
    assert_null(resume_find(&resume, STR("host1")));
    assert_non_null(resume_find(&resume, STR("host2")));
    SSL_SESSION *replacement = kept_session();
    assert_true(resume_keep(&resume, STR("host2"), replacement));
    assert_ptr_equal(resume_find(&resume, STR("host2")), replacement);
    resume_drop(&resume, STR("host2"));
    assert_null(resume_find(&resume, STR("host2")));
    resume_drop(&resume, STR("never there"));
    assert_true(resume_keep(&resume, STR("spent"), SSL_SESSION_new())); /* not resumable */
    assert_null(resume_find(&resume, STR("spent")));
    resume_free(&resume);
    assert_int_equal(resume_count(&resume), 0);
}

/* ---- what is checked ---- */

static EVP_PKEY *authority_key;
static X509 *authority;

static X509 *make_certificate(EVP_PKEY *key, const char *subject, const char *alternative, long from_s,
                              long to_s)
{
    X509 *certificate = X509_new();
    static long serial;
    assert_non_null(certificate);
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(certificate), from_s);
    X509_gmtime_adj(X509_getm_notAfter(certificate), to_s);
    X509_set_pubkey(certificate, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                               (const unsigned char *)subject, -1, -1, 0);
    X509_set_issuer_name(certificate, X509_get_subject_name(authority != NULL ? authority : certificate));
    X509_EXTENSION *extension =
        authority == NULL ? X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE")
        : alternative     ? X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, alternative)
                          : NULL;
    if (extension != NULL)
        X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
    assert_true(X509_sign(certificate, authority_key, EVP_sha256()) > 0);
    return certificate;
}

/* A server with a certificate of our authority, which it sends along. */
static SSL_CTX *make_server(const char *subject, const char *alternative, long from_s, long to_s)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = make_certificate(key, subject, alternative, from_s, to_s);
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_certificate(context, certificate), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(context, key), 1);
    assert_int_equal(SSL_CTX_add1_chain_cert(context, authority), 1);
    SSL_CTX_set_session_id_context(context, (const unsigned char *)"c", 1);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return context;
}

static void write_pem(const char *path, X509 *certificate, EVP_PKEY *key)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    if (certificate != NULL)
        PEM_write_X509(file, certificate);
    if (key != NULL)
        PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL);
    fclose(file);
}

static char directory[TEMPORARY_PATH];
static char ca_path[TEMPORARY_PATH + 20], certificate_path[TEMPORARY_PATH + 20],
    key_path[TEMPORARY_PATH + 20];

static int setup_checks(void **state)
{
    if (setup(state) != 0 || !temporary_directory(directory))
        return -1;
    snprintf(ca_path, sizeof ca_path, "%s/ca.pem", directory);
    snprintf(certificate_path, sizeof certificate_path, "%s/certificate.pem", directory);
    snprintf(key_path, sizeof key_path, "%s/key.pem", directory);
    authority_key = EVP_EC_gen("P-256");
    authority = make_certificate(authority_key, "Test Authority", NULL, -86400, 86400);
    write_pem(ca_path, authority, NULL);
    return 0;
}

static int teardown_checks(void **state)
{
    remove(ca_path);
    remove(certificate_path);
    remove(key_path);
    rmdir(directory);
    X509_free(authority);
    EVP_PKEY_free(authority_key);
    return teardown(state);
}

static void try_check(const struct tls_demand *demand, const char *host, SSL_CTX *server,
                      enum tls_fault fault, const char *text_end)
{
    struct tls *tls = new_tls();
    for (int again = 0; again < 2; again++) { /* the second may be resumed, and says the same */
        struct pair pair;
        pair_demand(&pair, tls, demand, host, server);
        enum tls_state state = pair_negotiate(&pair, TLS_FEED_MAX);
        assert_int_equal(tls_fault(pair.conn), fault);
        assert_int_equal(state, fault == TLS_FAULT_NONE || demand->report ? TLS_OPEN : TLS_FAILED);
        size_t n = strlen(tls_text(pair.conn)), end = strlen(text_end);
        if (state == TLS_OPEN)
            assert_true(n >= end && strcmp(tls_text(pair.conn) + n - end, text_end) == 0);
        else
            assert_non_null(strstr(pair.err.text, text_end));
        pair_end(&pair);
    }
    tls_destroy(tls);
}

static void test_verify(void **state)
{
    (void)state;
    struct err err;
    const struct trust *ours = trusts_add(trusts, ca_path, "", "", &err);
    assert_non_null(ours);
    struct tls_demand verify = {.policy = TLS_POLICY_VERIFY, .trust = ours};
    SSL_CTX *good =
        make_server("ignored.example", "DNS:mx.example,DNS:*.wild.example,IP:192.0.2.7", -60, 3600);
    SSL_CTX *late = make_server("mx.example", "DNS:mx.example", -7200, -3600);
    SSL_CTX *bare = make_server("mx.example", NULL, -60, 3600);
    try_check(&verify, "mx.example", good, TLS_FAULT_NONE, " verified");
    try_check(&verify, "MX.example.", good, TLS_FAULT_NONE, " verified");
    try_check(&verify, "a.wild.example", good, TLS_FAULT_NONE, " verified");
    try_check(&verify, "192.0.2.7", good, TLS_FAULT_NONE, " verified");
    try_check(&verify, "a.b.wild.example", good, TLS_FAULT_NAME, "hostname mismatch");
    try_check(&verify, "ignored.example", good, TLS_FAULT_NAME, "hostname mismatch");
    try_check(&verify, "192.0.2.8", good, TLS_FAULT_NAME, "IP address mismatch");
    try_check(&verify, "mx.example", late, TLS_FAULT_EXPIRED, "certificate has expired");
    try_check(&verify, "mx.example", bare, TLS_FAULT_NAME, "hostname mismatch"); /* the subject is no name */
    verify.name = "mx.example";
    try_check(&verify, "other.example", good, TLS_FAULT_NONE, " verified");
    verify.name = NULL;
    verify.report = true;
    verify.policy = TLS_POLICY_MAY;
    try_check(&verify, "mx2.example", good, TLS_FAULT_NAME, "");
    try_check(&verify, "mx.example", good, TLS_FAULT_NONE, " verified");
    verify.report = false;
    verify.policy = TLS_POLICY_VERIFY;
    verify.trust = may.trust; /* the system's authorities: ours is none of them */
    try_check(&verify, "mx.example", good, TLS_FAULT_UNTRUSTED, "certificate");
    try_check(&may, "mx2.example", good, TLS_FAULT_NONE, "");
    SSL_CTX_free(good);
    SSL_CTX_free(late);
    SSL_CTX_free(bare);
}

/* usage, selector (the whole certificate or its key), SHA-256 of it. */
static struct tlsa_set *record_of(uint8_t usage, uint8_t selector, X509 *certificate)
{
    struct tlsa_set *set = tlsa_set_create();
    uint8_t record[3 + 32] = {usage, selector, 1};
    unsigned n = 32;
    unsigned char *key = NULL;
    assert_non_null(set);
    if (selector == 0) {
        X509_digest(certificate, EVP_sha256(), record + 3, &n);
    } else {
        int size = i2d_PUBKEY(X509_get0_pubkey(certificate), &key);
        EVP_Digest(key, (size_t)size, record + 3, &n, EVP_sha256(), NULL);
        OPENSSL_free(key);
    }
    assert_true(tlsa_set_add(set, record, sizeof record));
    return set;
}

static void test_dane(void **state)
{
    (void)state;
    SSL_CTX *server = make_server("x", "DNS:mx.example", -60, 3600);
    SSL_CTX *late = make_server("x", "DNS:other.example", -7200, -3600);
    struct tls_demand dane = {.policy = TLS_POLICY_DANE, .trust = may.trust};
    struct tlsa_set *sets[] = {record_of(3, 1, SSL_CTX_get0_certificate(server)), record_of(2, 0, authority),
                               record_of(3, 1, SSL_CTX_get0_certificate(late)),
                               record_of(3, 0, SSL_CTX_get0_certificate(server))};
    static const uint8_t rolled[3 + 32] = {3, 1, 1, 7};
    dane.tlsa = sets[0];
    try_check(&dane, "mx.example", server, TLS_FAULT_NONE, " dane");
    try_check(&dane, "mx9.example", server, TLS_FAULT_NONE, " dane"); /* usage 3: names don't count */
    try_check(&dane, "mx.example", late, TLS_FAULT_TLSA, "TLSA");
    dane.tlsa = sets[1];
    try_check(&dane, "mx.example", server, TLS_FAULT_NONE, " dane");
    try_check(&dane, "mx9.example", server, TLS_FAULT_NAME, "hostname mismatch");
    try_check(&dane, "other.example", late, TLS_FAULT_EXPIRED, "expired");
    dane.tlsa = sets[2];
    try_check(&dane, "mx.example", late, TLS_FAULT_NONE, " dane"); /* nor does expiry */
    dane.tlsa = sets[3];
    try_check(&dane, "mx.example", server, TLS_FAULT_NONE, " dane");
    assert_true(tlsa_set_add(sets[3], rolled, sizeof rolled)); /* one of several is enough */
    try_check(&dane, "mx.example", server, TLS_FAULT_NONE, " dane");
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        tlsa_set_unref(sets[i]);
    SSL_CTX_free(server);
    SSL_CTX_free(late);
}

/* A server that asks for a certificate gets ours. */
static void test_client_certificate(void **state)
{
    (void)state;
    struct err err;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = make_certificate(key, "client.example", "DNS:client.example", -60, 3600);
    write_pem(certificate_path, certificate, NULL);
    write_pem(key_path, NULL, key);
    SSL_CTX *server = make_server("x", "DNS:mx.example", -60, 3600);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(server), authority);
    SSL_CTX_set_verify(server, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_max_proto_version(server, TLS1_2_VERSION); /* where the client hears of it at once */
    struct tls_demand demand = {.policy = TLS_POLICY_ENCRYPT,
                                .trust = trusts_add(trusts, "", certificate_path, key_path, &err)};
    assert_non_null(demand.trust);
    assert_ptr_equal(trusts_find(trusts, "", certificate_path, key_path), demand.trust);
    try_check(&demand, "mx.example", server, TLS_FAULT_NONE, "");
    demand.trust = may.trust;
    try_check(&demand, "mx.example", server, TLS_FAULT_HANDSHAKE, "handshake failure");
    assert_null(trusts_add(trusts, "", certificate_path, ca_path, &err));
    assert_non_null(strstr(err.text, ca_path));
    assert_null(trusts_add(trusts, "/nonexistent/ca.pem", "", "", &err));
    assert_non_null(strstr(err.text, "/nonexistent/ca.pem"));
    SSL_CTX_free(server);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),        cmocka_unit_test(test_names),
        cmocka_unit_test(test_resumed),       cmocka_unit_test(test_not_resumed_with_other_authorities),
        cmocka_unit_test(test_garbage),       cmocka_unit_test(test_out_is_bounded),
        cmocka_unit_test(test_kept_sessions), cmocka_unit_test(test_verify),
        cmocka_unit_test(test_dane),          cmocka_unit_test(test_client_certificate),
    };
    return cmocka_run_group_tests(tests, setup_checks, teardown_checks);
}
