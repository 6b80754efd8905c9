/* test_tls.c - TLS over buffers against OpenSSL's own server side, in memory: pieces of any size, bounds,
 * SNI, and the sessions kept. */
#include "engine/tls/resume.h"
#include "engine/tls/tls.h"

#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static SSL_CTX *server_context;

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
    return ok ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    SSL_CTX_free(server_context);
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

static void pair_start(struct pair *pair, struct tls *tls, const char *host)
{
    *pair = (struct pair){.tls = tls};
    buf_init(&pair->out, TLS_OUT_MAX);
    buf_init(&pair->plain, 1 << 20);
    pair->conn = tls_start(tls, host, "192.0.2.1", &pair->out, &pair->err);
    assert_non_null(pair->conn);
    assert_true(pair->out.len > 0);
    pair->server = SSL_new(server_context);
    SSL_set_bio(pair->server, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_accept_state(pair->server);
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
    while ((n = BIO_read(SSL_get_wbio(pair->server), data, (int)step)) > 0) {
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

static void pair_handshake(struct pair *pair, size_t step)
{
    enum tls_state state = TLS_HANDSHAKING;
    for (int round = 0; round < 6; round++) {
        pair_up(pair);
        SSL_do_handshake(pair->server);
        enum tls_state now = pair_down(pair, step);
        if (now != TLS_HANDSHAKING)
            state = now;
    }
    assert_int_equal(state, TLS_OPEN);
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
        static char large[40000];
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),         cmocka_unit_test(test_names),
        cmocka_unit_test(test_resumed),        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_out_is_bounded), cmocka_unit_test(test_kept_sessions),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
